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
key of an object, with all its dots. A bare name may have blanks; it ends at the sign. A bare value may have
blanks and signs in it; it ends at "and" or "or" between blanks, at a ")" whose "(" is not in the value, at a
"," in a list, or at the end. So a single comparison needs no quotes unless its value has these. A value means
the same with quotes and without: '2020' is a number too.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

from index.documents.filtering.expression import (
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
)
from index.documents.filtering.scanner import JOIN, WIDE, Scanner
from index.documents.numbers import is_valid
from index.errors import InputError

MOST_CHARACTERS = 20_000
# Parentheses and "not" inside each other.
MOST_NESTED = 50

_SIGNS = re.compile(r"[<>=!]+")
# "not" and "exists" are words of the language, unless they are compared as a field.
_WORD = re.compile(r"(not|exists)(?=[\s(\"`]|$)(?!\s*[<>=!])", re.IGNORECASE)
_LIST = re.compile(r"(not\s+)?in\s*\(", re.IGNORECASE)
_PREFIX = re.compile(r"prefix(?=[\s'\"]|$)", re.IGNORECASE)
_EXAMPLE = "write NAME=VALUE, or lang = en and year >= 2020"
_SIGNS_LIKE = {"=>": ">=", "=<": "<=", "<>": "!=", "==": "=", "===": "=", "!==": "!=", "!": "!="}


def parse_where(text: str) -> Expression:
    """Read a filter; the grammar stands above. Raises InputError, whose text names the column."""
    _check_text(text)
    if len(text) > MOST_CHARACTERS:
        raise InputError(f"the filter has {len(text):,} characters; write at most {MOST_CHARACTERS:,}")
    if not text.strip():
        raise InputError(f"the filter is empty and so is no condition; {_EXAMPLE}")
    return _Parser(text).read()


def parse_field(text: str) -> Field:
    """Read the name of a field, as a filter spells it. Raises InputError."""
    _check_text(text)
    if len(text) > MOST_CHARACTERS or not text.strip():
        raise InputError("the name of a field is empty or too long; write one such as lang or author.name")
    return replace(_Parser(text.strip()).read_field(), column=0)


def parse_filters(where: str | Expression | Sequence[str | Expression]) -> list[Expression]:
    """A filter, or several that must all hold, as expressions; texts are parsed. Raises InputError."""
    parts = where if isinstance(where, Sequence) and not isinstance(where, str) else [where]
    return [parse_where(part) if isinstance(part, str) else _checked(part) for part in parts]


def _checked(expression: Expression) -> Expression:
    """An expression that a caller made. Raises InputError if it holds what is none, or what is no text."""
    pending: list[object] = [expression]
    while pending:
        match pending.pop():
            case And(tuple(parts)) | Or(tuple(parts)):
                pending.extend(parts)
            case Not(part):
                pending.append(part)
            case Comparison(Field(names), _, value) | Prefix(Field(names), value):
                _check_text(*names, value)
            case In(Field(names), tuple(values)):
                _check_text(*names, *values)
            case Exists(Field(names)):
                _check_text(*names)
            case other:
                raise InputError(f"a filter is a text or a condition, not {other!r}")
    return expression


def _check_text(*texts: object) -> None:
    """Raise InputError unless these are texts that UTF-8 can hold."""
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f"a condition is made of texts, not of {text!r}; write it as text")
        if not is_valid(text):
            raise InputError(f"the condition on {text!r} is not valid UTF-8; write it so")


class _Parser(Scanner):
    """Reads one text from left to right."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._open = 0  # parentheses and "not" around the place

    def read(self) -> Expression:
        expression = self._expression()
        if self.at < len(self.text):
            self.fail(f"{self.text[self.at]!r} closes nothing; remove it or quote the value")
        return expression

    def read_field(self) -> Field:
        if self.text[0] not in "\"`'" and not re.search(r"\.[\"`]", self.text):
            return Field.bare(self.text)
        field = self.field()
        if self.at < len(self.text):
            self.fail("the name of a field ends here; quote a name that has signs in it")
        return field

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
        self.skip()
        match = JOIN.match(self.text, self.at)
        if match is None:
            if self.at < len(self.text) and self.text[self.at] != ")":
                self.fail(f"'and', 'or' or the end should stand before {self.rest()}")
            return False
        if match[1].lower() != word:
            return False
        self.at = match.end()
        return True

    def _negation(self) -> Expression:
        self.skip()
        word = _WORD.match(self.text, self.at)
        if word is None and not self.text.startswith("(", self.at):
            return self._condition()
        start = self.at
        self.at = word.end() if word else start + 1
        if word and word[1].lower() == "exists":
            return self._exists()
        self._open += 1
        if self._open > MOST_NESTED:
            self.fail(f"more than {MOST_NESTED} parentheses and 'not' inside each other; write fewer", start)
        part = Not(self._negation()) if word else self._group(start)
        self._open -= 1
        return part

    def _group(self, start: int) -> Expression:
        part = self._expression()
        if not self.text.startswith(")", self.at):
            self.fail("'(' is not closed; write ')'", start)
        self.at += 1
        return part

    def _exists(self) -> Expression:
        self.skip()
        start = self.at
        quoted = self.text[start : start + 1] in ('"', "`")
        field = self.field() if quoted else Field.bare(self.bare_value(), start + 1)
        if not quoted and self.at == start:
            self.fail("'exists' needs the name of a field")
        return Exists(field)

    def _condition(self) -> Leaf | Not:
        start = self.at
        field = self.field()
        self.skip()
        listed = _LIST.match(self.text, self.at)
        if listed:
            self.at = listed.end()
            found = In(field, self.value_list(listed.end() - 1))
            return Not(found) if listed[1] else found
        begins = _PREFIX.match(self.text, self.at)
        if begins:
            self.at = begins.end()
            return Prefix(field, self.value())
        operator = self._operator(start)
        if not f"{self.text[:start]}{self.text[self.at :]}".strip():  # as in lang=
            self.at = len(self.text)
            return Comparison(field, operator, "")
        return Comparison(field, operator, self.value())

    def _operator(self, start: int) -> Operator:
        match = _SIGNS.match(self.text, self.at)
        if match is None:
            self._no_operator(start)
        if not self.text[start : match.start()].strip():
            self.fail(f"no field stands before {match[0]!r}; {_EXAMPLE}", start)
        operator = next((known for known in OPERATORS if known == match[0]), None)
        if operator is None:
            near = difflib.get_close_matches(match[0], OPERATORS, 1, 0.1)
            known = _SIGNS_LIKE.get(match[0]) or (near[0] if near else "=")
            self.fail(
                f"{match[0]!r} is no operator, did you mean {known!r}? Quote a value that begins with a sign"
            )
        self.at = match.end()
        return operator

    def _no_operator(self, start: int) -> NoReturn:
        """Refuse a condition without an operator. start: where it begins."""
        wide = next((at for at in range(start, self.at) if self.text[at] in WIDE), None)
        if wide is not None:
            self.fail_wide(wide)
        words = list(re.finditer(r"\S+", self.text[start : self.at]))
        if len(words) > 1:
            known = ", ".join(["=", "!=", "<", "<=", ">", ">=", "in (...)", "prefix"])
            word = words[1][0][:40]
            self.fail(f"{word!r} is no operator; there are {known}", start + words[1].start())
        if not words:
            self.fail(f"a condition is missing before {self.rest()}; {_EXAMPLE}", start)
        remedy = "quote a value that has 'and' or 'or' in it" if self.values else _EXAMPLE
        self.fail(f"{words[0][0][:40]!r} is no condition; {remedy}", start)
