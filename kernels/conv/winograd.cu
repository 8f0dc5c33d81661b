// Winograd's minimal filtering F(TILE x TILE, 3 x 3): winograd_tile.py tells the algorithm; the matrices are the same
// (Lavin & Gray 2016). What is transformed does not leave the multiprocessor, as in section 6.2 of the paper:
//
//     weights       U = G g G^T, once
//     forward       V = B^T d B of a few tiles and channels at a time, the products of V and U for each of the
//                   SIDE x SIDE elements of a tile, and from their sums y = A^T M A; the input gradient, too
//     grad_weight   V, Z = A gy A^T, the products of both, summed over tiles, and from their sums gw = G^T S G
//
// A block sums ROWS x COLS numbers for each element, and a thread 8 x 8 of these, in registers: one matrix product per
// element. Rows are tiles and the sums are over channels (forward), or rows are channels and the sums over tiles
// (grad_weight); columns are output channels. DEPTH of what is summed over are in shared memory at a time.
//
// With F(4 x 4) two blocks fit in a multiprocessor while each thread has at most 96 registers, 64 of them for its sums:
// no room for a whole tile. So tiles are transformed in shared memory, first their columns and then their rows.
//
// variants: TILE=2 | TILE=4
#include "winograd_transforms.cuh"

const int SIDE = TILE + 2, ELEMENTS = SIDE * SIDE;
const int ROWS = TILE == 2 ? 32 : 64 / sizeof(A), COLS = 32, THREADS = ELEMENTS * ROWS * COLS / 64;
const int DEPTH = (TILE == 2 ? 32 : 24) / sizeof(A);
const int BLOCKS = 8 / sizeof(A);  // that a multiprocessor should have registers for
const int PART = 8;  // columns whose sums become results at a time

struct Tile {
    int n, h, w;  // image (-1: there is no such tile) and first output
};

struct Factors {
    A left[ELEMENTS][DEPTH][ROWS + 4];  // 4 more, so that threads next to each other write to different banks
    A right[DEPTH][ELEMENTS][COLS];
};
typedef A Sums[ELEMENTS][ROWS][PART + 1];
union Memory {
    Factors factors;
    Sums sums;
};

// Tile `number` of those that cover N x OH x OW outputs; from `end` on there are none.
__device__ inline Tile tile_of(int number, int end, const int (&size)[4]) {
    int down = (size[2] + TILE - 1) / TILE, across = (size[3] + TILE - 1) / TILE;
    if (number >= end) return {-1, 0, 0};
    return {number / across / down, number / across % down * TILE, number % across * TILE};
}

// First half of M d M^T for `tiles` x `channels` patches d, N x N pixels of x: M times each column. Zeros surround x.
// place(element, channel, tile): where the results go, the element of row i and column j by i SIDE + j.
template <int N, void (*times)(const A (&)[N], A (&)[SIDE]), typename Place>
__device__ __forceinline__ void columns(const Input &x, const Tile *tile, int tiles, int first, int channels, int top,
                                        int left, Place place) {
    for (int task = threadIdx.x; task < N * tiles * channels; task += THREADS) {
        int channel = task % channels, t = task / channels % tiles, j = task / channels / tiles;
        int n = tile[t].n, h = tile[t].h - top, w = tile[t].w - left + j, c = first + channel;
        bool inside = n >= 0 && c < x.size[1] && w >= 0 && w < x.size[3];
        A d[N], v[SIDE];
        for (int i = 0; i < N; i++) d[i] = inside && h + i >= 0 && h + i < x.size[2] ? (A)x(n, c, h + i, w) : (A)0;
        times(d, v);
        for (int i = 0; i < SIDE; i++) place(i * SIDE + j, channel, t) = v[i];
    }
}

// Second half: M times each row of the N numbers that `columns` left, in the same place.
template <int N, void (*times)(const A (&)[N], A (&)[SIDE]), typename Place>
__device__ __forceinline__ void rows(int tiles, int channels, Place place) {
    for (int task = threadIdx.x; task < SIDE * tiles * channels; task += THREADS) {
        int channel = task % channels, t = task / channels % tiles, i = task / channels / tiles;
        A d[N], v[SIDE];
        for (int j = 0; j < N; j++) d[j] = place(i * SIDE + j, channel, t);
        times(d, v);
        for (int j = 0; j < SIDE; j++) place(i * SIDE + j, channel, t) = v[j];
    }
}

