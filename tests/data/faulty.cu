// One fault in each kernel; the simulator has to find it.
extern "C" __global__ void right_in_forward_order_only(const T *x, T *y) {
    __shared__ T left[32];
    left[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = threadIdx.x ? left[threadIdx.x - 1] : x[0];  // no barrier before
}
extern "C" __global__ void right_in_reverse_order_only(const T *x, T *y) {
    __shared__ T right[32];
    right[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = threadIdx.x < 31 ? right[threadIdx.x + 1] : x[31];
}
extern "C" __global__ void two_blocks_one_place(const T *x, T *y) { y[threadIdx.x] = x[blockIdx.x]; }
extern "C" __global__ void barrier_in_a_branch(const T *x, T *y) {
    if (threadIdx.x < 7) __syncthreads();
    y[threadIdx.x] = x[threadIdx.x];
}
extern "C" __global__ void barriers_in_both_branches(const T *x, T *y) {
    if (threadIdx.x < 7)
        __syncthreads();
    else
        __syncthreads();
    y[threadIdx.x] = x[threadIdx.x];
}
extern "C" __global__ void return_before_a_barrier(const T *x, T *y) {
    y[threadIdx.x] = x[threadIdx.x];
    if (threadIdx.x == 30) return;
    __syncthreads();
}
extern "C" __global__ void warp_barrier_in_a_branch(const T *x, T *y) {
    if (threadIdx.x != 5) __syncwarp();
    y[threadIdx.x] = x[threadIdx.x];
}
extern "C" __global__ void lane_outside_its_mask(const T *x, T *y) {
    y[threadIdx.x] = __shfl_sync(0xff, x[threadIdx.x], 0);
}
extern "C" __global__ void reads_behind_the_end(const T *x, T *y) { y[threadIdx.x] = x[threadIdx.x + 1]; }
extern "C" __global__ void reads_before_the_start(const T *x, T *y) { y[threadIdx.x] = x[(int)threadIdx.x - 1]; }
extern "C" __global__ void writes_behind_the_end(const T *x, T *y) { y[threadIdx.x + (threadIdx.x == 31)] = x[0]; }
extern "C" __global__ void writes_little_behind_the_end(const T *x, T *y) {
    if (threadIdx.x < 31) y[threadIdx.x] = x[0];
    else y[threadIdx.x - 1] = y[threadIdx.x] = x[0];
}
extern "C" __global__ void leaves_the_tail(const T *x, T *y) {
    if (threadIdx.x < 29) y[threadIdx.x] = x[threadIdx.x];
}
extern "C" __global__ void index_beyond_a_shared_array(const T *x, T *y) {
    __shared__ T tile[4][8];
    tile[threadIdx.x / 8][threadIdx.x % 8 + 1] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = tile[threadIdx.x / 8][threadIdx.x % 8];
}
extern "C" __global__ void beyond_dynamic_shared_memory(const T *x, T *y) {
    DYNAMIC_SHARED(T, tile);
    tile[threadIdx.x + 1] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = tile[threadIdx.x];
}
extern "C" __global__ void misaligned_vector(const T *x, T *y) {
    y[threadIdx.x] = ((const float4 *)(x + 1))[threadIdx.x / 5].x;
}
extern "C" __global__ void sum_of_ints_overflows(const T *x, T *y) {
    int large = 2147483647 - 20 + (int)threadIdx.x;
    y[threadIdx.x] = x[large < 0 ? 1 : 0];
}
extern "C" __global__ void copy_not_waited_for(const T *x, T *y) {
    __shared__ T tile[32];
    copy_async<4>(&tile[threadIdx.x], &x[threadIdx.x]);
    copies_commit();
    __syncthreads();
    y[threadIdx.x] = tile[threadIdx.x];
    copies_wait<0>();
}
extern "C" __global__ void index_into_the_next_row(Input x, Output y) { y(0, 0, 0, threadIdx.x) = x(0, 0, 0, threadIdx.x + 1); }
extern "C" __global__ void uses_shared_memory_of_the_last_block(const T *x, T *y) {
    __shared__ T kept[32];
    if (blockIdx.x == 0) kept[threadIdx.x] = x[threadIdx.x];
    y[blockIdx.x * 32 + threadIdx.x] = kept[threadIdx.x];
}
__device__ int deep(const T *x, int n) {
    volatile char room[1000];
    room[n % 1000] = (char)x[0];
    return n ? deep(x, n - 1) + room[n % 1000] : 0;
}
extern "C" __global__ void stack_overflows(const T *x, T *y) { y[threadIdx.x] = (T)deep(x, 1000); }
