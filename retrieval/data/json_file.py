"""The records of a .json or .jsonl file, in the forms in which programs export them.

In: a path. Its content is an array of objects; or objects one a line, or one after the other over several
lines; or one object with a list of objects, which are the records then. Out: a stream of `Record`, whose
place is the line where the object begins. One object at a time is in memory. Of fields it knows that a record
may have an id, and what it is told.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from index.errors import InputError
from retrieval.data.lines import LONGEST_LINE_BYTES, Place, is_stream, read_pieces
from retrieval.data.records import Record, json_record, json_records
from retrieval.data.table_kinds import table_kind

_BLANK = " \t\r\n"
_BLANKS = re.compile(f"[{_BLANK}]+")
_SCANNER = json.JSONDecoder(parse_int=str, parse_float=str)  # where a value ends; what it is comes later
_LONGEST_NUMBER = 400  # characters of one that may go on in the next piece
_IDS = frozenset({"_id", "id"})


def json_file_records(path: Path | str, is_record: Callable[[Sequence[str]], bool]) -> Iterator[Record]:
    """The records.

    path: the file.
    is_record: whether an object with members of these names may be a record, whatever lists it has. The only
        line of a .jsonl file is one then, as every other line would be.

    Raises InputError for content in none of these forms, one object of which it is not clear what the records
    are, what `json_record`, `json_records` and `read_pieces` raise, and for an object that is longer than
    `LONGEST_LINE_BYTES`.
    """
    if is_stream(path):  # it can be read only once
        return json_records(path)
    text = _text(path)
    begin = text.ahead()
    if begin == "[":
        return _array(_text(path))
    if begin != "{":
        return json_records(path)
    line = text.line
    try:
        first = _first_object(text)
    except _CutError:
        raise
    except InputError as error:
        if error.line == line:
            return json_records(path)  # which says what a line should hold
        raise
    end = text.line
    if text.ahead():
        return json_records(path) if line == end < text.line else _objects(_text(path))
    may_be_one = is_record(first.names)
    if may_be_one and line == end and table_kind(path) != "json":
        return json_records(path)
    wanted = _list_of_records(path, first, may_be_one)
    return _objects(_text(path)) if wanted is None else _members_of(_text(path), wanted)


class _CutError(InputError):
    """The text ends early."""


class _Object(NamedTuple):
    """What an object holds, by the names of its members."""

    lists: list[str]  # of objects, at least one
    empty: list[str]  # lists
    texts: list[str]
    names: list[str]  # of all


def _list_of_records(
    path: Path | str,
    only: _Object,
    may_be_one: bool,
) -> str | None:
    """The list of objects that are the records, if the only object of a file is none itself.

    may_be_one: whether by its names it may be one.
    Raises InputError if it is not clear which list, or whether the object is a record.
    """
    if not _IDS.isdisjoint(only.names):
        return None
    if len(only.lists) > 1 or (only.lists and may_be_one):
        told = ", ".join(repr(name[:40]) for name in only.lists[:8])
        what = (
            f"that may be a record, or hold records in {told}; give it as [{{...}}], or a list alone"
            if may_be_one
            else f"with several lists of objects ({told}); give one of them alone"
        )
        wanted = shlex.quote(f".{json.dumps(only.lists[0], ensure_ascii=False)}")
        raise Place(path).error(
            f"is one JSON object {what}, as this prints: jq {wanted} {shlex.quote(str(path))}"
        )
    if only.lists:
        return only.lists[0]
    if only.texts:
        return None
    if len(only.empty) == 1:
        return only.empty[0]
    raise Place(path).error(
        "is one JSON object that is no record; give the array of the records alone, [{...}, ...], or one "
        "object a line"
    )


def _first_object(text: _Text) -> _Object:
    """Take an object, of which a list may be longer than the memory."""
    found = _Object([], [], [], [])
    for name in _names(text):
        found.names.append(name)
        if text.ahead() == "[":
            begins = {value[0] for _, value in _elements(text)}
            if begins <= {"{"}:
                (found.lists if begins else found.empty).append(name)
        elif text.value().startswith('"'):
            found.texts.append(name)
    return found


def _array(text: _Text) -> Iterator[Record]:
    for line, value in _elements(text):
        yield json_record(Place(text.path, line), value)
    if text.ahead():
        raise text.error("something follows the array")


def _objects(text: _Text) -> Iterator[Record]:
    while text.ahead():
        yield json_record(Place(text.path, text.line), text.value())


def _members_of(text: _Text, wanted: str) -> Iterator[Record]:
    """The records of a list that is a member of the only object."""
    for name in _names(text):
        if name != wanted:
            text.value()
            continue
        for line, value in _elements(text):
            yield json_record(Place(text.path, line), value)


def _names(text: _Text) -> Iterator[str]:
    """Take an object. Yields the name of each member, whose value the caller takes."""
    for _ in _parts(text, "}", "an object"):
        if text.ahead() != '"':
            raise text.broken("the name of a value is missing")
        name = json.loads(text.value())
        if text.ahead() != ":":
            raise text.broken("a name without a colon")
        text.take()
        text.ahead()
        yield name


def _elements(text: _Text) -> Iterator[tuple[int, str]]:
    """Take an array. Yields the line and the text of each element."""
    for _ in _parts(text, "]", "the array"):
        text.ahead()
        line = text.line
        yield line, text.value()


def _parts(text: _Text, closing: str, what: str) -> Iterator[None]:
    """Take an object or array. Yields before each of its parts, which the caller takes.

    closing: the sign that ends it.
    what: its name in an error.
    """
    text.take()  # what opens it
    more = text.ahead() != closing
    while more:
        yield
        more = text.ahead() == ","
        if more:
            text.take()
    if text.ahead() != closing:
        raise text.broken(f"{what} goes on without a comma")
    text.take()


def _text(path: Path | str) -> _Text:
    return _Text(path, read_pieces(path))


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
        """The next character that is no white space, which is not taken; "" at the end.

        The line of the end is that of what stands last.
        """
        lines = 0
        while True:
            blank = _BLANKS.match(self.held, self.at)
            if blank:
                lines += blank[0].count("\n")
                self.at = blank.end()
            if self.at < len(self.held):
                self.line += lines
                return self.held[self.at]
            if not self._read():
                return ""

    def take(self) -> None:
        """Take the next character that is no white space."""
        self.ahead()
        self.at += 1

    def value(self) -> str:
        """Take the text of the next value. Raises InputError if it is broken or too long."""
        while True:
            try:
                _, end = _SCANNER.raw_decode(self.held, self.at)
                size = end - self.at
                ends = self.held[end - 1] in '}]"' or end + _LONGEST_NUMBER < len(self.held)
                if ends or not self._read(size + _LONGEST_NUMBER):
                    break
            except (ValueError, RecursionError) as error:
                # A value that goes on in the next piece is broken too. The rest doubles, so each character
                # is looked at twice on average.
                rest = len(self.held) - self.at
                behind = self.held[error.pos :] if isinstance(error, json.JSONDecodeError) else None
                if isinstance(error, RecursionError) or not self._read(rest):
                    raise self.broken(str(error), behind) from error
                if rest > LONGEST_LINE_BYTES:
                    raise self.error(f"an object is longer than {LONGEST_LINE_BYTES} characters") from error
        found = self.held[self.at : self.at + size]
        self.at += size
        self.line += found.count("\n")
        return found

    def broken(self, problem: str, behind: str | None = None) -> InputError:
        """The error that what should stand here does not; if the text was cut here, that it ends early.

        behind: what is held from the place where something is missing; None for the rest.
        """
        self.ahead()
        behind = (self.held[self.at :] if behind is None else behind).rstrip(_BLANK)
        # A text that was cut goes on to its end in the same line, and does not end with a bracket.
        if not behind or not (self.more or "\n" in behind or behind[-1] in "]}"):
            return self.error("it ends early", _CutError)
        return self.error(problem)

    def error(self, problem: str, kind: type[InputError] = InputError) -> InputError:
        """The error of broken JSON at this line."""
        return Place(self.path, self.line).error(f"broken JSON ({problem}); export the file again", kind)

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
