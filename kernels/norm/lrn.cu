// Local response normalisation: a thread for each number. x, y, gy, gx: pixels x C channels, `size` numbers; the window
// of channel c is c - back ... c + ahead, as far as they exist, and s = k + alpha (the sum of x^2 over it).

// t ** -beta
__device__ inline A power(A t, A beta) { return beta == (A)0.75 ? 1 / (sqrt(t) * sqrt(sqrt(t))) : pow(t, -beta); }

template <typename E> __device__ A window(const E *x, int c, int C, int back, int ahead, bool squared) {
    A sum = 0;
    for (int d = -min(back, c); d <= min(ahead, C - 1 - c); d++) {
        A value = (A)x[d];
        sum += squared ? value * value : value;
    }
    return sum;
}

#define NUMBER(size) \
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; \
    if (i >= size) return; \
    int c = i % C

// y = x s^-beta
extern "C" __global__ void forward(const T *x, T *y, int size, int C, int back, int ahead, A alpha, A beta, A k) {
    NUMBER(size);
    y[i] = (T)((A)x[i] * power(k + alpha * window(x + i, c, C, back, ahead, true), beta));
}

// gx, first half: u = gy x s^(-beta - 1)
extern "C" __global__ void inner(const T *gy, const T *x, A *u, int size, int C, int back, int ahead, A alpha, A beta,
                                 A k) {
    NUMBER(size);
    A s = k + alpha * window(x + i, c, C, back, ahead, true);
    u[i] = (A)gy[i] * power(s, beta) * (A)x[i] / s;
}

// gx, second half: gy s^-beta - 2 alpha beta x W'(u), where W' is the sum over the reversed window
extern "C" __global__ void grad_input(const T *gy, const T *x, const A *u, T *gx, int size, int C, int back, int ahead,
                                      A alpha, A beta, A k) {
    NUMBER(size);
    A s = k + alpha * window(x + i, c, C, back, ahead, true), around = window(u + i, c, C, ahead, back, false);
    gx[i] = (T)((A)gy[i] * power(s, beta) - 2 * alpha * beta * (A)x[i] * around);
}

// y = the sum of x over the window
extern "C" __global__ void window_sum(const T *x, T *y, int size, int C, int back, int ahead) {
    NUMBER(size);
    y[i] = (T)window(x + i, c, C, back, ahead, false);
}
