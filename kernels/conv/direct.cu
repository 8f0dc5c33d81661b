// Direct convolution: one thread sums up one output, by the definition (Goodfellow, Bengio & Courville, "Deep
// Learning", equation 9.6; with FLIP, 9.4, where the kernel is walked backwards).
//
// Threads next to each other in x take neighbouring channels, which are neighbours in memory when arrays are
// channels-last; y and the blocks in x take pixels. No thread writes where another does: gradients gather, too. x and y
// are images N x C x H x W and N x OC x OH x OW, the weight is OC x C/G x KH x KW.
//
// variants: FLIP=0 | FLIP=1
#include "pixel.cuh"

// The position in the weight of tap k of K: a true convolution takes them from the last to the first.
__device__ inline int position(int k, int size) { return FLIP ? size - 1 - k : k; }

// y = max(low, conv(x, w) + bias)
extern "C" __global__ void forward(Input x, Input w, const T *bias, Output y, Window p, A low) {
    int oc = blockIdx.y * blockDim.x + threadIdx.x, number = blockIdx.x * blockDim.y + threadIdx.y;
    int OC = y.size[1], OH = y.size[2], OW = y.size[3], H = x.size[2], W = x.size[3];
    int Cg = w.size[1], KH = w.size[2], KW = w.size[3];
    if (oc >= OC || number >= y.size[0] * OH * OW) return;
    Pixel out(number, OH, OW);
    int first = oc / (OC / p.groups) * Cg;  // of the channels of x that this group sees
    A sum = 0;
    for (int kh = 0; kh < KH; kh++) {
        int h = out.h * p.stride_h + kh * p.dilation_h - p.top;
        if (h < 0 || h >= H) continue;
        for (int kw = 0; kw < KW; kw++) {
            int wi = out.w * p.stride_w + kw * p.dilation_w - p.left;
            if (wi < 0 || wi >= W) continue;
            for (int c = 0; c < Cg; c++)
                sum += (A)x(out.n, first + c, h, wi) * (A)w(oc, c, position(kh, KH), position(kw, KW));
        }
    }
    if (bias) sum += (A)bias[oc];
    y(out.n, oc, out.h, out.w) = (T)(sum < low ? low : sum);  // NaN stays
}

// gx: every pixel of x gathers from the windows that see it
extern "C" __global__ void grad_input(Input gy, Input w, Output gx, Window p) {
    int c = blockIdx.y * blockDim.x + threadIdx.x, number = blockIdx.x * blockDim.y + threadIdx.y;
    int C = gx.size[1], OH = gy.size[2], OW = gy.size[3];
    int Cg = w.size[1], OCg = w.size[0] / p.groups, KH = w.size[2], KW = w.size[3];
    if (c >= C || number >= gx.size[0] * gx.size[2] * gx.size[3]) return;
    Pixel in(number, gx.size[2], gx.size[3]);
    int first = c / Cg * OCg;  // of the channels of y that this group makes
    A sum = 0;
    for (int kh = 0; kh < KH; kh++) {
        int oh = (in.h + p.top - kh * p.dilation_h) / p.stride_h;
        if (oh * p.stride_h != in.h + p.top - kh * p.dilation_h || oh < 0 || oh >= OH) continue;
        for (int kw = 0; kw < KW; kw++) {
            int ow = (in.w + p.left - kw * p.dilation_w) / p.stride_w;
            if (ow * p.stride_w != in.w + p.left - kw * p.dilation_w || ow < 0 || ow >= OW) continue;
            for (int i = 0; i < OCg; i++)
                sum += (A)gy(in.n, first + i, oh, ow) * (A)w(first + i, c % Cg, position(kh, KH), position(kw, KW));
        }
    }
    gx(in.n, c, in.h, in.w) = (T)sum;
}

// gw, first half ("split-K"): the pixels of y are dealt out in slices, and a thread sums up one weight over one slice.
// partial: slices x OC x C/G x KH x KW; x takes the weights, y the slices.
extern "C" __global__ void grad_weight(Input x, Input gy, A *partial, Window p, int Cg, int KH, int KW, int slice) {
    int OC = gy.size[1], OH = gy.size[2], OW = gy.size[3], H = x.size[2], W = x.size[3];
    int weight = blockIdx.x * blockDim.x + threadIdx.x, weights = OC * Cg * KH * KW;
    if (weight >= weights) return;
    int kw = weight % KW, kh = weight / KW % KH, c = weight / (KW * KH) % Cg, oc = weight / (KW * KH * Cg);
    int first = oc / (OC / p.groups) * Cg;
    int begin = blockIdx.y * slice, end = min(begin + slice, gy.size[0] * OH * OW);
    A sum = 0;
    for (int number = begin; number < end; number++) {
        Pixel out(number, OH, OW);
        int h = out.h * p.stride_h + position(kh, KH) * p.dilation_h - p.top;
        int wi = out.w * p.stride_w + position(kw, KW) * p.dilation_w - p.left;
        if (h >= 0 && h < H && wi >= 0 && wi < W)
            sum += (A)x(out.n, first + c, h, wi) * (A)gy(out.n, oc, out.h, out.w);
    }
    partial[(long long)blockIdx.y * weights + weight] = sum;
}

// gw, second half: the slices are added in their order, so that the sum is the same in every run.
extern "C" __global__ void add_slices(const A *partial, T *gw, int weights, int slices) {
    int weight = blockIdx.x * blockDim.x + threadIdx.x;
    if (weight >= weights) return;
    A sum = 0;
    for (int s = 0; s < slices; s++) sum += partial[(long long)s * weights + weight];
    gw[weight] = (T)sum;
}
