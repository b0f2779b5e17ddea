"""Which sheets of a workbook are the table, and which of their rows is its header.

In: the first rows of each sheet, and what the user said about columns. Out: `Header`s. Knows nothing of the
rows below a header.

A header has columns that are recognised: best those of pairs, or else those of a corpus or a click log, or
else those of a corpus with titles alone, or else a column of queries. The first sheet with the best header is
the table. Others are parts of it if they have the columns by which its header was recognised, as files of one
pattern are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from index.errors import InputError
from retrieval.data.clicks.columns import columns_by_use, looks_like_a_click_log
from retrieval.data.columns.corpus import find_corpus_columns
from retrieval.data.columns.names import ColumnNames, listed
from retrieval.data.columns.pairs import NoDocumentsError, find_columns, query_column
from retrieval.data.sheets.spool import Row, Sheet

_PAIRS, _DOCUMENTS, _TITLES, _QUERIES, _NAMED = range(5)  # _TITLES: documents without a text
_MOST_SHEETS_TOLD = 8
_MOST_CELLS_TOLD = 6


class Header(NamedTuple):
    """The row of a sheet that names the columns."""

    sheet: Sheet
    row: Row


class _Fit(NamedTuple):
    """How well a row is a header, the best first, and the columns that make it one."""

    rank: int
    columns: frozenset[str]


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
        if (fit := _fit(names_of(row), given))
    ]
    if not fits:
        raise _no_header(path, heads, given)
    _, _, columns = min(fits, key=lambda fit: fit[:2])
    found = (
        (sheet, next((row for row in rows if columns <= set(names_of(row))), None))
        for sheet, rows in heads.items()
    )
    return [Header(sheet, row) for sheet, row in found if row is not None]


def names_of(row: Row) -> list[str]:
    """The cells of a row that are not blank, as names of columns."""
    return [name for cell in row.cells if (name := cell.strip())]


def is_header(cells: Sequence[str], given: ColumnNames) -> bool:
    """Whether a row of any table is a header. A single usual name makes none, for it may be a cell as well.

    given: what the user said about columns.
    """
    fit = _fit([name for cell in cells if (name := cell.strip())], given)
    return fit is not None and (len(fit.columns) > 1 or any(given.values()))


def is_record(names: Sequence[str], given: ColumnNames) -> bool:
    """Whether an object with members of these names may be a record. given: what the user said about them."""
    return _fit(names, given) is not None


def _fit(names: Sequence[str], given: ColumnNames) -> _Fit | None:
    """How well names are those of a header; None if nothing is recognised, or a named one is missing."""
    named = frozenset(name for columns in given.values() for name in columns)
    if not named <= set(names):
        return None
    if looks_like_a_click_log(names):
        return _Fit(_DOCUMENTS, frozenset(columns_by_use(names).values()) or frozenset(names))
    try:
        columns = find_columns("", names, given)
    except NoDocumentsError:
        return _Fit(_QUERIES, named or frozenset({str(query_column("", names))}))
    except InputError:  # two fit a role equally well, which is told with the place
        return _Fit(_PAIRS, frozenset(names))
    if columns is not None:
        return _Fit(_PAIRS, named | {columns.query, columns.document})
    try:
        corpus = find_corpus_columns("", names, given)
    except InputError:
        return _Fit(_DOCUMENTS, frozenset(names))
    if corpus is not None:
        own = named | (frozenset(names) & {corpus.id, *corpus.texts()})
        return _Fit(_DOCUMENTS if corpus.text else _TITLES, own)
    queries = columns_by_use(names).keys() >= {"query", "document"} or named
    return _Fit(_NAMED, named or frozenset(names)) if queries else None


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
    found = [names_of(row) for row in rows]
    return next((names for names in found if len(names) > 1), found[0])
