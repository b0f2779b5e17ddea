"""Text files of strangers as numbered lines of Unicode.

In: a path, or "-" for standard input; plain or gzip, told apart by content. Out: lines. Knows nothing of what
they hold. What is not UTF-8, is damaged or never ends is an InputError that names the file and the line.
"""

from __future__ import annotations

import gzip
import io
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from index.disk.opening import shortages
from index.errors import InputError

# No document is this long. The limit is what stops a file without line ends, or a small gzip file that
# unpacks to terabytes, from filling the memory.
LONGEST_LINE_BYTES = 64 * 1024 * 1024

# Limits of a file whose every line stays in memory, as queries, judgements and ids do, for the same reason.
MOST_LINES = 20_000_000
MOST_CHARACTERS = 1 << 31

STANDARD_INPUT = "-"
_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def place(path: Path | str) -> Path | str:
    """What an error calls a file: its path, or "standard input"."""
    return "standard input" if str(path) == STANDARD_INPUT else path


def is_stream(path: Path | str) -> bool:
    """Whether this is standard input, a pipe or a device: what can be read but once."""
    if str(path) == STANDARD_INPUT:
        return True
    try:
        kind = Path(path).stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(kind) and not stat.S_ISDIR(kind)


@contextmanager
def _opened(path: Path | str) -> Iterator[BinaryIO]:
    """A buffered binary stream of the file's content, unpacked; standard input is left open afterwards."""
    if str(path) == STANDARD_INPUT:
        yield _unpacked(sys.stdin.buffer)
        return
    try:
        with shortages(path):
            stream = Path(path).open("rb")  # noqa: SIM115 (closed below; only the opening is guarded here)
    except FileNotFoundError as error:
        raise InputError("no such file; check the path", path=path) from error
    except IsADirectoryError as error:
        raise InputError("is a folder where a file is expected", path=path) from error
    except OSError as error:
        raise InputError(f"cannot be opened ({error.strerror}); check its permissions", path=path) from error
    with stream:
        yield _unpacked(stream)


def _unpacked(stream: BinaryIO) -> BinaryIO:
    buffered = (
        stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, stream))
    )
    if buffered.peek(2)[:2] == _GZIP_MAGIC:
        return cast(BinaryIO, gzip.GzipFile(fileobj=buffered))
    return buffered


def read_lines(path: Path | str) -> Iterator[str]:
    """Every line of a file, blank ones too, each without its end (LF or CRLF) and the first without a
    byte-order mark.

    Raises InputError for a file that cannot be opened, a damaged gzip file, a line that is not UTF-8 (with
    the byte), and a line longer than `LONGEST_LINE_BYTES`; StorageError for a shortage.
    """
    number = 0
    with _opened(path) as stream:
        while True:
            number += 1
            try:
                raw = stream.readline(LONGEST_LINE_BYTES + 1)
            except (EOFError, zlib.error, OSError) as error:
                raise InputError(
                    f"cannot be read on ({error}); the file is damaged or cut short, fetch it again",
                    path=place(path),
                    line=number,
                ) from error
            if not raw:
                return
            if len(raw) > LONGEST_LINE_BYTES:
                raise InputError(
                    f"the line is longer than {LONGEST_LINE_BYTES} bytes; write one record a line",
                    path=place(path),
                    line=number,
                )
            yield _decoded(raw.removeprefix(_BYTE_ORDER_MARK) if number == 1 else raw, path, number)


def _decoded(raw: bytes, path: Path | str, number: int) -> str:
    try:
        return raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8: byte {error.start} of the line is 0x{raw[error.start]:02x}; convert the file",
            path=place(path),
            line=number,
        ) from error


def numbered_lines(path: Path | str, *, kept: bool = False) -> Iterator[tuple[int, str]]:
    """The lines that hold more than white space, with their numbers from 1. Raises as `read_lines` does.

    kept: whether what they hold stays in memory; then InputError is raised past `MOST_LINES` lines or
        `MOST_CHARACTERS` characters.
    """
    lines = characters = 0
    for number, line in enumerate(read_lines(path), 1):
        if line and not line.isspace():
            lines, characters = lines + 1, characters + len(line)
            if kept and (lines > MOST_LINES or characters > MOST_CHARACTERS):
                raise InputError(
                    f"more than {MOST_LINES} lines or {MOST_CHARACTERS} characters; split the file",
                    path=place(path),
                    line=number,
                )
            yield number, line


def read_text(path: Path) -> str:
    """The whole of a text file, which is one document, under the same limits as a line of `read_lines`.

    Line ends count, too. Lines are not kept apart: each takes many times its length.
    """
    text = io.StringIO()
    size = 0
    for number, line in enumerate(read_lines(path), 1):
        size += len(line) + 1
        if size > LONGEST_LINE_BYTES:
            raise InputError(
                f"the file is longer than {LONGEST_LINE_BYTES} bytes; split it", path=path, line=number
            )
        text.write(line if number == 1 else f"\n{line}")
    return text.getvalue()
