"""The folder in which a model is learnt, inside the index folder and hidden there.

    .learning/
        .lock          held by the one that learns
        plan           a digest of all that is learnt from; while it stands, the rest belongs to it
        model/         the model while it is trained, and then
        candidate/     the index by this model
        refused/       the last model that was not published: model/ and report.json

In: an index folder and a digest. Out: paths. What another plan has left is removed. Knows nothing of models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from index.disk.files import clear_away, remove, storing, sync_folder, write_atomically
from index.disk.folder import CANDIDATE, LEARNING
from index.disk.opening import make_folder, read_file
from index.disk.writer_lock import WriterLock
from index.errors import BusyError

PLAN = "plan"
_MODEL = "model"
_REFUSED = "refused"
REPORT = "report.json"


class Work:
    """The folder of a learning; holds its lock until the end of the with block."""

    def __init__(self, index: Path) -> None:
        """Take the lock.

        index: the index folder.
        Raises BusyError if another process learns, StorageError.
        """
        self._folder = index / LEARNING
        with storing(self._folder):
            make_folder(self._folder)
        try:
            self._lock = WriterLock(self._folder)
        except BusyError as error:
            raise BusyError(f"{index}: another process is learning; wait for it to finish") from error
        self.model = self._folder / _MODEL
        self.candidate = self._folder / CANDIDATE
        self.refused = self._folder / _REFUSED

    def begin(self, plan: str) -> None:
        """Go on with what a learning of the same plan has left; remove what another one has left.

        Raises StorageError.
        """
        with storing(self._folder):
            if self._plan() == plan.encode():
                return
            self._clear(remove)
            sync_folder(self._folder)
        write_atomically(self._folder / PLAN, plan.encode())

    def put_aside(self, report: Mapping[str, object]) -> None:
        """Keep the model and why it was refused, in place of the one before; remove the rest."""
        with storing(self._folder):
            remove(self.refused)
            self.refused.mkdir()
            self.model.rename(self.refused / _MODEL)
        write_atomically(self.refused / REPORT, (json.dumps(report, indent=2) + "\n").encode())
        self.clear()

    def clear(self) -> None:
        """Remove all but what was put aside. The next learning removes what cannot be removed now.

        Raises StorageError if the plan cannot.
        """
        with storing(self._folder):
            self._clear(clear_away)

    def forget_refused(self) -> None:
        """Remove what was put aside. Raises StorageError."""
        with storing(self._folder):
            remove(self.refused)

    def _plan(self) -> bytes | None:
        try:
            return read_file(self._folder / PLAN)
        except OSError:
            return None

    def _clear(self, removing: Callable[[Path], None]) -> None:
        remove(self._folder / PLAN)  # first: without it nothing else is used again
        for path in (self.model, self.candidate, *self._folder.glob(f".{PLAN}.*.tmp")):
            removing(path)

    def __enter__(self) -> Work:
        return self

    def __exit__(self, *error: object) -> None:
        """Free the lock, and remove the folder if nothing is left in it."""
        self._lock.withdraw()
        with suppress(OSError):
            self._folder.rmdir()
