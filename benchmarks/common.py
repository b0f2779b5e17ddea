"""What the benchmarks share: the folder of the repository, a parser of arguments, and results as files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
# Of processes of transformers: their libraries ask nobody for models, and start no threads of their own.
OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """A parser of arguments whose --help shows the docstring of a script as it is written."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def command_of(module: str) -> str:
    """The command of this run, without folders: those of this machine mean nothing to others."""
    return " ".join(["python -m", module, *(Path(word).name for word in sys.argv[1:])])


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result as indented JSON, making the folder if there is none."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A table as lines, its columns as wide as their longest cells."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
    )
