import math
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from index.disk import merged_texts
from index.errors import CorruptError
from index.lexical import bm25 as bm25_module
from index.lexical import postings
from index.lexical.bm25 import ARRAYS, K1, B, Bm25, Terms, weigh
from index.lexical.postings import Lengths, write_bm25
from index.lexical.tokens import lexical_tokens
from index.ranking import Ranking

TEXTS = ["apple pie apple", "banana split", "apple banana cherry cherry", "", "苹果馅饼 recipe"]


@pytest.fixture
def lexical(tmp_path: Path) -> Bm25:
    write_bm25(tmp_path / "lexical", TEXTS)
    return Bm25(tmp_path / "lexical", len(TEXTS))


def search(bm25: Bm25, queries: list[str], k: int, allowed: np.ndarray | None = None) -> Ranking:
    return bm25.search([weigh([bm25], query).by_segment[0] for query in queries], k, allowed)


def scores_of(bm25: Bm25, query: str) -> list[float]:
    """By row; 0 where nothing was found."""
    ranking = search(bm25, [query], bm25.count)
    scores = [0.0] * bm25.count
    for row, score in zip(ranking.rows[0], ranking.scores[0], strict=True):
        if row >= 0:
            scores[row] = float(score)
    return scores


def by_formula(query: list[str], texts: list[str]) -> list[float]:
    """Lucene's BM25 as written down, document by document, in float64."""
    documents = [lexical_tokens(text) for text in texts]
    average = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        score = 0.0
        for term in query:
            df = sum(term in other for other in documents)
            tf = document.count(term)
            idf = math.log(1 + (len(documents) - df + 0.5) / (df + 0.5))
            score += idf * tf / (tf + K1 * (1 - B + B * len(document) / average))
        scores.append(score)
    return scores


def test_scores_are_those_of_the_formula(lexical: Bm25):
    assert scores_of(lexical, "apple cherry") == pytest.approx(
        by_formula(["appl", "cherri"], TEXTS), rel=1e-5
    )


def test_parts_of_single_rows_add_up_to_the_scores(lexical: Bm25):
    (terms,) = weigh([lexical], "cherry apple missing").by_segment
    rows = np.array([4, 2, 0, 2])
    parts = lexical.parts(terms, rows)
    assert parts.shape == (2, 4)  # of the terms that a document has
    scores = np.array([term.weight for term in terms]) @ parts
    expected = by_formula(["appl", "cherri"], TEXTS)
    assert scores.tolist() == pytest.approx([expected[row] for row in rows], rel=1e-5)
    assert lexical.parts([], rows).shape == (0, 4)
    assert lexical.parts(terms, np.array([], np.int64)).shape == (2, 0)


@pytest.mark.parametrize("compiled", [False, True])
def test_matches_of_single_rows_are_their_scores_and_weights(lexical: Bm25, compiled: bool):
    if compiled:
        lexical.compile()
    (terms,) = weigh([lexical], "cherry apple missing").by_segment
    rows = np.array([4, 2, 0, 2, 1])
    scores, shares = lexical.match(terms, rows)
    expected = by_formula(["appl", "cherri"], TEXTS)
    assert scores.tolist() == pytest.approx([expected[row] for row in rows], rel=1e-5)
    cherry, apple = (term.weight for term in terms)
    assert shares.tolist() == pytest.approx([0, cherry + apple, apple, cherry + apple, 0], rel=1e-6)
    assert [part.tolist() for part in lexical.match(Terms(), rows)] == [[0] * 5] * 2
    assert [part.shape for part in lexical.match(terms, np.array([], np.int64))] == [(0,)] * 2


