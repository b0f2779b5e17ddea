"""An index scored on a data set: what `peephole evaluate` does, and its result as JSON values.

In: an index folder, a BEIR folder and, to compare with, another index or a TREC run. Out: an `Evaluation`.
Knows nothing of printing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from index.values import Progress, no_progress
from retrieval.data.dataset import Dataset
from retrieval.evaluation.assess import assess
from retrieval.evaluation.breakdown import losses
from retrieval.evaluation.compare import Evaluation, compare_runs, read_baseline
from retrieval.evaluation.measures import DEFAULT_MEASURES, parse_measure
from retrieval.search.retriever import MODES, Mode, Retriever

_LOSSES = 10


def evaluate_index(
    index: Path,
    data: Path,
    *,
    split: str = "test",
    modes: Sequence[Mode] = MODES,
    measures: Sequence[str] = DEFAULT_MEASURES,
    against: Path | None = None,
    report: Path | None = None,
    progress: Progress = no_progress,
) -> Evaluation:
    """Search every judged query of a split in every mode, 100 deep, and compare the rankings.

    data: BEIR folder.
    measures: names of ir-measures; significance is tested on the first.
    against: another index folder, or a TREC run file.
    report: folder for the HTML page; none by default.
    Raises InputError for an unknown measure or split and for qrels that name unknown ids, what opening an index
    raises, and StorageError where the report cannot be written.
    """
    for measure in measures:
        parse_measure(measure)  # before the work, not after it
    dataset = Dataset(data)
    queries = dataset.queries
    with Retriever.open(index) as retriever:
        qrels = dataset.qrels(split, document_ids=retriever)
        ours = assess(retriever, queries, qrels, modes, measures=measures, report=progress)
        baseline = read_baseline(against, queries, qrels, modes, measures, progress) if against else None
        title = f"{index.name} on {data.name}"
        evaluation = compare_runs(
            retriever, ours, queries, qrels, title=title, split=split, baseline=baseline
        )
        if report is not None:
            from retrieval.evaluation.report import write_report

            write_report(report, evaluation)
        return evaluation


def evaluation_json(evaluation: Evaluation, *, detailed: bool) -> dict[str, Any]:
    """What `evaluate --json` prints.

    split, queries      the split, and how many queries it judges
    modes, against      mean of every measure for each mode, and for each run of the baseline if there is one
    ann, latency_ms     recall of the dense index against exact search; milliseconds of one query
    significance, breakdown, losses   tests, groups of queries, queries lost most; only if `detailed`
    """
    means = {name: scores.means() for name, scores in evaluation.modes.items()}
    ours = {name: means[name] for name in evaluation.ours}
    theirs = {name: mean for name, mean in means.items() if name not in ours}
    found: dict[str, Any] = {
        "split": evaluation.split,
        "queries": len(evaluation.qrels),
        "modes": ours,
        "ann": dict(evaluation.ann),
        "latency_ms": dict(evaluation.latency_ms),
    }
    if theirs:
        found["against"] = theirs
    return found | (_details(evaluation) if detailed else {})


def _details(evaluation: Evaluation) -> dict[str, Any]:
    lost = []
    if evaluation.against is not None:
        ours, theirs = evaluation.modes[evaluation.focus], evaluation.modes[evaluation.against]
        lost = losses(ours, theirs, evaluation.measure, _LOSSES)
    return {
        "significance": [contest.as_json() for contest in evaluation.contests],
        "breakdown": {
            heading: [group._asdict() for group in groups] for heading, groups in evaluation.groups.items()
        },
        "losses": [{**loss._asdict(), "text": evaluation.queries[loss.query_id]} for loss in lost],
    }