// Which of a block's sums a thread has: those of one element, 8 rows and 8 columns.
struct Share {
    int element, row, column;
    __device__ Share()
        : element(threadIdx.x / (ROWS * COLS / 64)), row(threadIdx.x / (COLS / 8) % (ROWS / 8) * 8),
          column(threadIdx.x % (COLS / 8) * 8) {}
};

__device__ __forceinline__ void multiply(const Factors &f, const Share &mine, A (&sum)[8][8]) {
    for (int k = 0; k < DEPTH; k++) {
        A left[8], right[8];
        for (int i = 0; i < 8; i++) left[i] = f.left[mine.element][k][mine.row + i];
        for (int j = 0; j < 8; j++) right[j] = f.right[k][mine.element][mine.column + j];
        for (int i = 0; i < 8; i++)
            for (int j = 0; j < 8; j++) sum[i][j] += left[i] * right[j];
    }
}

// Makes results of the sums: brings those of all elements together, PART columns at a time, and transforms them to
// R x R numbers. finish(row, column, i, v) takes row i of these.
template <int R, void (*times)(const A (&)[SIDE], A (&)[R]), typename Finish>
__device__ __forceinline__ void finish_all(Sums &sums, const Share &mine, const A (&sum)[8][8], Finish finish) {
    for (int part = 0; part < COLS; part += PART) {
        A d[SIDE], v[R];
        if (mine.column == part)
            for (int i = 0; i < 8; i++)
                for (int j = 0; j < 8; j++) sums[mine.element][mine.row + i][j] = sum[i][j];
        __syncthreads();  // until the sums are there
        for (int task = threadIdx.x; task < SIDE * ROWS * PART; task += THREADS) {
            int column = task % PART, row = task / PART % ROWS, j = task / PART / ROWS;
            for (int i = 0; i < SIDE; i++) d[i] = sums[i * SIDE + j][row][column];
            times(d, v);
            for (int i = 0; i < R; i++) sums[i * SIDE + j][row][column] = v[i];
        }
        __syncthreads();  // until columns are transformed
        for (int task = threadIdx.x; task < R * ROWS * PART; task += THREADS) {
            int column = task % PART, row = task / PART % ROWS, i = task / PART / ROWS;
            for (int j = 0; j < SIDE; j++) d[j] = sums[i * SIDE + j][row][column];
            times(d, v);
            finish(row, part + column, i, v);
        }
        __syncthreads();  // until nobody reads the sums
    }
}

// U = G g G^T: OC/COLS x C x ELEMENTS x COLS, output channels beyond OC zero. x of the grid takes COLS of them, y of
// block and grid input channels.
extern "C" __global__ void weights(Input w, A *U) {
    int oc = blockIdx.x * COLS + threadIdx.x, c = blockIdx.y * blockDim.y + threadIdx.y, C = w.size[1];
    if (c >= C) return;
    bool inside = oc < w.size[0];
    A *to = U + ((long long)blockIdx.x * C + c) * ELEMENTS * COLS + threadIdx.x;
    A half[SIDE][3], d[3], v[SIDE];
    for (int j = 0; j < 3; j++) {
        for (int i = 0; i < 3; i++) d[i] = inside ? (A)w(oc, c, i, j) : (A)0;
        times_G(d, v);
        for (int i = 0; i < SIDE; i++) half[i][j] = v[i];
    }
    for (int i = 0; i < SIDE; i++) {
        times_G(half[i], v);
        for (int j = 0; j < SIDE; j++) to[(i * SIDE + j) * COLS] = v[j];
    }
}