@pytest.mark.parametrize("ascending", [False, True])
def test_compiled_loop_matches_as_numpy_does(tmp_path: Path, ascending: bool):
    texts = random_texts(2000)
    write_bm25(tmp_path / "lexical", texts)
    plain, compiled = (Bm25(tmp_path / "lexical", len(texts)) for _ in range(2))
    compiled.compile()
    for seed, query in enumerate(random_queries(40)):
        rows = np.random.default_rng(seed).permutation(len(texts))[: 1 + 3 * seed]
        rows = np.sort(rows) if ascending else rows
        (terms,) = weigh([plain], query).by_segment
        for expected, found in zip(plain.match(terms, rows), compiled.match(terms, rows), strict=True):
            assert (found.shape, found.dtype) == (expected.shape, np.float32)
            np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_compiled_loop_finds_its_way_through_postings_in_disorder(tmp_path: Path):
    write_bm25(tmp_path / "lexical", random_texts(500))
    path = tmp_path / "lexical" / "rows.i32"
    count = path.stat().st_size // 4
    path.write_bytes(np.random.default_rng(0).integers(-(2**31), 2**31, count).astype("<i4").tobytes())
    bm25 = Bm25(tmp_path / "lexical", 500)
    bm25.compile()
    for query in random_queries(20):
        scores, shares = bm25.match(weigh([bm25], query).by_segment[0], np.arange(500))
        assert np.isfinite(scores).all()
        assert np.isfinite(shares).all()


def test_what_the_words_of_a_query_weigh(lexical: Bm25):
    weighed = weigh([lexical], "apple apple banana missing lost")
    idf = {df: math.log(1 + (len(TEXTS) - df + 0.5) / (df + 0.5)) for df in (0, 2)}
    assert weighed.weight == pytest.approx(2 * idf[2] + idf[2] + 2 * idf[0])
    assert weighed.words == 4
    assert [len(terms) for terms in weighed.by_segment] == [2]


@pytest.mark.parametrize("at", [0, 1, 63, 64, 65, 150, 400, 998, 999, None])
def test_a_term_is_known_if_any_document_that_is_not_deleted_has_it(tmp_path: Path, at: int | None):
    write_bm25(tmp_path / "lexical", ["fig", *["plum"] * 1000, "banana"])
    segment, live = Bm25(tmp_path / "lexical", 1002), np.zeros(1002, bool)
    live[[0, 1001]] = True  # which have other terms
    if at is not None:
        live[1 + at] = True
    asked = "plum banana durian"
    assert weigh([segment], asked, [live]).unknown == (("plum", "durian") if at is None else ("durian",))
    other = Bm25(tmp_path / "lexical", 1002)
    assert weigh([segment, other], asked, [live, None]).unknown == ("durian",)
    assert weigh([segment], asked).unknown == ("durian",)


def test_repeated_query_term_counts_each_time(lexical: Bm25):
    assert scores_of(lexical, "apple apple") == pytest.approx(by_formula(["appl", "appl"], TEXTS), rel=1e-5)


def random_texts(count: int, words: int = 200) -> list[str]:
    """Words as frequent as words are: the nth about 1/n as often as the first."""
    generator = np.random.default_rng(0)
    shares = 1 / np.arange(1, words + 1)
    vocabulary = [f"w{i}" for i in range(words)]
    return [
        " ".join(generator.choice(vocabulary, generator.integers(1, 40), p=shares / shares.sum()))
        for _ in range(count)
    ]


def random_queries(count: int, words: int = 200) -> list[str]:
    generator = np.random.default_rng(1)
    return [" ".join(f"w{i}" for i in generator.choice(words, 6, replace=False)) for _ in range(count)]


@pytest.mark.parametrize("at_once", [50, 4_000_000])
def test_scores_and_order_equal_those_of_bm25s(tmp_path: Path, at_once: int, monkeypatch: pytest.MonkeyPatch):
    import bm25s

    monkeypatch.setattr(postings, "_TOKENS_AT_ONCE", at_once)
    texts = random_texts(500)
    write_bm25(tmp_path / "lexical", texts)
    ours = Bm25(tmp_path / "lexical", len(texts))
    theirs = bm25s.BM25(k1=K1, b=B, method="lucene")
    theirs.index([lexical_tokens(text) for text in texts], show_progress=False)
    for query in random_queries(50):
        assert scores_of(ours, query) == pytest.approx(theirs.get_scores(lexical_tokens(query)), rel=1e-5)
        found = theirs.retrieve([lexical_tokens(query)], k=10, show_progress=False)
        assert search(ours, [query], 10).scores == pytest.approx(found.scores, rel=1e-5)


