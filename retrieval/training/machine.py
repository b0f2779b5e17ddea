"""Settings of the process that make training fast on a CPU, for programs that train.

Knows nothing of models. Each setting was measured (benchmarks/NOTES.md).
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
def train_fast() -> Iterator[None]:
    """While it lasts, faster matrix products; from then on, memory that is kept for the next batch.

    Matrix products go to oneDNN, whose kernels use AVX-512 where MKL's do not (AMD: twice as fast, equally
    exact); on processors with bfloat16 matrix units they may round inputs to bfloat16, which training
    tolerates. glibc would give each large tensor back to the system and fetch it again, zeroed page by page,
    for the next one.
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
