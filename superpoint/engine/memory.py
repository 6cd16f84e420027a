"""Let a CPU training run keep the memory it has freed."""

from __future__ import annotations

import ctypes
import platform

# mallopt parameters of glibc's malloc.h
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Stop glibc from giving freed blocks back to the kernel, for the rest of this process.

    A training step frees and allocates the same activations again and again. By default blocks above 32 MB are mapped
    anew each time, and every page of them is faulted in and zeroed by the kernel: measured once with a bare VGG step on
    2 cores, that was more than half of it. The price is that the process keeps its peak size until it ends.

    Returns: whether it was done; False where the C library is not glibc (macOS, Windows, musl).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    # Before glibc 2.35 the threshold may not exceed 32 MB; there, no block at all is mapped on its own.
    unmapped = libc.mallopt(M_MMAP_THRESHOLD, 1 << 30) or libc.mallopt(M_MMAP_MAX, 0)
    return bool(libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1) and unmapped)
