"""Arguments and options that several verbs have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from index.disk.output import check_output, is_replaceable
from index.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])


class _Path(click.Path):
    """A path, which is not empty: `Path("")` would be the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        _check_not_empty(value, param, ctx)
        return super().convert(value, param, ctx)


class _Place(click.types.StringParamType):
    """The text of a path, a pattern, a URL or a name, which is not empty."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        _check_not_empty(value, param, ctx)
        return super().convert(value, param, ctx)


def _check_not_empty(value: Any, param: click.Parameter | None, ctx: click.Context | None) -> None:
    if value == "":
        name = param.get_error_hint(ctx) if param and ctx else "the path"
        raise InputError(f"{name} is empty; give a path, or set the variable of the shell that it comes from")


class _OutputFile(_Path):
    """A file to write, refused before the work if it is a folder, or its suffix is that of another kind.

    suffix: of the kind that is written; empty where every suffix will do. A name without one will do too.
    """

    def __init__(self, suffix: str = "") -> None:
        super().__init__(path_type=Path)
        self._suffix = suffix

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(str(super().convert(value, param, ctx)))
        if value == "-":
            raise InputError("'-' names no file; give /dev/stdout for standard output")
        check_output(path)
        if self._suffix and path.suffix.lower() not in ("", self._suffix) and is_replaceable(path):
            raise InputError(f"is not {self._suffix}, which is written; name the output so", path=path)
        return path


class _PassageWords(click.IntRange):
    """A number of words, or "off", which is 0."""

    name = "words"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if value == "off":
            return 0
        try:
            int(value)
        except ValueError:
            self.fail(f"{value!r} is no number of words; give one of 8 or more, or off", param, ctx)
        return int(super().convert(value, param, ctx))


class _Corpus(_Path):
    """A path, or what is none: "-" for standard input, a pattern or a URL."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        from retrieval.data.lines import is_pattern  # a search starts without it

        if isinstance(value, str) and (value == "-" or is_pattern(value)):
            return value
        return Path(str(super().convert(value, param, ctx)))


PATH = _Path(path_type=Path)
PLACE = _Place()
OUTPUT_FILE = _OutputFile()
PNG_FILE = _OutputFile(".png")
ONNX_FILE = _OutputFile(".onnx")
PASSAGES = _PassageWords(min=8)
PATH_OR_STANDARD_INPUT = _Path(path_type=Path, allow_dash=True)
CORPUS = _Corpus()


def index_argument(function: F) -> F:
    """Add the argument INDEX, an index folder."""
    return click.argument("index", type=PATH)(function)


def json_option(function: F) -> F:
    """Add the option --json, as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document, and nothing else.")(
        function
    )


def as_typed_option(function: F) -> F:
    """Add the option --as-typed, as `as_typed`."""
    return click.option("--as-typed", is_flag=True, help="Correct no misspelt words of the query.")(function)


def wait_option(function: F) -> F:
    """Add the option --wait SECONDS, as `wait`."""
    return click.option(
        "--wait", type=click.FloatRange(min=0), default=0, help="Seconds to wait for another writer."
    )(function)


def source(path: Path) -> Path | str:
    """The path as readers expect it: "-", and no path, for standard input."""
    return "-" if str(path) == "-" else path
