"""The verb `mcp`: the tools of an index for agents."""

from __future__ import annotations

from pathlib import Path

import click

from retrieval.commands.options import index_argument


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

    serve(index, about)
