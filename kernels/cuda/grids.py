"""Grids for what most kernels walk over: one thread for each number, or for each channel of each pixel."""

THREADS = 256  # of a block


def over(count, threads=THREADS):
    """(grid, block) of a thread for each of `count` things."""
    return -(-count // threads), threads


def over_channels_and_pixels(channels, pixels):
    """(grid, block) of 256 threads: x of a block along the channels, at most a warp of them, y along the pixels.

    x of the grid are the pixels, y the channels.
    """
    width = min(32, 1 << (max(channels, 1) - 1).bit_length())
    height = THREADS // width
    return (-(-pixels // height), -(-channels // width)), (width, height)