// y = max(low, conv(x, w) + bias). x of the grid takes tiles, y output channels.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) forward(Input x, const A *U, const T *bias, Output y,
                                                                      int top, int left, A low) {
    __shared__ __align__(16) Memory memory;
    __shared__ Tile tile[ROWS];
    Factors &f = memory.factors;
    const int ROW = ELEMENTS * COLS, each = 16 / sizeof(A);  // numbers of a channel in U, and in an asynchronous copy
    int C = x.size[1], OC = y.size[1], OH = y.size[2], OW = y.size[3], first = blockIdx.y * COLS;
    int tiles = y.size[0] * ((OH + TILE - 1) / TILE) * ((OW + TILE - 1) / TILE);
    U += (long long)blockIdx.y * C * ROW;
    Share mine;
    A sum[8][8] = {};
    auto place = [&](int e, int channel, int t) -> A & { return f.left[e][channel][t]; };
    if (threadIdx.x < ROWS) tile[threadIdx.x] = tile_of(blockIdx.x * ROWS + threadIdx.x, tiles, y.size);
    __syncthreads();  // until the tiles are known
    for (int c = 0; c < C; c += DEPTH) {
        for (int i = threadIdx.x * each; i < DEPTH * ROW; i += THREADS * each) {
            bool inside = i < (C - c) * ROW;
            copy_async<16>(&f.right[0][0][0] + i, inside ? U + c * ROW + i : U, inside);
        }
        copies_commit();
        columns<SIDE, times_BT>(x, tile, ROWS, c, DEPTH, top, left, place);
        __syncthreads();  // until the columns are transformed
        rows<SIDE, times_BT>(ROWS, DEPTH, place);
        copies_wait<0>();
        __syncthreads();  // until the rows are, too, and the weights are there
        multiply(f, mine, sum);
        __syncthreads();  // until nobody reads them
    }
    finish_all<TILE, times_AT>(memory.sums, mine, sum, [&](int row, int column, int i, const A (&v)[TILE]) {
        int oc = first + column, h = tile[row].h + i, w = tile[row].w;
        if (tile[row].n < 0 || oc >= OC || h >= OH) return;
        A start = bias ? (A)bias[oc] : (A)0;
        for (int j = 0; j < TILE && w + j < OW; j++) {
            A value = v[j] + start;
            y(tile[row].n, oc, h, w + j) = (T)(value < low ? low : value);  // NaN stays
        }
    });
}

// gw, first half: each z of the grid sums over a slice of the tiles; add_slices of direct.cu adds these up. x of the
// grid takes channels, y output channels. partial: slices x OC x C x 3 x 3.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) grad_weight(Input x, Input gy, A *partial, int top,
                                                                          int left, int tiles, int slice) {
    __shared__ __align__(16) Memory memory;
    __shared__ Tile tile[DEPTH];
    Factors &f = memory.factors;
    int C = x.size[1], OC = gy.size[1], first_c = blockIdx.x * ROWS, first_oc = blockIdx.y * COLS;
    int begin = blockIdx.z * slice, end = min(begin + slice, tiles);
    Share mine;
    A sum[8][8] = {};
    auto place_x = [&](int e, int channel, int t) -> A & { return f.left[e][t][channel]; };
    auto place_gy = [&](int e, int channel, int t) -> A & { return f.right[t][e][channel]; };
    if (threadIdx.x < DEPTH) tile[threadIdx.x] = tile_of(begin + threadIdx.x, end, gy.size);
    __syncthreads();  // until the first tiles are known
    for (int t = begin; t < end; t += DEPTH) {
        columns<SIDE, times_BT>(x, tile, DEPTH, first_c, ROWS, top, left, place_x);
        columns<TILE, times_A>(gy, tile, DEPTH, first_oc, COLS, 0, 0, place_gy);
        __syncthreads();  // until the columns are transformed
        rows<SIDE, times_BT>(DEPTH, ROWS, place_x);
        rows<TILE, times_A>(DEPTH, COLS, place_gy);
        if (threadIdx.x < DEPTH) tile[threadIdx.x] = tile_of(t + DEPTH + threadIdx.x, end, gy.size);
        __syncthreads();  // until the rows are, too, and the next tiles are known
        multiply(f, mine, sum);
        __syncthreads();  // until nobody reads them
    }
    finish_all<3, times_GT>(memory.sums, mine, sum, [&](int row, int column, int i, const A (&v)[3]) {
        int c = first_c + row, oc = first_oc + column;
        if (c >= C || oc >= OC) return;
        A *to = partial + (((long long)blockIdx.z * OC + oc) * C + c) * 9 + i * 3;
        for (int j = 0; j < 3; j++) to[j] = v[j];
    });
}
