"""A board on which all workers write their numbers, so that any of them can tell the sums.

In: names of series, numbers. Out: sums over workers. Knows nothing of what the series mean.

The board is a file that every worker maps into memory, with one row a worker. Only its own worker writes a
row, so no lock is needed. A worker takes the first row that it can lock. The lock ends with the process, and
its successor goes on with its counters, which therefore never fall. prometheus_client's mode for several
processes does the same with files of its own, and a count costs more (benchmarks/NOTES.md).
"""

from __future__ import annotations

import fcntl
import mmap
import time
from collections.abc import Sequence
from pathlib import Path

from index.disk.files import allocate, storing
from index.errors import StorageError

ROWS = 256
# A row that has not been refreshed for so many seconds is of a worker that is gone: its gauges do not count.
_STALE = 5.0


class Board:
    """The row of this process, and the sums over all rows.

    size: how many numbers a row has.
    path: the file, of `ROWS` rows; None for the board of a single process.
    Raises StorageError.
    """

    def __init__(self, size: int, path: Path | None = None) -> None:
        self._size = size + 1  # the first number of a row is when it was refreshed
        self._file = None if path is None else path.open("r+b")
        rows = 1 if self._file is None else ROWS
        length = rows * self._size * 8
        if path is None or self._file is None:
            self._map = mmap.mmap(-1, length)
        else:
            with storing(path):
                # One worker at a time: another's zeros must not come after our numbers.
                fcntl.lockf(self._file, fcntl.LOCK_EX, 1, ROWS)
                allocate(self._file.fileno(), length)
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, ROWS)
            self._map = mmap.mmap(self._file.fileno(), length)
        self._numbers = memoryview(self._map).cast("d")
        row = self._free_row()
        self._rows = [self._numbers[start : start + self._size] for start in self._starts(rows)]
        self.own = self._rows[row][1:]
        self._row = self._rows[row]

    def _starts(self, rows: int) -> range:
        return range(0, rows * self._size, self._size)

    def _free_row(self) -> int:
        if self._file is None:
            return 0
        for row in range(ROWS):
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, row)
            except OSError:
                continue
            return row
        raise StorageError(f"more than {ROWS} workers; start fewer")

    def refresh(self, gauges: Sequence[tuple[int, float]]) -> None:
        """Write the numbers that go up and down, and that this worker lives."""
        for place, value in gauges:
            self.own[place] = value
        self._row[0] = time.monotonic()  # of the machine: a clock that is set changes no gauge

    def counted(self, place: int) -> float:
        """The sum of a counter over all rows, those of workers that are gone included."""
        return sum(row[place + 1] for row in self._rows if row[0])  # 0: no worker has had it

    def gauges(self, place: int) -> list[float]:
        """The values of a gauge, of each worker that lives."""
        oldest = time.monotonic() - _STALE
        return [row[place + 1] for row in self._rows if row[0] > oldest]
