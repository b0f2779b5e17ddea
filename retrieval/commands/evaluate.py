"""The verb `evaluate`: retrieval quality on judged queries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from index.disk.output import is_replaceable
from index.errors import needing
from retrieval.commands.columns import column_option
from retrieval.commands.corpus_warnings import warn_of_sheets
from retrieval.commands.options import OUTPUT_FILE, PATH, index_argument, json_option
from retrieval.commands.printing import print_json, print_line
from retrieval.commands.progress import progress_bars
from retrieval.data.columns.names import ColumnNames
from retrieval.evaluation.breakdown import lost_queries
from retrieval.evaluation.compare import Evaluation
from retrieval.evaluation.evaluate import evaluate_index, evaluation_json
from retrieval.evaluation.measures import DEFAULT_MEASURES
from retrieval.evaluation.runs import write_mode_runs
from retrieval.search.modes import MODES, Mode

_LOST_QUERIES_SHOWN = 5


@click.command()
@index_argument
@click.argument("data", type=PATH)
@click.option("--split", default="test", show_default=True, help="Which split to score.")
@click.option("--mode", "modes", type=click.Choice(MODES), multiple=True, help="Only this mode (repeatable).")
@click.option(
    "--measure", "measures", multiple=True, help="As ir-measures names it (repeatable): AP, R@5 ..."
)
@click.option("--against", type=PATH, help="Another index, or a TREC run file.")
@click.option("--run", "run_path", type=OUTPUT_FILE, help="Write TREC runs; one file a mode.")
@click.option("--report", type=PATH, help="Folder for a page of tables and plots.")
@click.option("--per-query", type=OUTPUT_FILE, help="Write every query's values as TSV.")
@column_option
@json_option
def evaluate(
    index: Path,
    data: Path,
    split: str,
    modes: tuple[Mode, ...],
    measures: tuple[str, ...],
    against: Path | None,
    run_path: Path | None,
    report: Path | None,
    per_query: Path | None,
    columns: ColumnNames,
    as_json: bool,
) -> None:
    """Score an index on judged queries, the whole index as candidates.

    DATA is a BEIR folder or a table of pairs, as for `train`.

    Rankings are 100 deep, or as deep as the largest cutoff. Differences are tested by a paired randomisation
    test on the first measure, corrected for their number (Holm). With several modes, --run hits.trec writes
    hits.dense.trec and so on, and says so on standard error.

    \b
    Example: peephole evaluate my.index data --split test --report report
    Example: peephole evaluate my.index data --measure nDCG@10 --measure AP --against theirs.trec
    """  # noqa: D301
    modes = tuple(dict.fromkeys(modes)) or MODES
    if run_path is not None and len(modes) > 1 and not is_replaceable(run_path):
        raise click.UsageError(
            f"{run_path} is one pipe or device, runs are {len(modes)}; choose one with --mode"
        )
    warn_of_sheets(data, columns)
    with needing("evaluate"), progress_bars("searching") as progress:
        evaluation = evaluate_index(
            index,
            data,
            split=split,
            modes=modes,
            measures=tuple(dict.fromkeys(measures)) or DEFAULT_MEASURES,
            against=against,
            report=report,
            columns=columns,
            progress=progress,
        )
    if run_path is not None:
        files = write_mode_runs(run_path, evaluation.our_runs())
        if len(files) > 1:
            print_line(f"wrote {', '.join(map(str, files))}", err=True)
    if per_query is not None:
        from retrieval.evaluation.report import write_per_query

        write_per_query(per_query, evaluation)
    if as_json:
        print_json(evaluation_json(evaluation, detailed=against is not None or report is not None))
        return
    print_line(f"{index}: {len(evaluation.qrels):,} {split} queries, {evaluation.documents:,} documents")
    _print_evaluation(evaluation)
    if report is not None:
        print_line(f"report: {report / 'report.html'}")


def _print_evaluation(evaluation: Evaluation) -> None:
    measures = list(next(iter(evaluation.modes.values())).values)
    width = max(8, *map(len, evaluation.modes))
    columns = [max(8, len(measure)) for measure in measures]
    _print_row("mode", measures, width, columns)
    for mode, values in evaluation.modes.items():
        _print_row(mode, [f"{values.mean(measure):.4f}" for measure in measures], width, columns)
    for comparison in evaluation.comparisons:
        test = comparison.test
        print_line(
            f"{comparison.a} over {comparison.b}: {test.measure} {test.difference:+.4f} "
            f"({test.low:+.4f} to {test.high:+.4f}), p {comparison.corrected_p:.4f}"
        )
    for heading, groups in evaluation.groups.items():
        print_line(f"{evaluation.measure} {heading}")
        for group in groups:
            means = ", ".join(f"{mode} {mean:.4f}" for mode, mean in group.means.items())
            print_line(f"  {group.label}: {group.queries:,} queries, {means}")
    _print_lost_queries(evaluation)
    calibrated = evaluation.calibrated
    if calibrated is not None:
        print_line(
            f"calibration error of the probabilities, {calibrated.mode}: "
            f"{calibrated.first:.4f} of first hits, {calibrated.ten:.4f} of the first ten"
        )
    recalls = ", ".join(f"{name} {value:.4f}" for name, value in evaluation.ann.items())
    print_line(f"dense index against exact search: {recalls}")
    latencies = ", ".join(f"{name} {value:.2f} ms" for name, value in evaluation.latency_ms.items())
    print_line(f"one query, text to hits: {latencies}")


def _print_row(name: str, cells: Sequence[str], width: int, columns: Sequence[int]) -> None:
    print_line(f"{name:{width}}" + "".join(f" {cell:>{n}}" for cell, n in zip(cells, columns, strict=True)))


def _print_lost_queries(evaluation: Evaluation) -> None:
    if evaluation.against is None:
        return
    ours, theirs = evaluation.modes[evaluation.focus], evaluation.modes[evaluation.against]
    lost = lost_queries(ours, theirs, evaluation.measure, _LOST_QUERIES_SHOWN)
    if lost:
        print_line(f"where {evaluation.focus} loses most to {evaluation.against}, {evaluation.measure}")
    for query in lost:
        text = evaluation.queries[query.query_id]
        print_line(f"  {query.ours:.3f} for {query.theirs:.3f}  {query.query_id}  {text}")
