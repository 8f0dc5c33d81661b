// Convolution as a matrix product whose left matrix is never stored: every block gathers its part of it from the images
// ("implicit GEMM": Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014, section 3.2).
//
//     kernel, pass               a row of the left matrix          the right matrix            summed over
//     correlate, forward         what a pixel of y sees of x       the weight, (tap, c) x oc   taps, channels
//     correlate, grad_input      what a pixel of gx sees of gy     the weight, (tap, oc) x c   taps, channels
//     grad_weight                what a weight (tap, c) sees of x  gy, pixels x oc             pixels
//
// A block of 128 threads makes a tile of 128 x 64 results of one group (64 x 32 in float64), DEPTH summands at a time:
//
//                            64                    the warp's 32 x 64         one thread (multiply_fma.cuh)
//                    +----------------+            +-----+-----+
//              DEPTH |  right, tile t |         t0 | oooo| oooo|   t0..t7 beside each other, in four rows.
//                    +----------------+         t8 | oooo| oooo|   Each has 8 x 8 sums in registers: every
//        DEPTH       +----------------+        t16 | oooo| oooo|   4th row, and two runs of 4 columns 32
//       +-----+    32|     warp 0     |        t24 | oooo| oooo|   apart, so that 16 bytes a thread are
//       | left|    32|     warp 1     |            |  ...      |   128 bytes without a gap for the eight
//       |tile |    32|     warp 2     |            +-----+-----+   that are served at once. On tensor
//       |  t  |    32|     warp 3     |         cores the 32 x 64 are 2 x 8 tiles of 16 x 8
//       +-----+      +----------------+         (multiply_mma.cuh).
//
// While a tile is multiplied the copies of the next two are under way (cp.async; on sm_75 they are ordinary loads and
// stores, and other blocks hide them). Three stages of shared memory, 45 KB, and at most 168 registers a thread let
// three blocks share a multiprocessor. Images lie channels-last, so a row of the left matrix consists of runs of C/G
// neighbours in memory, one for each tap: where C/G allows it, copies are 16 bytes long.
//
// TENSOR=1 is for tensor cores (sm_80): float32 is rounded to TF32; numbers of 16 bits stay as they are, and their
// products are exact. Sums are float32. On sm_75 TENSOR=1 multiplies as TENSOR=0 does.
//
// variants: float32 TENSOR=0 | float32 TENSOR=1 | float64 TENSOR=0 | float16 TENSOR=1 | bfloat16 TENSOR=1

const int BLOCK = 128, STAGES = 3, VECTOR = 16 / sizeof(T), DEPTH = 64 / sizeof(T);
#if __CUDA_ARCH__ == 750
const int RESIDENT = 1;  // blocks on a multiprocessor, as its shared memory allows
#else
const int RESIDENT = 3;
#endif
const int EACH = sizeof(A) == 8 ? 4 : 8;  // a thread has EACH x EACH sums
const int ROWS = 16 * EACH, COLUMNS = 8 * EACH;  // of a block's tile; a warp has ROWS / 4 of them

// A tile in shared memory: the left one is ROWS x DEPTH in `correlate` and DEPTH x ROWS in `grad_weight`, because the
// numbers of a copy stay side by side; the right one is DEPTH x COLUMNS. Rows are longer than what they hold, by 16
// bytes or 8 numbers: so the rows that a warp reads at once begin in different banks.
const int SHORT = DEPTH + VECTOR, LONG = ROWS + 8, WIDE = COLUMNS + 8;
struct __align__(16) Stage {
    T left[ROWS * SHORT > DEPTH * LONG ? ROWS * SHORT : DEPTH * LONG], right[DEPTH * WIDE];
};

#if TENSOR && (defined(MINIGRAD_HOST) || __CUDA_ARCH__ >= 800)
#include "conv/multiply_mma.cuh"
#else
#include "conv/multiply_fma.cuh"
#endif

// How outputs and taps meet: pixel (i, j) and tap (k, l) at pixel (i step_h + k spread_h + first_h, ...) of the input.
struct Walk {
    int step_h, step_w, spread_h, spread_w, first_h, first_w, KH, KW, groups;
};

