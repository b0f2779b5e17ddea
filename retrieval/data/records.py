"""Records of a file: the objects of JSONL, and the rows of a table with a header.

In: a path, or rows. Out: `Record`s, and the values of their fields. A record of the wrong form is an
InputError. Knows nothing of which fields a document or a query needs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol, TypeVar

from index.errors import InputError
from retrieval.data.lines import Place, numbered_lines

_NULL = r"\N"  # how databases export what is missing
_END = [r"\."]  # the cells of the line by which PostgreSQL ends an export
_MOST_READ_ON = 100_000  # records that are looked at after one that is incomplete; takes a second
_MOST_NAMED = 20  # of them

T = TypeVar("T")
R = TypeVar("R", bound="Placed")


class Placed(Protocol):
    """What was read somewhere."""

    @property
    def place(self) -> Place:
        """Where."""


class RecordError(InputError):
    """What is wrong with a record is perhaps wrong with others of its file too."""


class IncompleteError(RecordError):
    """A record lacks a text or an id that it needs."""


class RepeatedError(RecordError):
    """A record has the id of another one."""


class _NotJsonError(ValueError):
    """A number that JSON cannot spell, as Python writes what is missing."""


class Record(NamedTuple):
    """What one line, or one row of a table, says: values by field name."""

    place: Place
    fields: dict[str, object]


def _refuse_constant(name: str) -> NoReturn:
    raise _NotJsonError(f"{name} is not a JSON number")


def _whole(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:  # Python's own message names a setting of its interpreter
        raise ValueError(f"a number of {len(digits)} digits, write it as text") from None


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_whole)


def json_record(place: Place, line: str) -> Record:
    """The record of one line of JSONL.

    Raises InputError unless the line is one JSON object of finite numbers and valid text.
    """
    try:
        fields = _DECODER.decode(line)
        if "\\ud" in line or "\\uD" in line:
            json.dumps(fields, ensure_ascii=False).encode()  # half of a surrogate pair is no character
    except _NotJsonError as error:
        raise place.error(f"broken JSON ({error}); write null for what is missing") from error
    except (ValueError, RecursionError) as error:
        raise place.error(f"broken JSON ({error}); write {_objects_of(line)}") from error
    if not isinstance(fields, dict):
        raise place.error(
            'not a JSON object; write {"query": ..., "document": ...} for a pair or {"_id": ..., '
            f'"text": ...}} for a document, {_objects_of(line)}'
        )
    return Record(place, fields)


def _objects_of(line: str) -> str:
    """What to write in place of a line that is no object, but perhaps the start of an array of them."""
    return "the objects of the array one a line" if line.lstrip().startswith("[") else "one object a line"


def json_records(path: Path | str, *, kept: bool = False) -> Iterator[Record]:
    """The records of a JSONL file, streamed.

    path: a file, or "-" for standard input.
    kept: whether the caller holds all of them in memory, as for `numbered_lines`.

    Raises what `json_record` and `numbered_lines` raise.
    """
    for place, line in numbered_lines(path, kept=kept):
        yield json_record(place, line)


class Repeated(list[str]):
    """The cells of a row, but for blank ones, in columns that have the same name."""


def fields_under(header: Sequence[str]) -> Callable[[Sequence[str]], dict[str, object]]:
    """What makes fields of the cells of a row. Columns without a name are left out.

    >>> fields_under(["Key", "", "Label", "Label"])(["A-1", "x", "new", ""])
    {'Key': 'A-1', 'Label': ['new']}
    """
    places: dict[str, list[int]] = {}
    for at, name in enumerate(header):
        if name.strip():
            places.setdefault(name.strip(), []).append(at)

    def fields(cells: Sequence[str]) -> dict[str, object]:
        return {
            name: cells[at[0]] if len(at) == 1 else Repeated(cells[i] for i in at if cells[i].strip())
            for name, at in places.items()
        }

    return fields


def table_records(rows: Iterator[tuple[Place, list[str]]]) -> Iterator[Record]:
    """The rows below a header as records, whose fields are the header's columns.

    What databases export for a missing value is an empty cell, and the line that ends an export no row.
    Spreadsheets write columns without a name behind a table; if there are several, they are left out.
    Columns of the same name, as trackers export what has several values, are one field.
    Raises InputError for a row that is wider or narrower than the header, and a value in one of several
    columns without a name.
    """
    place, columns = next(rows, (None, []))
    if place is None:
        return
    header = [column.strip() for column in columns]
    unnamed = [at for at, column in enumerate(header) if not column]
    fields_of = fields_under(header)
    for place, cells in rows:
        if cells == _END:
            continue
        if len(cells) != len(header):
            marks = " and quotation marks" if any('"' in cell for cell in cells) else ""
            if len(cells) > len(header) and not marks:  # as of HTML, whose &amp; has a semicolon
                marks = "; in CSV a cell that holds one stands in quotation marks"
            raise place.error(
                f"{len(cells)} columns where the header has {len(header)}; check the separators{marks}"
            )
        if _NULL in cells:
            cells = ["" if cell == _NULL else cell for cell in cells]
        fields = fields_of(cells)
        if len(unnamed) == 1:
            fields[""] = cells[unnamed[0]]
        elif any(cells[at] for at in unnamed):
            raise place.error("a value in a column without a name, of which there are several; name them")
        yield Record(place, fields)


def read_each(records: Iterable[R], read: Callable[[R], T]) -> Iterator[T]:
    """What a function makes of each record, or of each row that was made of one.

    Raises what the function raises; a RecordError names the other records with that problem too, so that a
    table is mended in one go.
    """
    records = iter(records)
    for record in records:
        try:
            value = read(record)
        except RecordError as error:
            kind = type(error)
            whole = kind(f"{error}{_more_like(kind, record.place, records, read)}")
            whole.path, whole.line = error.path, error.line
            raise whole from error
        yield value


def _more_like(
    kind: type[RecordError],
    first: Place,
    records: Iterator[R],
    read: Callable[[R], T],
) -> str:
    """How many of the records that follow have a problem of this kind, and where."""
    places = []
    ended = False
    with suppress(InputError):  # of two problems the first one is told
        for record in islice(records, _MOST_READ_ON):
            try:
                read(record)
            except kind:
                places.append(record.place.seen_from(first))
            except InputError:
                continue
        ended = next(records, None) is None
    if not places:
        return ""
    shown = ", ".join(places[:_MOST_NAMED]) + (", ..." if len(places) > _MOST_NAMED else "")
    return f"; {'' if ended else 'at least '}{len(places):,} more like it: {shown}"


def is_blank(record: Record, names: Collection[str] | None = None) -> bool:
    """Whether a row says nothing, as those that spreadsheets write below a table.

    names: the columns that count; None for all.
    """
    values = record.fields.values() if names is None else map(record.fields.get, names)
    return all(map(_is_blank, values))


def _is_blank(value: object) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, Repeated) and not value)


def text_field(record: Record, name: str) -> str:
    """The text of a field, "" if it is absent or null. Raises InputError for any other type."""
    value = _only(record, name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise record.place.error(f'"{name}" is not text but {type(value).__name__}; write it as a string')
    return value


def _only(record: Record, name: str) -> object:
    """The value of a field, which one column may have."""
    value = record.fields.get(name)
    if isinstance(value, Repeated):
        raise record.place.error(f"the header names the column {name[:40]!r} twice; rename one")
    return value


def id_field(record: Record, name: str = "_id", or_else: str = "") -> str:
    """The record's id, from a field; `id` may stand in the place of `_id`.

    or_else: a further remedy for a record without one.
    Raises IncompleteError if it is missing or blank, InputError if it is neither a text nor a whole number.
    """
    wanted, name = name, "id" if name == "_id" and name not in record.fields else name
    if name not in record.fields:
        raise record.place.error(f'no "{wanted}"; give every record its own{or_else}', IncompleteError)
    found = id_text(record, name)
    if found is None or not found.strip():
        problem = "null" if found is None else "empty"
        raise record.place.error(
            f'"{name}" is {problem}; give every record its own{or_else}', IncompleteError
        )
    return found


def id_text(record: Record, name: str) -> str | None:
    """An id as text, since a whole number in one kind of file is a text in another; None if there is none.

    Raises InputError for a value of another type.
    """
    value = _only(record, name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # what pandas makes of whole numbers if one is missing
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise record.place.error(f'the id ("{name}") is {type(value).__name__}; write a text or a whole number')
