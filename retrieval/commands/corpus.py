"""Verbs that make a data set, all in the group corpus: pydoc."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from retrieval.commands.options import PATH, json_option
from retrieval.commands.printing import print_json, print_line
from retrieval.commands.progress import progress_bars
from retrieval.data.pydoc.corpus import write_pydoc_corpus


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
