"""What does re-scoring bring, and what does it cost? Hybrid search without it and with it, on the test split.

    python -m benchmarks.rescoring DATA... [--seeds 3] [--models FOLDER] [--large CORPUS]

DATA are BEIR folders. Each is trained by the defaults of `peephole train`, once a seed, or FOLDER has a
trained model of each set, FOLDER/SET. Of every model two indexes are built: of all of it, and of it without
rescoring.safetensors, so that hybrid search is fusion alone. Printed for each set: nDCG@10 and R@10 of both,
the mean over seeds, with a paired randomisation test of the seeds' mean; bytes of both indexes; milliseconds
from text to hits at the median, in a warm process, one thread, the two measured by turns, and of these those
that the processor worked, for a machine that others use too. With --large, the
time and the bytes for another corpus too, encoded by the first set's model and searched with that set's test
queries.
Writes benchmarks/results/rescoring.json.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is loaded

from benchmarks.common import RESULTS, write_result
from benchmarks.towers import mean_scores
from retrieval.data.dataset import Dataset
from retrieval.evaluation.assess import rank_all
from retrieval.evaluation.measures import RunMeasures, evaluate_run
from retrieval.evaluation.provenance import machine
from retrieval.evaluation.significance import paired_test
from retrieval.indexing.build import build
from retrieval.model.config import preset
from retrieval.model.folder import FILES
from retrieval.search.retriever import Retriever
from retrieval.training.loop import Recipe
from retrieval.training.train import train

MEASURES = ["nDCG@10", "R@10"]
_TIMED = 400


def both_indexes(corpus: Path, model: Path, folder: Path) -> tuple[Path, Path]:
    """Build an index without re-scoring and one with it; returns their folders."""
    plain = folder / "plain.model"
    shutil.copytree(model, plain)
    (plain / FILES.rescoring).unlink()
    build(corpus, plain, folder / "plain.index")
    build(corpus, model, folder / "rescored.index")
    return folder / "plain.index", folder / "rescored.index"


def costs(indexes: Sequence[Path], queries: Sequence[str]) -> dict[str, Any]:
    """Bytes of the indexes, and the median time of a search of each, measured by turns."""
    plain, rescored = (Retriever.open(index) for index in indexes)
    with plain, rescored:
        times: list[list[float]] = [[], []]
        busy: list[list[float]] = [[], []]
        for query in queries[:50]:  # warm
            plain.search(query)
            rescored.search(query)
        for query in queries[:_TIMED]:
            for one, wall, processor in zip((plain, rescored), times, busy, strict=True):
                start, started = time.perf_counter(), time.thread_time()
                one.search(query)
                wall.append((time.perf_counter() - start) * 1000)
                processor.append((time.thread_time() - started) * 1000)
        sizes = [one.index.manifest.size_bytes() for one in (plain, rescored)]
    p50 = [round(statistics.median(each), 3) for each in times]
    p99 = [round(statistics.quantiles(each, n=100)[98], 3) for each in times]
    return {
        "documents": plain.index.count,
        "bytes": sizes,
        "growth": round(sizes[1] / sizes[0] - 1, 4),
        "p50_ms": p50,
        "p99_ms": p99,
        "processor_p50_ms": [round(statistics.median(each), 3) for each in busy],
    }


def table(data: Path, models: Path | None, seeds: int, folder: Path) -> dict[str, Any]:
    """Quality and costs on one set; the first of each pair of figures is without re-scoring."""
    dataset = Dataset(data)
    qrels = dataset.qrels("test")
    found: list[list[RunMeasures]] = [[], []]
    cost: dict[str, Any] = {}
    for seed in range(1 if models else seeds):
        place = folder / f"{data.name}-{seed}"
        model = models / data.name if models else place / "model"
        if models is None:
            train(data, model, preset("lstm"), Recipe(seed=seed))
        indexes = both_indexes(data, model, place)
        for index, into in zip(indexes, found, strict=True):
            with Retriever.open(index) as retriever:
                run = rank_all(retriever, dataset.queries, qrels, "hybrid")
                into.append(evaluate_run(qrels, run, MEASURES))
        cost = cost or costs(indexes, [dataset.queries[query] for query in qrels])
    plain, rescored = (mean_scores(runs) for runs in found)
    contest = paired_test(rescored, plain, MEASURES[0])
    means = {
        measure: [round(statistics.mean(run.mean(measure) for run in runs), 4) for runs in found]
        for measure in MEASURES
    }
    row = {"seeds": len(found[0]), **means, "difference": round(contest.difference, 4), "p": contest.p_value}
    print(f"{data.name}: {row} {cost}", flush=True)
    return row | cost


def large(corpus: Path, data: Path, model: Path, folder: Path) -> Mapping[str, Any]:
    """Costs on a corpus without judgements, searched with the test queries of a set."""
    dataset = Dataset(data)
    queries = [dataset.queries[query] for query in dataset.qrels("test")]
    row = costs(both_indexes(corpus, model, folder / "large"), queries)
    print(f"{corpus.name}: {row}", flush=True)
    return row


def main() -> None:
    """Run the tables and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--large", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sets = {data.name: table(data, options.models, options.seeds, folder) for data in options.data}
        first = options.data[0]
        model = options.models / first.name if options.models else folder / f"{first.name}-0" / "model"
        others = {}
        if options.large:
            others[options.large.name] = large(options.large, first, model, folder)
    command = f"python -m benchmarks.rescoring {' '.join(sets)}" + f" --seeds {options.seeds}" * (
        not options.models
    )
    command += " --models FOLDER" * bool(options.models) + "".join(f" --large {name}" for name in others)
    write_result(
        RESULTS / "rescoring.json",
        {
            "machine": machine(),
            "date": datetime.now(UTC).date().isoformat(),
            "command": command,
            "split": "test",
            "order": ["without re-scoring", "with"],
            "sets": sets,
            "large": others,
        },
    )


if __name__ == "__main__":
    main()
