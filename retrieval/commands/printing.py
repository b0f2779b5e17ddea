"""Results as text for a terminal, or as one JSON document."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from index.disk.manifest import Manifest
    from retrieval.text.snippet import Piece


def print_json(value: object) -> None:
    """Print a value as indented JSON on standard output."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def styled(pieces: Iterable[Piece]) -> str:
    """Pieces of text as one string, the marked ones in bold yellow."""
    return "".join(click.style(p.text, fg="yellow", bold=True) if p.marked else p.text for p in pieces)


def plain(value: object) -> str:
    """A value as a person reads it: mappings as "name value, name value"."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {plain(item)}" for name, item in value.items()) or "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def manifest_json(index: Path, manifest: Manifest) -> dict[str, Any]:
    """What `info`, `build` and `compact` print of a manifest: its fields, with its files summed up."""
    facts = asdict(manifest)
    files = facts.pop("files")
    return {"index": str(index), **facts, "files": len(files), "bytes": manifest.size_bytes()}
