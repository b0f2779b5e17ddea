"""Numbered documents of few words, and vectors to go with them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from index.disk.manifest import Manifest
from index.documents.store import Document

Build = Callable[..., Manifest]

DIMENSION = 8
WORDS = ("apple", "banana", "cherry", "damson", "elder", "fig", "grape")


def numbered(count: int, start: int = 0) -> list[Document]:
    return [
        Document(f"d{i}", f"title {i}", f"{WORDS[i % 7]} {WORDS[i // 7 % 7]} number{i}", {"number": i})
        for i in range(start, start + count)
    ]


def unit_vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Rows of unit length, the same for the same seed and a smaller count."""
    vectors = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float32)