// A number written with three digits, c < C and b < B: a pixel as (image, row, column), a weight as (kh, kw, channel).
struct Digits {
    int a, b, c;
    __device__ Digits(int number, int B, int C) : a(number / C / B), b(number / C % B), c(number % C) {}
    __device__ void add(int n, int B, int C) {  // for small n faster than dividing anew
        for (c += n; c >= C; c -= C)
            if (++b == B) b = 0, a++;
    }
};

// Copies a run of VECTOR numbers into shared memory, zeros where it is not valid.
__device__ inline void copy_run(T *to, const T *from, bool valid) { copy_async<16>(to, from, valid); }

// The same for one number; cp.async moves 4 bytes at least.
__device__ inline void copy_one(T *to, const T *from, bool valid) {
    if (sizeof(T) >= 4) copy_async<(sizeof(T) >= 4 ? sizeof(T) : 4)>(to, from, valid);
    else *to = valid ? *from : (T)0.0f;
}

// Left matrix of `correlate`: a row for each pixel of the output, whose columns are (kh, kw, channel). Four threads
// copy 64 bytes of a row; a thread keeps its pixels and walks along the row.
struct WindowRows {
    static const bool DEPTH_INNERMOST = true;
    static const int COUNT = ROWS / (BLOCK / 4), OUTSIDE = -(1 << 30);
    const T *from[COUNT];  // the first channel of pixel (h, w), which may be outside of the image
    int h[COUNT], w[COUNT];
    Digits at;
    const Input &x;
    const Walk &walk;
    int Cg;
    bool whole;  // runs of channels can be copied by 16 bytes

    __device__ WindowRows(const Input &x, const Output &y, const Walk &walk, int Cg, int group, int row, bool whole)
        : at(threadIdx.x % 4 * VECTOR, walk.KW, Cg), x(x), walk(walk), Cg(Cg), whole(whole) {
        for (int i = 0; i < COUNT; i++) {
            int number = row + threadIdx.x / 4 + BLOCK / 4 * i;
            Digits out(number, y.size[2], y.size[3]);
            h[i] = out.b * walk.step_h + walk.first_h, w[i] = out.c * walk.step_w + walk.first_w;
            from[i] = x.data + group * Cg + out.a * x.stride[0] + h[i] * x.stride[2] + w[i] * x.stride[3];
            if (out.a >= y.size[0]) h[i] = OUTSIDE;
        }
    }
    template <typename Copy> __device__ void copy(T *to, const Digits &place, Copy copy) const {
        int down = place.a * walk.spread_h, right = place.b * walk.spread_w;
        long long offset = down * x.stride[2] + right * x.stride[3] + place.c;
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            bool valid = place.a < walk.KH && (unsigned)(h[i] + down) < (unsigned)x.size[2] &&
                         (unsigned)(w[i] + right) < (unsigned)x.size[3];
            copy(to + BLOCK / 4 * i * SHORT, from[i] + offset, valid);
        }
    }
    __device__ void load(Stage &stage) {
        T *to = stage.left + threadIdx.x / 4 * SHORT + threadIdx.x % 4 * VECTOR;
        if (whole) copy(to, at, copy_run);
        else {
            Digits place = at;
            for (int e = 0; e < VECTOR; e++, place.add(1, walk.KW, Cg)) copy(to + e, place, copy_one);
        }
        at.add(DEPTH, walk.KW, Cg);
    }
};

// Left matrix of `grad_weight`, transposed: a row for each pixel of y, from number `first` up to `end`, whose columns
// are (kh, kw, channel). A thread keeps its columns and walks over the pixels.
struct WindowColumns {
    static const bool DEPTH_INNERMOST = false;
    static const int COPIES = ROWS / VECTOR, STEP = BLOCK / COPIES;  // copies in a row, rows that are copied at once
    Digits at, out;
    int number, end;
    const Input &x, &gy;
    const Walk &walk;
    int Cg, group;
    bool whole;

