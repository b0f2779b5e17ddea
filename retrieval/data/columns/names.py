"""The roles that columns of a table may have, and the column of a role: a usual name, or as the user says.

In: the names of the columns, and what the user said about them. Out: names. Two columns that fit a role
equally well are an InputError. Knows nothing of what a kind of table needs.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from index.errors import InputError
from retrieval.data.table_kinds import table_kind

# Role -> the columns that the user names for it; no columns means that the table has none for it.
ColumnNames: TypeAlias = Mapping[str, Sequence[str]]
USUAL: ColumnNames = MappingProxyType({})  # the user names none

ROLES = ("query", "document", "id", "title", "text", "score", "split", "negative", "metadata")
SEVERAL = frozenset({"text", "negative", "metadata"})  # the roles that several columns may have
METADATA = "metadata"  # the column that BEIR has for it


def groups(*names: str) -> tuple[frozenset[str], ...]:
    """Groups of usual names, each written as one text."""
    return tuple(frozenset(group.split()) for group in names)


def usual_column(
    path: Path | str, free: Iterable[str], role: str, usual: Sequence[frozenset[str]]
) -> str | None:
    """The column with a usual name of a role; None if there is none.

    path: the table, for errors.
    free: the columns that may have the role.
    usual: groups of names, written as `plain` writes them. A name of an earlier group is preferred.
    Raises InputError if two columns fit equally well.
    """
    named = {name: plain(name) for name in free}
    for group in usual:
        fitting = [name for name, written in named.items() if written in group]
        if len(fitting) > 1:
            raise InputError(
                f"{listed(fitting)} all fit the {role}; choose one with --column {role}=NAME", path=path
            )
        if fitting:
            return fitting[0]
    return None


def check_given(path: Path | str, names: Sequence[str], given: ColumnNames) -> None:
    """Raise InputError if a column that the user names is not there."""
    absent = next((name for columns in given.values() for name in columns if name not in names), None)
    if absent is not None:
        raise InputError(
            f"has no column {absent!r}; the columns are {listed(names)}{or_separate(path, names)}",
            path=path,
        )


def said(given: ColumnNames) -> str:
    """What the user said, as a text that is another one if anything is."""
    return json.dumps({role: list(names) for role, names in given.items()}, sort_keys=True)


def or_separate(path: Path | str, names: Sequence[str]) -> str:
    """The remedy for a table whose cells may be separated by something else than was taken; "" for others."""
    kind = table_kind(path)
    if kind == "csv" and any(mark in name for name in names for mark in ";\t"):
        return "; or say what separates the cells in a first line, such as sep=;"
    if kind == "tsv" and len(names) == 1 and any(mark in names[0] for mark in ",;|"):
        return "; or separate the cells by tabs, or name the file .csv"
    return ""


def plain(name: str) -> str:
    """A name without case, accents, spaces and separators.

    >>> plain("Hard Negative_1"), plain("Réponse"), plain("Artikel-Nr.")
    ('hardnegative1', 'reponse', 'artikelnr')
    """
    return "".join(c for c in unicodedata.normalize("NFKD", name).casefold() if c.isalnum())


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names for a message. most: how many are told."""
    shown = ", ".join(repr(name[:40]) for name in names[:most])
    return f"{shown}, ..." if len(names) > most else shown
