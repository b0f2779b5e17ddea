"""The records of a .json file: the objects of one array, as programs export them, or objects one a line.

In: a path. Out: a stream of `Record`, whose place is the line where the object begins. One object at a time
is in memory. Knows nothing of fields.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from index.errors import InputError
from retrieval.data.lines import LONGEST_LINE_BYTES, Place, is_stream, read_pieces
from retrieval.data.records import Record, json_record, json_records

_BLANK = " \t\r\n"
_BLANKS = re.compile(f"[{_BLANK}]+")
_SCANNER = json.JSONDecoder(parse_int=str, parse_float=str)  # where an object ends; its values come later


def json_file_records(path: Path | str) -> Iterator[Record]:
    """The records.

    Raises InputError for what is neither an array of objects nor objects one a line, what `json_record`,
    `json_records` and `read_pieces` raise, and for an object that is longer than `LONGEST_LINE_BYTES`.
    """
    if is_stream(path) or not _is_array(path):  # a stream can be read only once
        return json_records(path)
    return _records(path)


def _is_array(path: Path | str) -> bool:
    """Whether the content begins with a bracket. Raises InputError for one object over several lines."""
    for piece in read_pieces(path):
        begin = piece.lstrip(_BLANK)
        if begin:
            first = begin.partition("\n")[0].rstrip()
            if begin.startswith("{") and "\n" in begin and not first.endswith("}"):
                raise Place(path).error(
                    "is one JSON object over several lines; give the array of the documents alone, [{...}, "
                    "...], or one object a line"
                )
            return begin.startswith("[")
    return False


def _records(path: Path | str) -> Iterator[Record]:
    text = _Text(path, read_pieces(path))
    text.take()  # the bracket
    if text.ahead() != "]":
        while True:
            text.ahead()
            yield json_record(Place(path, text.line), text.value())
            if text.ahead() != ",":
                break
            text.take()
    if text.ahead() != "]":
        raise text.error("the array goes on without a comma, or never ends")
    text.take()
    if text.ahead():
        raise text.error("something follows the array")


@dataclass
class _Text:
    """The rest of a text that is read in pieces."""

    path: Path | str
    pieces: Iterator[str]
    line: int = 1
    held: str = ""
    at: int = 0  # where the rest begins in what is held
    more: bool = True

    def ahead(self) -> str:
        """The next character that is no white space, which is not taken; "" at the end."""
        while True:
            blank = _BLANKS.match(self.held, self.at)
            if blank:
                self.line += blank[0].count("\n")
                self.at = blank.end()
            if self.at < len(self.held) or not self._read():
                return self.held[self.at : self.at + 1]

    def take(self) -> None:
        """Take the next character that is no white space."""
        self.ahead()
        self.at += 1

    def value(self) -> str:
        """Take the text of the next value. Raises InputError if it is broken or too long."""
        while True:
            try:
                _, end = _SCANNER.raw_decode(self.held, self.at)
                break
            except (ValueError, RecursionError) as error:
                # A value that goes on in the next piece is broken too. The rest doubles, so each character
                # is looked at twice on average.
                rest = len(self.held) - self.at
                if isinstance(error, RecursionError) or not self._read(rest):
                    raise self.error(str(error)) from error
                if rest > LONGEST_LINE_BYTES:
                    raise self.error(f"an object is longer than {LONGEST_LINE_BYTES} characters") from error
        found, self.at = self.held[self.at : end], end
        self.line += found.count("\n")
        return found

    def error(self, problem: str) -> InputError:
        """The error of broken JSON at this line."""
        return Place(self.path, self.line).error(f"broken JSON ({problem}); export the file again")

    def _read(self, least: int = 0) -> bool:
        """Hold more of the text, at least so many characters if there are as many; False at the end."""
        parts, size = [self.held[self.at :]], 0
        while self.more and (not size or size < least):
            piece = next(self.pieces, "")
            self.more = bool(piece)
            parts.append(piece)
            size += len(piece)
        self.held, self.at = "".join(parts), 0
        return size > 0
