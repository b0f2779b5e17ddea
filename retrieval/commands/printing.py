"""Results as text for a terminal, or as one JSON document.

Everything a verb prints passes here, so that no text of a document, query or path acts on the terminal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from retrieval.text.terminal import json_visible, visible

if TYPE_CHECKING:
    from index.disk.manifest import Manifest
    from index.values import Json
    from retrieval.text.snippet import Piece


_LINE_CHARACTERS = 200  # of metadata under a hit


class Styled(NamedTuple):
    """Text with a style of the terminal. colour: a name that click knows."""

    text: str
    bold: bool = False
    colour: str | None = None


def print_line(*parts: str | Styled, err: bool = False) -> None:
    """Print a line made of parts, each with its own style, every active character made visible.

    err: on standard error instead of standard output.
    """
    click.echo("".join(_shown(part) for part in parts).rstrip(), err=err)


def print_warning(problem: str) -> None:
    """Print on standard error what the user should know, though the work goes on."""
    print_line(f"Warning: {problem}", err=True)


def print_corrected(query: str) -> None:
    """Print which query was searched for in place of the one that was typed."""
    print_line("searched for ", Styled(query, bold=True), "; --as-typed corrects nothing")


def _shown(part: str | Styled) -> str:
    if isinstance(part, str):
        return visible(part)
    return click.style(visible(part.text), fg=part.colour, bold=part.bold or None)


def pieces_of(pieces: list[Piece]) -> list[str | Styled]:
    """Parts of a line, the marked pieces in bold yellow."""
    return [Styled(p.text, bold=True, colour="yellow") if p.marked else p.text for p in pieces]


def fields_line(metadata: Mapping[str, Json]) -> str:
    """Metadata as "name: value, name: value" in one short line; what is no text, as JSON."""
    shown = (
        f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in metadata.items()
    )
    line = ", ".join(shown)
    return line if len(line) <= _LINE_CHARACTERS else f"{line[:_LINE_CHARACTERS]}…"


def print_json(value: object) -> None:
    """Print a value as indented JSON on standard output."""
    click.echo(json_visible(json.dumps(value, ensure_ascii=False, indent=2)))


def plain(value: object) -> str:
    """A value as a person reads it: mappings as "name value, name value", without those that are None."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {plain(item)}" for name, item in value.items() if item is not None) or "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def manifest_json(index: Path, manifest: Manifest) -> dict[str, Any]:
    """What `info`, `build` and `compact` print of a manifest: its fields, with its files summed up."""
    facts = manifest.as_values()
    files = facts.pop("files")
    return {"index": str(index), **facts, "files": len(files), "bytes": manifest.size_bytes()}
