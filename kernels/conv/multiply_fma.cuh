// A thread's share of a tile of implicit_gemm.cu, multiplied in ordinary arithmetic: EACH x EACH sums in registers.
#pragma once

const int HEIGHT = EACH, RUN = 16 / sizeof(A), RUNS = EACH / RUN;  // a thread's rows, in each of them RUNS of RUN sums

// Numbers side by side, read at once.
struct __align__(RUN * sizeof(T)) Run {
    T values[RUN];
};

// For RUN columns of the left tile the thread reads EACH x RUN of its numbers, then EACH of every row of the right
// tile: four reads of 16 bytes for 8 x 8 multiplications. A warp reads few different addresses at once: of the right
// tile 128 bytes without a gap; of the left one four runs, in rows that begin in different banks, or side by side.
template <bool DEPTH_INNERMOST> struct Sums {
    A sum[EACH][EACH] = {};

    // Row i and first column of run j in the block's tile. Where rows of the tile are neighbours in shared memory the
    // thread's rows are runs, too.
    __device__ static int row(int i) {
        int lane_row = threadIdx.x % 32 / 8, first = threadIdx.x / 32 * (ROWS / 4);
        return first + (DEPTH_INNERMOST ? i * 4 + lane_row : (i / RUN * 4 + lane_row) * RUN + i % RUN);
    }
    __device__ static int column(int j) { return (j * 8 + threadIdx.x % 8) * RUN; }
    __device__ A at(int i, int j, int e) const { return sum[i][j * RUN + e]; }

    __device__ void add(const Stage &stage) {
#pragma unroll 2
        for (int k = 0; k < DEPTH; k += RUN) {
            A left[RUN][EACH];
#pragma unroll
            for (int i = 0; i < EACH; i += DEPTH_INNERMOST ? 1 : RUN)
#pragma unroll
                for (int j = 0; j < (DEPTH_INNERMOST ? 1 : RUN); j++) {
                    Run run = read(DEPTH_INNERMOST ? &stage.left[row(i) * SHORT + k]
                                                    : &stage.left[(k + j) * LONG + row(i)]);
                    for (int e = 0; e < RUN; e++)
                        (DEPTH_INNERMOST ? left[e][i] : left[j][i + e]) = (A)run.values[e];
                }
#pragma unroll
            for (int e = 0; e < RUN; e++) add_row(left[e], &stage.right[(k + e) * WIDE]);
        }
    }

  private:
    __device__ static Run read(const T *from) { return *(const Run *)from; }
    __device__ void add_row(const A (&left)[EACH], const T *from) {
        A right[EACH];
#pragma unroll
        for (int j = 0; j < RUNS; j++) {
            Run run = read(from + column(j));
            for (int e = 0; e < RUN; e++) right[j * RUN + e] = (A)run.values[e];
        }
#pragma unroll
        for (int i = 0; i < EACH; i++)
#pragma unroll
            for (int j = 0; j < EACH; j++) sum[i][j] += left[i] * right[j];
    }
};
