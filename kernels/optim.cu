// The steps of the optimisers, of up to MANY parameters in one launch: y and the blocks in y take parameters, x and the
// blocks in x share out the numbers of one. p: parameters, g: gradients, in one order. The formulas are those of
// optim.py, the numbers those of optim_loops.py.

// i: the numbers of parameter n that are this thread's
#define NUMBERS(p) \
    const int n = blockIdx.y; \
    const long long step = (long long)gridDim.x * blockDim.x; \
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < p.size[n]; i += step)

// The gradient of number i; not with a factor 0, as parameters may be infinite.
#define SLOPE (decay != 0 ? (A)g.data[n][i] + decay * (A)p.data[n][i] : (A)g.data[n][i])

// p = p - lr g
extern "C" __global__ void plain(Several<T> p, Several<const T> g, A lr, A decay) {
    NUMBERS(p) p.data[n][i] = (T)((A)p.data[n][i] - lr * SLOPE);
}

// v = keep v + share g, p = p - lr v; with nesterov p - lr (g + keep v)
extern "C" __global__ void momentum(Several<T> p, Several<const T> g, Several<T> v, A lr, A keep, A share, A decay,
                                    int nesterov) {
    NUMBERS(p) {
        A slope = SLOPE, speed = keep * (A)v.data[n][i] + share * slope;
        v.data[n][i] = (T)speed;
        p.data[n][i] = (T)((A)p.data[n][i] - lr * (nesterov ? slope + keep * speed : speed));
    }
}

// Kingma & Ba 2015, algorithm 1; scale: lr / (1 - keep1^t), unbias: (1 - keep2^t)^-1/2, new: 1 - keep. shrink: of AdamW
extern "C" __global__ void adam(Several<T> p, Several<const T> g, Several<T> m, Several<T> v, A scale, A unbias,
                                A keep1, A new1, A keep2, A new2, A eps, A decay, A shrink) {
    NUMBERS(p) {
        A slope = SLOPE;
        A mean = keep1 * (A)m.data[n][i] + new1 * slope, square = keep2 * (A)v.data[n][i] + new2 * (slope * slope);
        m.data[n][i] = (T)mean;
        v.data[n][i] = (T)square;
        p.data[n][i] = (T)(shrink * (A)p.data[n][i] - scale * mean / (sqrt(square) * unbias + eps));
    }
}
