"""The text of a filter, read into an expression.

In: a text such as "lang = en and (year >= 2020 or not exists year)". Out: an expression, or an InputError
that names the column. Knows nothing of documents.

    expression  = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation    = { "not" } ( "(" expression ")" | "exists" field | condition )
    condition   = field sign value
                | field [ "not" ] "in" "(" value { "," value } ")"
                | field "prefix" value
    sign        = "=" | "!=" | "<" | "<=" | ">" | ">="
    field       = name { "." name }
    name        = bare | '"' characters '"' | "`" characters "`"
    value       = bare | "'" characters "'" | '"' characters '"'

Words such as "and" may be in capitals. Inside quotes the quote itself is written twice. A quoted name is one
key of an object, whatever dots it has. A bare name may have blanks; it ends at the sign. A bare value may have
blanks and signs in it; it ends at "and" or "or" between blanks, at a ")" whose "(" is not in the value, at a
"," in a list, or at the end. So a single comparison needs no quotes unless its value has these. A value means
the same with quotes and without: '2020' is a number too.
"""

from __future__ import annotations

import difflib
import re
from typing import NoReturn

from index.documents.attributes import stored_name
from index.documents.expression import (
    OPERATORS,
    And,
    Comparison,
    Exists,
    Expression,
    Field,
    In,
    Leaf,
    Not,
    Operator,
    Or,
    Prefix,
    check_text,
)
from index.errors import InputError

MOST_CHARACTERS = 20_000
# Parentheses and "not" inside each other.
MOST_NESTED = 50
# Values in all conditions together.
MOST_VALUES = 1_000

_SPACE = re.compile(r"\s*")
_SIGNS = re.compile(r"[<>=!]+")
_JOIN = re.compile(r"(and|or)(?=[\s(]|$)", re.IGNORECASE)
# "not" and "exists" are words of the language, unless they are compared as a field.
_WORD = re.compile(r"(not|exists)(?=[\s(\"`]|$)(?!\s*[<>=!])", re.IGNORECASE)
_LIST = re.compile(r"(not\s+)?in\s*\(", re.IGNORECASE)
_PREFIX = re.compile(r"prefix(?=[\s'\"]|$)", re.IGNORECASE)
# Where a bare name ends: at a sign, a parenthesis, a quoted part of the path, or the word of a condition.
_NAME_END = re.compile(
    r"[<>=!()]|(?<=\.)[\"`]|(?<=\s)(?:(?:not\s+)?in\s*\(|prefix(?=[\s'\"]|$)(?!\s*[<>=!])|(?:and|or)(?=[\s(]|$))",
    re.IGNORECASE,
)
_VALUE_STOP = re.compile(r"[(),]|(?<=\s)(?:and|or)(?=[\s(]|$)", re.IGNORECASE)
_EXAMPLE = "write NAME=VALUE, or lang = en and year >= 2020"
_SIGNS_LIKE = {"=>": ">=", "=<": "<=", "<>": "!=", "==": "=", "===": "=", "!==": "!=", "!": "!="}


def parse_where(text: str) -> Expression:
    """Read a filter; the grammar stands above. Raises InputError, whose text names the column."""
    check_text(text)
    if len(text) > MOST_CHARACTERS:
        raise InputError(f"the filter has {len(text):,} characters; write at most {MOST_CHARACTERS:,}")
    if not text.strip():
        raise InputError(f"the filter is empty and so is no condition; {_EXAMPLE}")
    return _Parser(text).read()


