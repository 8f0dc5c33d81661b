// Softmax cross-entropy: a warp for each row of C scores, WARPS rows in a block. The sums over a row are kept in A, the
// sum of all losses in double: each block adds up its rows, and then one block what the blocks found, always in the
// same order.
#define WARPS 8
#define ALL 0xffffffff

// row: of this warp, lane: its columns are lane, lane + 32 ...
#define ROW \
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, row = blockIdx.x * WARPS + warp; \
    const long long first = (long long)row * C

// The largest number of a warp and the sum of its numbers: halves change places, so all lanes get the same bits.
__device__ inline A largest_of(A x) {
    for (int away = 16; away; away /= 2) x = max(x, __shfl_xor_sync(ALL, x, away));
    return x;
}
__device__ inline A sum_of(A x) {
    for (int away = 16; away; away /= 2) x += __shfl_xor_sync(ALL, x, away);
    return x;
}

// p = softmax(x), losses: the sum over counted rows of ln(sum of e^x) - x_target, for each block.
extern "C" __global__ void forward(const T *x, const long long *target, const bool *counted, T *p, double *losses,
                                   int R, int C) {
    __shared__ double shared[WARPS];
    ROW;
    double loss = 0;
    if (row < R) {
        A largest = (A)x[first], total = 0;
        for (int c = lane; c < C; c += 32) largest = max(largest, (A)x[first + c]);
        largest = largest_of(largest);
        for (int c = lane; c < C; c += 32) total += exp((A)x[first + c] - largest);
        total = sum_of(total);
        for (int c = lane; c < C; c += 32) p[first + c] = (T)(exp((A)x[first + c] - largest) / total);
        const long long t = target[row];  // no class, perhaps: a step that is replayed has checked nothing
        const double score = t >= 0 && t < C ? (double)(A)x[first + t] : nan("");
        if (counted[row]) loss = (double)log(total) + ((double)largest - score);
    }
    if (lane == 0) shared[warp] = loss;
    __syncthreads();
    if (threadIdx.x) return;
    for (int i = 1; i < WARPS; i++) loss += shared[i];
    losses[blockIdx.x] = loss;
}

// y = the sum of n losses, divided by *count if there is one. One block.
extern "C" __global__ void total(const double *losses, const long long *count, T *y, int n) {
    __shared__ double shared[32 * WARPS];
    double sum = 0;
    for (int i = threadIdx.x; i < n; i += 32 * WARPS) sum += losses[i];
    shared[threadIdx.x] = sum;
    for (int half = 16 * WARPS; half; half /= 2) {
        __syncthreads();  // until the other half is there
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
    }
    if (threadIdx.x == 0) *y = (T)(A)(count ? shared[0] / (double)*count : shared[0]);
}

// gx = gy (p - 1 at the target) / count for counted rows, 0 for the others: they may be infinite.
extern "C" __global__ void grad_scores(const T *gy, const T *p, const long long *target, const bool *counted,
                                       const long long *count, T *gx, int R, int C) {
    ROW;
    if (row >= R) return;
    const A factor = (A)*gy / (count ? (A)*count : (A)1);
    const int right = (int)target[row];
    const bool counts = counted[row];
    for (int c = lane; c < C; c += 32)
        gx[first + c] = (T)(counts ? ((A)p[first + c] - (c == right ? (A)1 : (A)0)) * factor : (A)0);
}
