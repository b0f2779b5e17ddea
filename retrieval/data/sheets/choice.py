"""Which sheets of a workbook are the table, and which of their rows is its header.

In: the first rows of each sheet, and what the user said about columns. Out: `Header`s. Knows nothing of the
rows below a header.

The first sheet with the best header (`retrieval.data.headers`) is the table. Others are parts of it if they
have the columns by which its header was recognised, as files of one pattern are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from index.errors import InputError
from retrieval.data.columns.names import ColumnNames, listed
from retrieval.data.headers import fit_of, names_of
from retrieval.data.sheets.spool import Row, Sheet

_MOST_SHEETS_TOLD = 8
_MOST_CELLS_TOLD = 6


class Header(NamedTuple):
    """The row of a sheet that names the columns."""

    sheet: Sheet
    row: Row


def choose(path: Path, heads: Mapping[Sheet, Sequence[Row]], given: ColumnNames) -> list[Header]:
    """The headers of the sheets that are one table, in the order of the workbook.

    path: the workbook, for errors.
    heads: each visible sheet with its first rows.
    given: what the user said about columns; a header has all those that are named.

    Raises InputError if no row is a header.
    """
    fits = [
        (fit.rank, number, fit.columns)
        for number, rows in enumerate(heads.values())
        for row in rows
        if (fit := fit_of(names_of(row.cells), given))
    ]
    if not fits:
        raise _no_header(path, heads, given)
    _, _, columns = min(fits, key=lambda fit: fit[:2])
    found = (
        (sheet, next((row for row in rows if columns <= set(names_of(row.cells))), None))
        for sheet, rows in heads.items()
    )
    return [Header(sheet, row) for sheet, row in found if row is not None]


def _no_header(path: Path, heads: Mapping[Sheet, Sequence[Row]], given: ColumnNames) -> InputError:
    """The error that no sheet has a header, with what the sheets have instead."""
    if not any(heads.values()):
        return InputError("has no cells in a visible sheet; give a workbook with a table", path=path)
    named = [name for columns in given.values() for name in columns]
    wanted = f"a row with {listed(named, _MOST_CELLS_TOLD)}" if named else "columns that are known"
    told = "; ".join(
        f"{sheet.name!r} begins {listed(_widest(rows), _MOST_CELLS_TOLD)}"
        for sheet, rows in list(heads.items())[:_MOST_SHEETS_TOLD]
        if rows
    )
    return InputError(
        f"no sheet has {wanted} ({told}); name the columns of pairs with --column query=NAME "
        "--column document=NAME, or those of documents with --column id=NAME --column text=NAME",
        path=path,
    )


def _widest(rows: Sequence[Row]) -> list[str]:
    """The names of the first row with more than one cell, which is perhaps a header."""
    found = [names_of(row.cells) for row in rows]
    return next((names for names in found if len(names) > 1), found[0])
