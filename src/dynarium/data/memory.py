"""Keeping freed memory: a training step asks for the same large tensors again and again."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_KEPT = 32 * 1024**2  # the most that glibc allows


def keep_freed_memory() -> bool:
    """Ask glibc's malloc to keep freed memory for the next step; return whether it does.

    By default it gives large blocks back to the system, and the next step pays for every page of them again: a quarter of
    the time of a small convolutional model's step on the CPU (``benchmarks/kvae_step.py``). Elsewhere than on Linux with
    glibc nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    options = ((M_TRIM_THRESHOLD, 2**31 - 1), (M_MMAP_THRESHOLD, LARGEST_KEPT))
    return all(libc.mallopt(option, value) for option, value in options)
