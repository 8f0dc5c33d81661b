// A pixel of a batch of images, by its number in reading order.
#pragma once
struct Pixel {
    int n, h, w;
    __device__ Pixel(int number, int height, int width)
        : n(number / (height * width)), h(number / width % height), w(number % width) {}
};
