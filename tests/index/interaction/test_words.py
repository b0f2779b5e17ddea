"""The words of documents as vectors: comparisons against a loop over every word, and damaged files."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.disk import merged_texts
from index.disk.verify import verify
from index.documents.store import Document
from index.errors import CorruptError
from index.interaction import words as words_module
from index.interaction import writing
from index.interaction.matches import FIELDS
from index.interaction.words import ARRAYS, Words
from index.interaction.writing import write_words
from index.reader import Index
from index.values import Texts
from index.writing.builder import IndexBuilder
from index.writing.compact import compact
from index.writing.delete import delete

WIDTH = 3
TEXTS = [
    Texts("red apple", "a sour apple", "what is sour\nis an apple red"),
    Texts("", "one plum"),
    Texts("pear", ""),
    Texts("", ""),
    Texts("plum tree", "plum plum", "where do plums grow"),
]
QUERY = np.array([[1, 0, 0], [0.6, 0.8, 0]], np.float32)


class Letters:
    """A word's vector counts its letters a, e and p, plus one; its weight is its length."""

    width = WIDTH
    reads_queries = True

    def distinct_words(self, texts: Texts) -> tuple[list[str], ...]:
        return tuple(list(dict.fromkeys(text.split())) for text in texts)

    def encode_words(self, words: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        counts = np.array([[1 + word.count(letter) for letter in "aep"] for word in words], np.float32)
        lengths = np.linalg.norm(counts, axis=1, keepdims=True)
        return counts / lengths, np.array([len(word) for word in words], np.float32)


def expected(row: int, field: int) -> tuple[list[list[float]], list[float]]:
    """Cosines with the query and weights of the words of a field, word by word."""
    found = Letters().distinct_words(TEXTS[row])[field]
    if not found:
        return [], []
    vectors, weights = Letters().encode_words(found)
    return (vectors @ QUERY.T).tolist(), weights.tolist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_words(tmp_path / "words", TEXTS, Letters())
    return tmp_path / "words"


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("words_a_place", [0, 1000])
def test_matches_are_those_of_every_word_of_every_field(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words_a_place: int, compiled: bool
):
    monkeypatch.setattr(words_module, "_WORDS_A_PLACE", words_a_place)
    rows = np.array([4, 0, 3, 2, 1])
    words = Words(folder, len(TEXTS), WIDTH)
    if compiled:
        words.compile()
    best, soft, counts, lengths = words.match(rows, QUERY)
    for at, row in enumerate(rows.tolist()):
        for field in range(FIELDS):
            cosines, weights = map(np.array, expected(row, field))
            place = slice(None), at, field
            assert lengths[at, field] == len(weights)
            assert np.allclose(best[place], cosines.max(axis=0) if len(weights) else 0, atol=0.02)  # int8
            assert np.allclose(soft[place], (cosines**4).sum(axis=0), atol=0.1)
            assert counts[0, at, field] == weights.sum()


def test_words_that_documents_share_are_stored_once(folder: Path):
    distinct = {word for text in TEXTS for field in text for word in field.split()}
    assert (folder / "weights.f32").stat().st_size == 4 * len(distinct)
    assert (folder / "vectors.i8").stat().st_size == WIDTH * len(distinct)


def test_many_words_are_encoded_in_blocks(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writing, "_WORDS_AT_ONCE", 2)
    write_words(tmp_path / "blocks", TEXTS, Letters())
    for name in ARRAYS:
        assert (tmp_path / "blocks" / name).read_bytes() == (folder / name).read_bytes()


def test_no_rows_and_documents_without_words(folder: Path):
    words = Words(folder, len(TEXTS), WIDTH)
    assert words.match(np.array([], np.int64), QUERY).best.shape == (len(QUERY), 0, FIELDS)
    assert words.match(np.array([3]), QUERY).lengths.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("size", [0, -1, -8])
def test_a_file_that_is_cut_short_is_refused(folder: Path, name: str, size: int):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:size])
    with pytest.raises(CorruptError, match="words"):
        Words(folder, len(TEXTS), WIDTH)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("words.i32", -1),
        ("words.i32", 10**6),
        ("starts.i64", -5),
        ("starts.i64", 10**12),
        ("weights.f32", np.nan),
        ("scales.f32", np.inf),
        ("scales.f32", 3e38),  # finite, but no product with it is
    ],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_damaged_numbers_are_an_error_and_never_a_wrong_place(
    folder: Path, name: str, value: float, compiled: bool
):
    values = np.fromfile(folder / name, ARRAYS[name])
    values[1] = value
    values.tofile(folder / name)
    with pytest.raises(CorruptError, match="words"):
        words = Words(folder, len(TEXTS), WIDTH)
        if compiled:
            words.compile()
        words.match(np.arange(len(TEXTS)), QUERY)


