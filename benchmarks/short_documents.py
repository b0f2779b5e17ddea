"""What passages cost a corpus that has few long documents or none.

    python -m benchmarks.short_documents CORPUS MODEL [--limit 100000] [--rounds 3]

CORPUS is anything that `build` takes; its first LIMIT documents are used. They are indexed for exact search
with `--passages off` and with the default in turn, ROUNDS times each. A sample of their texts is searched for
in both indexes in turn. Time is the processor's, of all processes, for other programs disturb it least.
Prints both, the ratios of their medians, and which files of the indexes differ, and writes
benchmarks/results/short-documents.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, write_result
from index.dense.tuning import Goal
from index.disk.manifest import Manifest
from retrieval.data.documents import read_documents
from retrieval.evaluation.provenance import provenance
from retrieval.indexing.build import build
from retrieval.search.retriever import Retriever

PASSAGES = {"off": 0, "default": None}
QUERIES = 500
# Tuning measures times, so two builds of one corpus may get two kinds of index. Exact search needs none.
EXACT = Goal(recall=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--limit", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        result = measured(options.corpus, options.model, Path(work), options.limit, options.rounds)
    print(json.dumps(result, indent=1))
    command = (
        f"python -m benchmarks.short_documents {options.corpus.name} MODEL "
        f"--limit {options.limit} --rounds {options.rounds}"
    )
    write_result(RESULTS / "short-documents.json", provenance(command) | result)


def measured(corpus: Path, model: Path, work: Path, limit: int, rounds: int) -> dict[str, Any]:
    """Processor seconds of the builds, milliseconds of a query, bytes, vectors, and files that differ."""
    shortened = work / "corpus.jsonl"
    texts = []
    with shortened.open("w", encoding="utf-8") as file:
        for document in itertools.islice(read_documents(corpus), limit):
            fields = {"_id": document.id, "title": document.title, "text": document.text}
            file.write(json.dumps(fields) + "\n")
            texts.append(document.text)
    queries = texts[:: max(1, len(texts) // QUERIES)][:QUERIES]
    builds: dict[str, list[float]] = {name: [] for name in PASSAGES}
    manifests: dict[str, Manifest] = {}
    for _ in range(rounds):
        for name, words in PASSAGES.items():
            start = processor_seconds()
            manifests[name] = build(
                shortened, model, work / name, passage_words=words, queries=queries, goal=EXACT
            )
            builds[name].append(processor_seconds() - start)
    searches = search_in_turn(work, queries)
    return {
        "documents": len(texts),
        **{
            name: {
                "vectors": sum(segment.vectors for segment in manifests[name].segments),
                "bytes": manifests[name].size_bytes(),
                "build_processor_s": round(statistics.median(builds[name]), 2),
                "query_processor_ms": round(1000 * statistics.median(searches[name]), 3),
            }
            for name in PASSAGES
        },
        "build_ratio": round(statistics.median(builds["default"]) / statistics.median(builds["off"]), 3),
        "query_ratio": round(statistics.median(searches["default"]) / statistics.median(searches["off"]), 3),
        "files_that_differ": differing(manifests["off"], manifests["default"]),
    }


def processor_seconds() -> float:
    """Of this process and of those that it has started and waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def search_in_turn(work: Path, queries: list[str]) -> dict[str, list[float]]:
    """Processor seconds of each query in each index, the indexes in turn query by query."""
    seconds: dict[str, list[float]] = {name: [] for name in PASSAGES}
    with Retriever.open(work / "off") as off, Retriever.open(work / "default") as default:
        for query in queries:
            for name, retriever in (("off", off), ("default", default)):
                start = time.process_time()
                retriever.search(query)
                seconds[name].append(time.process_time() - start)
    return seconds


def differing(first: Manifest, second: Manifest) -> list[str]:
    """Names of the files that are not the same in both indexes, the manifest left out."""
    digests = [{name: file.sha256 for name, file in each.files.items()} for each in (first, second)]
    return sorted(
        name for name in digests[0].keys() | digests[1].keys() if digests[0].get(name) != digests[1].get(name)
    )


if __name__ == "__main__":
    main()
