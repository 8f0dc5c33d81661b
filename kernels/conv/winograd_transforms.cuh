// Winograd's transforms along one axis: a matrix times d, for tiles of TILE x TILE outputs. Written by
// winograd_transforms.py from the matrices of winograd_tile.py (Lavin & Gray 2016, equations 6, 7 and 15).
#pragma once

#if TILE == 2
// pixels of x under a tile
__device__ inline void times_BT(const A (&d)[4], A (&v)[4]) {
    v[0] = d[0] - d[2];
    v[1] = d[1] + d[2];
    v[2] = -d[1] + d[2];
    v[3] = d[1] - d[3];
}
// weights
__device__ inline void times_G(const A (&d)[3], A (&v)[4]) {
    v[0] = d[0];
    v[1] = (d[0] + d[1] + d[2]) * ((A)1 / 2);
    v[2] = (d[0] - d[1] + d[2]) * ((A)1 / 2);
    v[3] = d[2];
}
// sums to outputs
__device__ inline void times_AT(const A (&d)[4], A (&v)[2]) {
    v[0] = d[0] + d[1] + d[2];
    v[1] = d[1] - d[2] - d[3];
}
// gradients of outputs
__device__ inline void times_A(const A (&d)[2], A (&v)[4]) {
    v[0] = d[0];
    v[1] = d[0] + d[1];
    v[2] = d[0] - d[1];
    v[3] = -d[1];
}
// sums to gradients of weights
__device__ inline void times_GT(const A (&d)[4], A (&v)[3]) {
    v[0] = (2 * d[0] + d[1] + d[2]) * ((A)1 / 2);
    v[1] = (d[1] - d[2]) * ((A)1 / 2);
    v[2] = (d[1] + d[2] + 2 * d[3]) * ((A)1 / 2);
}
#endif

#if TILE == 4
// pixels of x under a tile
__device__ inline void times_BT(const A (&d)[6], A (&v)[6]) {
    v[0] = 4 * d[0] - 5 * d[2] + d[4];
    v[1] = -4 * d[1] - 4 * d[2] + d[3] + d[4];
    v[2] = 4 * d[1] - 4 * d[2] - d[3] + d[4];
    v[3] = -2 * d[1] - d[2] + 2 * d[3] + d[4];
    v[4] = 2 * d[1] - d[2] - 2 * d[3] + d[4];
    v[5] = 4 * d[1] - 5 * d[3] + d[5];
}
// weights
__device__ inline void times_G(const A (&d)[3], A (&v)[6]) {
    v[0] = d[0] * ((A)1 / 4);
    v[1] = (-d[0] - d[1] - d[2]) * ((A)1 / 6);
    v[2] = (-d[0] + d[1] - d[2]) * ((A)1 / 6);
    v[3] = (d[0] + 2 * d[1] + 4 * d[2]) * ((A)1 / 24);
    v[4] = (d[0] - 2 * d[1] + 4 * d[2]) * ((A)1 / 24);
    v[5] = d[2];
}
// sums to outputs
__device__ inline void times_AT(const A (&d)[6], A (&v)[4]) {
    v[0] = d[0] + d[1] + d[2] + d[3] + d[4];
    v[1] = d[1] - d[2] + 2 * d[3] - 2 * d[4];
    v[2] = d[1] + d[2] + 4 * d[3] + 4 * d[4];
    v[3] = d[1] - d[2] + 8 * d[3] - 8 * d[4] + d[5];
}
// gradients of outputs
__device__ inline void times_A(const A (&d)[4], A (&v)[6]) {
    v[0] = d[0];
    v[1] = d[0] + d[1] + d[2] + d[3];
    v[2] = d[0] - d[1] + d[2] - d[3];
    v[3] = d[0] + 2 * d[1] + 4 * d[2] + 8 * d[3];
    v[4] = d[0] - 2 * d[1] + 4 * d[2] - 8 * d[3];
    v[5] = d[3];
}
// sums to gradients of weights
__device__ inline void times_GT(const A (&d)[6], A (&v)[3]) {
    v[0] = (6 * d[0] - 4 * d[1] - 4 * d[2] + d[3] + d[4]) * ((A)1 / 24);
    v[1] = (-2 * d[1] + 2 * d[2] + d[3] - d[4]) * ((A)1 / 12);
    v[2] = (-d[1] - d[2] + d[3] + d[4] + 6 * d[5]) * ((A)1 / 6);
}
#endif
