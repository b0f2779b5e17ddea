"""What does re-scoring bring, and what does it cost? Hybrid search without it and with it, on the test split.

    python -m benchmarks.rescoring DATA... [--seeds 3] [--models FOLDER] [--large INDEX]

DATA are BEIR folders. Each is trained by the defaults of `peephole train`, once a seed, or FOLDER has a
trained model of each set, FOLDER/SET. Hybrid search is then measured on an index of the set, as is and as if
the model did not re-score. Printed for each set: nDCG@10 and R@10 of both, the mean over seeds, with a paired
randomisation test of the seeds' mean; bytes of the index without and with what re-scoring needs; milliseconds
from text to hits at the median, in a warm process, one thread, the two measured by turns, and of these those
that the processor worked, for a machine that others use too. With --large also the costs on a large index,
built before, searched with the test queries of the first set. Writes benchmarks/results/rescoring.json.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is loaded

from benchmarks.common import RESULTS, parser_of, write_result
from benchmarks.towers import mean_scores, with_and_without
from retrieval.data.dataset import Dataset
from retrieval.evaluation.assess import rank_all
from retrieval.evaluation.measures import RunMeasures, evaluate_run
from retrieval.evaluation.provenance import machine
from retrieval.evaluation.significance import paired_test
from retrieval.indexing.build import build
from retrieval.model.config import preset
from retrieval.model.folder import FILES
from retrieval.training.recipe import Recipe
from retrieval.training.train import train

MEASURES = ["nDCG@10", "R@10"]
_TIMED = 400


def costs(index: Path, queries: Sequence[str]) -> dict[str, Any]:
    """Bytes of an index without and with what re-scoring needs, and the median time of a search of each."""
    with with_and_without(index) as both:
        times: list[list[float]] = [[], []]
        busy: list[list[float]] = [[], []]
        for retriever in both:
            for query in queries[:50]:  # warm
                retriever.search(query)
        for query in queries[:_TIMED]:
            for retriever, wall, processor in zip(both, times, busy, strict=True):
                start, started = time.perf_counter(), time.thread_time()
                retriever.search(query)
                wall.append((time.perf_counter() - start) * 1000)
                processor.append((time.thread_time() - started) * 1000)
        manifest = both[0].index.manifest
    added = sum(
        entry.bytes
        for name, entry in manifest.files.items()
        if "/words/" in name or name.endswith(FILES.rescoring)
    )
    size = manifest.size_bytes()
    return {
        "documents": manifest.documents,
        "bytes": [size - added, size],
        "growth": round(added / (size - added), 4),
        "p50_ms": [round(statistics.median(each), 3) for each in times],
        "p99_ms": [round(statistics.quantiles(each, n=100)[98], 3) for each in times],
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
        build(data, model, place / "index")
        with with_and_without(place / "index") as both:
            for retriever, into in zip(both, found, strict=True):
                run = rank_all(retriever, dataset.queries, qrels, "hybrid")
                into.append(evaluate_run(qrels, run, MEASURES))
        cost = cost or costs(place / "index", [dataset.queries[query] for query in qrels])
    plain, rescored = (mean_scores(runs) for runs in found)
    contest = paired_test(rescored, plain, MEASURES[0])
    means = {
        measure: [round(statistics.mean(run.mean(measure) for run in runs), 4) for runs in found]
        for measure in MEASURES
    }
    row = {"seeds": len(found[0]), **means, "difference": round(contest.difference, 4), "p": contest.p_value}
    print(f"{data.name}: {row} {cost}", flush=True)
    return row | cost


def large(index: Path, data: Path) -> Mapping[str, Any]:
    """Costs of a large index without judgements, searched with the test queries of a set."""
    dataset = Dataset(data)
    row = costs(index, [dataset.queries[query] for query in dataset.qrels("test")])
    print(f"{index.name}: {row}", flush=True)
    return row


def main() -> None:
    """Run the tables and write the results."""
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--large", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sets = {data.name: table(data, options.models, options.seeds, folder) for data in options.data}
        others = {options.large.name: large(options.large, options.data[0])} if options.large else {}
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
