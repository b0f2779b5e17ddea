"""Arrays in files without names: equal content, and nothing left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from index.errors import StorageError
from retrieval.training.distributed import ALONE, Ranks
from retrieval.training.examples import mapping
from retrieval.training.examples.mapping import mapped_arrays

ARRAYS = {
    "pairs": np.arange(10, dtype=np.int64).reshape(5, 2),
    "every other": np.arange(12, dtype=np.float32)[::2],
    "none": np.zeros((0, 2), np.int32),
}


def test_mapped_arrays_are_equal_and_leave_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "_CHUNK", 16)
    mapped = mapped_arrays(ARRAYS, ALONE, tmp_path)
    assert list(mapped) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert type(mapped[name]) is np.ndarray
        assert mapped[name].dtype == array.dtype
        np.testing.assert_array_equal(mapped[name], array)
    assert not mapped["pairs"].flags.writeable
    assert list(tmp_path.iterdir()) == []


def test_another_rank_has_the_arrays_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "_CHUNK", 16)
    sent: list[bytes] = []

    class First(Ranks):
        def from_first(self, data: bytes) -> bytes:
            sent.append(data)
            return data

    class Second(Ranks):
        def from_first(self, data: bytes) -> bytes:
            assert not self.is_first
            return sent.pop(0)

    mapped_arrays(ARRAYS, First(0, 2), tmp_path)
    assert len(sent) == 1 + 5 + 2
    received = mapped_arrays({}, Second(1, 2), None)
    assert sent == []
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(received[name], array)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="missing"):
        mapped_arrays(ARRAYS, ALONE, tmp_path / "missing")
