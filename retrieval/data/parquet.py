"""The rows of a Parquet file as records, one batch of rows in memory at a time.

In: a path. Out: a stream of `Record`, whose place is the number of the row, from 1. Dates and other values
that JSON does not know become text, so that a row says the same as in a CSV or JSONL file. pyarrow, which the
extra `parquet` brings, is imported here and in `retrieval.indexing` (arrow, arrow_files) alone. Knows nothing
of what the columns mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from index.disk.opening import shortages
from index.errors import InputError, needing
from retrieval.data.lines import LONGEST_LINE_BYTES, Place
from retrieval.data.records import Record

_ROWS_AT_A_TIME = 1024


def parquet_records(path: Path | str) -> Iterator[Record]:
    """The rows of a Parquet file.

    Raises MissingExtraError without pyarrow; InputError for a file that is not Parquet, is damaged or cut
    short, names a column twice, or holds a text that is longer than `LONGEST_LINE_BYTES`.
    """
    number = 0
    with _opened(path) as file:
        batches = file.iter_batches(batch_size=_ROWS_AT_A_TIME, use_threads=False)
        while True:
            with _damage(path, number):
                batch = next(batches, None)
                rows = [] if batch is None else batch.to_pylist()
            if batch is None:
                return
            for row in rows:
                number += 1
                place = Place(path, number, "row")
                yield Record(place, {name: _value(place, name, value) for name, value in row.items()})


def parquet_columns(path: Path | str) -> list[str]:
    """The names of the columns, which a file without rows has too. Raises what `parquet_records` raises."""
    with _opened(path) as file:
        return list(file.schema_arrow.names)


@contextmanager
def _opened(path: Path | str) -> Iterator[Any]:
    with needing("parquet"):
        from pyarrow import parquet
    try:
        with shortages(path):
            stream = Path(path).open("rb")  # noqa: SIM115 (closed below; only the opening is guarded here)
    except OSError as error:
        raise InputError(f"cannot be opened ({error.strerror}); check the path", path=path) from error
    with stream:
        with _damage(path, 0):
            file = parquet.ParquetFile(stream)
            names = file.schema_arrow.names
        if len(set(names)) != len(names):
            repeated = next(name for name in names if names.count(name) > 1)
            raise InputError(f"names the column {repeated[:40]!r} twice; rename one", path=path)
        yield file


@contextmanager
def _damage(path: Path | str, rows: int) -> Iterator[None]:
    """Turn what pyarrow raises for a broken file into an InputError. rows: how many were read before."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        place = Place(path, rows or None, "row")
        after = "after this row " if rows else ""
        raise place.error(
            f"cannot be read {after}as Parquet ({reason}); it is damaged or cut short, fetch it again"
        ) from error


def _value(place: Place, name: str, value: object) -> object:
    """A value as JSON would give it; a missing number (NaN) is null."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return value  # an image, say, which is no problem unless somebody wants the column
    if isinstance(value, str):
        if len(value) > LONGEST_LINE_BYTES:
            raise place.error(f'"{name}" is longer than {LONGEST_LINE_BYTES} characters; shorten it')
        return value
    if isinstance(value, list):
        if set(map(type, value)) <= {float, type(None)}:  # an embedding, say; one number at a time takes long
            return [None if item is None or math.isnan(item) else item for item in value]
        if value and isinstance(value[0], tuple):  # a map
            return {str(key): _value(place, name, item) for key, item in value}
        return [_value(place, name, item) for item in value]
    if isinstance(value, dict):
        return {key: _value(place, name, item) for key, item in value.items()}
    return value if value is None or isinstance(value, bool | int | float) else str(value)