@pytest.mark.parametrize("compiled", [False, True])
def test_numbers_of_words_that_overflow_when_they_are_added_are_damage(folder: Path, compiled: bool):
    """numpy's `repeat` then writes beyond its memory."""
    count, most = len(np.fromfile(folder / "words.i32", "<i4")), 2**63 - 1
    np.array([0, 0, 0, most, 0, 0, 0, 0, 0, most, 0, 0, 0, 0, 0, count], "<i8").tofile(folder / "starts.i64")
    words = Words(folder, len(TEXTS), WIDTH)
    if compiled:
        words.compile()
    with pytest.raises(CorruptError, match="words"):
        words.match(np.array([0, 2, 4]), QUERY)


def document_of(document_id: str) -> Document:
    title, text, queries = TEXTS["abcde".index(document_id)]
    return Document(document_id, title, text, queries=tuple(queries.splitlines()))


def build(folder: Path, model: Path, ids: str, encoder: Letters | None = None) -> None:
    """Add documents to an index, or make it; the document `b` has the words of TEXTS[1]."""
    documents = list(map(document_of, ids))
    vectors = np.eye(8, dtype=np.float32)[: len(ids)]
    with (
        IndexBuilder.begin_adding(folder, source="more")
        if (folder / "CURRENT").exists()
        else IndexBuilder.begin(folder, model=model, dimension=8, source="some")
    ) as builder:
        builder.append(documents, vectors)
        builder.publish(words=encoder)


def weights_in(index: Index, document_id: str) -> list[float]:
    """The weight of all words of each field of a document."""
    row = index.row_of(document_id)
    assert row is not None
    ((_, matches),) = index.compare_words(np.array([row]), QUERY)
    weights: list[float] = matches.counts[0, 0].tolist()
    return weights


def lengths_of(document_id: str) -> list[int]:
    fields = Letters().distinct_words(TEXTS["abcde".index(document_id)])
    return [sum(map(len, field)) for field in fields]


def test_words_stay_with_their_documents_through_every_change(model: Path, tmp_path: Path):
    folder = tmp_path / "index"
    build(folder, model, "abcd", Letters())
    build(folder, model, "e", Letters())
    delete(folder, ["a"])
    build(folder, model, "c", Letters())  # replaces
    for _ in range(2):
        assert verify(folder) == []
        with Index.open(folder, checksums=True) as index:
            assert index.word_width() == WIDTH
            for each in "bcde":
                assert weights_in(index, each) == lengths_of(each)
        compact(folder, words=lambda model: Letters())


def test_rows_of_several_segments_are_compared_by_segment(model: Path, tmp_path: Path):
    folder = tmp_path / "index"
    build(folder, model, "abcd", Letters())
    build(folder, model, "e", Letters())
    with Index.open(folder) as index:
        assert len(index.segments) == 2
        rows = np.array([index.row_of("e"), index.row_of("b")])
        found = {tuple(np.flatnonzero(inside)): each for inside, each in index.compare_words(rows, QUERY)}
        assert {places: each.lengths.tolist() for places, each in found.items()} == {
            (0,): [[2, 1, 4]],
            (1,): [[0, 2, 0]],
        }


