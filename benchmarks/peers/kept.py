"""Rankings of fine-tuned models, kept in the repository so that hours of training need not be repeated.

    python -m benchmarks.peers.kept FOLDER

FOLDER holds the folders that `benchmarks.peers.finetune` wrote. For each data set and rival the training that
is best on dev is taken. benchmarks/results/runs/ gets its runs, DATA.RIVAL.SPLIT.run.gz, and DATA.json, which
has what was tried: settings, dev of every epoch, whether all epochs were run. Runs are kept 30 deep: fused
with BM25 their nDCG@10 is within .002 of that of 100. Knows nothing of models.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, write_result
from benchmarks.peers.finetune.texts import write_run
from retrieval.evaluation.runs import ranking, read_trec_run

RUNS = RESULTS / "runs"
SPLITS = ("dev", "test")
DEPTH = 30

Training = dict[str, Any]


def trainings(folder: Path) -> dict[tuple[str, str], list[Training]]:
    """What was tried, best on dev first, by data set and rival.

    A training without a finished epoch is among them, with no scores.
    """
    found: dict[tuple[str, str], list[Training]] = {}
    for path in sorted(folder.rglob("settings.json")):
        settings = json.loads(path.read_text())
        scores = path.with_name("scores.json")
        epochs = json.loads(scores.read_text()) if scores.is_file() else []
        one = {
            "folder": path.parent.relative_to(folder).as_posix(),
            "settings": settings,
            "epochs": epochs,
            "finished": bool(epochs) and epochs[-1]["epoch"] == settings["epochs"],
        }
        found.setdefault((settings["data"], rival(settings)), []).append(one)
    for tried in found.values():
        tried.sort(key=best, reverse=True)
    return found


def rival(settings: Mapping[str, Any]) -> str:
    """Name of the rival that a training belongs to: static and static-distilled are one."""
    base = str(settings["base"]).partition("-")[0]
    return f"{base}-tuned" if settings["epochs"] else base


def best(training: Mapping[str, Any]) -> float:
    """Dev nDCG@10 of its best epoch, 0 without one."""
    return max((one["nDCG@10"] for one in training["epochs"]), default=0.0)


def keep(folder: Path, into: Path) -> None:
    """Copy the best runs of each data set and rival, and write what was tried."""
    tried: dict[str, dict[str, list[Training]]] = {}
    for (data, name), found in trainings(folder).items():
        tried.setdefault(data, {})[name] = found
        if best(found[0]):
            for split in SPLITS:
                into.mkdir(parents=True, exist_ok=True)
                run = read_trec_run(folder / found[0]["folder"] / f"{split}.run.gz")
                best_hits = {query: ranking(scores)[:DEPTH] for query, scores in run.items()}
                write_run(run_path(into, data, name, split), best_hits, name)
    for data, rivals in tried.items():
        before = read(into, data)
        write_result(into / f"{data}.json", {**before, **rivals})


def read(runs: Path, data: str) -> dict[str, list[Training]]:
    """What was tried on a data set, by rival."""
    path = runs / f"{data}.json"
    found: dict[str, list[Training]] = json.loads(path.read_text()) if path.is_file() else {}
    return found


def kept_runs(runs: Path, data: str) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """The runs of each rival, by split."""
    return {
        name: {split: read_trec_run(run_path(runs, data, name, split)) for split in SPLITS}
        for name in read(runs, data)
        if run_path(runs, data, name, "test").is_file()
    }


def run_path(runs: Path, data: str, name: str, split: str) -> Path:
    """Where a run is kept."""
    return runs / f"{data}.{name}.{split}.run.gz"


if __name__ == "__main__":
    keep(Path(sys.argv[1]), RUNS)
