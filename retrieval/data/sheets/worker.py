"""A process that reads a workbook: python -m retrieval.data.sheets.worker PATH KIND FILE SECONDS.

In: a path, its kind, the number of an open file, and the seconds after which it ends by itself. Out: in that
file each row that is not empty, as a line of JSON, [number, [cells]]; on standard output one JSON object,
{"sheets": [...]}, or {"problem": ...}, {"missing": ...}, {"full": ...}.

A workbook may be hostile, so this process is confined as those of `corpus files`. Knows nothing of what the
rows mean.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from retrieval.data.files.confinement import answer_of, restrict
from retrieval.data.files.formats.archive import check_archive
from retrieval.data.files.formats.workbook import has_cells, open_workbook
from retrieval.data.lines import LONGEST_LINE_BYTES
from retrieval.data.sheets.cells import text_of

AS_CSV = 'save the sheet as .csv (in Excel: "CSV UTF-8")'
MOST_BYTES = 2 << 30  # of the rows of a workbook


class _FullError(Exception):
    """The rows cannot be written."""


def main() -> None:
    """Read one workbook and end."""
    path, kind, file, seconds = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints must not end up in the answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal
    signal.alarm(int(seconds) + 5)  # the parent waits for less; it may have been killed
    rows = os.fdopen(int(file), "wb")
    restrict()
    answer = _answer(Path(path), kind, rows)
    with suppress(OSError):  # a full disk is in the answer
        rows.close()
    with answers:
        answers.write(json.dumps(answer).encode())


def _answer(path: Path, kind: str, rows: BinaryIO) -> dict[str, Any]:
    def read(content: bytes) -> dict[str, Any]:
        try:
            return {"sheets": list(_sheets(content, kind, rows))}
        except _FullError as error:
            return {"full": str(error)}

    return answer_of(path, kind, read, or_else=AS_CSV)


def _sheets(content: bytes, kind: str, rows: BinaryIO) -> Iterator[dict[str, Any]]:
    """Write the rows of each sheet. Yields its name, whether it is hidden, and the bytes where it is."""
    if content.startswith(b"PK"):
        check_archive(content, "xlsx" if kind == "xls" else kind, AS_CSV)
    book = open_workbook(content)
    start = 0
    for about in book.sheets_metadata:
        stop = start
        if _is_visible(about) and has_cells(about):  # the library fails on a chart in .xlsb
            for line in _lines(book.get_sheet_by_name(about.name)):
                stop += len(line)
                if stop > MOST_BYTES:
                    raise ValueError(f"holds more than {MOST_BYTES >> 20} MiB of text; split it, or {AS_CSV}")
                _write(rows, line)
        yield {"name": about.name, "hidden": not _is_visible(about), "start": start, "stop": stop}
        start = stop
    _write(rows, b"")


def _is_visible(about: Any) -> bool:
    return str(about.visible).endswith(".Visible")


def _lines(sheet: Any) -> Iterator[bytes]:
    """The rows with a cell that is not blank, and the numbers that a spreadsheet program shows for them."""
    for number, values in enumerate(sheet.iter_rows(), 1):  # begins with the first row, also if it is empty
        cells = [text_of(value) for value in values]
        if any(cell and not cell.isspace() for cell in cells):
            line = json.dumps([number, cells], ensure_ascii=False).encode() + b"\n"
            if len(line) > LONGEST_LINE_BYTES:
                place = f"sheet {sheet.name!r}, row {number}"
                raise ValueError(f"{place}: longer than {LONGEST_LINE_BYTES} bytes; shorten it")
            yield line


def _write(rows: BinaryIO, line: bytes) -> None:
    try:
        rows.write(line) if line else rows.flush()
    except OSError as error:
        raise _FullError(error.strerror) from error


if __name__ == "__main__":
    main()
