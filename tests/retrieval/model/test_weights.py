"""Weights files against the safetensors library, and hostile files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from index.errors import CorruptError
from retrieval.model.weights import Table, quantise, read_weights, write_weights


def arrays():
    rng = np.random.default_rng(0)
    return {
        "table": rng.integers(-127, 128, (5, 3)).astype(np.int8),  # 15 bytes: what follows is not aligned
        "scales": rng.normal(size=(5, 1)).astype(np.float32),
        "half": rng.normal(size=(2, 2, 2)).astype(np.float16),
        "empty": np.empty((0, 4), np.float32),
        "été 只": rng.normal(size=7).astype(np.float32),
    }


def assert_same(got, expected):
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array, strict=True)


def test_what_was_written_reads_as_safetensors_reads_it(tmp_path):
    path = tmp_path / "w.safetensors"
    write_weights(path, arrays())
    assert_same(read_weights(path), arrays())
    assert_same(load_file(path), arrays())


def test_files_of_safetensors_itself_are_read(tmp_path):
    path = tmp_path / "w.safetensors"
    written = arrays() | {"scalar": np.array(3.5, np.float32)}
    save_file(written, path, metadata={"made": "elsewhere"})
    assert_same(read_weights(path), written)


def test_arrays_that_are_not_contiguous_are_written_as_they_look(tmp_path):
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    write_weights(tmp_path / "w", {"t": whole.T, "part": whole[:, 1:3]})
    assert_same(read_weights(tmp_path / "w"), {"t": whole.T.copy(), "part": whole[:, 1:3].copy()})


def test_arrays_are_read_only_maps(tmp_path):
    write_weights(tmp_path / "w", {"a": np.ones((2, 2), np.float32)})
    array = read_weights(tmp_path / "w")["a"]
    assert not array.flags.writeable
    base = array
    while base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


def test_quantised_rows_are_within_half_a_step():
    rng = np.random.default_rng(1)
    table = (rng.normal(size=(200, 16)) * rng.lognormal(0, 4, (200, 1))).astype(np.float32)
    stored = quantise(table)
    assert stored.values.dtype == np.int8
    largest = np.abs(table).max(1, keepdims=True)
    # Half of a 127th of the row's largest entry, and float32 rounding.
    assert (np.abs(stored.rows(slice(None)) - table) <= largest / 254 * (1 + 1e-4)).all()
    assert (np.abs(stored.values).max(1) == 127).all()


def test_quantised_zero_row_stays_zero():
    stored = quantise(np.array([[0, 0], [0, -2]], np.float32))
    assert stored.rows(slice(None)).tolist() == [[0, 0], [0, -2]]


def test_rows_of_a_table_are_taken_in_the_order_asked_for():
    scaled = Table(np.array([[1, 2], [3, 4], [5, 6]], np.int8), np.array([[2], [10], [0.5]], np.float32))
    assert scaled.rows(np.array([2, 0, 2])).tolist() == [[2.5, 3], [2, 4], [2.5, 3]]
    plain = Table(np.array([[1, 2], [3, 4]], np.float16))
    assert plain.rows(np.array([1])).tolist() == [[3, 4]]
    assert plain.rows(slice(None)).dtype == np.float32


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def with_header(header, content=b"\0" * 16, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + content


HOSTILE = {
    "empty": b"",
    "too short for a length": b"\x02\0\0",
    "length only": (2).to_bytes(8, "little"),
    "header past the end": with_header(entry(), length=1 << 40),
    "header length of all ones": b"\xff" * 8 + b"{}",
    "header a byte longer than the file": with_header(b"{}", b"", length=3),
    "header of no length": with_header(b"", length=0),
    "header cut short": with_header(entry(), length=20),
    "not JSON": with_header(b"hello"),
    "not UTF-8": with_header(b'{"\xff": 1}'),
    "a list": with_header([1, 2]),
    "a number": with_header(b"12"),
    "null": with_header(b"null"),
    "bottomless": with_header(b"[" * 100_000),
    "entry is a list": with_header({"a": [1]}),
    "entry is text": with_header({"a": "F32"}),
    "entry is null": with_header({"a": None}),
    "entry without shape": with_header({"a": {"dtype": "F32", "data_offsets": [0, 8]}}),
    "unknown dtype": with_header(entry("F8_E4M3")),
    "object dtype": with_header(entry("O")),
    "dtype is a list": with_header(entry(["F32"])),
    "dtype is null": with_header(entry(None)),
    "stop past the end": with_header(entry(shape=(5,), offsets=(0, 20))),
    "start past the end": with_header(entry(shape=(0,), offsets=(1 << 50, 1 << 50))),
    "negative start": with_header(entry(offsets=(-8, 0))),
    "stop before start": with_header(entry(offsets=(8, 0))),
    "both negative": with_header(entry(offsets=(-16, -8))),
    "three offsets": with_header(entry(offsets=(0, 4, 8))),
    "offsets are text": with_header(entry(offsets="08")),
    "offsets are fractions": with_header(entry(offsets=(0.0, 8.0))),
    "offsets are truths": with_header(entry("I8", (1,), (False, True))),
    "offsets are one number": with_header(entry(offsets=8)),
    "shape larger than its place": with_header(entry(shape=(3,))),
    "shape smaller than its place": with_header(entry(shape=(1,))),
    "negative shape": with_header(entry(shape=(-1, -2))),
    "shape of fractions": with_header(entry(shape=(2.0,))),
    "shape of truths": with_header(entry(shape=(True, 2))),
    "shape is a number": with_header(entry(shape=2)),
    "shape overflows": with_header(entry(shape=(1 << 62, 1 << 62))),
    "shape overflows to nothing": with_header(entry(shape=(0, 1 << 80), offsets=(0, 0))),
    "shape of many dimensions": with_header(entry(shape=(1,) * 999 + (2,))),
    "huge whole numbers": with_header(b'{"a": {"dtype": "F32", "shape": [' + b"9" * 9999 + b"]}}"),
    "truncated content": with_header(entry(), b"\0" * 7),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_file_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(CorruptError, match=r"w\.safetensors: not a weights file") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_arrays_that_overlap_are_read_within_the_file(tmp_path):
    header = entry() | {"b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}
    (tmp_path / "w").write_bytes(with_header(header, np.array([1, 2, 3, 4], np.float32).tobytes()))
    found = read_weights(tmp_path / "w")
    assert (found["a"].tolist(), found["b"].tolist()) == ([1, 2], [2, 3])


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(CorruptError, match="not a weights file"):
        read_weights(tmp_path / "none")


@given(data=st.data())
def test_a_damaged_file_is_refused_or_stays_within_its_bytes(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("weights") / "w"
    write_weights(path, {"a": np.ones((3, 2), np.float32), "b": np.ones((2, 2), np.int8)})
    whole = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=4)):
        whole[place] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    try:
        found = read_weights(path)
    except CorruptError:
        return
    for array in found.values():
        assert array.nbytes < path.stat().st_size
        array.sum(dtype=np.float64)
