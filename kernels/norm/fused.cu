// Normalisation: statistics, y; backward, sums and gx. x, y, gy, gx are B x M x C with C = K J columns; the group
// (b, k) is what lies in the J columns from k J on of all M rows of b (params.py). Threads next to each other take
// neighbouring columns.
//
// Whatever is summed over a group is summed in double in two stages, and always in the same order: the threads of a
// block share out some rows of some columns and join what they found, a tree in shared memory; then one block for each
// group joins what the blocks found. Memory limits these kernels, so double costs little.
//
// Variances: Chan, Golub & LeVeque 1979, equation 2.1: mean and sum of squared deviations of a few numbers at a time,
// joined to those before. Nothing cancels, however large the mean is.
#define ROWS 16

struct Moments {
    double mean, squares;  // squares: the sum of squared deviations from the mean
    int count;

    __device__ void join(const Moments &other) {
        if (!other.count) return;
        double d = other.mean - mean, share = (double)other.count / (count + other.count);
        mean += d * share;
        squares += other.squares + d * d * count * share;
        count += other.count;
    }
};

struct Sums {
    double u, uxhat;
    __device__ void join(const Sums &other) { u += other.u, uxhat += other.uxhat; }
};

// Joins what the threads of each column of a block hold; the result is for its first thread. Heights are powers of two.
template <typename S> __device__ S joined(S mine, S *shared) {
    int x = threadIdx.x, y = threadIdx.y, width = blockDim.x;
    shared[y * width + x] = mine;
    for (int half = blockDim.y / 2; half; half /= 2) {
        __syncthreads();  // until the other half is there
        if (y < half) shared[y * width + x].join(shared[(y + half) * width + x]);
    }
    return shared[y * width + x];
}

// The blocks of a grid lie in rows, as wide as C columns need: the column of a thread, and the row of its block.
__device__ inline int across(int C) { return (C + blockDim.x - 1) / blockDim.x; }
__device__ inline int column(int C) { return blockIdx.x % across(C) * blockDim.x + threadIdx.x; }
__device__ inline int block_row(int C) { return blockIdx.x / across(C); }

// The moments of up to ROWS numbers, `stride` apart: they are kept in registers and walked twice.
__device__ inline Moments moments(const T *x, long long stride, int count) {
    A kept[ROWS];
    Moments m = {0, 0, min(count, ROWS)};
#pragma unroll
    for (int i = 0; i < ROWS; i++) kept[i] = i < count ? (A)x[i * stride] : (A)0;
#pragma unroll
    for (int i = 0; i < ROWS; i++) m.mean += (double)kept[i];
    m.mean /= m.count;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        double d = i < count ? (double)kept[i] - m.mean : 0;
        m.squares += d * d;
    }
    return m;
}

// Stage one: of each column of `slice` rows. means, squares: B x segments x C; a block for each segment.
extern "C" __global__ void column_statistics(const T *x, double *means, double *squares, int M, int C, int slice,
                                             int segments) {
    __shared__ Moments shared[256];
    int c = column(C), segment = block_row(C), b = segment / segments;
    int begin = segment % segments * slice, end = min(begin + slice, M);
    Moments all = {0, 0, 0};
    if (c < C)
        for (int m = begin + threadIdx.y * ROWS; m < end; m += blockDim.y * ROWS)
            all.join(moments(x + ((long long)b * M + m) * C + c, C, end - m));
    all = joined(all, shared);
    if (threadIdx.y || c >= C) return;
    means[(long long)segment * C + c] = all.mean;
    squares[(long long)segment * C + c] = all.squares;
}

// results: mean, variance and (variance + eps)^-1/2 of all groups, one after another; a block writes those of one.
__device__ inline void write(const Moments &all, double eps, double *results) {
    double var = all.squares / all.count;
    results[blockIdx.x] = all.mean;
    results[gridDim.x + blockIdx.x] = var;
    results[2 * gridDim.x + blockIdx.x] = 1 / sqrt(var + eps);
}

// Stage two: a block for each group joins its segments and columns.
extern "C" __global__ void join_statistics(const double *means, const double *squares, double *results, int M, int K,
                                           int J, int slice, int segments, double eps) {
    __shared__ Moments shared[256];
    int b = blockIdx.x / K, k = blockIdx.x % K;
    Moments all = {0, 0, 0};
    for (int i = threadIdx.y; i < segments * J; i += blockDim.y) {
        int s = i / J;
        long long at = (((long long)b * segments + s) * K + k) * J + i % J;
        Moments one = {means[at], squares[at], min(slice, M - s * slice)};
        all.join(one);
    }
    all = joined(all, shared);
    if (threadIdx.y == 0) write(all, eps, results);
}

// Both stages at once where groups are runs of J numbers (M = 1): a block for each.
extern "C" __global__ void run_statistics(const T *x, double *results, int J, double eps) {
    __shared__ Moments shared[256];
    int step = blockDim.y;
    Moments all = {0, 0, 0};
    for (int j = threadIdx.y; j < J; j += step * ROWS)
        all.join(moments(x + (long long)blockIdx.x * J + j, step, (J - j + step - 1) / step));
    all = joined(all, shared);
    if (threadIdx.y == 0) write(all, eps, results);
}

// running = keep running + share batch
extern "C" __global__ void move(T *running, const double *batch, int size, double keep, double share) {
    int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c < size) running[c] = (T)(A)(keep * (double)(A)running[c] + share * batch[c]);
}