    __device__ WindowColumns(const Input &x, const Input &gy, const Walk &walk, int Cg, int group, int column,
                             int first, int end, bool whole)
        : at(column + threadIdx.x % COPIES * VECTOR, walk.KW, Cg),
          out(first + threadIdx.x / COPIES, gy.size[2], gy.size[3]), number(first + threadIdx.x / COPIES), end(end),
          x(x), gy(gy), walk(walk), Cg(Cg), group(group), whole(whole) {}
    template <typename Copy> __device__ void copy(T *to, const Digits &place, Copy copy) const {
        int h = out.b * walk.step_h + place.a * walk.spread_h + walk.first_h;
        int w = out.c * walk.step_w + place.b * walk.spread_w + walk.first_w;
        bool valid = number < end && place.a < walk.KH && (unsigned)h < (unsigned)x.size[2] &&
                     (unsigned)w < (unsigned)x.size[3];
        copy(to, x.data + group * Cg + place.c + out.a * x.stride[0] + h * x.stride[2] + w * x.stride[3], valid);
    }
    __device__ void load(Stage &stage) {
        T *to = stage.left + threadIdx.x / COPIES * LONG + threadIdx.x % COPIES * VECTOR;
#pragma unroll
        for (int k = 0; k < DEPTH; k += STEP) {
            if (whole) copy(to + k * LONG, at, copy_run);
            else {
                Digits place = at;
                for (int e = 0; e < VECTOR; e++, place.add(1, walk.KW, Cg)) copy(to + k * LONG + e, place, copy_one);
            }
            out.add(STEP, gy.size[2], gy.size[3]), number += STEP;
        }
    }
};

// The right matrix: rows `first` up to `end` of `pitch` numbers, of which `left` are the group's from this block's on.
struct Right {
    static const int COPIES = COLUMNS / VECTOR, STEP = BLOCK / COPIES;
    const T *from;
    int number, end, pitch, left;
    bool whole;

    __device__ Right(const T *matrix, int first, int end, int pitch, int left, bool whole)
        : from(matrix + (long long)(first + threadIdx.x / COPIES) * pitch + threadIdx.x % COPIES * VECTOR),
          number(first + threadIdx.x / COPIES), end(end), pitch(pitch), left(left - threadIdx.x % COPIES * VECTOR),
          whole(whole) {}
    __device__ void load(Stage &stage) {
        T *to = stage.right + threadIdx.x / COPIES * WIDE + threadIdx.x % COPIES * VECTOR;
#pragma unroll
        for (int k = 0; k < DEPTH; k += STEP, number += STEP, from += (long long)STEP * pitch) {
            if (whole) copy_run(to + k * WIDE, from, number < end && left > 0);
            else
                for (int e = 0; e < VECTOR; e++) copy_one(to + k * WIDE + e, from + e, number < end && e < left);
        }
    }
};

// Adds the product of the two matrices to the sums, `tiles` times DEPTH of their columns and rows.
template <typename Left, typename S>
__device__ inline void multiply(Stage (&stages)[STAGES], Left &left, Right &right, int tiles, S &sums) {
    for (int t = 0; t < STAGES - 1; t++) {
        if (t < tiles) left.load(stages[t]), right.load(stages[t]);
        copies_commit();
    }
    for (int t = 0; t < tiles; t++) {
        copies_wait<STAGES - 2>();  // until this thread's copies of tile t have arrived
        __syncthreads();  // until those of all have; and until nobody reads the stage that is filled next
        Stage &next = stages[(t + STAGES - 1) % STAGES];
        if (t + STAGES - 1 < tiles) left.load(next), right.load(next);
        copies_commit();  // an empty group at the end: so that the wait counts on
        sums.add(stages[t % STAGES]);
    }
}

// Writes a run of sums next to each other, as far as `left` goes; in one piece where it is `whole`.
template <int N, typename E> __device__ inline void write(E *to, const A (&values)[N], int left, bool whole) {
    struct __align__(sizeof(E) * N) Piece { E values[N]; };
    if (whole && left > 0) {
        Piece piece;
        for (int e = 0; e < N; e++) piece.values[e] = (E)values[e];
        *(Piece *)to = piece;
    } else {
        for (int e = 0; e < N; e++)
            if (e < left) to[e] = (E)values[e];
    }
}

