// Sums of runs: places[i] says where the number g[order[i]] is to be added; equal places are next to each other. The
// thread at which a run begins takes its sum, number after number.
extern "C" __global__ void add_runs(const long long *places, const long long *order, const T *g, T *gx, int size) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size || (i > 0 && places[i - 1] == places[i])) return;
    const long long place = places[i];
    A sum = 0;
    for (; i < size && places[i] == place; i++) sum += (A)g[order[i]];
    gx[place] = (T)sum;
}
