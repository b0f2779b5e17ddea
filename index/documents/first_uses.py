"""Where each id of a corpus was first used, in 12 to 24 bytes of memory for each.

In: ids, one after another, with the number of their places. Out: the first place of an id that comes again.
Knows nothing of what the ids are.

A dictionary takes 170 bytes for an id of 15 characters. Here the memory holds a hash of 64 bits of each id.
The ids themselves are in a temporary file without a name. An id is read from there only if its hash is equal.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from pathlib import Path
from typing import IO

from index.disk.files import storing

SOMEWHERE = -1  # no place

_FIRST_SLOTS = 1 << 10
_BITS = (1 << 64) - 1
# Bytes of ids and places that are written at once.
_WRITTEN_AT_ONCE = 1 << 16


def _free(slots: int) -> array[int]:
    """A table of so many free slots, a power of two."""
    return array("Q", [0]) * slots


def _twice(slots: array[int]) -> array[int]:
    """A table of twice the size with the same keys."""
    larger = _free(2 * len(slots))
    mask = len(larger) - 1
    for key in slots:
        if key:
            at = key & mask
            while larger[at]:
                at = (at + 1) & mask
            larger[at] = key
    return larger


class FirstUses:
    """The ids that were used so far. `close` removes the temporary file."""

    def __init__(self) -> None:
        self._slots = _free(_FIRST_SLOTS)
        self._count = 0
        self._unwritten = bytearray()
        self._file: IO[bytes] | None = None

    def add(self, used: str, place: int, *, exact: bool = True) -> int | None:
        """The place where an id was used before. If it is new, note its place and return None.

        exact: without it nothing is read from the file: an id counts as used, at `SOMEWHERE`, if another has
            its hash, which happens by chance in one of 2^64 cases.
        Raises StorageError if the temporary file cannot be written or read.
        """
        slots = self._slots
        key = hash(used) & _BITS or 1
        mask = len(slots) - 1
        at = key & mask
        while found := slots[at]:
            if found == key and (first := self._noted(used) if exact else SOMEWHERE) is not None:
                return first
            at = (at + 1) & mask
        slots[at] = key
        self._count += 1
        data = used.encode("utf-8", "surrogatepass")
        self._unwritten += b"%d %d\n%b" % (place, len(data), data)
        if len(self._unwritten) > _WRITTEN_AT_ONCE:
            self._write()
        if 3 * self._count > 2 * len(slots):
            self._slots = _twice(slots)
        return None

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Remove the temporary file."""
        if self._file is not None:
            self._file.close()

    def _write(self) -> IO[bytes]:
        """Write what is not written yet; returns the file."""
        with storing(Path(tempfile.gettempdir())):
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 (`close` closes it)
            self._file.seek(0, os.SEEK_END)
            self._file.write(self._unwritten)
            self._unwritten.clear()
        return self._file

    def _noted(self, used: str) -> int | None:
        """The place of an id in the file; None if the file has another id with the same hash."""
        wanted = used.encode("utf-8", "surrogatepass")
        file = self._write()
        with storing(Path(tempfile.gettempdir())):
            file.seek(0)
            while line := file.readline():
                place, length = map(int, line.split())
                if file.read(length) == wanted:
                    return place
        return None
