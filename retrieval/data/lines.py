"""Text files from outside, read as numbered lines of Unicode.

In: a path, or "-" for standard input; plain or gzip, UTF-8 or UTF-16 with its mark, recognised by the
content. Out: lines, and the place of each. A file that is in no such encoding, is damaged or never ends is an
InputError that names the file and the line. Knows nothing of what the lines hold.
"""

from __future__ import annotations

import codecs
import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from index.disk.opening import shortages
from index.errors import InputError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# No document is this long. The limit stops a file without line ends, or a small gzip file that unpacks to
# terabytes, from filling the memory.
LONGEST_LINE_BYTES = 64 * 1024 * 1024

# Limits of a file that is held in memory as a whole (queries, qrels, ids), for the same reason.
MOST_LINES = 20_000_000
MOST_CHARACTERS = 1 << 31

STANDARD_INPUT = "-"
WILDCARDS = frozenset("*?[")  # of a pattern of paths
_GZIP_MAGIC = b"\x1f\x8b"
_PIECE_BYTES = 1 << 20
_DAMAGE = (EOFError, zlib.error, OSError)  # what is raised for a damaged gzip file
AS_UTF_8 = (
    'save it as UTF-8 (in Excel: "CSV UTF-8"), or convert it from the encoding that it has: '
    "iconv -f WINDOWS-1252 -t UTF-8 for Western European texts, -f GB18030 for Chinese ones"
)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Place(NamedTuple):
    """Where something was read: a file ("-" for standard input) and, if known, the number of the line."""

    path: Path | str
    line: int | None = None
    unit: str = "line"  # or "row", for a file that has no lines

    def error(self, problem: str, kind: type[InputError] = InputError) -> InputError:
        """The error that names this place and says what is wrong there."""
        path = "standard input" if str(self.path) == STANDARD_INPUT else self.path
        if self.line is None or self.unit == "line":
            return kind(problem, path=path, line=self.line)
        error = kind(f"{self.unit} {self.line}: {problem}", path=path)
        error.line = self.line
        return error

    def __str__(self) -> str:
        """The place within its file, such as "line 3"."""
        return f"{self.unit} {self.line}"

    def seen_from(self, other: Place) -> str:
        """The place within its file, and that file if the other place is in another."""
        return str(self) if self.path == other.path else f"{self} of {self.path}"


def is_stream(path: Path | str) -> bool:
    """Whether this is standard input, a pipe or a device, which can be read only once."""
    if str(path) == STANDARD_INPUT:
        return True
    try:
        kind = Path(path).stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(kind) and not stat.S_ISDIR(kind)


def is_pattern(path: Path | str) -> bool:
    """Whether this stands for files of a pattern, or in an object store, as `retrieval.data.locations` finds.

    >>> is_pattern("corpus/*.jsonl"), is_pattern("s3://bucket/corpus"), is_pattern("corpus.jsonl")
    (True, True, False)
    """
    name = str(path)
    return "://" in name or (not WILDCARDS.isdisjoint(name) and not os.path.lexists(name))


@contextmanager
def _opened(path: Path | str) -> Iterator[BinaryIO]:
    """A buffered binary stream of the file's unpacked content, in UTF-8 if it has the mark of UTF-16.

    Standard input stays open afterwards.
    """
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
    if not isinstance(stream, io.BufferedReader):
        stream = io.BufferedReader(cast(io.RawIOBase, stream))
    head = stream.peek(4)
    if head.startswith(_GZIP_MAGIC):
        packed = gzip.GzipFile(fileobj=stream)
        with suppress(*_DAMAGE):  # who reads it is told
            head = packed.peek(4)
        content = cast(BinaryIO, packed)
    else:
        content = stream
    is_utf_16 = head.startswith(UTF_16_MARKS) and not head.startswith(codecs.BOM_UTF32_LE)
    return io.BufferedReader(_Utf8(content)) if is_utf_16 else content


