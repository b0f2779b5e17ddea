"""Long documents: relevance with and without passages, and what passages cost.

    python -m benchmarks.passages DATA MODEL [--split test] [--long 1000] [--words 2000]

DATA is a BEIR folder, MODEL a model trained on it. Three corpora are built twice each, with passages and with
`--passages off`: DATA's own; LONG documents of at least WORDS words, each the concatenation of documents of
DATA in the order of a hash of their ids, blank lines between; and these documents, each by itself. A query's
relevant long document is the one that holds its relevant document. Prints a table and writes
benchmarks/results/passages-SET.json: nDCG@10, R@10 and R@100 by mode, bytes, seconds of the build, p50 of a
query in milliseconds, medians of alternating rounds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, write_result
from index.documents.store import Document
from retrieval.data.dataset import Dataset
from retrieval.data.queries import Qrels
from retrieval.evaluation.assess import rank_all
from retrieval.evaluation.measures import evaluate_run
from retrieval.evaluation.provenance import provenance
from retrieval.indexing.build import build
from retrieval.search.modes import MODES
from retrieval.search.retriever import Retriever

MEASURES = ("nDCG@10", "R@10", "R@100")
ROUNDS = 5
TIMED = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--long", type=int, default=1000)
    parser.add_argument("--words", type=int, default=2000)
    options = parser.parse_args()
    dataset = Dataset(options.data)
    documents = list(dataset.documents())
    qrels = dataset.qrels(options.split)
    groups = concatenated(documents, options.long, options.words)
    inside = [document for group in groups for document in group]
    with tempfile.TemporaryDirectory() as work:
        corpora = {
            "own": (documents, qrels),
            "long": ([joined(number, group) for number, group in enumerate(groups)], moved(qrels, groups)),
            "parts": (inside, only(qrels, {document.id for document in inside})),
        }
        result = {
            name: measured(Path(work) / name, texts, judged, dataset.queries, options.model)
            for name, (texts, judged) in corpora.items()
        }
    name = options.data.resolve().name
    origin = provenance(f"python -m benchmarks.passages {name} MODEL --split {options.split}")
    write_result(RESULTS / f"passages-{name}.json", origin | {"split": options.split, **result})


def concatenated(documents: list[Document], count: int, words: int) -> list[list[Document]]:
    """So many groups of documents, in the order of a hash of their ids, each of at least so many words."""
    ordered = sorted(documents, key=lambda document: hashlib.sha256(document.id.encode()).digest())
    groups: list[list[Document]] = [[]]
    size = 0
    for document in ordered:
        groups[-1].append(document)
        size += len(document.text.split())
        if size >= words:
            groups.append([])
            size = 0
    return groups[:-1][:count]


def joined(number: int, group: list[Document]) -> Document:
    return Document(f"long-{number}", "", "\n\n".join(f"{each.title} {each.text}".strip() for each in group))


def moved(qrels: Qrels, groups: list[list[Document]]) -> Qrels:
    """The judgements of the long documents."""
    of = {each.id: f"long-{number}" for number, group in enumerate(groups) for each in group}
    found = {
        query: {of[document]: 1 for document, grade in grades.items() if grade > 0 and document in of}
        for query, grades in qrels.items()
    }
    return {query: grades for query, grades in found.items() if grades}


def only(qrels: Qrels, ids: set[str]) -> Qrels:
    found = {
        query: {document: grade for document, grade in grades.items() if document in ids}
        for query, grades in qrels.items()
    }
    return {query: grades for query, grades in found.items() if any(grade > 0 for grade in grades.values())}


def measured(
    work: Path, documents: list[Document], qrels: Qrels, queries: dict[str, str], model: Path
) -> dict[str, Any]:
    """Both indexes of a corpus, built, evaluated, and timed in turn."""
    work.mkdir()
    corpus = work / "corpus.jsonl"
    with corpus.open("w", encoding="utf-8") as file:
        for document in documents:
            file.write(
                json.dumps({"_id": document.id, "title": document.title, "text": document.text}) + "\n"
            )
    result: dict[str, Any] = {"documents": len(documents), "queries": len(qrels)}
    tuning = [queries[query] for query in list(qrels)[:TIMED]]
    for name, words in (("off", 0), ("passages", None)):
        start = time.perf_counter()
        manifest = build(corpus, model, work / name, passage_words=words, queries=tuning)
        result[name] = {
            "build_seconds": round(time.perf_counter() - start, 1),
            "bytes": manifest.size_bytes(),
            "vectors": sum(segment.vectors for segment in manifest.segments),
            "faiss": manifest.segments[0].faiss,
        }
        with Retriever.open(work / name) as retriever:
            for mode in MODES:
                run = rank_all(retriever, queries, qrels, mode)
                result[name][mode] = evaluate_run(qrels, run, MEASURES).means()
    time_in_turn(work, tuning, result)
    for name in ("off", "passages"):
        print(work.name, name, json.dumps(result[name]))
    return result


def time_in_turn(work: Path, texts: list[str], result: dict[str, Any]) -> None:
    times: dict[str, list[float]] = {"off": [], "passages": []}
    with Retriever.open(work / "off") as off, Retriever.open(work / "passages") as passages:
        for _ in range(ROUNDS):
            for name, retriever in (("off", off), ("passages", passages)):
                seconds = []
                for text in texts:
                    start = time.perf_counter()
                    retriever.search(text)
                    seconds.append(time.perf_counter() - start)
                times[name].append(statistics.median(seconds))
    for name, rounds in times.items():
        result[name]["p50_ms"] = round(1000 * statistics.median(rounds), 3)


if __name__ == "__main__":
    main()
