"""Fusion of two rankings, and the documents of both, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.ranking import Ranking
from retrieval.search.fusion import fuse
from retrieval.search.merging import merged

NOTHING = -np.inf


def ranking(*lists):
    """A ranking of one or more queries from lists of (row, score)."""
    width = max(len(found) for found in lists)
    padded = [found + [(-1, NOTHING)] * (width - len(found)) for found in lists]
    return Ranking(
        np.array([[score for _, score in found] for found in padded], np.float32).reshape(len(lists), width),
        np.array([[row for row, _ in found] for found in padded], np.int64).reshape(len(lists), width),
    )


def fused(dense, lexical, k=5, share=0.75):
    """(row, score) of one query's fused ranking, and how many places stayed empty."""
    result = fuse(ranking(dense), ranking(lexical), k, share)
    assert result.scores.shape == result.rows.shape == (1, k)
    assert (result.scores.dtype, result.rows.dtype) == (np.float32, np.int64)
    count = int((result.rows[0] >= 0).sum())
    assert (result.rows[0, count:] == -1).all()
    assert (result.scores[0, count:] == NOTHING).all()
    return list(zip(result.rows[0, :count].tolist(), result.scores[0, :count].tolist(), strict=True))


def test_scores_are_scaled_to_their_list_and_added_by_share():
    # Dense 0.9 0.7 0.5 becomes 1, 0.5, 0; BM25 12, 2 becomes 1, 0.
    assert fused([(7, 0.9), (3, 0.7), (5, 0.5)], [(3, 12.0), (9, 2.0)]) == [
        (7, 0.75),
        (3, pytest.approx(0.75 * 0.5 + 0.25)),
        (5, 0.0),
        (9, 0.0),
    ]


def test_a_document_in_one_list_only_gets_nothing_from_the_other():
    assert fused([(1, 0.4), (2, 0.2)], [(3, 5.0), (4, 1.0)], share=0.25) == [
        (3, 0.75),
        (1, 0.25),
        (2, 0.0),
        (4, 0.0),
    ]


def test_negative_cosines_scale_like_others():
    assert fused([(1, 0.2), (2, -0.2), (3, -0.6)], [(2, 1.0)], share=0.5) == [(2, 0.75), (1, 0.5), (3, 0.0)]


def test_a_list_of_equal_scores_counts_in_full():
    assert fused([(1, 0.3), (2, 0.3)], [(2, 4.0)], share=0.5) == [(2, 1.0), (1, 0.5)]


def test_an_empty_lexical_list_leaves_the_dense_order():
    assert [row for row, _ in fused([(4, 0.9), (2, 0.8), (8, 0.1)], [(-1, NOTHING)])] == [4, 2, 8]


def test_two_empty_lists_find_nothing():
    assert fused([(-1, NOTHING)], [(-1, NOTHING)]) == []


def test_ties_go_to_the_lower_row():
    assert [row for row, _ in fused([(9, 0.5), (4, 0.5)], [(7, 1.0), (2, 1.0)], share=0.5)] == [2, 4, 7, 9]


def test_only_the_k_best_are_kept():
    assert fused([(7, 0.9), (3, 0.7), (5, 0.5)], [(3, 12.0)], k=1, share=0.4) == [(3, pytest.approx(0.8))]


def test_queries_do_not_touch_each_other():
    dense = ranking([(1, 0.9), (2, 0.1)], [(5, 0.4)])
    lexical = ranking([(2, 3.0)], [(6, 9.0), (5, 1.0)])
    result = fuse(dense, lexical, 3, 0.5)
    # First: 1 gets 0.5 and 2 gets 0.5, the lower row first. Second: 5 alone in dense 0.5, 6 the best in BM25.
    assert result.rows.tolist() == [[1, 2, -1], [5, 6, -1]]
    assert result.scores[:, :2].tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_no_queries_give_no_rows():
    empty = Ranking(np.empty((0, 4), np.float32), np.empty((0, 4), np.int64))
    assert fuse(empty, empty, 3, 0.5).rows.shape == (0, 3)


def test_merged_documents_are_those_of_both_rankings_by_row():
    dense, lexical = ranking([(7, 0.9), (0, 0.5)]), ranking([(3, 4.0), (7, 2.0), (-1, NOTHING)])
    found = merged(dense, lexical, 3, 0.5)
    assert found.rows.tolist() == [0, 3, 7]
    assert found.others.tolist() == [False, True, False]
    assert found.cosines[~found.others] == pytest.approx([0.5, 0.9])
    assert found.dense_ranks.tolist() == [1, 2, 0]
    assert found.lexical_ranks.tolist() == [3, 0, 1]


@pytest.mark.parametrize(("most", "share", "kept"), [(2, 0.75, [3, 7]), (1, 0.5, [3]), (1, 0.75, [7])])
def test_of_too_many_those_are_merged_that_fusion_ranks_first(most, share, kept):
    dense, lexical = ranking([(7, 0.9), (0, 0.5)]), ranking([(3, 4.0), (7, 2.0)])
    found = merged(dense, lexical, most, share)
    assert found.rows.tolist() == kept
    assert found.dense_ranks.tolist() == [{7: 0, 0: 1, 3: 2}[row] for row in kept]
    assert found.lexical_ranks.tolist() == [{3: 0, 7: 1, 0: 2}[row] for row in kept]


LISTS = st.lists(
    st.tuples(st.integers(0, 12), st.floats(-1, 1, width=32)), max_size=8, unique_by=lambda pair: pair[0]
).map(lambda found: sorted(found, key=lambda pair: -pair[1]))


@given(LISTS, LISTS, st.floats(0, 1))
def test_fusion_equals_a_plain_sum_over_documents(dense, lexical, share):
    expected: dict[int, float] = {}
    for found, weight in ((dense, share), (lexical, 1 - share)):
        if found:
            worst, best = np.float32(found[-1][1]), np.float32(found[0][1])
        for row, score in found:
            scaled = (np.float32(score) - worst) / float(best - worst) if best > worst else 1.0
            expected[row] = expected.get(row, 0.0) + weight * float(scaled)
    got = fused(dense or [(-1, NOTHING)], lexical or [(-1, NOTHING)], k=20, share=share)
    assert dict(got) == pytest.approx(expected, abs=1e-6)
    assert [score for _, score in got] == sorted((score for _, score in got), reverse=True)
