"""Any table as a stream of records: CSV, TSV, JSON, Parquet or a workbook, the kind by the name of the file.

In: a path, whose name ends in .csv, .tsv, .jsonl, .ndjson, .json, .parquet, .xlsx, .xlsm, .xlsb, .xls or
.ods; the text kinds also gzipped; or a pattern of such files, which are one table. Out: a stream of `Record`.
A file whose content is plainly something else (a PDF named .csv) is an InputError. Knows nothing of what the
columns mean, and leaves it to `retrieval.data.sheets` to find the table of a workbook.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from index.disk.opening import shortages
from index.errors import InputError
from retrieval.data.columns.names import USUAL, ColumnNames
from retrieval.data.delimited import csv_rows, tsv_rows
from retrieval.data.headers import is_header, is_record
from retrieval.data.json_file import json_file_records
from retrieval.data.lines import UTF_16_MARKS, Place, is_pattern, is_stream
from retrieval.data.parquet import parquet_columns, parquet_records
from retrieval.data.records import Record, table_records
from retrieval.data.sheets.reading import SheetNames, sheet_columns, sheet_records, sheets_of
from retrieval.data.table_kinds import WORKBOOKS, how_to_give, table_kind
from retrieval.data.wrapped import unwrapped

if TYPE_CHECKING:
    from retrieval.data.locations import Location

_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_ZIP, _OLD_OFFICE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_SIGNATURES = {
    _GZIP: "gzip",
    _PARQUET: "Parquet",
    b"%PDF": "a PDF",
    _ZIP: "a zip archive or a spreadsheet",
    b"PK\x05\x06": "an empty zip archive",
    _OLD_OFFICE: "an old Office file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
_HEAD_BYTES = 4096

# As many records of JSON tell which columns it has: a corpus may be too large to read for that.
RECORDS_TO_LOOK_AT = 1000

_ROWS = {"csv": csv_rows, "tsv": tsv_rows}


def table_records_of(path: Path | str, given: ColumnNames = USUAL) -> Iterator[Record]:
    """The rows of a table, one at a time. The place of a Parquet file's record is its row, not its line.

    path: a file whose name tells its kind, see `table_kind`; or a pattern, whose files are read in turn.
    given: what the user said about columns, by which the table of a workbook is found.

    Raises InputError at once for an unknown kind, a missing file, content that is plainly of another kind,
    and a workbook without a table; during reading what the reader of the kind raises. Raises
    MissingExtraError for Parquet without pyarrow and a workbook without python-calamine, and StorageError.
    """
    if is_pattern(path):
        from retrieval.data.locations import matching_files  # not everyone has pyarrow

        return chain.from_iterable(_records_at(file, given) for file in matching_files(str(path)))
    path = Path(path)
    kind = table_kind(path)
    if kind is None:
        raise InputError(f"not a kind of table that is read; {how_to_give(path)}", path=path)
    _check_content(path, kind)
    if kind in WORKBOOKS:
        return sheet_records(path, given)
    if kind == "parquet":
        return parquet_records(path)
    if kind in _ROWS:
        return table_records(_rows(path, kind, given))
    return unwrapped(json_file_records(path, lambda names: is_record(names, given)))


def header_of(path: Path | str, needed: Collection[str] = (), given: ColumnNames = USUAL) -> list[str]:
    """The columns of a table whose file names them apart from the rows; [] for JSON and an empty file.

    path: the table. Those of a pattern are the columns of all its files.
    needed: columns that every file of a pattern must have which names any, and at least one has.
    given: as for `table_records_of`.

    Raises InputError for a file that lacks one of them, and what `table_records_of` raises.
    """
    if is_pattern(path):
        from retrieval.data.locations import local_copy, matching_files

        headers: dict[str, list[str]] = {}
        for location in matching_files(str(path)):
            with local_copy(location) as copy:
                headers[str(location)] = header_of(copy, given=given)
        _check_headers(headers, needed)
        return list(dict.fromkeys(chain.from_iterable(headers.values())))
    path = Path(path)
    kind = table_kind(path)
    if kind == "parquet":
        return parquet_columns(path)
    if kind in _ROWS:
        _, cells = next(_rows(path, kind, given), (None, []))
        return [cell.strip() for cell in cells]
    if kind in WORKBOOKS:
        _check_content(path, kind)
        return sheet_columns(path, given)
    return []


def _rows(path: Path, kind: str, given: ColumnNames) -> Iterator[tuple[Place, list[str]]]:
    """The rows of a table of text from its header on."""
    return _ROWS[kind](path, lambda cells: is_header(cells, given))


def column_names(
    path: Path | str,
    given: ColumnNames = USUAL,
    limit: int | None = None,
    needed: Collection[str] = (),
) -> list[str]:
    """The columns of a table, in their order; of JSON those of its first records, or of all.

    path: the table.
    given, needed: as `header_of` takes them.
    limit: how many of the first records; None for all.
    Raises what `header_of` and `table_records_of` raise.
    """
    records = table_records_of(path, given)
    names: Mapping[str, None] = dict.fromkeys(header_of(path, needed, given))
    if not names:
        names = {name: None for record in islice(records, limit) for name in record.fields}
    return list(names)


def sheets_of_table(path: Path, given: ColumnNames = USUAL) -> SheetNames:
    """Which sheets of a workbook are its table, and which are not. Raises what `table_records_of` raises."""
    _check_content(path, table_kind(path) or "")
    return sheets_of(path, given)


def _check_headers(headers: Mapping[str, Sequence[str]], needed: Collection[str]) -> None:
    """Raise InputError if a file with a header lacks a column that is needed and that another one has."""
    for name in needed:
        having = next((file for file, header in headers.items() if name in header), None)
        lacking = next((file for file, header in headers.items() if header and name not in header), None)
        if having is not None and lacking is not None:
            raise InputError(
                f"has no column {name!r}, which {having} has; rename its column, or leave the file out",
                path=lacking,
            )


def _records_at(location: Location, given: ColumnNames) -> Iterator[Record]:
    """The records of a file that may be in an object store, which its place names."""
    from retrieval.data.locations import local_copy

    with local_copy(location) as copy:
        for place, fields in table_records_of(copy, given):
            yield Record(place._replace(path=str(location)), fields)


def _check_content(path: Path, kind: str) -> None:
    """Raise InputError if the first bytes belong to another kind of file than the name says."""
    if path.exists() and is_stream(path):
        return  # what is read here would be missing later
    head = _head(path)
    if kind in WORKBOOKS:
        _check_workbook(path, kind, head)
        return
    if not head and kind == "parquet":
        raise InputError("is empty, not Parquet; write it again", path=path)
    packed = head.startswith(_GZIP)
    if packed and kind != "parquet":
        head = _unpacked(head)
    if head.startswith(UTF_16_MARKS) and kind != "parquet":
        return
    found = next((name for magic, name in _SIGNATURES.items() if head.startswith(magic)), None)
    if kind == "parquet":
        if found != "Parquet":
            raise InputError(f"is {found or 'something else'}, not Parquet; give the file itself", path=path)
    elif found or b"\0" in head:
        inside = " inside gzip" if packed else ""
        what = found or "not text (it holds zero bytes)"
        raise InputError(
            f"is {what}{inside}, not {kind.upper()}; save the table as {kind.upper()} in UTF-8", path=path
        )


def _check_workbook(path: Path, kind: str, head: bytes) -> None:
    """Raise InputError if the first bytes are not those of a workbook."""
    if head.startswith(_ZIP) or (kind == "xls" and head.startswith(_OLD_OFFICE)):
        return
    if head.startswith(_OLD_OFFICE):
        problem = f"is an old Office file, or one with a password, not .{kind}"
        raise InputError(f"{problem}; save it as .xlsx without a password", path=path)
    found = next((name for magic, name in _SIGNATURES.items() if head.startswith(magic)), "something else")
    what = found if head else "empty"
    remedy = "unpack it" if head.startswith(_GZIP) else "open it in Excel and save it as .xlsx"
    raise InputError(f"is {what}, not .{kind}; {remedy}", path=path)


def _head(path: Path) -> bytes:
    try:
        with shortages(path), path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        raise InputError("no such file; check the path", path=path) from error
    except IsADirectoryError as error:
        raise InputError("is a folder where a file is expected", path=path) from error
    except OSError as error:
        raise InputError(f"cannot be opened ({error.strerror}); check its permissions", path=path) from error


def _unpacked(head: bytes) -> bytes:
    """The start of the content of a gzip file; b"" if it is damaged, which its reader will tell."""
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, _HEAD_BYTES)
    except zlib.error:
        return b""
