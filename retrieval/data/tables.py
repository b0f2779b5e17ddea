"""Any table as a stream of records: CSV, TSV, JSONL or Parquet, the kind by the name of the file.

In: a path, whose name ends in .csv, .tsv, .jsonl, .ndjson or .parquet; the text kinds also gzipped; or a
pattern of such files, which are one table. Out: a stream of `Record`. A file whose content is plainly
something else (a PDF named .csv) is an InputError. Knows nothing of what the columns mean.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from index.disk.opening import shortages
from index.errors import InputError
from retrieval.data.lines import is_pattern, is_stream
from retrieval.data.parquet import parquet_columns, parquet_records
from retrieval.data.records import Record, csv_rows, json_records, table_records, tsv_rows

if TYPE_CHECKING:
    from retrieval.data.locations import Location

TABLE_KINDS = ".jsonl, .ndjson, .tsv, .csv (also .gz) or .parquet"

_SPREADSHEETS = frozenset({".numbers", ".ods", ".xls", ".xlsb", ".xlsm", ".xlsx"})

_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_SIGNATURES = {
    _GZIP: "gzip",
    _PARQUET: "Parquet",
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"PK\x05\x06": "an empty zip archive",
    b"\xd0\xcf\x11\xe0": "an old Office file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
_HEAD_BYTES = 4096

_READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    "csv": lambda path: table_records(csv_rows(path)),
    "tsv": lambda path: table_records(tsv_rows(path)),
    "jsonl": json_records,
    "ndjson": json_records,
    "parquet": parquet_records,
}


def table_kind(path: Path | str) -> str | None:
    """The kind of table that the name of a file tells: csv, tsv, jsonl, ndjson or parquet; None for others.

    >>> table_kind("faq.CSV.gz"), table_kind("faq.parquet"), table_kind("faq.txt")
    ('csv', 'parquet', None)
    """
    kind = Path(path).name.lower().removesuffix(".gz").rpartition(".")[2]
    return kind if kind in _READERS else None


def table_records_of(path: Path | str) -> Iterator[Record]:
    """The rows of a table, one at a time. The place of a Parquet file's record is its row, not its line.

    path: a file whose name tells its kind, see `table_kind`; or a pattern, whose files are read in turn.
    Raises InputError at once for an unknown kind, a missing file, and content that is plainly of another
    kind; during reading what the reader of the kind raises. Raises MissingExtraError for Parquet without
    pyarrow, and StorageError.
    """
    if is_pattern(path):
        from retrieval.data.locations import matching_files  # not everyone has pyarrow

        return chain.from_iterable(map(_records_at, matching_files(str(path))))
    path = Path(path)
    kind = table_kind(path)
    if kind is None:
        raise InputError(f"not a kind of table that is read; {how_to_give(path)}", path=path)
    _check_content(path, kind)
    return _READERS[kind](path)


def how_to_give(path: Path, or_else: str = "") -> str:
    """The remedy for a file whose name tells no kind of table. or_else: what may be given beside tables.

    >>> how_to_give(Path("faq.xlsx"))
    'save each sheet that you need as .csv (in Excel: "CSV UTF-8")'
    """
    suffix = path.suffix.lower()
    if suffix in _SPREADSHEETS:
        return 'save each sheet that you need as .csv (in Excel: "CSV UTF-8")'
    if suffix == ".json":
        return "write its objects one a line, and name the file .jsonl"
    return f"give {TABLE_KINDS}{or_else}"


def header_of(path: Path | str, needed: Collection[str] = ()) -> list[str]:
    """The columns of a table whose file names them apart from the rows; [] for JSONL and an empty file.

    Those of a pattern are the columns of all its files.

    needed: columns that every file of a pattern must have which names any, and at least one has.
    Raises InputError for a file that lacks one of them, and what `table_records_of` raises.
    """
    if is_pattern(path):
        from retrieval.data.locations import local_copy, matching_files

        headers: dict[str, list[str]] = {}
        for location in matching_files(str(path)):
            with local_copy(location) as copy:
                headers[str(location)] = header_of(copy)
        _check_headers(headers, needed)
        return list(dict.fromkeys(chain.from_iterable(headers.values())))
    path = Path(path)
    kind = table_kind(path)
    if kind == "parquet":
        return parquet_columns(path)
    if kind in ("csv", "tsv"):
        _, cells = next(csv_rows(path) if kind == "csv" else tsv_rows(path), (None, []))
        return [cell.strip() for cell in cells]
    return []


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


def _records_at(location: Location) -> Iterator[Record]:
    """The records of a file that may be in an object store, which its place names."""
    from retrieval.data.locations import local_copy

    with local_copy(location) as copy:
        for place, fields in table_records_of(copy):
            yield Record(place._replace(path=str(location)), fields)


def _check_content(path: Path, kind: str) -> None:
    """Raise InputError if the first bytes belong to another kind of file than the name says."""
    if path.exists() and is_stream(path):
        return  # what is read here would be missing later
    head = _head(path)
    if not head and kind == "parquet":
        raise InputError("is empty, not Parquet; write it again", path=path)
    packed = head.startswith(_GZIP)
    if packed and kind != "parquet":
        head = _unpacked(head)
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
