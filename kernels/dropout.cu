// Dropout with the random numbers of Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"):
// nothing is remembered from one number to the next, so each thread finds its own. As dropout_loops.py does it.

struct Words { unsigned word[4]; };

// Four random words for a counter, whose upper half is 0.
__device__ inline Words philox(unsigned long long counter, unsigned key0, unsigned key1) {
    unsigned a = (unsigned)counter, b = (unsigned)(counter >> 32), c = 0, d = 0;
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const unsigned low0 = 0xD2511F53u * a, high0 = __umulhi(0xD2511F53u, a);
        const unsigned low1 = 0xCD9E8D57u * c, high1 = __umulhi(0xCD9E8D57u, c);
        a = high1 ^ b ^ key0, b = low1, c = high0 ^ d ^ key1, d = low0;
        key0 += 0x9E3779B9u, key1 += 0xBB67AE85u;
    }
    return {{a, b, c, d}};
}

// y = x, times 0 where its word is below the threshold, times scale elsewhere. A block takes 4 blockDim.x numbers; the
// words of a thread are for numbers blockDim.x apart, so that threads next to each other take neighbours.
extern "C" __global__ void drop(const T *x, const unsigned *key, T *y, long long size, unsigned threshold, A scale) {
    const Words words = philox((unsigned long long)blockIdx.x * blockDim.x + threadIdx.x, key[0], key[1]);
    const long long first = (long long)blockIdx.x * blockDim.x * 4 + threadIdx.x;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const long long at = first + i * (int)blockDim.x;
        if (at < size) y[at] = (T)((A)x[at] * (words.word[i] >= threshold ? scale : (A)0));
    }
}
