"""The rows of a table of text: of CSV and TSV, from the header on.

In: a path, and what tells a header. Out: the cells of each row, with its place. Knows nothing of what the
cells mean.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import TypeAlias

from retrieval.data.lines import LONGEST_LINE_BYTES, Place, numbered_lines, read_lines

ROWS_TO_LOOK_AT = 10  # for a header; titles stand above it

IsHeader: TypeAlias = Callable[[Sequence[str]], bool]

_SEPARATOR_LINE = re.compile(r'"?sep=([,;|\t])"?', re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"?')
_LONGEST_HEADER = 1 << 16  # characters in which the separator is looked for


def tsv_rows(path: Path | str, is_header: IsHeader) -> Iterator[tuple[Place, list[str]]]:
    """The cells of each line of a TSV file, split at every tab. Quotation marks mean nothing, as in BEIR.

    is_header: as for `csv_rows`.
    """
    rows = ((place, line.split("\t")) for place, line in numbered_lines(path))
    head = list(islice(rows, 1))
    if head and not is_header(head[0][1]):
        head += islice(rows, ROWS_TO_LOOK_AT - 1)
        found = (
            at
            for at in range(1, len(head))
            if _is_below_titles(head[at][1], [row for _, row in head[:at]], is_header)
        )
        head = head[next(found, 0) :]
    yield from chain(head, rows)


def csv_rows(path: Path | str, is_header: IsHeader) -> Iterator[tuple[Place, list[str]]]:
    """The rows of a CSV file, each with the place of its first line, since a quoted cell may span several.

    What separates the cells is said in a first line such as `sep=;`, as spreadsheets write it. Otherwise the
    header tells: commas if it has any, or else semicolons, tabs, or bars.

    is_header: whether cells are those of a header. If the first row is none, rows of titles with fewer cells
        are left out above one that is, among the first ten.
    Raises what `read_lines` raises, and InputError for quotation marks that do not match.
    """
    # The module's own limit of 128 KiB a cell is process-wide and too small for documents.
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE_BYTES))
    lines = read_lines(path)
    first = next(lines, "")
    said = _SEPARATOR_LINE.fullmatch(first)
    head = _head(lines if said else chain([first], lines))
    separator = said[1] if said else _separator("\n".join(head))
    numbered_from = 2 if said else 1
    if not is_header(_cells(head, separator)):
        head += _ahead(lines)
        titles = _titles(head, said and said[1], is_header)
        if titles:
            head = head[titles:]
            separator = said[1] if said else _separator("\n".join(_head(iter(head))))
            numbered_from += titles
    rows = csv.reader((f"{line}\n" for line in chain(head, lines)), delimiter=separator, strict=True)
    while True:
        place = Place(path, rows.line_num + numbered_from)
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            if "new-line character" in str(error):
                problem = "a line end of old Macs (CR alone) outside quotation marks; save the table again"
                raise place.error(f"{problem} with LF or CRLF") from error
            raise place.error(f"broken CSV ({error}); check the quotation marks") from error
        if row:
            yield place, row


def _head(lines: Iterator[str]) -> list[str]:
    """The lines up to the end of the header, whose quoted cells may span several; a part if it is endless."""
    head = []
    quotation_marks = characters = 0
    for line in lines:
        head.append(line)
        quotation_marks += line.count('"')
        characters += len(line) + 1
        if (line and quotation_marks % 2 == 0) or characters > _LONGEST_HEADER:
            break
    return head


def _ahead(lines: Iterator[str]) -> list[str]:
    """The lines among which a header is looked for below the first row."""
    found: list[str] = []
    characters = rows = 0
    for line in lines:
        found.append(line)
        rows += not line.isspace() and line != ""
        characters += len(line) + 1
        if rows == ROWS_TO_LOOK_AT - 1 or characters > _LONGEST_HEADER:
            break
    return found


def _titles(lines: Sequence[str], said: str | None, is_header: IsHeader) -> int:
    """How many lines of titles stand above a header; 0 if there is no header below titles.

    said: what separates the cells, if the file says so.
    """
    for at in range(1, len(lines)):
        row = _head(iter(lines[at:]))
        separator = said or _separator("\n".join(row))
        above = csv.reader((f"{line}\n" for line in lines[:at]), delimiter=separator, strict=True)
        with suppress(csv.Error):  # a line within a quoted cell, or what is no CSV
            if lines[at] and _is_below_titles(_cells(row, separator), above, is_header):
                return at
    return 0


def _is_below_titles(cells: Sequence[str], above: Iterable[Sequence[str]], is_header: IsHeader) -> bool:
    """Whether cells are those of a header, and rows above it have fewer that are not blank."""
    return is_header(cells) and all(_filled(row) < _filled(cells) for row in above)


def _filled(cells: Iterable[str]) -> int:
    return sum(bool(cell.strip()) for cell in cells)


def _cells(lines: Iterable[str], separator: str) -> list[str]:
    """The cells of the first row; [] if there is none, or its quotation marks do not match."""
    with suppress(csv.Error):
        return next(csv.reader((f"{line}\n" for line in lines if line), delimiter=separator, strict=True), [])
    return []


def _separator(header: str) -> str:
    """What separates the cells of a header: the first of comma, semicolon, tab and bar outside quotes.

    >>> _separator('"Question, short";Answer'), _separator("question,answer;long"), _separator("question")
    (';', ',', ',')
    """
    outside = _QUOTED.sub("", header)
    return next((mark for mark in ",;\t|" if mark in outside), ",")