// How a column is normalised: y = (x - shift) factor + offset. What rounding the mean loses is in the offset.
struct Line {
    A shift, factor, offset;
    __device__ Line(double mean, double rstd, const T *w, const T *b, int c) {
        double scale = rstd * (w ? (double)(A)w[c] : 1);
        shift = (A)mean, factor = (A)scale;
        offset = (A)((b ? (double)(A)b[c] : 0) + ((double)shift - mean) * scale);
    }
    __device__ A at(A x) const { return (x - shift) * factor + offset; }
};

// The part of a thread where every number is changed by itself: up to ROWS rows of column c, of one b; `first` is where
// they begin. There are `units` such parts of each column, and `chunks` in the M rows of a b.
#define PART(M, C, chunks, units) \
    int c = column(C), unit = block_row(C) * blockDim.y + threadIdx.y; \
    if (c >= C || unit >= units) return; \
    int b = unit / chunks, row = unit % chunks * ROWS, group = b * (C / J) + c / J, rows = min(ROWS, M - row); \
    long long first = ((long long)b * M + row) * C + c

// y = xhat w + bias + plus, with relu what of it is positive
extern "C" __global__ void forward(const T *x, const double *mean, const double *rstd, const T *w, const T *bias,
                                   const T *plus, T *y, int M, int C, int J, int chunks, int units, int relu) {
    PART(M, C, chunks, units);
    Line line(mean[group], rstd[group], w, bias, c);
    for (int i = 0; i < rows; i++) {
        long long at = first + (long long)i * C;
        A value = line.at((A)x[at]) + (plus ? (A)plus[at] : (A)0);
        y[at] = (T)(relu && value <= 0 ? (A)0 : value);
    }
}

// Stage one of the sums of u and u (x - mean): of each column of `slice` rows, B x segments x C. u is gy; where there
// is a bias, what a ReLU after xhat w + bias lets through of it.
extern "C" __global__ void column_sums(const T *gy, const T *x, const double *mean, const double *rstd, const T *w,
                                       const T *bias, double *sums, double *products, int M, int C, int J, int slice,
                                       int segments) {
    __shared__ Sums shared[256];
    int c = column(C), segment = block_row(C), b = segment / segments;
    int begin = segment % segments * slice, end = min(begin + slice, M);
    Sums all = {0, 0};
    if (c < C) {
        int group = b * (C / J) + c / J;
        Line line(mean[group], rstd[group], w, bias, c);
#pragma unroll 4
        for (int m = begin + threadIdx.y; m < end; m += blockDim.y) {
            long long at = ((long long)b * M + m) * C + c;
            A value = (A)x[at], u = (A)gy[at];
            if (bias && line.at(value) <= 0) u = 0;
            all.u += (double)u;
            all.uxhat += (double)u * ((double)value - mean[group]);
        }
    }
    all = joined(all, shared);
    if (threadIdx.y || c >= C) return;
    sums[(long long)segment * C + c] = all.u;
    products[(long long)segment * C + c] = all.uxhat;
}

// Stage two, over groups: the sums of u w and u w xhat, 2 x B x K; a block for each group.
extern "C" __global__ void group_sums(const double *sums, const double *products, const double *rstd, const T *w,
                                      double *groups, int K, int J, int segments) {
    __shared__ Sums shared[256];
    int b = blockIdx.x / K, k = blockIdx.x % K;
    Sums all = {0, 0};
    for (int i = threadIdx.y; i < segments * J; i += blockDim.y) {
        int c = k * J + i % J;
        long long at = ((long long)b * segments + i / J) * K * J + c;
        double factor = w ? (double)(A)w[c] : 1;
        Sums one = {sums[at] * factor, products[at] * (rstd[blockIdx.x] * factor)};
        all.join(one);
    }
    all = joined(all, shared);
    if (threadIdx.y) return;
    groups[blockIdx.x] = all.u;
    groups[gridDim.x + blockIdx.x] = all.uxhat;
}

// Stage two, over all that share a weight: the sums of u and u xhat of each column, 2 x C.
extern "C" __global__ void affine_sums(const double *sums, const double *products, const double *rstd, double *affine,
                                       int B, int C, int J, int segments) {
    __shared__ Sums shared[256];
    int c = column(C);
    Sums all = {0, 0};
    if (c < C)
        for (int i = threadIdx.y; i < B * segments; i += blockDim.y) {
            long long at = (long long)i * C + c;
            Sums one = {sums[at], products[at] * rstd[i / segments * (C / J) + c / J]};
            all.join(one);
        }
    all = joined(all, shared);
    if (threadIdx.y || c >= C) return;
    affine[c] = all.u;
    affine[C + c] = all.uxhat;
}

// gx = rstd (u w - mean(u w) - xhat mean(u w xhat)) = u factor + (x - shift) slope + rest; groups: the sums of u w and
// u w xhat
extern "C" __global__ void grad_input(const T *gy, const T *x, const double *mean, const double *rstd, const T *w,
                                      const T *bias, const double *groups, T *gx, int M, int C, int J, int chunks,
                                      int units) {
    PART(M, C, chunks, units);
    Line line(mean[group], rstd[group], w, bias, c);
    int all_groups = units / chunks * (C / J);
    double r = rstd[group], count = (double)M * J, slope = -r * r * (groups[all_groups + group] / count);
    A rest = (A)(slope * ((double)line.shift - mean[group]) - r * (groups[group] / count));
    for (int i = 0; i < rows; i++) {
        long long at = first + (long long)i * C;
        A value = (A)x[at], u = (A)gy[at];
        if (bias && line.at(value) <= 0) u = 0;
        gx[at] = (T)(u * line.factor + (value - line.shift) * (A)slope + rest);
    }
}
