"""Evaluation of an index on a data set, as `peephole evaluate` does it, and its result as JSON values.

In: an index folder, a data set, and perhaps a baseline: another index or a TREC run. Out: an `Evaluation`.
Knows nothing of printing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from index.values import Progress, no_progress
from retrieval.data.columns.names import USUAL, ColumnNames
from retrieval.data.dataset import open_dataset
from retrieval.data.pairs.dataset import PairsDataset
from retrieval.evaluation.assess import assess
from retrieval.evaluation.breakdown import lost_queries
from retrieval.evaluation.compare import Evaluation, check_judged, compare_runs, read_baseline
from retrieval.evaluation.measures import DEFAULT_MEASURES, parse_measure
from retrieval.search.modes import MODES, Mode
from retrieval.search.retriever import Retriever

_LOST_QUERIES = 10


def evaluate_index(
    index: Path,
    data: Path,
    *,
    split: str = "test",
    modes: Sequence[Mode] = MODES,
    measures: Sequence[str] = DEFAULT_MEASURES,
    against: Path | None = None,
    report: Path | None = None,
    columns: ColumnNames = USUAL,
    progress: Progress = no_progress,
) -> Evaluation:
    """Search every judged query of a split in every mode, and compare the rankings.

    index: index folder.
    data: BEIR folder or file of pairs.
    split: name of the qrels file, or split of the pairs.
    modes: the modes to search in.
    measures: names of ir-measures; significance is tested on the first.
    against: another index folder, or a TREC run file.
    report: folder for the HTML page; None for no page.
    columns: role to the columns that the user names, for a file of pairs.
    progress: is called after each batch of queries.
    Raises InputError for an unknown measure or split, and for qrels that name unknown ids; what opening an
    index raises; and StorageError if the report cannot be written.
    """
    for measure in measures:
        parse_measure(measure)  # an unknown one is refused before the searches
    dataset = open_dataset(data, columns)
    queries = dataset.queries
    with Retriever.open(index) as retriever:
        # A table of pairs names the row of a document that the index lacks.
        qrels = dataset.qrels(split, retriever if isinstance(dataset, PairsDataset) else None)
        check_judged(qrels, retriever, index)
        assessment = assess(retriever, queries, qrels, modes, measures=measures, progress=progress)
        baseline = read_baseline(against, queries, qrels, modes, measures, progress) if against else None
        title = f"{index.name} on {data.name}"
        evaluation = compare_runs(
            retriever, assessment, queries, qrels, title=title, split=split, baseline=baseline
        )
        if report is not None:
            from retrieval.evaluation.report import write_report

            write_report(report, evaluation)
        return evaluation


def evaluation_json(evaluation: Evaluation, *, detailed: bool) -> dict[str, Any]:
    """What `evaluate --json` prints.

    split, queries      the split, and its number of judged queries
    modes, against      mean of every measure for each mode, and for each run of the baseline if there is one
    calibration         how well probabilities agree with the judgements; only with a calibration
    ann, latency_ms     recall of the dense index against exact search; milliseconds of one query
    significance, breakdown, losses   only if `detailed`: tests, groups of queries, queries lost most
    """
    means = {name: measures.means() for name, measures in evaluation.modes.items()}
    ours = {name: means[name] for name in evaluation.ours}
    theirs = {name: mean for name, mean in means.items() if name not in ours}
    result: dict[str, Any] = {
        "split": evaluation.split,
        "queries": len(evaluation.qrels),
        "modes": ours,
        "ann": dict(evaluation.ann),
        "latency_ms": dict(evaluation.latency_ms),
    }
    if evaluation.calibrated is not None:
        result["calibration"] = evaluation.calibrated.as_json()
    if theirs:
        result["against"] = theirs
    return result | (_details(evaluation) if detailed else {})


def _details(evaluation: Evaluation) -> dict[str, Any]:
    lost = []
    if evaluation.against is not None:
        ours, theirs = evaluation.modes[evaluation.focus], evaluation.modes[evaluation.against]
        lost = lost_queries(ours, theirs, evaluation.measure, _LOST_QUERIES)
    return {
        "significance": [comparison.as_json() for comparison in evaluation.comparisons],
        "breakdown": {
            heading: [group._asdict() for group in groups] for heading, groups in evaluation.groups.items()
        },
        "losses": [{**query._asdict(), "text": evaluation.queries[query.query_id]} for query in lost],
    }