@pytest.mark.parametrize("at_once", [1, 50, 999])
def test_texts_are_written_in_blocks_as_they_are_at_once(
    tmp_path: Path, at_once: int, monkeypatch: pytest.MonkeyPatch
):
    texts = ["", *random_texts(100, words=900), "?!"]
    write_bm25(tmp_path / "whole", texts, Lengths(3, 100))
    monkeypatch.setattr(postings, "_TOKENS_AT_ONCE", at_once)
    monkeypatch.setattr(merged_texts, "_MERGED_AT_ONCE", 64)
    write_bm25(tmp_path / "blocks", texts, Lengths(3, 100))
    assert sorted(path.name for path in (tmp_path / "blocks").iterdir()) == sorted(ARRAYS)
    for name in ARRAYS:
        assert (tmp_path / "blocks" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    expected = sorted({term for text in texts for term in lexical_tokens(text)})
    assert (tmp_path / "blocks" / "terms.utf8").read_text() == "".join(expected)


@pytest.mark.parametrize("k", [1, 3, 10, 100])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.01])
def test_documents_passed_over_are_never_among_the_best(
    tmp_path: Path, k: int, share: float, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bm25_module, "_FEW_DOCUMENTS", 0)
    texts = random_texts(2000)
    write_bm25(tmp_path / "lexical", texts)
    bm25 = Bm25(tmp_path / "lexical", len(texts))
    allowed = np.random.default_rng(2).random(len(texts)) < share
    for query in random_queries(40):
        every = np.where(allowed, scores_of(bm25, query), 0)
        expected = np.sort(every[every > 0])[::-1][:k]
        found = search(bm25, [query], k, allowed)
        assert found.scores[0, : len(expected)] == pytest.approx(expected, rel=1e-5)
        assert np.all(found.rows[0, len(expected) :] == -1)
        assert np.all(allowed[found.rows[0, : len(expected)]])


@pytest.mark.parametrize("k", [1, 10, 2000])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.01])
def test_small_segment_ranks_as_a_large_one(
    tmp_path: Path, k: int, share: float, monkeypatch: pytest.MonkeyPatch
):
    texts = random_texts(2000)
    write_bm25(tmp_path / "lexical", texts)
    bm25 = Bm25(tmp_path / "lexical", len(texts))
    allowed = np.random.default_rng(2).random(len(texts)) < share if share < 1 else None
    queries = random_queries(40)
    small = search(bm25, queries, k, allowed)
    monkeypatch.setattr(bm25_module, "_FEW_DOCUMENTS", 0)
    large = search(bm25, queries, k, allowed)
    assert np.array_equal(small.rows, large.rows)
    assert np.array_equal(small.scores, large.scores)


@pytest.mark.parametrize("window", [7, 200, 1 << 14])
@pytest.mark.parametrize("k", [1, 10, 200, 3000])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.01])
def test_compiled_loop_ranks_as_numpy_does_to_the_last_bit(tmp_path: Path, k: int, share: float, window: int):
    texts = random_texts(2000) + ["same words w3"] * 300  # equal scores
    write_bm25(tmp_path / "lexical", texts)
    bm25 = Bm25(tmp_path / "lexical", len(texts))
    allowed = np.random.default_rng(2).random(len(texts)) < share if share < 1 else None
    queries = [*random_queries(40), "same w3", "zebra", "w1 w1 w2"]
    plain = search(bm25, queries, k, allowed)
    bm25.compile()
    bm25._compiled = partial(bm25._compiled, window=window)
    compiled = search(bm25, queries, k, allowed)
    assert np.array_equal(plain.rows, compiled.rows)
    assert np.array_equal(plain.scores, compiled.scores)


def test_without_numba_numpy_adds_the_postings(lexical: Bm25, monkeypatch: pytest.MonkeyPatch):
    expected = scores_of(lexical, "apple banana")
    monkeypatch.setitem(sys.modules, "index.lexical.compiled", None)  # its import fails
    lexical.compile()
    assert lexical._compiled is None
    assert scores_of(lexical, "apple banana") == expected


