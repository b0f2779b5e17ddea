"""Verbs on the click log that `peephole serve --clicks` records, all in the group clicks: info, forget."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import click

from retrieval.commands.options import PATH, json_option
from retrieval.commands.printing import print_json, print_line
from retrieval.commands.progress import progress_bars
from retrieval.data.clicks.forgetting import Wanted
from retrieval.data.clicks.forgetting import forget as forget_searches
from retrieval.data.clicks.recorded import time_text
from retrieval.data.clicks.summary import summary_of

_DAY = 86_400


@click.group()
def clicks() -> None:
    """Count, or forget, the searches that serve recorded."""


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
    before = None if older_than is None else time_text(max(0, time.time() - older_than * _DAY))
    with progress_bars("forgetting") as progress:
        found = forget_searches(file, Wanted(query, before), progress=progress)
    if as_json:
        print_json({"log": str(file), **asdict(found)})
    elif found.searches or found.clicks:
        print_line(f"{file}: forgot {found.searches:,} searches and {found.clicks:,} clicks")
    else:
        print_line(f"{file}: nothing to forget, no search fits")
