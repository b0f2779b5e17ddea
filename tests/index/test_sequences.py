"""Random courses of changes, each answer held against a dict of what the index should hold.

A step adds, replaces, deletes here and there, deletes all that lie close together, or compacts. After it
every mode is asked. The oracle keeps documents and vectors in a dict, ranks by comparing with all of them,
and has a BM25 formula of its own; of the index it only asks which documents were written together.
"""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from fruit_corpus import WORDS

from index.dense import tuning
from index.dense.passages import Span
from index.dense.tuning import Goal, part_counts
from index.disk.manifest import SegmentEntry
from index.documents.filtering.parse import parse_where
from index.documents.store import Document
from index.lexical.bm25 import K1, B
from index.ranking import Ranking
from index.reader import Index
from index.writing.builder import IndexBuilder
from index.writing.compact import compact
from index.writing.delete import delete
from retrieval.search.fusion import fuse

DIMENSION = 16
TOPICS = 12
STEPS = 3
ROUNDING = 1e-5
GOAL = 0.9

Step = Callable[[Path, "Oracle", np.random.Generator], None]


@dataclass
class Written:
    """Documents that were written together: how often each has each word, and the average length that day."""

    times: list[Counter[str]]
    average: float

    @property
    def words(self) -> int:
        return sum(one.total() for one in self.times)


@dataclass
class Oracle:
    documents: dict[str, Document] = field(default_factory=dict)
    vectors: dict[str, np.ndarray] = field(default_factory=dict)  # of the passages
    segments: dict[str, Written] = field(default_factory=dict)
    places: dict[str, tuple[str, int]] = field(default_factory=dict)  # segment and row in it
    written: int = 0
    most_passages: int = 1  # of a document

    def copy(self) -> Oracle:
        parts = (self.documents, self.vectors, self.segments, self.places)
        return Oracle(*map(dict, parts), self.written, self.most_passages)

    def put(self, documents: list[Document], vectors: np.ndarray, spans: list[list[Span]]) -> None:
        self.documents |= {one.id: one for one in documents}
        stored = vectors.astype(np.float16).astype(np.float32)
        parts = np.split(stored, np.cumsum([len(each) for each in spans])[:-1])
        self.vectors |= {one.id: part for one, part in zip(documents, parts, strict=True)}

    def drop(self, names: list[str]) -> None:
        for name in names:
            del self.documents[name], self.vectors[name]

    def look(self, index: Index) -> None:
        """Which documents lie in which segment; those of a new one are all alive."""
        kept = {entry.name: self.segments.get(entry.name) for entry in index.manifest.segments}
        self.places, start = {}, 0
        for segment in index.segments:
            rows = [start + row for row in range(segment.count) if segment.live is None or segment.live[row]]
            ids = [one.id for one in index.documents(rows)]
            self.places |= {
                name: (segment.entry.name, row - start) for name, row in zip(ids, rows, strict=True)
            }
            if kept[segment.entry.name] is None:
                kept[segment.entry.name] = self._written(
                    segment.entry, ids, [one for one in kept.values() if one]
                )
            start += segment.count
        self.segments = {name: one for name, one in kept.items() if one}

    def _written(self, entry: SegmentEntry, ids: list[str], others: list[Written]) -> Written:
        assert entry.deleted == 0
        times = [Counter(f"{one.title} {one.text}".split()) for one in map(self.documents.__getitem__, ids)]
        everything = [*others, Written(times, 0)]
        words, count = sum(one.words for one in everything), sum(len(one.times) for one in everything)
        return Written(times, words / count)

    def bm25(self, query: str) -> dict[str, float]:
        """The score of each live document that has a word of the query."""
        every = [times for one in self.segments.values() for times in one.times]
        scores = dict.fromkeys(self.documents, 0.0)
        for word, asked in Counter(query.split()).items():
            df = sum(word in times for times in every)
            idf = math.log(1 + (len(every) - df + 0.5) / (df + 0.5))
            for name, (segment, row) in self.places.items():
                times, average = self.segments[segment].times[row], self.segments[segment].average
                length = K1 * (1 - B + B * times.total() / average)
                scores[name] += asked * idf * times[word] / (times[word] + length)
        return {name: score for name, score in scores.items() if score > 0}

    def cosines(self, query: np.ndarray) -> dict[str, float]:
        return {name: float((vectors @ query).max()) for name, vectors in self.vectors.items()}


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


