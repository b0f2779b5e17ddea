"""The verb `mcp`: the tools of an index for agents."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from retrieval.commands.options import index_argument
from retrieval.commands.printing import print_line


@click.command()
@index_argument
@click.option("--about", default="", metavar="TEXT", help="What the documents are, told to the agent.")
def mcp(index: Path, about: str) -> None:
    """Serve an index to agents over MCP.

    The program that runs the agent starts this command and talks to it over standard input and output. The
    agent gets the tools search, read_document and facets, and sees a new generation as soon as it is
    published.

    Example: peephole mcp my.index --about handbook
    """
    from retrieval.adapters.mcp import serve

    serve(index, about, _tell_of_waiting)


def _tell_of_waiting() -> None:
    """Say to a person at a terminal why nothing happens."""
    if sys.stdin is not None and sys.stdin.isatty():
        print_line(
            "waits for the program of an agent to talk to it on standard input; Ctrl-C ends it", err=True
        )
