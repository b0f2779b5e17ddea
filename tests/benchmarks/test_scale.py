"""What `benchmarks.scale.search` says of an index whose documents have several passages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.scale import search
from cli import verbs
from retrieval.search.retriever import Retriever
from retrieval.serving.engine import KEPT_BYTES

WORDS = ["list", "copy", "unpack", "start", "wait", "turn", "multiply", "send", "remove", "print", "sort"]
QUERIES = [f"{first} {second}" for first, second in zip(WORDS, WORDS[3:], strict=False)]


@pytest.fixture(scope="module")
def split(made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty documents, of which every third has some ten passages."""
    folder = tmp_path_factory.mktemp("split")
    lines = []
    for number in range(30):
        start = [WORDS[(number + step) % len(WORDS)] for step in range(5)]
        text = " ".join(f"{word} {number}" for word in start)
        if number % 3 == 0:
            text = " ".join(f"{text} {WORDS[step % len(WORDS)]} page {step}." for step in range(80))
        lines.append(json.dumps({"_id": f"d{number}", "text": text}) + "\n")
    (folder / "corpus.jsonl").write_text("".join(lines))
    arguments = ["build", folder / "corpus.jsonl", "-m", made.model, "-o", folder / "index"]
    result = CliRunner().invoke(verbs, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return folder / "index"


def test_exact_search_of_split_documents_has_all_of_the_recall(split: Path):
    with Retriever.open(split) as retriever:
        assert len(retriever.index.vector_numbers()) > 2 * retriever.index.count
        assert search.recall(retriever, QUERIES) == 1.0


def test_an_index_is_measured_as_a_server_has_it(split: Path, monkeypatch: pytest.MonkeyPatch):
    opened: list[Retriever] = []
    real = Retriever.open
    monkeypatch.setattr(
        Retriever, "open", lambda *args, **more: opened.append(real(*args, **more)) or opened[-1]
    )
    found = search.measure(split, QUERIES, None, exact=4, timed=6)
    assert opened[0]._kept_bytes == KEPT_BYTES
    assert found["recall@10"] == 1.0
    assert found["queries"] == {"recall": 4, "timed": 6}
    assert all(rate > 0 for rates in found["queries_per_s"].values() for rate in rates.values())


@pytest.mark.parametrize("threads", [1, 2])
def test_every_query_is_asked_once_whatever_the_threads(threads: int):
    asked: list[str] = []

    class Asked:
        def search(self, query: str, k: int, mode: str) -> None:
            asked.append(query)

    assert search.rate(Asked(), QUERIES, "dense", threads) > 0  # type: ignore[arg-type]
    assert sorted(asked) == sorted(QUERIES)
