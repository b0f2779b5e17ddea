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
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from retrieval.data.files.confinement import answer_of, restrict
from retrieval.data.files.convert import convert


def main() -> None:
    """Convert files until the input ends, which it does even if the parent is killed."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints must not end up among the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal
    restrict()
    _send(answers, {"ready": True})
    while header := sys.stdin.buffer.read(8):
        request = json.loads(sys.stdin.buffer.read(int.from_bytes(header, "little")))
        signal.alarm(int(request["seconds"]) + 5)  # the parent waits for less; it may have been killed
        _send(answers, _answer(Path(request["path"]), request["kind"]))
        signal.alarm(0)


def _answer(path: Path, kind: str) -> dict[str, Any]:
    def read(content: bytes) -> dict[str, Any]:
        extract = convert(kind, content)
        return {"extract": asdict(extract), "sha256": hashlib.sha256(content).hexdigest()}

    return answer_of(path, kind, read, or_else="leave it out")


def _send(stream: BinaryIO, answer: dict[str, Any]) -> None:
    data = json.dumps(answer).encode()
    stream.write(len(data).to_bytes(8, "little") + data)
    stream.flush()


if __name__ == "__main__":
    main()
