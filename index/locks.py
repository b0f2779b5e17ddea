"""A lock for the threads of one process.

A process that `fork` makes inherits its parent's locks as they are. A lock that a thread of the parent holds
is never released in the new process. So such a process must open an index for itself.
"""

from __future__ import annotations

import os
import threading

from index.errors import InputError


class ProcessLock:
    """A lock that refuses to be taken in another process than the one that made it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = os.getpid()

    def is_own(self) -> bool:
        """Whether this is the process that made the lock."""
        return os.getpid() == self._process

    def __enter__(self) -> None:
        """Take the lock. Raises InputError in a process that inherited it."""
        if not self.is_own():
            raise InputError("the index was opened before this process was forked; open it after the fork")
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()
