"""The table of a workbook as records.

In: a path, and what the user said about columns. Out: a stream of `Record`, whose place is the sheet and the
number of the row that a spreadsheet program shows. Several sheets with the same columns are read one after
the other. Every cell is text. Knows nothing of what the columns mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from retrieval.data.columns.names import ColumnNames
from retrieval.data.delimited import ROWS_TO_LOOK_AT
from retrieval.data.headers import names_of
from retrieval.data.lines import Place
from retrieval.data.records import Record, fields_under
from retrieval.data.sheets.choice import Header, choose
from retrieval.data.sheets.spool import Spool, spool_of


class SheetNames(NamedTuple):
    """The sheets of a workbook, by name."""

    read: list[str]
    left_out: list[str]  # visible ones without the columns of the table
    hidden: list[str]  # left out too


def sheet_records(path: Path, given: ColumnNames) -> Iterator[Record]:
    """The rows below the header of each sheet that is part of the table; rows without a text are passed over.

    path: the workbook.
    given: what the user said about columns.

    Raises at once what `spool_of` and `choose` raise.
    """
    spool, headers = _table(path, given)
    return _records(path, spool, headers)


def sheet_columns(path: Path, given: ColumnNames) -> list[str]:
    """The columns of all sheets that are part of the table. Raises what `spool_of` and `choose` raise."""
    _, headers = _table(path, given)
    return list(dict.fromkeys(name for header in headers for name in names_of(header.row.cells)))


def sheets_of(path: Path, given: ColumnNames) -> SheetNames:
    """Which sheets are read, and which are not. Raises what `spool_of` and `choose` raise."""
    spool, headers = _table(path, given)
    read = [header.sheet for header in headers]
    return SheetNames(
        [sheet.name for sheet in read],
        [sheet.name for sheet in spool.sheets if sheet not in read and not sheet.hidden],
        [sheet.name for sheet in spool.sheets if sheet.hidden],
    )


def _table(path: Path, given: ColumnNames) -> tuple[Spool, list[Header]]:
    spool = spool_of(path)
    heads = {
        sheet: list(islice(spool.rows(sheet), ROWS_TO_LOOK_AT)) for sheet in spool.sheets if not sheet.hidden
    }
    return spool, choose(path, heads, given)


def _records(path: Path, spool: Spool, headers: Iterable[Header]) -> Iterator[Record]:
    for sheet, row in headers:
        unit = f"sheet {sheet.name!r}, row"
        fields = fields_under(row.cells)
        for number, cells in spool.rows(sheet):
            if number > row.number:
                yield Record(Place(path, number, unit), fields(cells))
