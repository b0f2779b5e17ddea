"""What a process that reads files of strangers may do, and how it answers for a file that cannot be read.

In: a path, and what reads its content. Out: an answer that JSON can spell. Such a process has little memory,
writes no file, opens no connection and starts no program. Knows nothing of formats.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from index.disk.opening import open_to_read
from index.errors import MissingExtraError

MAX_FILE_BYTES = 128 << 20
_MAX_MEMORY_BYTES = 2 << 30
# Events of Python's audit hooks that no converter needs.
_FORBIDDEN = (
    "socket.",
    "subprocess.",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "urllib.",
    "os.remove",
)


def answer_of(
    path: Path, kind: str, read: Callable[[bytes], dict[str, Any]], *, or_else: str
) -> dict[str, Any]:
    """What `read` makes of a file, {"problem": ...} with a remedy, or {"missing": ...} for a library.

    path: the file.
    kind: of the file, for the problem.
    read: gets all bytes of the file, and may raise anything.
    or_else: the remedy for a file that is too large or broken.
    """
    try:
        with open_to_read(path, links=True) as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        return {"problem": f"cannot be read ({error.strerror}); check its permissions"}
    if len(content) > MAX_FILE_BYTES:
        return {"problem": f"larger than {MAX_FILE_BYTES >> 20} MiB; split it, or {or_else}"}
    try:
        return read(content)
    except MissingExtraError as error:
        return {"missing": str(error)}
    except MemoryError:
        return {"problem": f"needs too much memory to read; split it, or {or_else}"}
    except RecursionError:
        return {"problem": f"is nested too deeply; simplify it, or {or_else}"}
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a library may raise anything for a broken file; one in Rust panics so
        return {"problem": _problem(error, kind, or_else)}


def _problem(error: BaseException, kind: str, or_else: str) -> str:
    text = " ".join(str(error).split())
    if type(error) is ValueError and "; " in text:  # our own, with a remedy
        return text
    reason = f"{type(error).__name__}: {text}"[:200].rstrip(": .")
    return f"cannot be read as {kind} ({reason}); save it again, or {or_else}"


def restrict() -> None:
    """Take from this process what reading a file does not need, for good."""
    for limit, value in ((resource.RLIMIT_AS, _MAX_MEMORY_BYTES), (resource.RLIMIT_CORE, 0)):
        with suppress(OSError, ValueError):  # macOS refuses some
            resource.setrlimit(limit, (value, value))
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(_FORBIDDEN) or (event == "open" and _writes(arguments)):
        raise PermissionError(f"a converter may not do this: {event}")


def _writes(arguments: tuple[Any, ...]) -> bool:
    flags = arguments[2] if len(arguments) > 2 else 0
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
