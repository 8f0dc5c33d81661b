// What kernels may use beside CUDA C itself: each helper has a body for the GPU, and one for the CPU, run by host.h.
//
// T is the type that arrays hold, A the one that sums are kept in: float and float, double and double, or __half or
// __nv_bfloat16 and float. source.py defines both, and includes this file, in front of every .cu file.
#pragma once

// A struct of ints by value: how a window slides over images. Python passes `window(p)`.
struct Window {
    int stride_h, stride_w, top, left, dilation_h, dilation_w, groups;
};

// N x C x H x W (or OC x C x KH x KW) with any strides, counted in elements. Python passes `strided(array)`.
template <typename E> struct Strided {
    E *data;
    long long stride[4];
    int size[4];

    __device__ E &operator()(int n, int c, int h, int w) const {
#ifdef MINIGRAD_HOST
        int index[] = {n, c, h, w};
        for (int i = 0; i < 4; i++)
            if (index[i] < 0 || index[i] >= size[i])
                sim::describe(sim::ASSERTION, "index (%d, %d, %d, %d) is outside an array of %dx%dx%dx%d", n, c, h, w,
                              size[0], size[1], size[2], size[3]),
                    sim::abandon();
#endif
        return data[n * stride[0] + c * stride[1] + h * stride[2] + w * stride[3]];
    }
};
// Arrays of any sizes. Python passes `several([array, ...])`.
const int MANY = 32;
template <typename E> struct Several {
    E *data[MANY];
    int size[MANY];
};

typedef Strided<const T> Input;
typedef Strided<T> Output;
#ifdef MINIGRAD_HOST
template <typename E> struct sim::Name<Strided<E>> {
    static void write(char *&to) { Name<E>::write(to), to += sprintf(to, "[4]"); }
};
template <typename E> struct sim::Name<Several<E>> {
    static void write(char *&to) { Name<E>::write(to), to += sprintf(to, "*[%d]", MANY); }
};
#endif

// Shared memory whose size the launch gives: DYNAMIC_SHARED(float, tile); tile[i] = ...
#ifdef MINIGRAD_HOST
#define DYNAMIC_SHARED(type, name) type *name = (type *)sim::dynamic_memory
#else
#define DYNAMIC_SHARED(type, name) \
    extern __shared__ __align__(16) unsigned char dynamic_shared_memory[]; \
    type *name = (type *)dynamic_shared_memory
#endif

// --- asynchronous copies from global to shared memory (sm_80; before, ordinary ones)

// Copies BYTES (4, 8 or 16) later, or clears them where `from` is not valid; both addresses are multiples of BYTES.
template <int BYTES> __device__ inline void copy_async(void *to, const void *from, bool valid = true) {
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
#ifdef MINIGRAD_HOST
    sim::copy_later(to, valid ? from : nullptr, BYTES);
#elif __CUDA_ARCH__ >= 800
    unsigned shared = (unsigned)__cvta_generic_to_shared(to);
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared), "l"(from), "n"(BYTES),
                 "r"(valid ? BYTES : 0) : "memory");
#else
    for (int i = 0; i < BYTES / 4; i++) ((int *)to)[i] = valid ? ((const int *)from)[i] : 0;
#endif
}

// Ends a group of copies.
__device__ inline void copies_commit() {
#ifdef MINIGRAD_HOST
    sim::copies_commit();
#elif __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most GROUPS_LEFT of this thread's groups are under way. What others copied needs a barrier, too.
template <int GROUPS_LEFT> __device__ inline void copies_wait() {
#ifdef MINIGRAD_HOST
    sim::copies_wait(GROUPS_LEFT);
#elif __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS_LEFT) : "memory");
#endif
}

// --- matrix products of a warp on tensor cores: d (16 x 8) += a (16 x K) b (K x 8)
//
// Lane l holds, with g = l / 4 and t = l % 4 (PTX manual, "matrix fragments for mma"):
//     d[0..3]  d[g][2t], d[g][2t + 1], d[g + 8][2t], d[g + 8][2t + 1]
//     tf32 (K = 8):          a[0..3] a[g][t], a[g + 8][t], a[g][t + 4], a[g + 8][t + 4];  b[0..1] b[t][g], b[t + 4][g]
//     16-bit types (K = 16), two values in each register, the first in the low half:
//                            a[0..3] a[g][2t..], a[g + 8][2t..], a[g][2t + 8..], a[g + 8][2t + 8..];
//                            b[0..1] b[2t..][g], b[2t + 8..][g]

// A float rounded to TF32 (10 bits behind the point, ties away from zero), as the bits that mma takes.
__device__ inline unsigned to_tf32(float x) {
#ifdef MINIGRAD_HOST
    return (__float_as_uint(x) + 0x1000) & 0xffffe000;
#elif __CUDA_ARCH__ >= 800
    unsigned y;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
    return y;
#else
    return __float_as_uint(x);
#endif
}

#ifdef MINIGRAD_HOST
namespace sim {
struct Fragments { unsigned a[4], b[2]; };

// The product by its definition. K: 8 (TF32) or 16; value(register, half) reads one number.
template <int K, typename Value> void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], Value value) {
    Fragments mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    int lane = current % LANES, each = K / 8;  // numbers in a register
    give(0xffffffff, mine, -1);
    for (int i = 0; i < 4; i++) {
        int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        float sum = d[i];
        for (int k = 0; k < K; k++) {
            int quad = k / each % 4, high = k / (4 * each);  // which lane of four, and which of its registers, holds k
            Fragments left = taken_from<Fragments>(row % 8 * 4 + quad);
            Fragments right = taken_from<Fragments>(column * 4 + quad);
            sum += value(left.a[row / 8 + 2 * high], k % each) * value(right.b[high], k % each);
        }
        d[i] = sum;
    }
    wait_warp(0xffffffff, -1);
}
}  // namespace sim
#endif

#define MMA_OF_16_BITS(name, instruction, storage) \
    __device__ inline void name(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { \
        MMA_BODY(instruction, 16, [](unsigned pair, int half) { \
            return (float)same_bits<storage>((uint16_t)(pair >> 16 * half)); \
        }) \
    }
#ifdef MINIGRAD_HOST
#define MMA_BODY(instruction, k, value) sim::mma<k>(d, a, b, value);
#elif __CUDA_ARCH__ >= 800
#define MMA_BODY(instruction, ...) \
    asm volatile(instruction " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
#define MMA_BODY(...) __trap();  // tensor cores for these types begin with sm_80
#endif
__device__ inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    MMA_BODY("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", 8, [](unsigned bits, int) {
        return __uint_as_float(bits & 0xffffe000);  // the hardware looks at no other bits
    })
}
MMA_OF_16_BITS(mma_f16, "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", __half)
MMA_OF_16_BITS(mma_bf16, "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", __nv_bfloat16)
#undef MMA_BODY
#undef MMA_OF_16_BITS
