"""What is trained on, what chooses and what judges; no query does two of these."""

from __future__ import annotations

from pathlib import Path

import pytest
from clicked_world import World, people

from index.documents.store import Document
from index.reader import Index
from retrieval.data.clicks.log import query_key
from retrieval.data.dataset import open_dataset
from retrieval.learning.pairs import Judged, LearningData, read_learning_data


@pytest.fixture
def documents(world: World) -> list[Document]:
    with Index.open(world.index) as index:
        return list(index.live_documents())


@pytest.fixture
def log(world: World, tmp_path: Path) -> Path:
    return world.record(tmp_path / "clicks.jsonl", people)


def texts(part: Judged | None) -> set[str]:
    return set() if part is None else {query_key(part.queries[query]) for query in part.qrels}


def uses(learning: LearningData) -> list[set[str]]:
    """The texts that are trained on, choose, and judge."""
    training = learning.training
    return [
        texts(Judged(training.queries, training.train)),
        texts(Judged(training.queries, training.dev)),
        texts(learning.held_out) | texts(learning.dev) | set(learning.clicked.queries.values()),
    ]


def test_clicked_queries_are_divided(world: World, documents: list[Document], log: Path):
    learning = read_learning_data(log, documents, None, 3)
    train, choose, judge = uses(learning)
    assert not train & choose | train & judge | choose & judge
    assert len(train) > 5 * len(judge) > 0
    assert train | choose | judge <= set(world.relevant)
    right = [
        learning.held_out.qrels[query].keys() == {world.relevant[learning.held_out.queries[query]]}
        for query in learning.held_out.qrels
    ]
    assert sum(right) > 0.9 * len(right)
    assert set(learning.held_out.qrels) <= set(learning.clicked.queries)
    assert learning.counts.held_out_queries == len(judge)


def test_clicks_on_documents_that_are_gone_are_passed_over(documents: list[Document], log: Path):
    learning = read_learning_data(log, documents[1:], None, 3)
    assert learning.counts.rows_passed_over > 0
    assert all("d0" not in grades for grades in learning.training.train.values())


def test_a_data_set_joins_and_lends_no_query_that_judges(
    world: World, documents: list[Document], log: Path, write_beir, tmp_path: Path
):
    """Its training queries are all of the log in capitals, its dev queries half of them and others."""
    queries = {f"t{n}": query.upper() for n, query in enumerate(world.relevant)}
    queries |= {f"v{n}": f"{query}!" for n, query in enumerate(world.relevant)}
    train = {f"t{n}": {document: 1, "unknown": 1} for n, document in enumerate(world.relevant.values())}
    dev = {f"v{n}": {document: 1} for n, document in enumerate(world.relevant.values())}
    dev |= {f"t{n}": train[f"t{n}"] for n in range(0, len(train), 2)}
    dev["v0"] = {"unknown": 1}
    data = open_dataset(write_beir(tmp_path / "joined", {"d0": ""}, queries, {"train": train, "dev": dev}))
    alone, learning = (read_learning_data(log, documents, each, 3) for each in (None, data))
    trained, choose, judge = uses(learning)
    assert not trained & judge | choose & judge
    assert set(alone.clicked.queries.values()) <= judge
    assert trained > uses(alone)[0] - judge
    assert learning.counts.judgements_passed_over == len(train) + len(train) // 2 + 1
    assert learning.dev is not None
    assert 0.3 < len(learning.dev) / len(dev) < 0.7
    assert learning.fingerprint() != alone.fingerprint()
    assert learning.fingerprint() == read_learning_data(log, documents, data, 3).fingerprint()
