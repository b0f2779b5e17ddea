import math
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from index.errors import CorruptError
from index.lexical import K1, B, Bm25, lexical_tokens, write_bm25

TEXTS = ["apple pie apple", "banana split", "apple banana cherry cherry", "", "苹果馅饼 recipe"]


@pytest.fixture
def lexical(tmp_path: Path) -> Bm25:
    write_bm25(tmp_path / "lexical", TEXTS)
    return Bm25(tmp_path / "lexical", len(TEXTS))


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
    assert lexical.scores("apple cherry") == pytest.approx(by_formula(["appl", "cherri"], TEXTS), rel=1e-5)


def test_repeated_query_term_counts_each_time(lexical: Bm25):
    assert lexical.scores("apple apple") == pytest.approx(by_formula(["appl", "appl"], TEXTS), rel=1e-5)


def test_scores_equal_those_of_bm25s_bit_for_bit(tmp_path: Path):
    import bm25s

    generator = np.random.default_rng(0)
    words = [f"w{i}" for i in range(200)]
    texts = [" ".join(generator.choice(words, generator.integers(1, 40))) for _ in range(500)]
    write_bm25(tmp_path / "lexical", texts)
    ours = Bm25(tmp_path / "lexical", len(texts))
    theirs = bm25s.BM25(k1=K1, b=B, method="lucene")
    theirs.index([lexical_tokens(text) for text in texts], show_progress=False)
    for _ in range(50):
        query = list(dict.fromkeys(generator.choice(words, 6).tolist()))
        expected = theirs.get_scores(lexical_tokens(" ".join(query)))
        assert np.array_equal(ours.scores(" ".join(query)), expected)
        found = theirs.retrieve([lexical_tokens(" ".join(query))], k=10, show_progress=False)
        assert np.array_equal(ours.search([" ".join(query)], 10).scores, found.scores)


def test_only_documents_with_a_term_are_found(lexical: Bm25):
    ranking = lexical.search(["banana", "zebra", ""], 5)
    assert ranking.rows[0].tolist() == [1, 2, -1, -1, -1]
    assert ranking.rows[1:].tolist() == [[-1] * 5] * 2
    assert np.all(ranking.scores[1:] == -np.inf)


def test_chinese_is_found_by_pairs_of_characters(lexical: Bm25):
    assert lexical.search(["馅饼"], 1).rows.tolist() == [[4]]


def test_equal_scores_come_in_the_order_of_rows(tmp_path: Path):
    write_bm25(tmp_path / "lexical", ["same words"] * 20)
    assert Bm25(tmp_path / "lexical", 20).search(["same"], 3).rows.tolist() == [[0, 1, 2]]


def test_corpus_without_any_word_is_searched_in_vain(tmp_path: Path):
    write_bm25(tmp_path / "lexical", ["", "?!"])
    assert Bm25(tmp_path / "lexical", 2).search(["apple"], 2).rows.tolist() == [[-1, -1]]


def test_query_that_utf8_cannot_spell_finds_nothing(lexical: Bm25):
    assert lexical.search(["\ud800apple"], 1).rows.tolist() == [[0]]
    assert lexical.search(["\ud800"], 1).rows.tolist() == [[-1]]


def test_threads_search_alike(lexical: Bm25):
    expected = lexical.search(["apple cherries recipes"], 3)
    found: list[bool] = []

    def search() -> None:
        found.extend(
            np.array_equal(lexical.search(["apple cherries recipes"], 3).rows, expected.rows)
            for _ in range(50)
        )

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 200


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


def test_row_beyond_the_corpus_is_corruption(tmp_path: Path):
    write_bm25(tmp_path / "lexical", TEXTS)
    path = tmp_path / "lexical" / "rows.i32"
    path.write_bytes(np.full(path.stat().st_size // 4, 99, "<i4").tobytes())
    with pytest.raises(CorruptError, match="damaged"):
        Bm25(tmp_path / "lexical", len(TEXTS)).search(["apple"], 1)


def test_reading_imports_neither_bm25s_nor_scipy_nor_faiss(tmp_path: Path):
    write_bm25(tmp_path / "lexical", TEXTS)
    script = (
        "import sys; from pathlib import Path; import index.reader; from index.lexical import Bm25;"
        f"Bm25(Path({str(tmp_path / 'lexical')!r}), {len(TEXTS)}).search(['apple'], 2);"
        "print(sorted({'bm25s', 'scipy', 'faiss', 'torch', 'retrieval'} & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