class _Parser:
    """Reads one text from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._open = 0  # parentheses and "not" around the place
        self._values = 0

    def read(self) -> Expression:
        expression = self._expression()
        self._skip()
        if self._at < len(self._text):
            self._fail(f"{self._text[self._at]!r} closes nothing; remove it or quote the value")
        return expression

    def _expression(self) -> Expression:
        parts = [self._conjunction()]
        while self._joined("or"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _conjunction(self) -> Expression:
        parts = [self._negation()]
        while self._joined("and"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _joined(self, word: str) -> bool:
        """Whether the word comes next; it is then passed over. Anything but "and", "or", ")" is refused."""
        self._skip()
        match = _JOIN.match(self._text, self._at)
        if match is None:
            if self._at < len(self._text) and self._text[self._at] != ")":
                self._fail(f"'and', 'or' or the end should stand before {self._rest()}")
            return False
        if match[1].lower() != word:
            return False
        self._at = match.end()
        return True

    def _negation(self) -> Expression:
        self._skip()
        word = _WORD.match(self._text, self._at)
        if word is None and not self._text.startswith("(", self._at):
            return self._condition()
        start = self._at
        self._at = word.end() if word else start + 1
        if word and word[1].lower() == "exists":
            return self._exists()
        self._open += 1
        if self._open > MOST_NESTED:
            self._fail(f"more than {MOST_NESTED} parentheses and 'not' inside each other; write fewer", start)
        part = Not(self._negation()) if word else self._group(start)
        self._open -= 1
        return part

    def _group(self, start: int) -> Expression:
        part = self._expression()
        self._skip()
        if not self._text.startswith(")", self._at):
            self._fail("'(' is not closed; write ')'", start)
        self._at += 1
        return part

    def _exists(self) -> Expression:
        self._skip()
        start = self._at
        quoted = self._text[start : start + 1] in ('"', "`")
        field = self._field() if quoted else Field.bare(self._bare_value(), start + 1)
        if not quoted and self._at == start:
            self._fail("'exists' needs the name of a field")
        return Exists(field)

    def _condition(self) -> Leaf | Not:
        start = self._at
        field = self._field()
        self._skip()
        listed = _LIST.match(self._text, self._at)
        if listed:
            self._at = listed.end()
            found = In(field, self._list(listed.end() - 1))
            return Not(found) if listed[1] else found
        begins = _PREFIX.match(self._text, self._at)
        if begins:
            self._at = begins.end()
            return Prefix(field, self._value())
        operator = self._operator(start)
        if not f"{self._text[:start]}{self._text[self._at :]}".strip():  # as in lang=
            self._at = len(self._text)
            return Comparison(field, operator, "")
        return Comparison(field, operator, self._value())

    def _field(self) -> Field:
        """The field that begins here; the place is then behind it."""
        start = self._at
        parts: list[str] = []
        while True:
            opening = self._text[self._at : self._at + 1]
            if opening in ('"', "`") and opening:
                parts.append(self._quoted(opening))
                if not self._text.startswith(".", self._at):
                    return Field((stored_name(parts),), start + 1)
                self._at += 1
                continue
            if opening == "'":
                self._fail("a field stands here, not a text; write its name bare or in double quotes")
            match = _NAME_END.search(self._text, self._at)
            stop = match.start() if match else len(self._text)
            bare = self._text[self._at : stop]
            self._at = stop
            if bare.endswith(".") and self._text[stop : stop + 1] in ('"', "`"):
                parts += bare[:-1].split(".")
                continue
            bare = bare.strip()
            if not parts:
                return Field.bare(bare, start + 1)
            return Field((stored_name([*parts, *bare.split(".")]),), start + 1)

    def _operator(self, start: int) -> Operator:
        match = _SIGNS.match(self._text, self._at)
        if match is None:
            self._no_operator(start)
        if not self._text[start : match.start()].strip():
            self._fail(f"no field stands before {match[0]!r}; {_EXAMPLE}", start)
        operator = next((known for known in OPERATORS if known == match[0]), None)
        if operator is None:
            near = difflib.get_close_matches(match[0], OPERATORS, 1, 0.1)
            known = _SIGNS_LIKE.get(match[0]) or (near[0] if near else "=")
            self._fail(
                f"{match[0]!r} is no operator, did you mean {known!r}? Quote a value that begins with a sign"
            )
        self._at = match.end()
        return operator

    def _no_operator(self, start: int) -> NoReturn:
        """Refuse a condition without an operator. start: where it begins."""
        words = list(re.finditer(r"\S+", self._text[start : self._at]))
        if len(words) > 1:
            known = ", ".join(["=", "!=", "<", "<=", ">", ">=", "in (...)", "prefix"])
            word = words[1][0][:40]
            self._fail(f"{word!r} is no operator; there are {known}", start + words[1].start())
        if not words:
            self._fail(f"a condition is missing before {self._rest()}; {_EXAMPLE}", start)
        self._fail(f"{words[0][0][:40]!r} is no condition; {_EXAMPLE}", start)

    def _list(self, opening: int) -> tuple[str, ...]:
        """The values of a list up to its ")". opening: where its "(" is."""
        values: list[str] = []
        self._skip()
        if self._text.startswith(")", self._at):
            self._fail("'in ()' holds no value; write in ('a', 'b')", opening)
        while True:
            values.append(self._value(listed=True))
            self._skip()
            sign = self._text[self._at : self._at + 1]
            if sign not in (",", ")") or not sign:
                self._fail("the list is not closed; write ')', and ',' between values", opening)
            self._at += 1
            if sign == ")":
                return tuple(values)

    def _value(self, *, listed: bool = False) -> str:
        self._values += 1
        self._skip()
        start = self._at
        if self._values > MOST_VALUES:
            self._fail(f"more than {MOST_VALUES:,} values; write fewer")
        opening = self._text[start : start + 1]
        if opening in ("'", '"') and opening:
            return self._quoted(opening)
        if opening in "<>=!" and opening:
            self._fail("a value that begins with a sign needs quotes")
        value = self._bare_value(listed=listed)
        if not value:
            self._fail("a value is missing; write '' for an empty text")
        return value

    def _bare_value(self, *, listed: bool = False) -> str:
        """The text up to where a bare value ends."""
        start, inside = self._at, []
        stop = len(self._text)
        for match in _VALUE_STOP.finditer(self._text, start):
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
            self._fail("'(' is not closed; write ')' or quote the value", inside[0])
        self._at = stop
        return self._text[start:stop].strip()

    def _stands_alone(self, stop: int) -> bool:
        """Whether "or" at the beginning of a value is all of it, as in state=OR. stop: where it ends."""
        after = _SPACE.match(self._text, stop)
        at = after.end() if after else stop
        return at == len(self._text) or self._text[at] in ",)" or _JOIN.match(self._text, at) is not None

    def _quoted(self, quote: str) -> str:
        """The text in quotes that begins here."""
        start = at = self._at
        while True:
            at = self._text.find(quote, at + 1)
            if at < 0:
                self._fail(f"the quote {quote} is not closed; close it, or double it to mean itself", start)
            if not self._text.startswith(quote, at + 1):
                break
            at += 1
        self._at = at + 1
        return self._text[start + 1 : at].replace(quote * 2, quote)

    def _skip(self) -> None:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _rest(self) -> str:
        return repr(self._text[self._at : self._at + 20]) if self._at < len(self._text) else "the end"

    def _fail(self, problem: str, at: int | None = None) -> NoReturn:
        """Raise InputError with the column, from 1, of a place; by default of the one that is read."""
        column = (self._at if at is None else at) + 1
        raise InputError(f"the filter, column {column}: {problem}")