// y = max(low, correlation of x with w + bias). x is channels-last; w is (group, kh, kw, channel of x, channel of y).
// Blocks: x tiles of pixels, y tiles of channels, z groups. x_whole, y_whole: channels can be copied by 16 bytes.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT) correlate(
    Input x, const T *w, const T *bias, Output y, Walk walk, A low, int x_whole, int y_whole) {
    __shared__ Stage stages[STAGES];
    int Cg = x.size[1] / walk.groups, OCg = y.size[1] / walk.groups, depth = walk.KH * walk.KW * Cg;
    int row = blockIdx.x * ROWS, column = blockIdx.y * COLUMNS, group = blockIdx.z;
    WindowRows left(x, y, walk, Cg, group, row, x_whole);
    Right right(w + (long long)group * depth * OCg + column, 0, depth, OCg, OCg - column, y_whole);
    Sums<WindowRows::DEPTH_INNERMOST> sums;
    multiply(stages, left, right, (depth + DEPTH - 1) / DEPTH, sums);
#pragma unroll
    for (int i = 0; i < HEIGHT; i++) {
        Digits out(row + sums.row(i), y.size[2], y.size[3]);
        if (out.a >= y.size[0]) continue;
#pragma unroll
        for (int j = 0; j < RUNS; j++) {
            int c = column + sums.column(j), oc = group * OCg + c;
            A run[RUN];
            for (int e = 0; e < RUN; e++) {
                A sum = sums.at(i, j, e) + (bias && c + e < OCg ? (A)bias[oc + e] : (A)0);
                run[e] = sum < low ? low : sum;  // NaN stays
            }
            if (c < OCg) write(&y(out.a, oc, out.b, out.c), run, OCg - c, y_whole);
        }
    }
}

// gw, first half ("split-K"): the pixels of y are dealt out in slices, and a block sums over one of them.
// gy is channels-last and contiguous; partial: slices x groups x (kh, kw, channel of x) x channel of y.
// Blocks: x tiles of (kh, kw, channel of x), y tiles of channels of y, z slices and groups.
extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT) grad_weight(
    Input x, Input gy, A *partial, Walk walk, int slice, int x_whole, int y_whole) {
    __shared__ Stage stages[STAGES];
    int Cg = x.size[1] / walk.groups, OCg = gy.size[1] / walk.groups, weights = walk.KH * walk.KW * Cg;
    int row = blockIdx.x * ROWS, column = blockIdx.y * COLUMNS, group = blockIdx.z % walk.groups;
    int first = blockIdx.z / walk.groups * slice, end = min(first + slice, gy.size[0] * gy.size[2] * gy.size[3]);
    WindowColumns left(x, gy, walk, Cg, group, row, first, end, x_whole);
    Right right(gy.data + group * OCg + column, first, end, gy.size[1], OCg - column, y_whole);
    Sums<WindowColumns::DEPTH_INNERMOST> sums;
    multiply(stages, left, right, (end - first + DEPTH - 1) / DEPTH, sums);
    partial += (long long)blockIdx.z * weights * OCg;
#pragma unroll
    for (int i = 0; i < HEIGHT; i++) {
        int weight = row + sums.row(i);
        if (weight >= weights) continue;
#pragma unroll
        for (int j = 0; j < RUNS; j++) {
            int c = column + sums.column(j);
            A run[RUN];
            for (int e = 0; e < RUN; e++) run[e] = sums.at(i, j, e);
            write(partial + (long long)weight * OCg + c, run, OCg - c, y_whole);
        }
    }
}

// gw, second half: the slices are added in their order, so that the sum is the same in every run. Neighbouring threads
// read neighbours, ((group taps + tap) C/G + c) OC/G + oc. gw: OC x C/G x KH x KW
extern "C" __global__ void add_slices(const A *partial, T *gw, int OCg, int Cg, int taps, int weights, int slices) {
    int number = blockIdx.x * blockDim.x + threadIdx.x;
    if (number >= weights) return;
    A sum = 0;
    for (int s = 0; s < slices; s++) sum += partial[(long long)s * weights + number];
    int oc = number % OCg, c = number / OCg % Cg, tap = number / OCg / Cg % taps, group = number / OCg / Cg / taps;
    gw[((group * OCg + oc) * Cg + c) * taps + tap] = (T)sum;
}
