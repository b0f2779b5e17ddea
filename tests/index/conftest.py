"""A model folder, and a way to build an index of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from fruit_corpus import Build, unit_vectors
from milvus_server import LiteServer, running
from numpy.typing import NDArray

from index.disk.manifest import Manifest
from index.documents.store import Document
from index.writing.builder import IndexBuilder


@pytest.fixture(scope="session")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiteServer]:
    """A server; only for tests that are marked `needs_milvus`."""
    with running(tmp_path_factory.mktemp("milvus")) as server:
        yield server


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "parts").mkdir(parents=True)
    (folder / "config.json").write_text('{"dimension": 8}')
    (folder / "parts" / "weights.bin").write_bytes(bytes(range(256)))
    return folder


@pytest.fixture
def build(model: Path) -> Build:
    def build_(
        folder: Path,
        documents: Sequence[Document],
        vectors: NDArray[np.float32] | None = None,
        shard: int = 10,
    ) -> Manifest:
        rows = unit_vectors(len(documents)) if vectors is None else vectors
        with IndexBuilder.begin(folder, model=model, dimension=rows.shape[1], source="corpus") as builder:
            for start in range(0, len(documents), shard):
                builder.append(documents[start : start + shard], rows[start : start + shard])
            return builder.publish()

    return build_
