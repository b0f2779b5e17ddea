"""The exceptions of Peephole, as one tree. Only the command line prints them.

PeepholeError               any failure that a user can remedy; str() is one line: what, where, remedy
├── InputError              a file or value from the user is wrong (carries path and line when known)
│   ├── ExistingError       a document that must be new has the id of one in the index
│   └── ElsewhereError      an index lives on a server, which cannot do what was asked for
├── FormatVersionError      a model or index written by another version of the format
├── CorruptError            a stored file does not match its manifest
├── BusyError               another process is writing to the same folder
├── StorageError            the operating system refused to read or write
├── RemoteError             a server that holds an index did not answer, or refused
├── PeerError               another process of the same work has ended or cannot be reached
└── MissingExtraError       a library that an extra of the package brings is not installed, or does not fit
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class PeepholeError(Exception):
    """A failure that a user can remedy; its text is one line: what happened, where, and what to do."""


class InputError(PeepholeError):
    """A file or value from the user is wrong. path, line (from 1): where, if known."""

    def __init__(self, problem: str, *, path: Path | str | None = None, line: int | None = None) -> None:
        place = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(f"{place}{problem}")
        self.path = path
        self.line = line


class ExistingError(InputError):
    """A document that must be new has the id of one in the index."""


class ElsewhereError(InputError):
    """An index lives on a server, which cannot do what was asked for."""


class FormatVersionError(PeepholeError):
    """A model or index folder has a format that this version does not read."""


class CorruptError(PeepholeError):
    """A stored file is missing, truncated or altered."""


class BusyError(PeepholeError):
    """Another process holds the folder's writer lock."""


class StorageError(PeepholeError):
    """The operating system refused to read or write: full disk, no permission, failing hardware."""


class RemoteError(PeepholeError):
    """A server that holds vectors and documents did not answer, refused, or lacks what it should hold."""


class PeerError(PeepholeError):
    """Another process of the same work has ended or cannot be reached."""


class MissingExtraError(PeepholeError):
    """A library that belongs to an extra of the package is not installed, or does not fit."""


# Errors for which a resource or a permission lacks: no file is damaged. With what a user can do.
SHORTAGES = {
    errno.EACCES: "check its permissions",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.ENOMEM: "free some memory",
}

# What the import of compiled loops raises if there is no numba, or no folder where it can keep its results.
NO_COMPILED_LOOPS = (ImportError, RuntimeError)


def one_line(error: Exception) -> str:
    """Any exception as the line that a person reads."""
    if isinstance(error, PeepholeError):
        return str(error)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        remedy = SHORTAGES.get(error.errno or 0, "free space or check the path")
        return f"{place}{error.strerror or error}; {remedy}"
    problem = f"{type(error).__name__}: {error}".splitlines()[0]
    return f"unexpected {problem}; run `peephole --debug ...` and report it"


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Turn a library that is missing, or of a version that lacks something, into a MissingExtraError.

    extra: its name in pyproject.toml. The error says how to install it.
    """
    try:
        yield
    except ImportError as error:
        library = (error.name or "").partition(".")[0]
        if library in ("", "retrieval", "index"):
            raise
        remedy = f"run: pip install 'peephole[{extra}]'"
        if isinstance(error, ModuleNotFoundError):
            raise MissingExtraError(f"needs {error.name}, which is not installed; {remedy}") from error
        problem = str(error).partition("\n")[0]
        raise MissingExtraError(
            f"the {library} that is installed does not fit ({problem}); {remedy}"
        ) from error
