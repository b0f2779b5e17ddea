"""Servers with and without numba, as `benchmarks.compiled` starts them."""

from __future__ import annotations

from benchmarks.compiled import MODES, compare

QUERIES = ["copy a folder", "extract archive", "启动服务"]


def test_servers_with_and_without_numba_find_the_same(made):
    figures = compare(made.index, QUERIES)
    for mode in MODES:
        assert figures[mode]["same_order"] == "3 of 3"
        assert figures[mode]["largest_score_difference"] <= 2e-6
        assert all(median > 0 for median in figures[mode]["p50_ms"])
    (plain, _), (compiled, _) = figures["own_and_file_mb"]
    assert compiled > plain  # numba is in memory
