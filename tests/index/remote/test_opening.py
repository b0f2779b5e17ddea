from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from index.disk.checksums import sha256_of_bytes
from index.disk.folder import Pointer, write_current
from index.disk.manifest import FORMAT_VERSION, MANIFEST, Manifest, SegmentEntry
from index.errors import CorruptError
from index.lexical.bm25 import BM25_SETTINGS
from index.remote import reader
from index.remote.reader import RemoteIndex


def test_an_index_that_cannot_be_opened_lets_go_of_its_generation_and_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A server looks for new generations again and again, also while Milvus does not answer."""
    segment = SegmentEntry("segment-000001", 1, 1, 0, "Milvus FLAT", {}, BM25_SETTINGS, 1)
    store = {"address": "milvus://here:1/name", "collection": "name_00000000_000001"}
    manifest = Manifest(
        FORMAT_VERSION, "generation-000001", "", 1, 8, "f", "s", 0, (segment,), store=store
    ).to_json()
    (tmp_path / "generation-000001").mkdir()
    (tmp_path / "generation-000001" / MANIFEST).write_bytes(manifest)
    write_current(tmp_path, Pointer("generation-000001", sha256_of_bytes(manifest)))
    closed: list[bool] = []
    monkeypatch.setattr(reader, "Server", lambda _: SimpleNamespace(close=lambda: closed.append(True)))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(CorruptError, match=r"gone\.i64"):
        RemoteIndex.open(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert closed == [True]
