"""Settings of the process that make training fast on a CPU, and a fit repeatable.

Each was measured (benchmarks/NOTES.md). Knows nothing of models.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Parameters of glibc's mallopt, from malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_KEEP_BYTES = 1 << 30


@contextmanager
def fast_training() -> Iterator[None]:
    """Use faster matrix products inside the context, and keep freed memory until the process ends.

    Matrix products go to oneDNN, whose kernels use AVX-512 where MKL's do not (AMD: twice as fast, equally
    exact). On processors with bfloat16 matrix units they may round inputs to bfloat16, which training
    tolerates. By default glibc returns the memory of each large tensor to the system, and the next tensor
    gets it back zeroed page by page; the two thresholds stop that.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_MMAP_THRESHOLD, _KEEP_BYTES)
            libc.mallopt(_TRIM_THRESHOLD, _KEEP_BYTES)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, and in float32 throughout, inside the context.

    Small networks are fitted sooner on one thread than on two, which wait for each other at every step, and
    their products are too small to gain by bfloat16. And a fit repeats to the last bit: several threads add
    up the gradient of an indexed tensor in any order. Threads that start inside compute on one as well.
    """
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