CENTRES = np.random.default_rng(1).standard_normal((TOPICS, DIMENSION))


def about(topics: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A vector near the centre of each topic."""
    return unit(CENTRES[topics] + 1.2 * generator.standard_normal((len(topics), DIMENSION)))


def made(
    numbers: np.ndarray, oracle: Oracle, generator: np.random.Generator
) -> tuple[list[Document], np.ndarray, list[list[Span]]]:
    """New documents of these numbers, with the vectors and the spans of their passages."""
    topics = generator.integers(0, TOPICS, len(numbers))
    documents = []
    for number, topic in zip(numbers.tolist(), topics.tolist(), strict=True):
        oracle.written += 1
        words = " ".join(generator.choice(WORDS, generator.integers(1, 6)))
        text = f"{words} topic{topic} written{oracle.written}"
        documents.append(Document(f"d{number}", f"number{number}", text, {"topic": topic}))
    counts = generator.integers(1, oracle.most_passages + 1, len(numbers))
    spans = [[Span(start, start + 3) for start in range(count)] for count in counts.tolist()]
    return documents, about(np.repeat(topics, counts), generator), spans


def add(folder: Path, oracle: Oracle, generator: np.random.Generator) -> None:
    """Some new, some in the place of old ones."""
    numbers = np.unique(generator.integers(0, 2 * len(oracle.documents) + 10, generator.integers(1, 9)))
    content = made(numbers, oracle, generator)
    with IndexBuilder.begin_adding(folder, source="more") as builder:
        builder.append(*content)
        builder.publish()
    oracle.put(*content)


def replace_topic(folder: Path, oracle: Oracle, generator: np.random.Generator) -> None:
    """All documents of one topic become documents of others."""
    names = of_a_topic(oracle, generator)
    if names:
        content = made(np.array([int(name[1:]) for name in names]), oracle, generator)
        with IndexBuilder.begin_adding(folder, source="more") as builder:
            builder.append(*content)
            builder.publish()
        oracle.put(*content)


def of_a_topic(oracle: Oracle, generator: np.random.Generator) -> list[str]:
    topic = int(generator.integers(TOPICS))
    return [name for name, one in oracle.documents.items() if one.metadata["topic"] == topic]


def gone(folder: Path, oracle: Oracle, names: list[str]) -> None:
    assert delete(folder, names) == len(names)
    oracle.drop(names)


def delete_some(folder: Path, oracle: Oracle, generator: np.random.Generator) -> None:
    names = sorted(oracle.documents)
    gone(
        folder,
        oracle,
        generator.choice(names, min(len(names), int(generator.integers(1, 9))), False).tolist(),
    )


def delete_topic(folder: Path, oracle: Oracle, generator: np.random.Generator) -> None:
    gone(folder, oracle, of_a_topic(oracle, generator))


def delete_around(folder: Path, oracle: Oracle, generator: np.random.Generator) -> None:
    """The documents nearest to some point, up to a third of all."""
    scores = oracle.cosines(about(generator.integers(0, TOPICS, 1), generator)[0])
    nearest = sorted(scores, key=scores.__getitem__, reverse=True)
    gone(folder, oracle, nearest[: int(generator.integers(1, len(nearest) // 3 + 2))])


def compact_all(folder: Path, oracle: Oracle, generator: np.random.Generator) -> None:
    compact(folder)


def check(found: list[tuple[str, float]], expected: dict[str, float], k: int) -> None:
    """As many as there can be, alive, each once, each with its own score, the best first."""
    names, scores = [name for name, _ in found], [score for _, score in found]
    assert len(names) == len(set(names)) == min(k, len(expected))
    assert scores == sorted(scores, reverse=True)
    assert_alike(scores, [expected[name] for name in names])


def check_best(found: list[tuple[str, float]], expected: dict[str, float], k: int) -> None:
    """No other document scores more."""
    check(found, expected, k)
    assert_alike([score for _, score in found], sorted(expected.values(), reverse=True)[:k])


def assert_alike(scores: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(scores, expected, rtol=0, atol=ROUNDING)


def hits(index: Index, ranking: Ranking) -> list[list[tuple[str, float]]]:
    lists = []
    for rows, scores in zip(ranking.rows, ranking.scores.tolist(), strict=True):
        documents = index.documents(rows[rows >= 0].tolist())
        lists.append([(one.id, score) for one, score in zip(documents, scores, strict=False)])
    return lists


@dataclass
class Recall:
    """Of the ten best by comparing with all, how many were found, and how many promised."""

    found: float = 0.0
    promised: float = 0.0
    queries: int = 0

    def count(self, found: list[tuple[str, float]], expected: dict[str, float], promised: float) -> None:
        best = sorted(expected.values(), reverse=True)[:10]
        if best:
            self.found += sum(score >= best[-1] - ROUNDING for _, score in found) / len(best)
            self.promised += promised
            self.queries += 1


def ask(folder: Path, oracle: Oracle, generator: np.random.Generator, tally: Recall) -> None:
    """Every mode, filtered and not."""
    with Index.open(folder) as index:
        oracle.look(index)
        live = index.documents(index.rows())
        assert {one.id: one for one in live} == oracle.documents
        assert len(live) == index.count == len(oracle.documents)
        queries = about(generator.integers(0, TOPICS, 4), generator)
        words = [" ".join(generator.choice([*WORDS, "topic3", "topic5", "nowhere"], 3)) for _ in queries]
        k = int(generator.choice([1, 3, 10, 25, len(live) + 5]))
        _ask_dense(index, oracle, queries, k, tally)
        _ask_lexical(index, oracle, words, k)
        _ask_hybrid(index, oracle, queries, words, k)


def _ask_dense(index: Index, oracle: Oracle, queries: np.ndarray, k: int, tally: Recall) -> None:
    every = [oracle.cosines(query) for query in queries]
    exact = all(segment.entry.faiss == "Flat" for segment in index.segments)
    for found, expected in zip(hits(index, index.search_dense(queries, k)), every, strict=True):
        (check_best if exact else check)(found, expected, k)
    ten = hits(index, index.search_dense(queries, 10))
    for found, expected in zip(ten, every, strict=True):
        check(found, expected, 10)
        tally.count(found, expected, index.manifest.recall.get("recall@10", 1.0))
    for query, found in zip(
        np.split(queries, len(queries)), ten, strict=True
    ):  # one at a time, as many at once
        (alone,) = hits(index, index.search_dense(query, 10))
        assert_alike([score for _, score in alone], [score for _, score in found])
    for query, ranked in zip(queries, index.search_exact(queries, 3).rows.tolist(), strict=True):
        for row in filter(lambda row: row >= 0, ranked):
            vectors = oracle.vectors[index.documents([row])[0].id]
            span = index.nearest_spans(np.array([row]), query)[0]
            assert (0 if span is None else span.start) == (vectors @ query).argmax()
    if oracle.documents:
        where = [parse_where("topic<4")]
        for found, expected in zip(hits(index, index.search_dense(queries, k, where)), every, strict=True):
            some = {n: s for n, s in expected.items() if oracle.documents[n].metadata["topic"] < 4}
            check_best(found, some, k)


def _ask_lexical(index: Index, oracle: Oracle, words: list[str], k: int) -> None:
    for found, query in zip(hits(index, index.search_lexical(words, k)), words, strict=True):
        check_best(found, oracle.bm25(query), k)


def _ask_hybrid(index: Index, oracle: Oracle, queries: np.ndarray, words: list[str], k: int) -> None:
    depth = max(k, 100)
    dense, lexical = index.search_dense(queries, depth), index.search_lexical(words, depth)
    for found in hits(index, fuse(dense, lexical, min(k, max(index.count, 1)), 0.5)):
        names = [name for name, _ in found]
        assert len(names) == len(set(names)) == min(k, len(oracle.documents))
        assert set(names) <= oracle.documents.keys()


@contextmanager
def told(seed: int) -> Iterator[np.random.Generator]:
    try:
        yield np.random.default_rng(seed)
    except Exception as error:
        error.add_note(f"in the sequence of seed {seed}")
        raise


def begin(
    folder: Path, model: Path, count: int, seed: int, most_passages: int, goal: Goal | None = None
) -> Oracle:
    """An index of so many documents."""
    oracle, generator = Oracle(most_passages=most_passages), np.random.default_rng(seed)
    content = made(np.arange(count), oracle, generator)
    with IndexBuilder.begin(folder, model=model, dimension=DIMENSION, source="s", goal=goal) as builder:
        builder.append(*content)
        builder.publish()
    oracle.put(*content)
    with Index.open(folder) as index:
        oracle.look(index)
    return oracle


STEPS_OF_ALL: list[Step] = [add, add, delete_some, delete_topic, delete_around, replace_topic, compact_all]
# A compaction tunes again, which takes longer than all else.
STEPS_OF_COMPRESSED: list[Step] = [
    add,
    delete_some,
    delete_topic,
    delete_around,
    delete_around,
    replace_topic,
]


def run(base: Path, known: Oracle, folder: Path, seed: int, steps: list[Step], tally: Recall) -> None:
    with told(seed) as generator:
        shutil.copytree(base, folder)
        oracle = known.copy()
        for _ in range(STEPS):
            step = steps[generator.integers(len(steps))]
            if oracle.documents or step is add:
                step(folder, oracle, generator)
                ask(folder, oracle, generator, tally)
        shutil.rmtree(folder)


@pytest.fixture
def compressed_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few the vectors; only the largest is tried, which needs the fewest candidates."""
    monkeypatch.setattr(tuning, "SMALL", 0)
    monkeypatch.setattr(tuning, "part_counts", lambda vectors: part_counts(vectors)[-1:])
    monkeypatch.setattr(tuning, "_p50_ms", lambda search, asked: 1.0 if "partial" in repr(search) else 1000.0)


@pytest.mark.parametrize(("first", "most_passages"), [(0, 1), (35, 4), (70, 1), (105, 4)])
def test_exact_index_answers_as_the_oracle_whatever_was_changed(
    tmp_path: Path, model: Path, first: int, most_passages: int
):
    tally = Recall()
    known = begin(tmp_path / "base", model, 40, first, most_passages)
    for seed in range(first, first + 35):
        run(tmp_path / "base", known, tmp_path / "index", seed, STEPS_OF_ALL, tally)
    assert tally.queries > 300
    assert tally.found == tally.queries


@pytest.mark.usefixtures("compressed_wins")
@pytest.mark.parametrize(("documents", "most_passages"), [(1000, 1), (400, 4)])
def test_compressed_index_keeps_its_promise_whatever_was_changed(
    tmp_path: Path, model: Path, documents: int, most_passages: int
):
    tally = Recall()
    known = begin(tmp_path / "base", model, documents, 0, most_passages, Goal(GOAL))
    for seed in range(1000, 1030):
        steps = STEPS_OF_COMPRESSED if seed % 10 else [delete_around, compact_all, delete_topic]
        run(tmp_path / "base", known, tmp_path / "index", seed, steps, tally)
    assert GOAL <= tally.promised / tally.queries < 0.99
    assert tally.found >= tally.promised
