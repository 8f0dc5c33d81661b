// A warp's share of a tile of implicit_gemm.cu, multiplied on tensor cores: 32 x 64 sums as 2 x 8 tiles of 16 x 8.
// Which lane holds what is told in device.cuh, above `to_tf32`.
#pragma once

const int HEIGHT = 4, RUN = 2, RUNS = 8;  // a thread's rows, in each of them RUNS of RUN sums
const int K = sizeof(T) == 2 ? 16 : 8;  // summands of one product

template <bool DEPTH_INNERMOST> struct Sums {
    float sum[2][8][4] = {};

    // Row i and first column of run j in the block's tile.
    __device__ static int row(int i) { return threadIdx.x / 32 * 32 + i * 8 + threadIdx.x % 32 / 4; }
    __device__ static int column(int j) { return j * 8 + threadIdx.x % 4 * 2; }
    __device__ float at(int i, int j, int e) const { return sum[i / 2][j][i % 2 * 2 + e]; }

    __device__ void add(const Stage &stage) {
#pragma unroll
        for (int k = 0; k < DEPTH; k += K) {
            unsigned left[2][4], right[8][2];
            for (int i = 0; i < 2; i++) read_left(left[i], stage.left, threadIdx.x / 32 * 32 + i * 16, k);
            for (int j = 0; j < 8; j += 2) read_right(right[j], right[j + 1], stage.right, k, j * 8);
#pragma unroll
            for (int i = 0; i < 2; i++)
#pragma unroll
                for (int j = 0; j < 8; j++) product(sum[i][j], left[i], right[j]);
        }
    }

  private:
#if T_float32
    // The left tile's rows row .. row + 15 at k .. k + 7, and the right one's columns column .. column + 15.
    __device__ static void read_left(unsigned (&a)[4], const T *tile, int row, int k) {
        int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        for (int i = 0; i < 4; i++) {
            int r = row + g + i % 2 * 8, c = k + t + i / 2 * 4;
            a[i] = to_tf32(tile[DEPTH_INNERMOST ? r * SHORT + c : c * LONG + r]);
        }
    }
    __device__ static void read_right(unsigned (&b)[2], unsigned (&next)[2], const T *tile, int k, int column) {
        const T *from = tile + (k + threadIdx.x % 4) * WIDE + column + threadIdx.x % 32 / 4;
        for (int i = 0; i < 2; i++) b[i] = to_tf32(from[i * 4 * WIDE]), next[i] = to_tf32(from[i * 4 * WIDE + 8]);
    }
    __device__ static void product(float (&d)[4], unsigned (&a)[4], unsigned (&b)[2]) { mma_tf32(d, a, b); }
#else
    // Of 16 bits the same with 16 for 8 in k: four 8 x 8 matrices at once, transposed where k is not innermost.
    __device__ static void read_left(unsigned (&a)[4], const T *tile, int row, int k) {
        int lane = threadIdx.x % 32;
        if (DEPTH_INNERMOST) read_matrices<false>(a, &tile[(row + lane % 16) * SHORT + k + lane / 16 * 8]);
        else read_matrices<true>(a, &tile[(k + lane / 16 * 8 + lane % 8) * LONG + row + lane / 8 % 2 * 8]);
    }
    __device__ static void read_right(unsigned (&b)[2], unsigned (&next)[2], const T *tile, int k, int column) {
        unsigned both[4];
        read_matrices<true>(both, &tile[(k + threadIdx.x % 16) * WIDE + column + threadIdx.x % 32 / 16 * 8]);
        b[0] = both[0], b[1] = both[1], next[0] = both[2], next[1] = both[3];
    }
    __device__ static void product(float (&d)[4], unsigned (&a)[4], unsigned (&b)[2]) {
#if T_float16
        mma_f16(d, a, b);
#else
        mma_bf16(d, a, b);
#endif
    }
#endif
};
