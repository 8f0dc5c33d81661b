// c = a b for row-major matrices, M x K and K x N, in tiles of 8 x 8: a healthy kernel, in which tests plant faults.
extern "C" __global__ void product(const T *a, const T *b, T *c, int M, int N, int K) {
    __shared__ A left[8][8], right[8][8];
    int x = threadIdx.x, y = threadIdx.y, row = blockIdx.y * 8 + y, column = blockIdx.x * 8 + x;
    A sum = 0;
    for (int k = 0; k < K; k += 8) {
        left[y][x] = row < M && k + x < K ? (A)a[row * K + k + x] : (A)0;
        right[y][x] = k + y < K && column < N ? (A)b[(k + y) * N + column] : (A)0;
        __syncthreads();  // until the tiles are full
        for (int i = 0; i < 8; i++) sum += left[y][i] * right[i][x];
        __syncthreads();  // until nobody reads them
    }
    if (row < M && column < N) c[row * N + column] = (T)sum;
}

// The sum of each row of 32 numbers, by shuffles.
extern "C" __global__ void warp_sums(const T *x, T *y) {
    A sum = (A)x[blockIdx.x * 32 + threadIdx.x];
    for (int by = 16; by; by /= 2) sum += __shfl_down_sync(0xffffffff, sum, by);
    if (threadIdx.x == 0) y[blockIdx.x] = (T)sum;
}

// y = x, on the way through shared memory by asynchronous copies.
extern "C" __global__ void copied(const T *x, T *y, int n) {
    __shared__ __align__(16) T tile[128];
    const int each = 16 / sizeof(T);
    int i = (blockIdx.x * blockDim.x + threadIdx.x) * each;
    copy_async<16>(&tile[threadIdx.x * each], &x[i], i < n);
    copies_commit();
    copies_wait<0>();
    __syncthreads();
    for (int j = 0; j < each; j++)
        if (i + j < n) y[i + j] = tile[threadIdx.x * each + j];
}

// c (16 x 8) = a (16 x 8) b (8 x 8) by one warp on tensor cores.
extern "C" __global__ void product_tf32(const float *a, const float *b, float *c) {
    int g = threadIdx.x / 4, t = threadIdx.x % 4;
    unsigned left[4] = {to_tf32(a[g * 8 + t]), to_tf32(a[(g + 8) * 8 + t]), to_tf32(a[g * 8 + t + 4]),
                        to_tf32(a[(g + 8) * 8 + t + 4])};
    unsigned right[2] = {to_tf32(b[t * 8 + g]), to_tf32(b[(t + 4) * 8 + g])};
    float sum[4] = {0, 0, 0, 0};
    mma_tf32(sum, left, right);
    for (int i = 0; i < 4; i++) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sum[i];
}

// c (16 x 8) = a (16 x 16) b (16 x 8), of 16-bit numbers given as pairs in ints; b is stored column by column.
extern "C" __global__ void product_16(const unsigned *a, const unsigned *b, float *c, int bfloat) {
    int g = threadIdx.x / 4, t = threadIdx.x % 4;
    unsigned left[4] = {a[g * 8 + t], a[(g + 8) * 8 + t], a[g * 8 + t + 4], a[(g + 8) * 8 + t + 4]};
    unsigned right[2] = {b[g * 8 + t], b[g * 8 + t + 4]};
    float sum[4] = {0, 0, 0, 0};
    if (bfloat) mma_bf16(sum, left, right);
    else mma_f16(sum, left, right);
    for (int i = 0; i < 4; i++) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sum[i];
}
