"""Safe queries of SQLite files that a stranger may have written: no code in them runs, no query hangs.

In: a connection, and the statements that made our tables. Out: rows, or sqlite3.DatabaseError. Knows nothing
of what the tables hold.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

# Time limit of a query; ours take longer only if the disk is failing.
SECONDS_A_QUERY = 60.0
# Instructions of SQLite's virtual machine between two checks of the time.
STEPS_A_LOOK = 10_000

# Most bytes of a statement.
_LONGEST_STATEMENT = 1 << 16
# Most bytes of a parameter: twice the longest line of an input file.
_LONGEST_VALUE = 1 << 27
# Lengths and numbers of rows reach SQLite as a C int.
_LARGEST = 2**31 - 1
# Parameters of a statement. SQLite's default limit is 32766; fewer keep statements small.
_VALUES_A_STATEMENT = 1000

_SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master"


def restrict(database: sqlite3.Connection, longest_value: int) -> None:
    """Set the limits of a connection, before its first statement.

    longest_value: bytes of the longest text that the file can hold; a damaged file may claim a longer one.
    """
    database.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _LONGEST_STATEMENT)
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, min(max(longest_value, _LONGEST_VALUE), _LARGEST))
    database.execute("PRAGMA trusted_schema = OFF")
    database.execute("PRAGMA cell_size_check = ON")


def check_schema(database: sqlite3.Connection, *schemas: tuple[str, ...]) -> tuple[str, ...]:
    """Return the schema of the file, which must be exactly one of the given ones.

    schemas: each is the statements that make its tables.
    A view, trigger, index or generated column could run code of the file's author while we read. Raises
    sqlite3.DatabaseError if the file has another schema.
    """
    expected = list(map(_schema, schemas))
    actual = query(database, f"{_SCHEMA} LIMIT ?", [max(map(len, expected)) + 1])
    for statements, tables in zip(schemas, expected, strict=True):
        if len(actual) == len(tables) and set(actual) == tables:
            return statements
    raise sqlite3.DatabaseError("its tables are not those of an index")


def query(
    database: sqlite3.Connection, statement: str, parameters: Sequence[Any] = (), *, most: int | None = None
) -> list[tuple[Any, ...]]:
    """All rows that a statement selects.

    database: the connection.
    statement: SQL with "?" for each parameter.
    parameters: their values.
    most: the largest possible number of rows; None for no limit.
    Raises sqlite3.DatabaseError for more rows, and after `SECONDS_A_QUERY`: the pages of a damaged file can
    form a circle.
    """
    until = time.monotonic() + SECONDS_A_QUERY
    database.set_progress_handler(lambda: time.monotonic() > until, STEPS_A_LOOK)
    try:
        cursor = database.execute(statement, parameters)
        rows = cursor.fetchall() if most is None else cursor.fetchmany(min(most + 1, _LARGEST))
        cursor.close()
    except sqlite3.OperationalError as error:
        if time.monotonic() > until:
            raise sqlite3.DatabaseError(f"a query takes more than {SECONDS_A_QUERY:g} s") from error
        raise
    finally:
        database.set_progress_handler(None, 0)
    if most is not None and len(rows) > most:
        raise sqlite3.DatabaseError("more rows than there can be")
    return rows


def query_each(
    database: sqlite3.Connection, statement: str, values: Sequence[Any]
) -> Iterator[tuple[Any, ...]]:
    """The rows that a statement selects by several values, at most one for each.

    database: the connection.
    statement: SQL with "IN ({})" for the values.
    values: in any number: a statement is given some at a time.
    Raises what `query` raises.
    """
    for start in range(0, len(values), _VALUES_A_STATEMENT):
        part = values[start : start + _VALUES_A_STATEMENT]
        yield from query(database, statement.format(",".join("?" * len(part))), part, most=len(part))


@cache
def _schema(statements: tuple[str, ...]) -> frozenset[tuple[Any, ...]]:
    """SQLite's description of the tables that these statements make, with its automatic indexes."""
    database = sqlite3.connect(":memory:")
    try:
        for statement in statements:
            database.execute(statement)
        return frozenset(database.execute(_SCHEMA))
    finally:
        database.close()
