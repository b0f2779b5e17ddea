"""What deleting documents that lie close together does to a compressed index: hits, recall@10, time.

    python -m benchmarks.deletes --corpus CORPUS.jsonl.gz (--model MODEL | --data DATA) [--work FOLDER]
                                 [--limit 40000] [--word django]

CORPUS: documents as JSONL, also gzipped, of which the first LIMIT are taken. MODEL, or DATA, a BEIR folder to
train a bag of words on. There are three deletions: the documents whose text has the word; a
third of all documents, at random; and all made-up vectors of one topic. In the last case the index is tuned
once by the documents themselves, and once by queries of the other topics only, none of which need many
candidates.

The queries are like the deleted documents (the gap) or unlike any of them (away). Before: a search takes as
many more candidates as if deletions were spread evenly, as an index did until 2026-11-24. Now: a search as it
is. Both answer every query in turn, in one process, on one thread; the ratio is that of the medians.
Prints a table and writes benchmarks/results/deletes.json.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import RESULTS, aligned, command_of, parser_of, write_result
from benchmarks.scale.__main__ import COMMAND, lines, model_of
from index.dense.fastscan import FastScan
from index.dense.tuning import Goal
from index.documents.store import Document
from index.ranking import Ranking, empty_ranking
from index.reader import Index
from index.segment import Segment
from index.writing.builder import IndexBuilder
from index.writing.delete import delete
from retrieval.evaluation.provenance import provenance
from retrieval.search.retriever import Retriever

K = 10
QUERIES = 300
ROUNDS = 3
TOPIC, OTHERS, DIMENSION = 8_000, 16_000, 256

Vectors = NDArray[np.float32]
Search = Callable[[Vectors], Ranking]


class Case(NamedTuple):
    """An index with documents deleted, and unit vectors to ask it for, float32 (n, dimension).

    texts: what the vectors away are of, if they are of any.
    """

    name: str
    index: Path
    gap: Vectors
    away: Vectors
    texts: Sequence[str] = ()


def before(segment: Segment, k: int) -> Search:
    """A search as it was: deeper by the number of deleted rows, which are then left out."""
    entry, live = segment.entry, segment.live
    assert live is not None
    parts, depth = int(entry.parameters["parts"] or 0), int(entry.parameters["depth"] or 0)
    scan = FastScan(segment.folder / "compressed.faiss", segment.count, segment.vectors.dimension, parts)
    deeper = math.ceil(max(depth, 5 * k) * segment.count / np.count_nonzero(live))

    def search(queries: Vectors) -> Ranking:
        ranking = empty_ranking(len(queries), k)
        for query, rows in enumerate(scan.nearest(queries, deeper).rows):
            rows = rows[rows >= 0]
            found = segment.vectors.rank(rows[live[rows]][None], queries[query : query + 1], k)[1]
            ranking.scores[query], ranking.rows[query] = found.scores[0], found.rows[0]
        return ranking

    return search


def measure(case: Case) -> dict[str, Any]:
    """Both searches over both kinds of queries."""
    with Index.open(case.index) as index:
        (segment,) = index.segments
        scans = _counted(segment)
        searches: dict[str, Search] = {
            "before": before(segment, K),
            "now": lambda queries: segment.search_dense(queries, K, None),
        }
        found: dict[str, Any] = {
            "documents": index.count,
            "deleted": segment.count - index.count,
            "faiss": segment.entry.faiss,
            "depth": segment.entry.parameters.get("depth"),
            "promised": index.manifest.recall["recall@10"],
        }
        for kind, queries in (("gap", case.gap), ("away", case.away)):
            found[kind] = {name: quality(index, search, queries) for name, search in searches.items()}
            scans.clear()
            searches["now"](queries)
            found[kind]["asked_again"] = round(sum(scans[1:2]) / len(queries), 3)
            found[kind] |= timed(searches, queries)
        hundred = {
            "before": before(segment, 100),
            "now": lambda queries: segment.search_dense(queries, 100, None),
        }
        found["away"]["ratio_of_100"] = timed(hundred, case.away)["ratio"]
    if case.texts:
        found["away"]["text_to_hits"] = text_to_hits(case)
    return found


def text_to_hits(case: Case) -> dict[str, Any]:
    """`timed` for all that a dense search does."""
    with Retriever.open(case.index) as was, Retriever.open(case.index) as now:
        (segment,) = was.index.segments
        search = before(segment, K)
        segment.search_dense = lambda queries, k, where: search(queries)  # type: ignore[method-assign]
        return timed(
            {
                "before": lambda text: was.search(text, K, "dense"),
                "now": lambda text: now.search(text, K, "dense"),
            },
            case.texts,
        )


def _counted(segment: Segment) -> list[int]:
    """A list to which each scan of this segment, from now on, appends its number of queries."""
    sizes: list[int] = []
    scan = segment._scan
    assert scan is not None
    real = scan.nearest

    def nearest(queries: Vectors, depth: int) -> Ranking:
        sizes.append(len(queries))
        return real(queries, depth)

    scan.nearest = nearest  # type: ignore[method-assign]
    return sizes


def quality(index: Index, search: Search, queries: Vectors) -> dict[str, float]:
    """recall@10 against exact search, a row as near as the tenth being one of the ten; hits of each query."""
    truth, found = index.search_exact(queries, K), search(queries)
    right = found.scores >= truth.scores[:, -1:] - 1e-6
    hits = (found.rows >= 0).sum(axis=1)
    return {
        "recall@10": round(float(right.sum() / (K * len(queries))), 4),
        "hits": round(float(hits.mean()), 2),
        "fewest_hits": int(hits.min()),
    }


def timed(searches: dict[str, Callable[[Any], object]], queries: Vectors | Sequence[str]) -> dict[str, Any]:
    """Median milliseconds of one query, the searches taking turns; ratio: of now to before."""
    taken: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(ROUNDS):
        for query in np.split(queries, len(queries)) if isinstance(queries, np.ndarray) else queries:
            for name, search in searches.items():
                start = time.perf_counter()
                search(query)
                taken[name].append(time.perf_counter() - start)
    p50 = {name: 1000 * float(np.median(times)) for name, times in taken.items()}
    return {
        "p50_ms": {name: round(value, 3) for name, value in p50.items()},
        "ratio": round(p50["now"] / p50["before"], 3),
    }


def real_cases(options: argparse.Namespace, work: Path) -> Iterator[Case]:
    """Documents of the corpus: those with the word deleted, then a third."""
    records = [json.loads(line) for line in islice(lines(options.corpus), options.limit)]
    corpus = work / "corpus.jsonl"
    corpus.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    about = [one for one in records if options.word in f"{one['title']} {one['text']}".lower()]
    others = [one for one in records if one not in about]
    third = random.Random(1).sample(records, len(records) // 3)
    for name, gone in ((f"text has {options.word}", about), ("a third, anywhere", third)):
        index = work / f"{len(gone)}.index"
        command = [*COMMAND, "build", str(corpus), "-m", str(model_of(options, work)), "-o", str(index)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        delete(index, [one["_id"] for one in gone])
        with Retriever.open(index) as retriever:
            asked = [list(islice(pieces(some), QUERIES)) for some in (gone, others)]
            gap, away = map(retriever.encode, asked)
        yield Case(name, index, gap, away, asked[1])


def pieces(records: Sequence[dict[str, str]]) -> Iterator[str]:
    """Four of the words of each document, in their order."""
    generator = random.Random(2)
    long = [words for one in records if len(words := one["text"].split()) >= 5]
    for words in generator.sample(long, len(long)):
        yield " ".join(words[at] for at in sorted(generator.sample(range(min(len(words), 24)), 4)))


def made_cases(options: argparse.Namespace, work: Path) -> Iterator[Case]:
    """Vectors around many small topics and one large, which is deleted."""
    generator = np.random.default_rng(3)

    def around(centres: Vectors, spread: float = 0.3) -> Vectors:
        return _unit(centres + spread / DIMENSION**0.5 * generator.standard_normal(centres.shape))

    topic = _unit(generator.standard_normal((1, DIMENSION)))
    centres = _unit(generator.standard_normal((OTHERS // 20, DIMENSION)))
    vectors = np.concatenate([around(topic.repeat(TOPIC, 0), 0.8), around(centres.repeat(20, 0))])
    gap, away = around(topic.repeat(QUERIES, 0), 0.8), around(centres[:QUERIES])
    for name, queries in (
        ("one topic, tuned by documents", None),
        ("one topic, tuned away", around(centres)),
    ):
        index = work / f"{name}.index"
        model = model_of(options, work)
        goal = Goal()
        with IndexBuilder.begin(index, model=model, dimension=DIMENSION, source="made", goal=goal) as builder:
            builder.append([Document(str(n), "", "none") for n in range(len(vectors))], vectors)
            builder.publish(queries=queries)
        delete(index, [str(n) for n in range(TOPIC)])
        yield Case(name, index, gap, away)


def _unit(rows: NDArray[Any]) -> Vectors:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def table(cases: dict[str, dict[str, Any]]) -> str:
    head = ("deleted", "queries", "promised", "hits before", "now", "recall before", "now", "asked again",
            "p50 ms before", "now", "ratio", "text to hits")  # fmt: skip
    rows = [head]
    for name, found in cases.items():
        for kind in ("gap", "away"):
            one = found[kind]
            sides = (one["before"], one["now"])
            rows.append(
                (f"{name} ({found['deleted']} of {found['deleted'] + found['documents']})", kind,
                 str(found["promised"]), *(str(side["hits"]) for side in sides),
                 *(f"{side['recall@10']:.4f}" for side in sides), f"{one['asked_again']:.3f}",
                 *(str(one["p50_ms"][side]) for side in ("before", "now")), str(one["ratio"]),
                 str(one.get("text_to_hits", {}).get("ratio", "")))
            )  # fmt: skip
    return aligned(rows)


def main() -> None:
    import faiss

    parser = parser_of(__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--limit", type=int, default=40_000)
    parser.add_argument("--word", default="django")
    parser.add_argument("--output", type=Path, default=RESULTS / "deletes.json")
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    cases: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        for made in (real_cases, made_cases):
            for case in made(options, work):
                cases[case.name] = measure(case)
                result = {**provenance(command_of("benchmarks.deletes")), "cases": cases}
                write_result(options.output, result)
    print(table(cases))


if __name__ == "__main__":
    main()