def test_words_of_a_format_without_known_queries_have_none(folder: Path, tmp_path: Path):
    words = Words(folder, len(TEXTS), WIDTH)
    whole = words.match(np.arange(len(TEXTS)), QUERY)
    starts = np.fromfile(folder / "starts.i64", "<i8")
    numbers = np.fromfile(folder / "words.i32", "<i4")
    bounds = [
        (starts[FIELDS * row], starts[FIELDS * row + 1], starts[FIELDS * row + 2])
        for row in range(len(TEXTS))
    ]
    kept = np.concatenate([numbers[first:end] for first, _, end in bounds])
    lengths = np.array([(text - title, end - text) for title, text, end in bounds])
    kept.astype("<i4").tofile(folder / "words.i32")
    np.concatenate(([0], np.cumsum(lengths))).astype("<i8").tofile(folder / "starts.i64")
    earlier = Words(folder, len(TEXTS), WIDTH)
    for compiled in (False, True):
        if compiled:
            earlier.compile()
        found = earlier.match(np.arange(len(TEXTS)), QUERY)
        assert found.lengths.tolist() == [[*each, 0] for each in lengths.tolist()]
        assert np.allclose(found.best[..., :2], whole.best[..., :2], atol=1e-6)
        assert not found.best[..., 2].any()


def test_a_model_that_reads_no_known_queries_finds_by_title_and_text_alone(model: Path, tmp_path: Path):
    class WithoutQueries(Letters):
        reads_queries = False

        def distinct_words(self, texts: Texts) -> tuple[list[str], ...]:
            return super().distinct_words(texts._replace(queries=""))

    for encoder, found in ((Letters(), ["e"]), (WithoutQueries(), [])):
        folder = tmp_path / type(encoder).__name__
        build(folder, model, "abcde", encoder)
        with Index.open(folder) as index:
            ranking = index.search_lexical(["grow"], 5)
            rows = [row for row in ranking.rows[0].tolist() if row >= 0]
            assert [document.id for document in index.documents(rows)] == found
            assert weights_in(index, "e")[2] == (lengths_of("e")[2] if found else 0)
            assert [document.queries for document in index.live_documents()] == [
                document_of(each).queries for each in "abcde"
            ]


def test_an_index_of_which_a_part_has_no_words_has_no_width(model: Path, tmp_path: Path):
    folder = tmp_path / "index"
    build(folder, model, "abcd", Letters())
    build(folder, model, "e")
    with Index.open(folder) as index:
        assert index.word_width() == 0


def test_a_missing_file_of_words_is_named(model: Path, tmp_path: Path):
    folder = tmp_path / "index"
    build(folder, model, "abcde", Letters())
    (path,) = folder.glob("generation-*/segment-*/words/words.i32")
    path.unlink()
    with pytest.raises(CorruptError, match=r"words\.i32"):
        Index.open(folder)
    assert any("words.i32" in problem for problem in verify(folder))


@pytest.mark.parametrize(("words_a_block", "places_a_block"), [(1, 1000), (1000, 3), (40, 1000), (7, 90)])
def test_documents_are_written_in_blocks_as_they_are_at_once(
    tmp_path: Path, words_a_block: int, places_a_block: int, monkeypatch: pytest.MonkeyPatch
):
    """Words are numbered in the order of their first use, of which a later block knows nothing by itself."""
    chance = random.Random(4)
    texts = [
        Texts(f"w{chance.randrange(30)}", " ".join(f"w{int(chance.paretovariate(0.5))}" for _ in range(6)))
        for _ in range(60)
    ]
    write_words(tmp_path / "whole", texts, Letters())
    monkeypatch.setattr(writing, "_WORDS_A_BLOCK", words_a_block)
    monkeypatch.setattr(writing, "_PLACES_A_BLOCK", places_a_block)
    monkeypatch.setattr(merged_texts, "_MERGED_AT_ONCE", 16)
    write_words(tmp_path / "blocks", texts, Letters())
    used: dict[str, int] = {}
    places = [
        used.setdefault(word, len(used))
        for each in texts
        for words in Letters().distinct_words(each)
        for word in words
    ]
    assert np.fromfile(tmp_path / "blocks" / "words.i32", "<i4").tolist() == places
    assert sorted(path.name for path in (tmp_path / "blocks").iterdir()) == sorted(ARRAYS)
    for name in ARRAYS:
        assert (tmp_path / "blocks" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