def test_terms_are_found_again_after_many_others(lexical: Bm25, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bm25_module, "_KNOWN_TERMS", 2)
    for _ in range(2):
        rows = [search(lexical, [word], 1).rows[0, 0] for word in ("apple", "banana", "zebra", "馅饼")]
        assert rows == [0, 1, -1, 4]


def test_segments_score_as_if_they_were_one(tmp_path: Path):
    texts = random_texts(300)
    write_bm25(tmp_path / "whole", texts)
    whole = Bm25(tmp_path / "whole", 300)
    total = write_bm25(tmp_path / "unused", texts)
    parts = []
    for name, some in (("first", texts[:250]), ("second", texts[250:])):
        own = write_bm25(tmp_path / f"{name}-alone", some)
        rest = Lengths(total.documents - own.documents, total.tokens - own.tokens)
        assert write_bm25(tmp_path / name, some, rest) == own
        parts.append(Bm25(tmp_path / name, len(some)))
    for query in random_queries(20):
        first, second = (
            part.search([terms], part.count)
            for part, terms in zip(parts, weigh(parts, query).by_segment, strict=True)
        )
        found = {
            int(row): score for row, score in zip(first.rows[0], first.scores[0], strict=True) if row >= 0
        }
        found |= {
            int(row) + 250: score
            for row, score in zip(second.rows[0], second.scores[0], strict=True)
            if row >= 0
        }
        expected = {row: score for row, score in enumerate(scores_of(whole, query)) if score}
        assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
def test_search_that_fails_leaves_no_trace_in_the_next(tmp_path: Path, compiled: bool):
    write_bm25(tmp_path / "lexical", TEXTS)
    bm25 = Bm25(tmp_path / "lexical", len(TEXTS))
    if compiled:
        bm25.compile()
    expected = scores_of(bm25, "apple banana")
    terms = weigh([bm25], "apple banana").by_segment[0]
    with pytest.raises(CorruptError):
        bm25.search([terms], 3, np.ones(1, bool))  # a mask of another size, as a damaged row would be
    assert scores_of(bm25, "apple banana") == expected


def test_only_documents_with_a_term_are_found(lexical: Bm25):
    ranking = search(lexical, ["banana", "zebra", ""], 5)
    assert ranking.rows[0].tolist() == [1, 2, -1, -1, -1]
    assert ranking.rows[1:].tolist() == [[-1] * 5] * 2
    assert np.all(ranking.scores[1:] == -np.inf)


def test_chinese_is_found_by_pairs_of_characters(lexical: Bm25):
    assert search(lexical, ["馅饼"], 1).rows.tolist() == [[4]]


def test_equal_scores_come_in_the_order_of_rows(tmp_path: Path):
    write_bm25(tmp_path / "lexical", ["same words"] * 20)
    assert search(Bm25(tmp_path / "lexical", 20), ["same"], 3).rows.tolist() == [[0, 1, 2]]


def test_corpus_without_any_word_is_searched_in_vain(tmp_path: Path):
    write_bm25(tmp_path / "lexical", ["", "?!"])
    assert search(Bm25(tmp_path / "lexical", 2), ["apple"], 2).rows.tolist() == [[-1, -1]]


def test_query_that_utf8_cannot_spell_finds_nothing(lexical: Bm25):
    assert search(lexical, ["\ud800apple"], 1).rows.tolist() == [[0]]
    assert search(lexical, ["\ud800"], 1).rows.tolist() == [[-1]]


def test_threads_search_alike(lexical: Bm25):
    expected = search(lexical, ["apple cherries recipes"], 3)
    found: list[bool] = []

    def look() -> None:
        found.extend(
            np.array_equal(search(lexical, ["apple cherries recipes"], 3).rows, expected.rows)
            for _ in range(50)
        )

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 200


