import json
from typing import Any

import pytest

from index.disk.manifest import FORMAT_VERSION, FileEntry, Manifest, SegmentEntry
from index.errors import CorruptError, FormatVersionError

MANIFEST = Manifest(
    format_version=FORMAT_VERSION,
    generation="generation-000003",
    created="2026-01-02T03:04:05+00:00",
    documents=5,
    dimension=8,
    model_fingerprint="ab" * 32,
    source="corpus",
    passage_words=128,
    segments=(
        SegmentEntry("segment-000001", 4, 9, 1, "Flat", {}, {"k1": 0.9, "b": 0.4, "tokens": 1}, 17),
        SegmentEntry(
            "segment-000002", 2, 2, 0, "IVF8", {"nprobe": 4}, {}, 0, ({"name": "IVF8", "recall": 0.9},)
        ),
    ),
    recall={"recall@10": 1.0},
    files={
        "model/config.json": FileEntry("0" * 64, 2),
        "segment-000001/vectors.faiss": FileEntry("1" * 64, 40),
    },
)


def changed(**values: Any) -> bytes:
    return json.dumps(json.loads(MANIFEST.to_json()) | values).encode()


def test_manifest_comes_back_as_it_was():
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST
    made_of_a_table = MANIFEST._replace(columns={"id": "'Nr'", "text": "'Bez'"})
    assert Manifest.from_json(made_of_a_table.to_json()) == made_of_a_table


def test_what_most_indexes_lack_is_left_out():
    assert json.loads(MANIFEST.to_json()).keys().isdisjoint({"store", "columns"})


def test_size_is_that_of_all_files():
    assert MANIFEST.size_bytes() == 42


def test_unknown_version_is_told_before_anything_else_is_read():
    with pytest.raises(
        FormatVersionError, match=r"^INDEX: format version 9, this program reads 2, 3, 4 and 5; build"
    ):
        Manifest.from_json(b'{"format_version": 9, "something": "new"}', place="INDEX")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (changed(colour="red"), "unknown key 'colour'"),
        (changed(columns={"id": ["a"]}), "columns holds something other than plain values under 'id'"),
        (changed(documents=6), "do not add up"),
        (changed(documents=-1), "documents is not a whole number"),
        (changed(documents=5.0), "documents is not a whole number"),
        (changed(documents=True), "documents is not a whole number"),
        (changed(format_version="1"), "format_version is not a whole number"),
        (changed(created=7), "created is not a text"),
        (changed(segments={}), "segments is not a list"),
        (changed(segments=[7]), "SegmentEntry is not an object"),
        (changed(segments=[{"name": "segment-000001"}]), "SegmentEntry lacks 'bm25'"),
        (MANIFEST.to_json().replace(b'"deleted": 1', b'"deleted": 5'), "fewer documents than were deleted"),
        (MANIFEST.to_json().replace(b'"vectors": 9', b'"vectors": 3'), "vectors of segment-000001 is not"),
        (changed(passage_words=-1), "passage_words is not a whole number"),
        (MANIFEST.to_json().replace(b'"recall": 0.9', b'"recall": {}'), "other than plain values"),
        (changed(goal={"target_recall": []}), "other than plain values"),
        (changed(recall={"recall@10": "high"}), "other than numbers"),
        (changed(recall=[]), "recall is not an object"),
        (changed(files={"a": {"sha256": "xyz", "bytes": 1}}), "no SHA-256"),
        (changed(files={"../a": {"sha256": "0" * 64, "bytes": 1}}), "no path inside the index"),
        (changed(files={"/a": {"sha256": "0" * 64, "bytes": 1}}), "no path inside the index"),
        (changed(files={"a//b": {"sha256": "0" * 64, "bytes": 1}}), "no path inside the index"),
        (changed(files={"a/": {"sha256": "0" * 64, "bytes": 1}}), "no path inside the index"),
        (changed(files={"./a": {"sha256": "0" * 64, "bytes": 1}}), "no path inside the index"),
        (changed(files={"a/./b": {"sha256": "0" * 64, "bytes": 1}}), "no path inside the index"),
        (changed(files={"a/../b": {"sha256": "0" * 64, "bytes": 1}}), "no path inside the index"),
        (changed(files={"a\0b": {"sha256": "0" * 64, "bytes": 1}}), "no path inside the index"),
        (changed(files={"": {"sha256": "0" * 64, "bytes": 1}}), "no path inside the index"),
        (MANIFEST.to_json().replace(b"segment-000002", b"../000002"), "no segment name"),
        (MANIFEST.to_json().replace(b'"nprobe": 4', b'"nprobe": [4]'), "other than plain values"),
        (MANIFEST.to_json().replace(b'"nprobe": 4', b'"nprobe": NaN'), "NaN is not allowed"),
        (MANIFEST.to_json().replace(b'"nprobe": 4', b'"nprobe": 1e999'), "too large a number under 'nprobe'"),
        (MANIFEST.to_json().replace(b'"documents": 2', b'"documents": 0'), "is not a whole number from 1"),
        (changed(dimension=0), "dimension is not a whole number from 1"),
        (b"{}", "lacks 'format_version'"),
        (b"[]", "Manifest is not an object"),
        (b"", "Expecting value"),
        (b"\xff", "decode"),
        (b"[" * 100_000, "recursion|overflow"),
    ],
)
def test_anything_unexpected_is_refused_in_one_line(data: bytes, problem: str):
    with pytest.raises(CorruptError, match=problem) as caught:
        Manifest.from_json(data)
    assert "\n" not in str(caught.value)


def test_manifest_of_format_2_has_one_vector_a_document():
    content = json.loads(MANIFEST.to_json()) | {"format_version": 2}
    del content["passage_words"]
    for segment in content["segments"]:
        del segment["vectors"]
    manifest = Manifest.from_json(json.dumps(content).encode())
    assert (manifest.format_version, manifest.passage_words) == (2, 0)
    assert [segment.vectors for segment in manifest.segments] == [4, 2]


def test_nan_is_never_written():
    with pytest.raises(ValueError, match="JSON"):
        MANIFEST._replace(recall={"recall@10": float("nan")}).to_json()
