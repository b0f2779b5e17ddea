"""Verbs on the click log that `peephole serve --clicks` records, the group clicks: info, queries, forget."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click

from retrieval.commands.options import PATH, json_option
from retrieval.commands.printing import print_json, print_line
from retrieval.commands.progress import progress_bars
from retrieval.data.clicks.forgetting import Wanted
from retrieval.data.clicks.forgetting import forget as forget_searches
from retrieval.data.clicks.half_typed import TYPING_SECONDS
from retrieval.data.clicks.queries import count_queries
from retrieval.data.clicks.query_lists import most_frequent
from retrieval.data.clicks.recorded import time_text
from retrieval.data.clicks.summary import summary_of

_DAY = 86_400
# Queries that are looked up in an index: some milliseconds each.
_LOOKED_UP = 1000


@click.group()
def clicks() -> None:
    """Count, list, or forget, the searches that serve recorded."""


@clicks.command()
@click.argument("file", type=PATH)
@json_option
def info(file: Path, as_json: bool) -> None:
    """Count the searches, clicks and queries of a log.

    It says from when they are, too. FILE is what `serve --clicks` was given; FILE.1, FILE.2, ... beside it
    belong to it.

    Example: peephole clicks info clicks.jsonl
    """
    found = summary_of(file)
    if as_json:
        print_json({"log": str(file), **asdict(found)})
        return
    print_line(
        f"{file}: {found.searches:,} searches for {found.queries:,} queries, {found.clicks:,} clicks; "
        f"{found.bytes:,} bytes in {found.files:,} {'file' if found.files == 1 else 'files'}"
    )
    if found.first:
        print_line(f"from {found.first} to {found.last}")


@clicks.command()
@click.argument("file", type=PATH)
@click.option("--index", type=PATH, help="Look the most frequent queries up in this index.")
@click.option(
    "--among",
    type=click.IntRange(1),
    help=f"How many queries to look up.  [default: {_LOOKED_UP}]",
)
@click.option(
    "--most", type=click.IntRange(1), default=20, show_default=True, help="The length of each list."
)
@click.option(
    "--least",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="List no query that was searched for less often; 1 lists what only one person may have asked.",
)
@click.option(
    "--newer-than",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Only the searches of the last so many days.",
)
@click.option(
    "--typing",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    default=TYPING_SECONDS,
    show_default=True,
    help="A search without click is half typed, and not counted, if one whose text goes on follows within "
    "so many seconds; 0 counts all.",
)
@json_option
def queries(
    file: Path,
    index: Path | None,
    among: int | None,
    most: int,
    least: int,
    newer_than: float | None,
    typing: float,
    as_json: bool,
) -> None:
    """List what people search for, and what they do not find.

    The lists: the most frequent queries; those on which nobody clicked; those that showed nothing; those that
    are clicked far down. With --index also those with words that no document has, those that are read with
    other words because they are misspelt, and those whose best hit is probably not relevant. FILE is what
    `serve --clicks` was given; a server may go on recording.

    \b
    Example: peephole clicks queries clicks.jsonl
    Example: peephole clicks queries clicks.jsonl --index my.index --newer-than 30
    """  # noqa: D301
    if among is not None and index is None:
        raise click.UsageError("--among is about --index, which is not given")
    from retrieval.commands import query_report  # here, for the other verbs do without search
    from retrieval.search.retriever import Retriever

    since = None if newer_than is None else _time_before(newer_than)
    looked_up = None
    with ExitStack() as stack:
        retriever = None if index is None else stack.enter_context(Retriever.open(index))
        with progress_bars("reading") as progress:
            counts = count_queries(file, since=since, typing_seconds=typing, progress=progress)
        if retriever is not None:
            listed = most_frequent(counts, least, among or _LOOKED_UP)
            with progress_bars("looking up") as progress:
                looked_up = query_report.look_up(retriever, listed, progress)
    report = query_report.QueryReport(file, counts, least, most, looked_up)
    if as_json:
        print_json(query_report.report_json(report))
    else:
        query_report.print_report(report)


@clicks.command()
@click.argument("file", type=PATH)
@click.option("--query", help="The searches for this text; case and white space do not matter.")
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="The searches from before so many days.",
)
@json_option
def forget(file: Path, query: str | None, older_than: float | None, as_json: bool) -> None:
    """Take searches out of a log, with their clicks.

    FILE and the files FILE.1, FILE.2, ... beside it are replaced one by one; a server may go on recording,
    and waits while this works. Texts of queries are compared in
    lower case (Unicode case folding), without white space at the ends and with one blank for each run of it.
    With both options only searches go that fit both.

    \b
    Example: peephole clicks forget clicks.jsonl --query secret
    Example: peephole clicks forget clicks.jsonl --older-than 90
    """  # noqa: D301
    if query is None and older_than is None:
        raise click.UsageError("say what to forget: --query TEXT, --older-than DAYS, or both")
    before = None if older_than is None else _time_before(older_than)
    with progress_bars("forgetting") as progress:
        found = forget_searches(file, Wanted(query, before), progress=progress)
    if as_json:
        print_json({"log": str(file), **asdict(found)})
    elif found.searches or found.clicks:
        print_line(f"{file}: forgot {found.searches:,} searches and {found.clicks:,} clicks")
    else:
        print_line(f"{file}: nothing to forget, no search fits")


def _time_before(days: float) -> str:
    """The time so many days ago, as events have it."""
    return time_text(max(0, time.time() - days * _DAY))
