"""The rows of an index in Milvus, from staged documents; needs no server."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fruit_corpus import DIMENSION, numbered, unit_vectors

from index.dense.passages import Span
from index.writing import remote
from index.writing import staging as staging_module
from index.writing.builder import IndexBuilder


def test_every_document_has_its_own_passages_and_vectors(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(staging_module, "_DOCUMENTS_A_TABLE", 3)
    monkeypatch.setattr(remote, "rows_of_document", lambda *given: [given])
    spans = [[Span(at, at + 2) for at in range(1 + row % 3)] for row in range(8)]
    counts = [len(parts) for parts in spans]
    starts = np.cumsum([0, *counts]).tolist()
    vectors = unit_vectors(starts[-1])
    numbering: Any = object()
    with IndexBuilder.begin(tmp_path / "index", model=model, dimension=DIMENSION, source="corpus") as builder:
        builder.append(numbered(8), vectors, spans)
        rows: list[Any] = list(remote._rows(builder._staging, 100, numbering))
    assert [document.id for document, *_ in rows] == [document.id for document in numbered(8)]
    assert [first for *_, first, _ in rows] == [100 + start for start in starts[:-1]]
    for row, (_, own_spans, own_vectors, _, _) in enumerate(rows):
        if counts[row] > 1:
            assert own_spans.tolist() == [list(span) for span in spans[row]]
        expected = vectors[starts[row] : starts[row + 1]].astype(np.float16)
        assert np.array_equal(own_vectors, expected)


def test_upload_tells_how_many_rows_there_are_each_time(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(remote, "_ROWS_AT_ONCE", 3)
    row = {"text": "", "metadata": "", "dense": np.zeros(1)}
    monkeypatch.setattr(remote, "rows_of_document", lambda *_: [row])
    told: list[tuple[str, int, int | None]] = []
    collection: Any = SimpleNamespace(insert=lambda _: None)
    numbering: Any = object()
    with IndexBuilder.begin(tmp_path / "index", model=model, dimension=DIMENSION, source="corpus") as builder:
        builder.append(numbered(8), unit_vectors(8))
        sent = remote._upload(collection, builder._staging, 0, numbering, lambda *call: told.append(call))
    assert (sent, told) == (8, [("uploading", number, 8) for number in (3, 6, 8)])
