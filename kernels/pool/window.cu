// Pooling: one thread looks at the window of one output, or gathers what one input gets from the windows that cover it.
//
// Threads next to each other in x take neighbouring channels, which are neighbours in memory when arrays are
// channels-last; y and the blocks in x take pixels. x: N x C x H x W, y: N x C x OH x OW; an index is a place h W + w.
#include "pixel.cuh"

// One axis of the windows, as window_cuda.py makes it. kernel 0: adaptive windows, which cover the axis.
struct Axis {
    int size, output, kernel, stride, before, after, dilation;

    // The taps of window o inside the image: first, first + dilation, ... below last.
    __device__ int first(int o) const {
        if (!kernel) return (int)((long long)o * size / output);
        int start = o * stride - before;
        return start < 0 ? start + (-start + dilation - 1) / dilation * dilation : start;
    }
    __device__ int last(int o) const {
        if (!kernel) return (int)(((long long)(o + 1) * size + output - 1) / output);
        return min(o * stride - before + dilation * (kernel - 1) + 1, size);
    }
    // The windows that may have a tap at i: lowest ... highest, those of them that `touch` it.
    __device__ int lowest(int i) const {
        if (!kernel) return (int)((long long)i * output / size);
        int reach = i + before - dilation * (kernel - 1);
        return reach <= 0 ? 0 : (reach + stride - 1) / stride;
    }
    __device__ int highest(int i) const {
        if (!kernel) return (int)(((long long)(i + 1) * output - 1) / size);
        return min((i + before) / stride, output - 1);
    }
    __device__ bool touches(int o, int i) const { return dilation == 1 || (i + before - o * stride) % dilation == 0; }
    // How many taps of window o an average counts. padding: those beside the image, too.
    __device__ int counted(int o, bool padding) const {
        if (!kernel) return last(o) - first(o);
        int start = o * stride - before, stop = start + kernel;
        return padding ? min(stop, size + after) - start : min(stop, size) - max(start, 0);
    }
};

struct Windows {
    Axis h, w;
    int padding, divisor;  // of averages: whether the padding counts; what to divide by, 0: by what is counted

    __device__ A area(int oh, int ow) const {
        return divisor ? (A)divisor : (A)h.counted(oh, padding) * (A)w.counted(ow, padding);
    }
    // The whole area of a window over what is left of it at the edge.
    __device__ A factor(int oh, int ow) const { return (A)h.kernel * (A)w.kernel / area(oh, ow); }
};

#define TAPS(p, out) \
    for (int h = p.h.first(out.h); h < p.h.last(out.h); h += p.h.dilation) \
        for (int w = p.w.first(out.w); w < p.w.last(out.w); w += p.w.dilation)
#define COVERING(p, in) \
    for (int oh = p.h.lowest(in.h); oh <= p.h.highest(in.h); oh++) \
        for (int ow = p.w.lowest(in.w); ow <= p.w.highest(in.w); ow++) \
            if (p.h.touches(oh, in.h) && p.w.touches(ow, in.w))
#define CHANNEL_AND_PIXEL(channels) \
    int c = blockIdx.y * blockDim.x + threadIdx.x, number = blockIdx.x * blockDim.y + threadIdx.y; \
    if (c >= channels || number >= pixels) return

// y and where it stands: the first one of equals, NaN over all
extern "C" __global__ void max_forward(Input x, Output y, Strided<int> index, Windows p, int pixels) {
    CHANNEL_AND_PIXEL(x.size[1]);
    Pixel out(number, p.h.output, p.w.output);
    int place = p.h.first(out.h) * p.w.size + p.w.first(out.w);
    A best = (A)x(out.n, c, p.h.first(out.h), p.w.first(out.w));
    TAPS(p, out) {
        A value = (A)x(out.n, c, h, w);
        if (!(value <= best) && best == best) best = value, place = h * p.w.size + w;
    }
    y(out.n, c, out.h, out.w) = (T)best;
    index(out.n, c, out.h, out.w) = place;
}

// gx: the gy of the windows whose maximum stands here
extern "C" __global__ void max_grad_input(Input gy, Strided<const int> index, Output gx, Windows p, int pixels) {
    CHANNEL_AND_PIXEL(gx.size[1]);
    Pixel in(number, p.h.size, p.w.size);
    int here = in.h * p.w.size + in.w;
    A sum = 0;
    COVERING(p, in) {
        if (index(in.n, c, oh, ow) == here) sum += (A)gy(in.n, c, oh, ow);
    }
    gx(in.n, c, in.h, in.w) = (T)sum;
}

// y = x at the places in `index`
extern "C" __global__ void max_gather(Input x, Strided<const int> index, Output y, int pixels) {
    CHANNEL_AND_PIXEL(x.size[1]);
    Pixel out(number, y.size[2], y.size[3]);
    int place = index(out.n, c, out.h, out.w);
    y(out.n, c, out.h, out.w) = x(out.n, c, place / x.size[3], place % x.size[3]);
}

// The mean of a window, summed in S.
template <typename S> __device__ A mean(const Input &x, const Windows &p, const Pixel &out, int c) {
    S sum = 0;
    TAPS(p, out) sum += (S)(A)x(out.n, c, h, w);
    return (A)(sum / (S)p.area(out.h, out.w));
}

