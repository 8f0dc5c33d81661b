// The parts of convolution by im2col (Chellapilla, Puri & Simard 2006) around the matrix product. With one row for each
// output pixel and one column for each tap and channel of a group, cols is G x (N OH OW) x (KH KW C/G), in A: products
// of 16-bit numbers are summed, and kept, in float.
//
// Threads next to each other in x take neighbouring channels; y and the blocks in x take pixels.
#include "pixel.cuh"

// cols[g][pixel][tap][c] = what the tap sees at the pixel, 0 beside the image. Blocks in z take taps.
extern "C" __global__ void unfold(Input x, A *cols, Window p, int OH, int OW, int KW) {
    int c = blockIdx.y * blockDim.x + threadIdx.x, number = blockIdx.x * blockDim.y + threadIdx.y, tap = blockIdx.z;
    int C = x.size[1], pixels = x.size[0] * OH * OW, Cg = C / p.groups;
    if (c >= C || number >= pixels) return;
    Pixel out(number, OH, OW);
    int h = out.h * p.stride_h + tap / KW * p.dilation_h - p.top;
    int w = out.w * p.stride_w + tap % KW * p.dilation_w - p.left;
    bool inside = h >= 0 && h < x.size[2] && w >= 0 && w < x.size[3];
    long long row = (long long)(c / Cg) * pixels + number;
    cols[(row * gridDim.z + tap) * Cg + c % Cg] = inside ? (A)x(out.n, c, h, w) : (A)0;
}

// gx, the adjoint of unfold: every pixel of x gathers from the rows in which it stands
extern "C" __global__ void fold(const A *cols, Output gx, Window p, int OH, int OW, int KH, int KW) {
    int c = blockIdx.y * blockDim.x + threadIdx.x, number = blockIdx.x * blockDim.y + threadIdx.y;
    int C = gx.size[1], pixels = gx.size[0] * OH * OW, Cg = C / p.groups;
    if (c >= C || number >= gx.size[0] * gx.size[2] * gx.size[3]) return;
    Pixel in(number, gx.size[2], gx.size[3]);
    A sum = 0;
    for (int kh = 0; kh < KH; kh++) {
        int oh = (in.h + p.top - kh * p.dilation_h) / p.stride_h;
        if (oh * p.stride_h != in.h + p.top - kh * p.dilation_h || oh < 0 || oh >= OH) continue;
        for (int kw = 0; kw < KW; kw++) {
            int ow = (in.w + p.left - kw * p.dilation_w) / p.stride_w;
            if (ow * p.stride_w != in.w + p.left - kw * p.dilation_w || ow < 0 || ow >= OW) continue;
            long long row = (long long)(c / Cg) * pixels + (in.n * OH + oh) * OW + ow;
            sum += cols[((row * KH + kh) * KW + kw) * Cg + c % Cg];
        }
    }
    gx(in.n, c, in.h, in.w) = (T)sum;
}

// y = max(low, rows + bias): from G x pixels x OC/G, as the product gives them, to images
extern "C" __global__ void finish(const A *rows, const T *bias, Output y, int groups, A low) {
    int oc = blockIdx.y * blockDim.x + threadIdx.x, number = blockIdx.x * blockDim.y + threadIdx.y;
    int OC = y.size[1], pixels = y.size[0] * y.size[2] * y.size[3], OCg = OC / groups;
    if (oc >= OC || number >= pixels) return;
    Pixel out(number, y.size[2], y.size[3]);
    A value = rows[((long long)(oc / OCg) * pixels + number) * OCg + oc % OCg];
    if (bias) value += (A)bias[oc];
    y(out.n, oc, out.h, out.w) = (T)(value < low ? low : value);  // NaN stays
}
