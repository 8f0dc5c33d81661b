// The types and functions of CUDA C that need no more than a definition: vectors, min and max, numbers of 16 bits.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x = 1, y = 1, z = 1; };
#define VECTOR_TYPES(E, name) \
    struct alignas(2 * sizeof(E)) name##2 { E x, y; }; \
    struct name##3 { E x, y, z; }; \
    struct alignas(4 * sizeof(E) > 16 ? 16 : 4 * sizeof(E)) name##4 { E x, y, z, w; }; \
    inline name##2 make_##name##2(E x, E y) { return {x, y}; } \
    inline name##3 make_##name##3(E x, E y, E z) { return {x, y, z}; } \
    inline name##4 make_##name##4(E x, E y, E z, E w) { return {x, y, z, w}; }
VECTOR_TYPES(float, float)
VECTOR_TYPES(double, double)
VECTOR_TYPES(int, int)
#undef VECTOR_TYPES
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
static const int warpSize = 32;

using std::abs, std::sqrt, std::pow, std::exp, std::log;  // of float, too
template <typename V> V min(V a, V b) { return b < a ? b : a; }
template <typename V> V max(V a, V b) { return a < b ? b : a; }
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }
inline double min(double a, double b) { return std::fmin(a, b); }
inline double max(double a, double b) { return std::fmax(a, b); }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float x, float y) { return x / y; }
template <typename V> V __ldg(const V *p) { return *p; }
template <typename To, typename From> To same_bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
inline unsigned __float_as_uint(float x) { return same_bits<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return same_bits<float>(x); }
inline int __float_as_int(float x) { return same_bits<int>(x); }
inline float __int_as_float(int x) { return same_bits<float>(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (uint64_t)a * b >> 32; }
inline void __threadfence() {}

// Numbers of 16 bits, as storage: they are converted to float to compute, and rounded to nearest even.
struct __half {
    uint16_t bits;
    __half() = default;
    __half(float x) {
        uint32_t all = __float_as_uint(x), sign = all >> 16 & 0x8000, rest = all & 0x7fffffff;
        if (rest >= 0x47800000)  // 2^16 and above, infinity, NaN
            bits = sign | (rest > 0x7f800000 ? 0x7e00 : 0x7c00);
        else if (rest < 0x38800000)  // subnormal: the addition shifts and rounds
            bits = sign | (__float_as_uint(__uint_as_float(rest) + 0.5f) - 0x3f000000);
        else
            bits = sign | ((rest - 0x38000000 + 0xfff + (rest >> 13 & 1)) >> 13);
    }
    operator float() const {
        uint32_t sign = (uint32_t)(bits & 0x8000) << 16, rest = (uint32_t)(bits & 0x7fff) << 13;
        if (rest >= 0x0f800000)  // infinity, NaN
            return __uint_as_float(sign | (rest + 0x70000000));
        return __uint_as_float(sign | __float_as_uint(__uint_as_float(rest) * 0x1p112f));
    }
};
struct __nv_bfloat16 {
    uint16_t bits;
    __nv_bfloat16() = default;
    __nv_bfloat16(float x) {
        uint32_t all = __float_as_uint(x);
        bits = x != x ? 0x7fff : (all + 0x7fff + (all >> 16 & 1)) >> 16;
    }
    operator float() const { return __uint_as_float((uint32_t)bits << 16); }
};
inline float __half2float(__half x) { return x; }
inline __half __float2half(float x) { return x; }
inline float __bfloat162float(__nv_bfloat16 x) { return x; }
inline __nv_bfloat16 __float2bfloat16(float x) { return x; }
