"""Verbs that make a data set, all in the group corpus: pydoc, clicks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from retrieval.commands.options import PATH, PATH_OR_STANDARD_INPUT, json_option, source
from retrieval.commands.printing import plain, print_json, print_line
from retrieval.commands.progress import progress_bars
from retrieval.data.clicks.corpus import ClickCounts, write_click_corpus
from retrieval.data.clicks.grading import LEAST_CLICKS
from retrieval.data.pydoc.corpus import write_pydoc_corpus

# Lower ranks are in --json.
_RANKS_SHOWN = 10


@click.group()
def corpus() -> None:
    """Make a data set to train and search."""


@corpus.command()
@click.option("-o", "--output", type=PATH, required=True, help="Folder to write.")
@click.option("--package", "packages", multiple=True, help="Only this package (repeatable).")
@click.option(
    "--limit", type=click.IntRange(min=1), default=12_000, show_default=True, help="Most documents."
)
@json_option
def pydoc(output: Path, packages: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Docstrings of the standard library and of the packages installed here, as a BEIR folder.

    A document is a docstring's body, its query the summary line; split by hash into train, dev and test.

    Example: peephole corpus pydoc -o data
    """
    with progress_bars("docstrings") as progress:
        counts = write_pydoc_corpus(output, packages=packages or None, limit=limit, progress=progress)
    if as_json:
        print_json(asdict(counts))
    else:
        print_line(f"{output}: " + ", ".join(f"{value:,} {name}" for name, value in asdict(counts).items()))


@corpus.command()
@click.argument("log", type=PATH)
@click.option(
    "--corpus", "documents", type=PATH_OR_STANDARD_INPUT, required=True, help="The documents, as for build."
)
@click.option("-o", "--output", type=PATH, required=True, help="Folder to write.")
@click.option(
    "--least-clicks",
    type=click.IntRange(min=1),
    default=LEAST_CLICKS,
    show_default=True,
    help="A query and a document with fewer clicks are no pair.",
)
@click.option("--missing-ok", is_flag=True, help="Pass over rows of documents that the corpus lacks.")
@json_option
def clicks(
    log: Path, documents: Path, output: Path, least_clicks: int, missing_ok: bool, as_json: bool
) -> None:
    """Graded pairs from a click log, as a BEIR folder, corrected for the ranks at which documents stood.

    LOG is a .csv, .tsv, .jsonl or .parquet file with the columns query and doc_id. It has also clicks and
    impressions, added up, or a row for every result that was shown, with clicked 0 or 1. Only with a column
    rank can the correction be estimated, from documents that were shown at several ranks for a query.

    Queries are split by a hash of their text into train, dev and test.

    Example: peephole corpus clicks clicks.csv --corpus corpus.jsonl -o data
    """
    with progress_bars("reading") as progress:
        counts = write_click_corpus(
            log,
            source(documents),
            output,
            least_clicks=least_clicks,
            missing_ok=missing_ok,
            progress=progress,
        )
    if as_json:
        print_json(asdict(counts))
    else:
        _print_clicks(output, counts, least_clicks)


def _print_clicks(output: Path, counts: ClickCounts, least_clicks: int) -> None:
    kept = sum(counts.queries_by_split.values())
    print_line(
        f"{output}: {counts.pairs:,} pairs of {kept:,} queries ({plain(counts.queries_by_split)}), "
        + ", ".join(f"{pairs:,} of grade {grade}" for grade, pairs in counts.pairs_by_grade.items())
    )
    print_line(f"  read        {counts.rows:,} rows, {counts.queries:,} queries, {counts.clicks:,} clicks")
    print_line(
        f"  left out    {counts.queries_with_few_clicks:,} queries without a document of {least_clicks} "
        f"clicks, {counts.queries_without_preference:,} without one clicked clearly above the average"
    )
    if counts.rows_of_unknown_documents:
        print_line(f"  passed over {counts.rows_of_unknown_documents:,} rows of unknown documents")
    if counts.not_corrected_because:
        print_line(f"  no correction of position bias: {counts.not_corrected_because}")
    else:
        shown = list(counts.propensity_by_rank.items())[:_RANKS_SHOWN]
        print_line("  examined    " + ", ".join(f"rank {rank} {value:.2f}" for rank, value in shown))