def test_threads_that_search_in_turn_share_one_array_of_sums(lexical: Bm25, monkeypatch: pytest.MonkeyPatch):
    made: list[object] = []
    zeros = np.zeros

    def counted(shape: object, *rest: object) -> object:
        made.extend([shape] if shape == lexical.count else [])
        return zeros(shape, *rest)

    monkeypatch.setattr(np, "zeros", counted)
    for _ in range(5):
        thread = threading.Thread(target=search, args=(lexical, ["apple"], 3))
        thread.start()
        thread.join()
    assert len(made) == 1


@pytest.mark.parametrize("name", ["weights.f32", "rows.i32", "starts.i64", "terms.utf8", "term_starts.i64"])
@pytest.mark.parametrize("more", [b"", b"12345678", b"1"])
def test_file_that_does_not_fit_the_others_is_refused(tmp_path: Path, name: str, more: bytes):
    write_bm25(tmp_path / "lexical", TEXTS)
    path = tmp_path / "lexical" / name
    path.write_bytes(path.read_bytes() + more if more else b"")
    with pytest.raises(CorruptError):
        Bm25(tmp_path / "lexical", len(TEXTS))


def test_missing_file_is_named(tmp_path: Path):
    write_bm25(tmp_path / "lexical", TEXTS)
    (tmp_path / "lexical" / "rows.i32").unlink()
    with pytest.raises(CorruptError, match=r"rows\.i32: cannot be read"):
        Bm25(tmp_path / "lexical", len(TEXTS))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("row", [99, len(TEXTS), -99, 2**31 - 1, -(2**31)])
def test_row_beyond_the_corpus_is_corruption(tmp_path: Path, row: int, compiled: bool):
    write_bm25(tmp_path / "lexical", TEXTS)
    path = tmp_path / "lexical" / "rows.i32"
    path.write_bytes(np.full(path.stat().st_size // 4, row, "<i4").tobytes())
    bm25 = Bm25(tmp_path / "lexical", len(TEXTS))
    if compiled:
        bm25.compile()
    with pytest.raises(CorruptError, match="damaged"):
        search(bm25, ["apple"], 1)


@pytest.mark.parametrize("rows", [[2, 0], [0, 0, 2, 1], [-1, 3], [0, 5], [4, 3, 2, 1, 0]])
@pytest.mark.parametrize("window", [1, 2, 64])
def test_compiled_loop_never_leaves_its_window(rows: list[int], window: int):
    compiled = pytest.importorskip("index.lexical.compiled")
    postings = np.array(rows, np.int32), np.full(len(rows), 0.5, np.float32)
    terms, weights = np.array([[0, len(rows)]]), np.ones(1, np.float32)
    try:
        found, scores = compiled.compiled_best(postings, terms, weights, 5, 5, None, window)
    except ValueError:
        return
    # Rows in disorder within a window are added up as numpy does.
    assert sorted(found.tolist()) == sorted(set(rows))
    assert scores.sum() == 0.5 * len(rows)


@pytest.mark.parametrize("part", [np.nan, np.inf, 3e38])
def test_compiled_loop_refuses_sums_that_are_not_finite(tmp_path: Path, part: float):
    write_bm25(tmp_path / "lexical", TEXTS)
    path = tmp_path / "lexical" / "weights.f32"
    path.write_bytes(np.full(path.stat().st_size // 4, part, "<f4").tobytes())
    bm25 = Bm25(tmp_path / "lexical", len(TEXTS))
    bm25.compile()
    with pytest.raises(CorruptError, match="damaged"):
        search(bm25, ["apple apple cherry"], 1)


def test_reading_imports_neither_bm25s_nor_scipy_nor_faiss(tmp_path: Path):
    write_bm25(tmp_path / "lexical", TEXTS)
    script = (
        "import sys; from pathlib import Path; import index.reader;"
        "from index.lexical.bm25 import Bm25, weigh;"
        f"bm25 = Bm25(Path({str(tmp_path / 'lexical')!r}), {len(TEXTS)});"
        "bm25.search(weigh([bm25], 'apple').by_segment, 2);"
        "print(sorted({'bm25s', 'scipy', 'faiss', 'torch', 'retrieval'} & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
