"""The parts of a filter's text: fields, values and lists, from left to right.

In: a text and a place in it; the grammar stands in index/documents/filtering/parse.py. Out: the part that
begins there, or an InputError that names the column. Knows nothing of conditions.
"""

from __future__ import annotations

import re
from typing import NoReturn

from index.documents.attributes import stored_name
from index.documents.filtering.expression import Field
from index.errors import InputError

# Values in all conditions together.
MOST_VALUES = 1_000

# The word between two conditions.
JOIN = re.compile(r"(and|or)(?=[\s(]|$)", re.IGNORECASE)
_SPACE = re.compile(r"\s*")
# Where a bare name ends: at a sign, a parenthesis, a quoted part of the path, or the word of a condition.
_NAME_END = re.compile(
    r"[<>=!()]|(?<=\.)[\"`]|(?<=\s)(?:(?:not\s+)?in\s*\(|prefix(?=[\s'\"]|$)(?!\s*[<>=!])|(?:and|or)(?=[\s(]|$))",
    re.IGNORECASE,
)
# What Chinese input methods write for the signs of a filter.
WIDE = {"＝": "=", "＜": "<", "＞": ">", "！": "!", "（": "(", "）": ")", "，": ","}
_WIDE_QUOTED = re.compile(r"[“‘][^“”‘’]*[”’]")
_VALUE_STOP = re.compile(r"[(),]|(?<=\s)(?:and|or)(?=[\s(]|$)", re.IGNORECASE)


class Scanner:
    """Reads parts of one text; `at` is the place of the next one."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.values = 0

    def field(self) -> Field:
        """Read the field that begins here, and go on to the place after it."""
        start = self.at
        parts: list[str] = []
        while True:
            opening = self.text[self.at : self.at + 1]
            if opening in ('"', "`") and opening:
                parts.append(self.quoted(opening))
                if not self.text.startswith(".", self.at):
                    return Field((stored_name(parts),), start + 1)
                self.at += 1
                continue
            if opening == "'":
                self.fail("a field stands here, not a text; write its name bare or in double quotes")
            match = _NAME_END.search(self.text, self.at)
            stop = match.start() if match else len(self.text)
            bare = self.text[self.at : stop]
            self.at = stop
            if bare.endswith(".") and self.text[stop : stop + 1] in ('"', "`"):
                parts += bare[:-1].split(".")
                continue
            bare = bare.strip()
            if not parts:
                return Field.bare(bare, start + 1)
            return Field((stored_name([*parts, *bare.split(".")]),), start + 1)

    def value_list(self, opening: int) -> tuple[str, ...]:
        """The values of a list up to its ")". opening: where its "(" is."""
        values: list[str] = []
        self.skip()
        if self.text.startswith(")", self.at):
            self.fail("'in ()' holds no value; write in ('a', 'b')", opening)
        while True:
            values.append(self.value(listed=True))
            self.skip()
            sign = self.text[self.at : self.at + 1]
            if sign in WIDE:
                self.fail_wide(self.at)
            if sign not in (",", ")") or not sign:
                self.fail("the list is not closed; write ')', and ',' between values", opening)
            self.at += 1
            if sign == ")":
                return tuple(values)

    def value(self, *, listed: bool = False) -> str:
        """The value that begins here. listed: whether it stands in a list, where a "," ends it."""
        self.values += 1
        self.skip()
        start = self.at
        if self.values > MOST_VALUES:
            self.fail(f"more than {MOST_VALUES:,} values; write fewer")
        opening = self.text[start : start + 1]
        if opening in ("'", '"') and opening:
            return self.quoted(opening)
        if opening in "<>=!" and opening:
            self.fail("a value that begins with a sign needs quotes")
        value = self.bare_value(listed=listed)
        if not value:
            self.fail("a value is missing; write '' for an empty text")
        if _WIDE_QUOTED.fullmatch(value):
            self.fail(f"a value is quoted with ' or \", not with {value[0]}; write '{value[1:-1]}'", start)
        return value

    def bare_value(self, *, listed: bool = False) -> str:
        """The text up to where a bare value ends."""
        start, inside = self.at, []
        stop = len(self.text)
        for match in _VALUE_STOP.finditer(self.text, start):
            sign = match[0]
            if sign == "(":
                inside.append(match.start())
            elif sign == ")" and inside:
                inside.pop()
            elif sign != "," or listed:
                if match.start() == start and sign not in (",", ")") and self._stands_alone(match.end()):
                    continue
                stop = match.start()
                break
        if inside:
            self.fail("'(' is not closed; write ')' or quote the value", inside[0])
        self.at = stop
        return self.text[start:stop].strip()

    def _stands_alone(self, stop: int) -> bool:
        """Whether "or" at the beginning of a value is all of it, as in state=OR. stop: where it ends."""
        after = _SPACE.match(self.text, stop)
        at = after.end() if after else stop
        return at == len(self.text) or self.text[at] in ",)" or JOIN.match(self.text, at) is not None

    def quoted(self, quote: str) -> str:
        """The text in quotes that begins here."""
        start = at = self.at
        while True:
            at = self.text.find(quote, at + 1)
            if at < 0:
                self.fail(f"the quote {quote} is not closed; close it, or double it to mean itself", start)
            if not self.text.startswith(quote, at + 1):
                break
            at += 1
        self.at = at + 1
        return self.text[start + 1 : at].replace(quote * 2, quote)

    def skip(self) -> None:
        """Pass over blanks."""
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def rest(self) -> str:
        """What stands here, for an error."""
        return repr(self.text[self.at : self.at + 20]) if self.at < len(self.text) else "the end"

    def fail_wide(self, at: int) -> NoReturn:
        """Refuse the full-width sign at a place."""
        sign = self.text[at]
        self.fail(f"{sign!r} is full-width; write {WIDE[sign]!r}", at)

    def fail(self, problem: str, at: int | None = None) -> NoReturn:
        """Raise InputError with the column, from 1, of a place; by default of the one that is read."""
        column = (self.at if at is None else at) + 1
        raise InputError(f"the filter, column {column}: {problem}")
