"""The table of passages: documents ranked by their best vector, and files that are not such a table."""

from pathlib import Path

import numpy as np
import pytest

from index.dense.passages import Passages, Span, passage_table, with_whole_documents, write_passages
from index.errors import CorruptError
from index.ranking import Ranking, best

SPANS = [[Span(0, 5)], [Span(0, 3), Span(2, 9), Span(8, 12)], [Span(0, 4), Span(3, 7)]]


def opened(tmp_path: Path, spans: list[list[Span]] = SPANS) -> Passages:
    table = passage_table(spans)
    write_passages(tmp_path / "passages.i32", [table[:2], table[2:]])
    return Passages(tmp_path / "passages.i32", len(table), len(spans))


def test_passages_come_back_by_document(tmp_path: Path):
    passages = opened(tmp_path)
    assert [passages.spans(row) for row in range(3)] == SPANS
    assert passages.rows(np.arange(6)).tolist() == [0, 1, 1, 1, 2, 2]
    assert passages.numbers(np.array([2, 0])).tolist() == [4, 5, 0]
    assert passages.table(np.array([2, 0])).tolist() == [[0, 0, 4], [0, 3, 7], [1, 0, 5]]
    assert [passages.numbers(np.array([row])).tolist() for row in range(3)] == [[0], [1, 2, 3], [4, 5]]
    assert passages.mask(np.array([True, False, True])).tolist() == [True, False, False, False, True, True]


def test_passages_of_many_documents_are_those_that_each_one_has(tmp_path: Path):
    generator = np.random.default_rng(0)
    spans = [[Span(0, 1)] * (1 if n < 6 else n) for n in generator.integers(10, size=300).tolist()]
    passages = opened(tmp_path, spans)
    owners = [row for row, parts in enumerate(spans) for _ in parts]
    assert passages.rows(np.arange(len(owners))).tolist() == owners
    for row in range(300):
        assert passages.numbers(np.array([row])).tolist() == [
            at for at, one in enumerate(owners) if one == row
        ]
    rows = generator.integers(300, size=50)
    assert passages.numbers(rows).tolist() == [
        at for row in rows for at, one in enumerate(owners) if one == row
    ]


def test_documents_are_ranked_by_their_best_vector_however_many_passages_come_first(tmp_path: Path):
    many = [[Span(0, 1)] * 200, *([Span(0, 1)] for _ in range(5))]
    passages = opened(tmp_path, many)
    scores = np.float32([1.0] * 200 + [0.1, 0.5, 0.3, 0.2, 0.4])
    depths = []

    def search(queries: np.ndarray, depth: int) -> Ranking:
        depths.append(depth)
        rows = best(scores, depth)
        return Ranking(np.tile(scores[rows], (len(queries), 1)), np.tile(rows, (len(queries), 1)))

    found = passages.rank_documents(search, np.zeros((2, 4), np.float32), 4)
    assert found.rows.tolist() == [[0, 2, 5, 3]] * 2
    assert found.scores[0].tolist() == pytest.approx([1.0, 0.5, 0.4, 0.3])
    assert depths == [16, 64, 205]


@pytest.mark.parametrize(("passages", "expected"), [(3, [12]), (20, [14, 56])])
def test_where_few_documents_are_split_few_vectors_are_asked_for(
    tmp_path: Path, passages: int, expected: list[int]
):
    table = opened(tmp_path, [[Span(0, 1)] * passages, *([Span(0, 1)] for _ in range(50))])
    scores = np.float32([*np.linspace(0.9, 1, passages), *np.linspace(0.8, 0.1, 50)])
    depths = []

    def search(queries: np.ndarray, depth: int) -> Ranking:
        depths.append(depth)
        rows = best(scores, depth)
        return Ranking(scores[rows][None], rows[None])

    found = table.rank_documents(search, np.zeros((1, 4), np.float32), 4)
    assert found.rows.tolist() == [[0, 1, 2, 3]]
    assert found.scores[0, 0] == 1
    assert depths == expected


def test_a_document_scores_as_its_best_vector(tmp_path: Path):
    scores = np.float32([0.1, 0.3, 0.9, 0.2, 0.5, 0.7])
    best_of = opened(tmp_path).best_of_documents
    assert best_of(np.array([2, 0, 1]), lambda numbers: scores[numbers]).tolist() == pytest.approx(
        [0.7, 0.1, 0.9]
    )
    assert best_of(np.array([0, 0]), lambda numbers: scores[numbers]).tolist() == pytest.approx([0.1, 0.1])


def test_fewer_documents_than_asked_for_end_in_none(tmp_path: Path):
    def search(queries: np.ndarray, depth: int) -> Ranking:
        rows = np.full((len(queries), depth), -1)
        rows[:, 0] = 4
        return Ranking(np.where(rows < 0, -np.inf, 0.5).astype(np.float32), rows)

    found = opened(tmp_path).rank_documents(search, np.zeros((1, 4), np.float32), 2)
    assert found.rows.tolist() == [[2, -1]]
    assert found.scores.tolist() == [[0.5, -np.inf]]


@pytest.mark.parametrize(
    "table",
    [
        [[0, 0, 1], [2, 0, 1]],
        [[1, 0, 1], [0, 0, 1], [2, 0, 1]],
        [[0, 0, 1], [1, 5, 1], [2, 0, 1]],
        [[0, 0, 1], [1, -5, 1], [2, 0, 1]],
        [[-1, 0, 1], [0, 0, 1], [1, 0, 1], [2, 0, 1]],
        [[0, 0, 1], [1, 0, 1], [2, 0, 1], [3, 0, 1]],
        [],
    ],
)
def test_another_table_is_refused(tmp_path: Path, table: list[list[int]]):
    path = tmp_path / "passages.i32"
    path.write_bytes(np.array(table, "<i4").tobytes())
    with pytest.raises(CorruptError, match=r"passages\.i32: does not hold the passages of 3 documents"):
        Passages(path, len(table), 3)


def test_file_that_is_cut_short_is_refused(tmp_path: Path):
    path = tmp_path / "passages.i32"
    write_passages(path, [passage_table(SPANS)])
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(CorruptError, match="restore it or build the index again"):
        Passages(path, 6, 3)


@pytest.mark.parametrize("row", [1, 4])
def test_lines_of_other_documents_are_refused_before_memory_is_taken_for_them(row: int):
    with pytest.raises(ValueError, match=r"negative|later"):
        with_whole_documents(np.array([[2, 0, 1], [row, 0, 1]], np.int32), 2, 4)