// y = the mean of each window; where windows are whole images, sums of float would lose digits
extern "C" __global__ void avg_forward(Input x, Output y, Windows p, int pixels) {
    CHANNEL_AND_PIXEL(x.size[1]);
    Pixel out(number, p.h.output, p.w.output);
    int taps = (p.h.last(out.h) - p.h.first(out.h)) * (p.w.last(out.w) - p.w.first(out.w));
    y(out.n, c, out.h, out.w) = (T)(taps > 64 ? mean<double>(x, p, out, c) : mean<A>(x, p, out, c));
}

// gx: a share of the gy of each window
extern "C" __global__ void avg_grad_input(Input gy, Output gx, Windows p, int pixels) {
    CHANNEL_AND_PIXEL(gx.size[1]);
    Pixel in(number, p.h.size, p.w.size);
    A sum = 0;
    COVERING(p, in) sum += (A)gy(in.n, c, oh, ow) / p.area(oh, ow);
    gx(in.n, c, in.h, in.w) = (T)sum;
}

// last: the number of the last x that unpooling puts to each place, -1 for none. Maps of one channel of one image do
// not meet, and a thread walks through one of them in order.
extern "C" __global__ void unpool_last(Strided<const int> index, Strided<int> last) {
    int map = blockIdx.x * blockDim.x + threadIdx.x, C = index.size[1], W = last.size[3];
    if (map >= index.size[0] * C) return;
    int n = map / C, c = map % C;
    for (int h = 0; h < last.size[2]; h++)
        for (int w = 0; w < W; w++) last(n, c, h, w) = -1;
    for (int i = 0; i < index.size[2] * index.size[3]; i++) {
        int place = index(n, c, i / index.size[3], i % index.size[3]);
        last(n, c, place / W, place % W) = i;
    }
}

// y = the last x that was put here, or zero
extern "C" __global__ void unpool_forward(Input x, Strided<const int> last, Output y, int pixels) {
    CHANNEL_AND_PIXEL(y.size[1]);
    Pixel out(number, y.size[2], y.size[3]);
    int from = last(out.n, c, out.h, out.w);
    y(out.n, c, out.h, out.w) = from < 0 ? (T)0.0f : x(out.n, c, from / x.size[3], from % x.size[3]);
}

// gx = gy at the place of each x that stayed there, or zero
extern "C" __global__ void unpool_grad_input(Input gy, Strided<const int> index, Strided<const int> last, Output gx,
                                             int pixels) {
    CHANNEL_AND_PIXEL(gx.size[1]);
    Pixel in(number, gx.size[2], gx.size[3]);
    int place = index(in.n, c, in.h, in.w), h = place / gy.size[3], w = place % gy.size[3];
    bool stayed = last(in.n, c, h, w) == in.h * gx.size[3] + in.w;
    gx(in.n, c, in.h, in.w) = stayed ? gy(in.n, c, h, w) : (T)0.0f;
}

// --- p-norms: k = p.factor(oh, ow)

// y = (the sum of k x ** norm over the window) ** (1 / norm), in units of its largest magnitude
extern "C" __global__ void lp_forward(Input x, Output y, Windows p, A norm, int pixels) {
    CHANNEL_AND_PIXEL(x.size[1]);
    Pixel out(number, p.h.output, p.w.output);
    A scale = 0, sum = 0;
    TAPS(p, out) scale = max(scale, abs((A)x(out.n, c, h, w)));
    if (scale == 0 || scale - scale != 0) scale = 1;  // also where it is infinite
    TAPS(p, out) sum += pow((A)x(out.n, c, h, w) / scale, norm);
    sum *= p.factor(out.h, out.w);
    y(out.n, c, out.h, out.w) = (T)(scale * (norm == 2 ? sqrt(sum) : pow(sum, 1 / norm)));
}

// The sum of a k (x / y) ** q over a window; zero where y is
extern "C" __global__ void lp_collect(Input a, Input x, Input y, Output result, Windows p, A q, int pixels) {
    CHANNEL_AND_PIXEL(x.size[1]);
    Pixel out(number, p.h.output, p.w.output);
    A norm = (A)y(out.n, c, out.h, out.w), sum = 0;
    if (norm != 0)
        TAPS(p, out) sum += (A)a(out.n, c, h, w) * p.factor(out.h, out.w) * pow((A)x(out.n, c, h, w) / norm, q);
    result(out.n, c, out.h, out.w) = (T)sum;
}

// The sum of b k (x / y) ** q over the windows that cover an x; those with y = 0 add nothing
extern "C" __global__ void lp_spread(Input b, Input x, Input y, Output result, Windows p, A q, int pixels) {
    CHANNEL_AND_PIXEL(x.size[1]);
    Pixel in(number, p.h.size, p.w.size);
    A value = (A)x(in.n, c, in.h, in.w), sum = 0;
    COVERING(p, in) {
        A norm = (A)y(in.n, c, oh, ow);
        if (norm != 0) sum += (A)b(in.n, c, oh, ow) * p.factor(oh, ow) * pow(value / norm, q);
    }
    result(in.n, c, in.h, in.w) = (T)sum;
}
