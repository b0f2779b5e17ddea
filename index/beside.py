"""A piece of work in a process of its own, while the caller goes on.

In: the module that does the work, what it is asked, and bytes. Out: its answer. A thread would not do: it
would wait for Python's lock. Knows nothing of the work.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any, cast

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def work_beside(
    module: str,
    asked: Mapping[str, Any],
    data: bytes,
    threads: int,
) -> Iterator[Callable[[], Any]]:
    """Have a module work during the block. Yields a function that waits for its answer.

    module: what Python runs; it calls `do_work`.
    asked: what `do_work` gives its work, as JSON holds it.
    data: bytes for the work.
    threads: how many of them libraries of the process may use.
    The answer is None if the process cannot be started or fails; the caller does the work then, and meets
    the error itself. The process ends with the block.
    """
    process = _started(module, threads)
    if process is None:
        yield lambda: None
        return
    with process:
        try:
            with suppress(OSError):  # it has died
                to_process = cast(IO[bytes], process.stdin)
                to_process.write(json.dumps({**asked, "bytes": len(data)}).encode() + b"\n" + data)
                to_process.flush()
            yield lambda: _answer(process)
        finally:
            process.kill()
            with suppress(OSError):  # what it had not read
                cast(IO[bytes], process.stdin).close()


def do_work(work: Callable[[Mapping[str, Any], bytes], Any]) -> None:
    """In such a process: do the work and end.

    work: what was asked and the bytes to an answer that JSON holds, and that is not None.
    """
    # Ctrl-C reaches every process of the terminal; the parent alone handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source = sys.stdin.buffer
    failed = 1
    try:
        asked = json.loads(source.readline())
        data = source.read(asked["bytes"])
        threading.Thread(target=_end_with, args=(source,), daemon=True).start()
        sys.stdout.buffer.write(json.dumps(work(asked, data)).encode())
        sys.stdout.buffer.flush()
        failed = 0
    finally:
        os._exit(failed)  # Python would abort on its way out: the waiting thread holds standard input


def _started(module: str, threads: int) -> subprocess.Popen[bytes] | None:
    """The process; None if the system starts no more."""
    with suppress(OSError):
        return subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            env=os.environ | dict.fromkeys(_THREADS, str(threads)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what fails there is done again here, where errors show
        )
    return None


def _answer(process: subprocess.Popen[bytes]) -> Any:
    """What the process answers; None, once it has ended, if it failed."""
    answer = cast(IO[bytes], process.stdout).read()
    if answer:
        return json.loads(answer)
    process.kill()
    process.wait()
    return None


def _end_with(source: IO[bytes]) -> None:
    """End this process with its input, which ends even if the parent is killed."""
    source.read()
    os._exit(1)
