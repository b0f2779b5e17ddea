"""Verbs that make a data set, all in the group corpus: pydoc, clicks, files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from retrieval.commands.columns import column_option
from retrieval.commands.corpus_warnings import warn_of_corpus, warn_of_sheets
from retrieval.commands.options import CORPUS, PATH, json_option
from retrieval.commands.printing import plain, print_json, print_line
from retrieval.commands.progress import progress_bars
from retrieval.data.clicks.corpus import ClickCounts, write_click_corpus
from retrieval.data.clicks.grading import LEAST_CLICKS
from retrieval.data.columns.names import ColumnNames
from retrieval.data.files.corpus import DEFAULT_SECONDS, FilesResult, write_files_corpus
from retrieval.data.pydoc.corpus import write_pydoc_corpus

# Lower ranks, and more files, are in --json.
_RANKS_SHOWN = 10
_FILES_NAMED = 10


@click.group()
def corpus() -> None:
    """Make a data set to train and search."""


@corpus.command(short_help="Docstrings of the Python packages installed here.")
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


@corpus.command(short_help="Graded pairs from a click log.")
@click.argument("log", type=PATH)
@click.option("--corpus", "documents", type=CORPUS, required=True, help="The documents, as for build.")
@click.option("-o", "--output", type=PATH, required=True, help="Folder to write.")
@click.option(
    "--least-clicks",
    type=click.IntRange(min=1),
    default=LEAST_CLICKS,
    show_default=True,
    help="A query and a document with fewer clicks are no pair.",
)
@click.option("--missing-ok", is_flag=True, help="Pass over rows of documents that the corpus lacks.")
@column_option
@json_option
def clicks(
    log: Path,
    documents: Path | str,
    output: Path,
    least_clicks: int,
    missing_ok: bool,
    columns: ColumnNames,
    as_json: bool,
) -> None:
    """Graded pairs from a click log, as a BEIR folder, corrected for the ranks at which documents stood.

    LOG is what `peephole serve --clicks` records, or a .csv, .tsv, .jsonl, .parquet or .xlsx file with the
    columns query and doc_id. It has also clicks and impressions, added up, or a row for every result that was
    shown, with clicked 0 or 1. Only with a column rank can the correction be estimated, from documents that
    were shown at several ranks for a query.

    Queries are split by a hash of their text into train, dev and test.

    \b
    Example: peephole corpus clicks clicks.csv --corpus corpus.jsonl -o data
    Example: peephole corpus clicks clicks.jsonl --corpus faq.csv -o data
    """  # noqa: D301
    warn_of_sheets(log)
    warn_of_corpus(documents, columns)
    with progress_bars("reading") as progress:
        counts = write_click_corpus(
            log,
            documents,
            output,
            least_clicks=least_clicks,
            missing_ok=missing_ok,
            columns=columns,
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


@corpus.command(short_help="Sections of Markdown, HTML, PDF, Office and text files.")
@click.argument("folder", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="Folder to write, or to bring up to date.")
@click.option("--include", multiple=True, metavar="GLOB", help="Only paths or names like this (repeatable).")
@click.option(
    "--exclude", multiple=True, metavar="GLOB", help="No paths, names or folders like this (repeatable)."
)
@click.option("--skip-broken", is_flag=True, help="Leave out files that cannot be read, and list them.")
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True, max=86_400),
    default=DEFAULT_SECONDS,
    show_default=True,
    help="Most seconds for a file.",
)
@json_option
def files(
    folder: Path,
    output: Path,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    skip_broken: bool,
    time_limit: float,
    as_json: bool,
) -> None:
    """Sections of Markdown, reStructuredText, HTML, PDF, Office, mail, notebook and text files, as a corpus.

    A document is the text below a heading, a page or slide, a sheet, or a mail. Run again, it reads only the
    files that have changed.

    Example: peephole corpus files docs -o data
    """
    with progress_bars("reading") as progress:
        result = write_files_corpus(
            folder,
            output,
            include=include,
            exclude=exclude,
            skip_broken=skip_broken,
            seconds=time_limit,
            progress=progress,
        )
    if as_json:
        print_json({"data": str(output), **asdict(result)})
    else:
        _print_files(output, result)


def _print_files(output: Path, result: FilesResult) -> None:
    print_line(
        f"{output}: {result.documents:,} documents of {result.files:,} files, "
        f"{result.read:,} read, {result.unchanged:,} unchanged"
    )
    if result.left_out:
        print_line("left out: " + ", ".join(f"{count:,} {name}" for name, count in result.left_out.items()))
    if result.empty:
        more = f" and {len(result.empty) - _FILES_NAMED:,} more" if len(result.empty) > _FILES_NAMED else ""
        print_line(f"empty: {', '.join(result.empty[:_FILES_NAMED])}{more}")
    for broken in result.broken:
        print_line(f"broken: {broken.path}: {broken.problem}", err=True)
