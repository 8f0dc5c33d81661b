"""Devices and chance: which array module an array belongs to, and the one random generator that seeds set.

The device is a property of the array, never a global switch.
"""
import numpy as np

from minigrad.kernels.arrays import device_of

__all__ = ["array_module", "check_device", "device_of", "generator", "manual_seed"]

_generator = np.random.default_rng()


def array_module(array):
    """The module whose functions take this array: numpy (or cupy for a CUDA array)."""
    if device_of(array) == "cuda":
        import cupy

        return cupy
    return np


def check_device(device):
    """"cpu", or an error that says what is missing for anything else."""
    if device == "cpu":
        return device
    if str(device).partition(":")[0] == "cuda":
        raise RuntimeError("device 'cuda' is not supported by this version: its kernels run on the CPU only")
    raise ValueError(f"unknown device {device!r}; there is 'cpu'")


def manual_seed(seed):
    """Seed every random choice minigrad makes from here on (initial weights, dropout, shuffling). Returns nothing.

    seed: a non-negative integer. The same seed gives the same bits.
    """
    global _generator
    _generator = np.random.default_rng(seed)


def generator():
    """The NumPy generator behind every random choice."""
    return _generator
