"""A worker process of `retrieval.data.files.pool`: python -m retrieval.data.files.worker.

Out first: {"ready": true}. Then, again and again, in: path, kind and seconds; out: {"extract": ...,
"sha256": ...}, {"problem": ...} or {"missing": ...}. Each is a JSON object after eight bytes with its length,
little-endian.

A file may be hostile, so the worker has little memory, writes no file, opens no connection, starts no
program, and ends if a file takes too long. Knows nothing of the corpus.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from index.disk.opening import open_to_read
from index.errors import MissingExtraError
from retrieval.data.files.convert import convert

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


def main() -> None:
    """Convert files until the input ends, which it does even if the parent is killed."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints must not end up among the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal
    _restrict()
    _send(answers, {"ready": True})
    while header := sys.stdin.buffer.read(8):
        request = json.loads(sys.stdin.buffer.read(int.from_bytes(header, "little")))
        signal.alarm(int(request["seconds"]) + 5)  # the parent waits for less; it may have been killed
        _send(answers, _answer(Path(request["path"]), request["kind"]))
        signal.alarm(0)


def _answer(path: Path, kind: str) -> dict[str, Any]:
    try:
        with open_to_read(path, links=True) as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        return {"problem": f"cannot be read ({error.strerror}); check its permissions"}
    if len(content) > MAX_FILE_BYTES:
        return {"problem": f"larger than {MAX_FILE_BYTES >> 20} MiB; split it, or leave it out"}
    try:
        extract = convert(kind, content)
    except MissingExtraError as error:
        return {"missing": str(error)}
    except MemoryError:
        return {"problem": "needs too much memory to read; split it, or leave it out"}
    except RecursionError:
        return {"problem": "is nested too deeply; simplify it, or leave it out"}
    except Exception as error:  # a library may raise anything for a broken file
        return {"problem": _problem(error, kind)}
    return {"extract": asdict(extract), "sha256": hashlib.sha256(content).hexdigest()}


def _problem(error: Exception, kind: str) -> str:
    text = " ".join(str(error).split())
    if type(error) is ValueError and "; " in text:  # our own, with a remedy
        return text
    reason = f"{type(error).__name__}: {text}"[:200].rstrip(": .")
    return f"cannot be read as {kind} ({reason}); repair it, or leave it out"


def _restrict() -> None:
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


def _send(stream: BinaryIO, answer: dict[str, Any]) -> None:
    data = json.dumps(answer).encode()
    stream.write(len(data).to_bytes(8, "little") + data)
    stream.flush()


if __name__ == "__main__":
    main()
