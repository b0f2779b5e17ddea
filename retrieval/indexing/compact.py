"""Compaction of an index whose model may re-score: the new segment has the words of its documents as vectors.

In: an index folder. Out: the manifest of the live generation. Imports no torch.
"""

from __future__ import annotations

from pathlib import Path

from index.disk.manifest import Manifest
from index.values import Progress, no_progress
from index.writing.compact import compact as compact_segments
from retrieval.indexing.tuning_queries import tuning_queries
from retrieval.model.folder import read_model


def compact(folder: Path, *, progress: Progress = no_progress, wait: float = 0.0) -> Manifest:
    """`index.writing.compact.compact` with the word vectors of the model inside the index."""
    return compact_segments(
        folder,
        words=lambda model: read_model(model).word_vectors(),
        queries=lambda model: tuning_queries(read_model(model)),
        progress=progress,
        wait=wait,
    )
