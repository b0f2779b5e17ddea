"""Lines to records: JSON objects, and rows of tables with a header.

In: a path. Out: (line number, mapping). Knows which shapes are broken, not which fields a document or a query
    needs.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from index.documents.filters import is_finite
from index.errors import InputError
from index.values import Scalar
from retrieval.data.lines import LONGEST_LINE_BYTES, numbered_lines, place, read_lines


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _whole(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:  # Python's own message names a setting of its interpreter
        raise ValueError(f"a number of {len(digits)} digits, write it as text") from None


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_whole)


def json_record(line: str, path: Path | str, number: int) -> dict[str, object]:
    """One line of JSONL. Raises InputError unless it is one JSON object of finite numbers and valid text."""
    try:
        record = _DECODER.decode(line)
        if "\\ud" in line or "\\uD" in line:
            json.dumps(record, ensure_ascii=False).encode()  # half of a surrogate pair is no character
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"broken JSON ({error}); write one object a line", path=place(path), line=number
        ) from error
    if not isinstance(record, dict):
        raise InputError(
            'not a JSON object; write one {"_id": ..., "text": ...} a line', path=place(path), line=number
        )
    return record


def json_records(path: Path | str, *, kept: bool = False) -> Iterator[tuple[int, dict[str, object]]]:
    """The objects of a JSONL file, streamed. kept: as for `numbered_lines`."""
    for number, line in numbered_lines(path, kept=kept):
        yield number, json_record(line, path, number)


def tsv_rows(path: Path | str) -> Iterator[tuple[int, list[str]]]:
    """The cells of each line of a TSV file, split at every tab: quotation marks mean nothing, as in BEIR."""
    for number, line in numbered_lines(path):
        yield number, line.split("\t")


def csv_rows(path: Path | str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file, each with the number of its first line: quoted cells may hold several."""
    # The module's own limit of 128 KiB a cell is process-wide and too small for documents.
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE_BYTES))
    rows = csv.reader((f"{line}\n" for line in read_lines(path)), strict=True)
    while True:
        number = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"broken CSV ({error}); check the quotation marks", path=place(path), line=number
            ) from error
        if row:
            yield number, row


def table_records(
    rows: Iterator[tuple[int, list[str]]], path: Path | str
) -> Iterator[tuple[int, dict[str, object]]]:
    """Rows under a header as mappings. Raises InputError for a repeated column or a row of another width."""
    first = next(rows, None)
    if first is None:
        return
    header = [name.strip() for name in first[1]]
    if len(set(header)) != len(header):
        raise InputError("the header names a column twice; rename one", path=place(path), line=first[0])
    for number, row in rows:
        if len(row) != len(header):
            raise InputError(
                f"{len(row)} columns where the header has {len(header)}; check the separators",
                path=place(path),
                line=number,
            )
        yield number, dict(zip(header, row, strict=True))


def text_field(record: Mapping[str, object], name: str, path: Path | str, number: int) -> str:
    """A text that may be absent or null, then "". Raises InputError for any other type."""
    value = record.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(
            f'"{name}" is not text but {type(value).__name__}; write it as a string',
            path=place(path),
            line=number,
        )
    return value


def id_field(record: Mapping[str, object], path: Path | str, number: int) -> str:
    """The record's `_id` (or `id`). Raises InputError if it is missing, no string, or blank."""
    name = "_id" if "_id" in record else "id"
    if name not in record:
        raise InputError('no "_id"; give every record its own', path=place(path), line=number)
    value = record[name]
    if not isinstance(value, str):
        raise InputError(
            f'"{name}" is not a string but {type(value).__name__}; put it in quotation marks',
            path=place(path),
            line=number,
        )
    if not value.strip():
        raise InputError(f'"{name}" is empty; give every record its own', path=place(path), line=number)
    return value


def scalar(value: object, name: str, path: Path | str, number: int) -> Scalar:
    """A metadata value, lists and objects as their JSON text.

    Raises InputError for a number past float64, above 1.8e308: such a one can only be text.
    """
    problem = "holds too large a number; write it as text"
    try:
        if value is None or (isinstance(value, str | int | float) and is_finite(value)):
            return value
        if not isinstance(value, int | float):
            return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except RecursionError:
        problem = "is nested too deeply; write it as text"
    except ValueError:
        pass  # a number in a list
    raise InputError(f'"{name}" {problem}', path=place(path), line=number)