class _Utf8(io.RawIOBase):
    """Text in UTF-16 as text in UTF-8. Raises EOFError for what is not UTF-16."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-16")()
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer; 0 at the end."""
        ended = False
        while not self._rest and not ended:
            raw = self._stream.read(_PIECE_BYTES)
            ended = not raw
            try:
                self._rest = memoryview(self._decoder.decode(raw, final=ended).encode())
            except UnicodeDecodeError as error:
                raise EOFError(f"not UTF-16: {error.reason}") from error
        view = memoryview(buffer)
        size = min(len(view), len(self._rest))
        view[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def read_lines(path: Path | str) -> Iterator[str]:
    """All lines of a file, blank ones too, without line ends (LF or CRLF) and without a byte-order mark.

    Raises InputError for a file that cannot be opened, a damaged gzip file, a line that is not UTF-8 (with
    the byte), and a line longer than `LONGEST_LINE_BYTES`. Raises StorageError if memory or file handles run
    out.
    """
    number = 0
    with _opened(path) as stream:
        while True:
            number += 1
            try:
                raw = stream.readline(LONGEST_LINE_BYTES + 1)
            except _DAMAGE as error:
                raise _damaged(path, number, error) from error
            if not raw:
                return
            if len(raw) > LONGEST_LINE_BYTES:
                raise Place(path, number).error(
                    f"the line is longer than {LONGEST_LINE_BYTES} bytes; write one record a line"
                )
            yield _decoded(raw.removeprefix(_BYTE_ORDER_MARK) if number == 1 else raw, path, number)


def _decoded(raw: bytes, path: Path | str, number: int) -> str:
    try:
        return raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise Place(path, number).error(
            f"not UTF-8: byte {error.start} of the line is 0x{raw[error.start]:02x}; {AS_UTF_8}"
        ) from error


def read_pieces(path: Path | str) -> Iterator[str]:
    """The text of a file in pieces, without a byte-order mark, whatever lines it has.

    Raises InputError for a file that cannot be opened, a damaged gzip file, and text that is not UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    line = 1
    with _opened(path) as stream:
        while True:
            try:
                raw = stream.read(_PIECE_BYTES)
            except _DAMAGE as error:
                raise _damaged(path, line, error) from error
            try:
                piece = decoder.decode(raw, final=not raw)
            except UnicodeDecodeError as error:
                before, wrong = error.object[: error.start], error.object[error.start]
                place = Place(path, line + before.count(b"\n"))
                raise place.error(f"not UTF-8: a byte is 0x{wrong:02x}; {AS_UTF_8}") from error
            if piece:
                yield piece
            if not raw:
                return
            line += piece.count("\n")


def _damaged(path: Path | str, line: int, error: Exception) -> InputError:
    return Place(path, line).error(
        f"cannot be read on ({error}); the file is damaged or cut short, fetch it again"
    )


def numbered_lines(path: Path | str, *, kept: bool = False) -> Iterator[tuple[Place, str]]:
    """The lines that hold more than white space, each with its place; line numbers start at 1.

    path: a file, or "-" for standard input.
    kept: whether the caller holds all lines in memory. A file is then limited to `MOST_LINES` lines and
        `MOST_CHARACTERS` characters.

    Raises what `read_lines` raises, and InputError for a file past these limits.
    """
    lines = characters = 0
    for number, line in enumerate(read_lines(path), 1):
        if line and not line.isspace():
            place = Place(path, number)
            lines, characters = lines + 1, characters + len(line)
            if kept and (lines > MOST_LINES or characters > MOST_CHARACTERS):
                raise place.error(
                    f"more than {MOST_LINES} lines or {MOST_CHARACTERS} characters; split the file"
                )
            yield place, line


def read_text(path: Path) -> str:
    """The whole text of a file that is one document, at most `LONGEST_LINE_BYTES` long with its line ends.

    Raises what `read_lines` raises, and InputError for a longer file.
    """
    # Not a list of lines: a short string takes many times its length in memory.
    text = io.StringIO()
    size = 0
    for number, line in enumerate(read_lines(path), 1):
        size += len(line) + 1
        if size > LONGEST_LINE_BYTES:
            raise Place(path, number).error(f"the file is longer than {LONGEST_LINE_BYTES} bytes; split it")
        text.write(line if number == 1 else f"\n{line}")
    return text.getvalue()


def holds_text(path: Path) -> bool:
    """Whether a file holds more than white space. One that is too long for `read_text` counts as if it did.

    Raises what `read_lines` raises.
    """
    size = 0
    for line in read_lines(path):
        size += len(line) + 1
        if size > LONGEST_LINE_BYTES or (line and not line.isspace()):
            return True
    return False
