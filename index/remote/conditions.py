"""Filters over metadata in the language of Milvus.

In: the metadata of a document; an expression. Out: a JSON value that is stored beside the metadata; the text
of a filter over it. The meaning is that of a local index (index/documents/filtering/selection.py), and one
suite tests both.

Milvus compares JSON values by rules of its own: a number in an array does not equal the same number outside,
and a condition on a missing path is neither true nor false. Nothing here relies on these rules. For each
value that "=" can find, a fingerprint is stored. For each field, the smallest and the largest number, text
and time are stored: one of several values is above a bound exactly if the largest value is. Texts are in
hexadecimal, which sorts as their bytes do and needs no quotes. So nothing that a user writes reaches the
server's parser.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from hashlib import blake2b

from index.documents.attributes import SEPARATOR, leaves
from index.documents.filtering.dates import has_time, instant
from index.documents.filtering.expression import (
    And,
    Comparison,
    Exists,
    Expression,
    In,
    Leaf,
    Not,
    Operator,
    Or,
)
from index.documents.numbers import Attribute, exact, forms, number_of
from index.errors import InputError
from index.values import Json

# The field of the collection that holds it.
ATTRIBUTES = "attributes"
# Whole numbers from here on are not all float64.
_EXACT = 1 << 53
_ALL, _NONE = "number >= 0", "number < 0"
_LEAST: Mapping[Operator, str] = {"<": "low", "<=": "low", ">": "high", ">=": "high"}


def stored_attributes(metadata: Mapping[str, Json]) -> dict[str, Json]:
    """What is stored of metadata for filters.

    names   fingerprints of the fields
    values  fingerprints of the values, with their fields
    and under the fingerprint of a field `texts`, all in one text, and the bounds, such as `number_low`
    """
    fields: dict[str, list[Attribute]] = {}
    for name, value in leaves(metadata):
        fields.setdefault(name, []).append(value)
    marks = {mark for name, values in fields.items() for value in values for mark in _marks(name, value)}
    stored: dict[str, Json] = {"names": sorted(map(_name, fields)), "values": sorted(marks)}
    for name, values in fields.items():
        stored[_name(name)] = _bounds(values)
    return stored


def _bounds(values: list[Attribute]) -> dict[str, Json]:
    texts = [value for value in values if isinstance(value, str)]
    numbers = [number for value in values if (number := _number(value)) is not None]
    times = [time for text in texts if (time := instant(text)) is not None]
    others = [_hex(text) for text in texts if instant(text) is None]
    kinds: dict[str, list[float] | list[str] | list[int]] = {
        "number": numbers,
        "text": [_hex(text) for text in texts],
        "time": times,
        "other": others,
    }
    bounds: dict[str, Json] = {}
    for kind, several in kinds.items():
        if several:
            bounds |= {f"{kind}_low": min(several), f"{kind}_high": max(several)}
    if texts:
        bounds["texts"] = "|" + "|".join(map(_hex, texts)) + "|"
    return bounds


def _number(value: Attribute) -> float | None:
    number = number_of(value) if isinstance(value, str) else value
    return None if number is None else float(number)


def _marks(name: str, value: Attribute) -> Iterable[str]:
    """The fingerprints of everything that equals a value: its text, its number, its time."""
    if isinstance(value, str):
        yield _mark(name, f"text {value}")
        if (time := instant(value)) is not None:
            yield _mark(name, f"time {time}")
    if not isinstance(value, str) or number_of(value) is not None:
        yield _mark(name, f"number {exact(value)!r}")


def _mark(name: str, value: str) -> str:
    return _fingerprint(f"{len(name)} {name} {value}")


def _name(name: str) -> str:
    return _fingerprint(name)


def _fingerprint(text: str) -> str:
    """A letter, then hexadecimal digits: some servers read a name of digits as a position."""
    return "x" + blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _hex(text: str) -> str:
    return text.encode("utf-8", "surrogatepass").hex()


def filter_of(expression: Expression, known: Set[str]) -> str:
    """The filter of Milvus that means the same.

    expression: what documents must meet.
    known: the stored names of all fields.
    Raises InputError for a bound that float64 cannot hold exactly.
    """
    if isinstance(expression, Not):
        return f"not ({filter_of(expression.part, known)})"
    if isinstance(expression, And | Or):
        word, nothing = ("and", _ALL) if isinstance(expression, And) else ("or", _NONE)
        return f" {word} ".join(f"({filter_of(part, known)})" for part in expression.parts) or nothing
    return _leaf(expression, known)


def _leaf(leaf: Leaf, known: Set[str]) -> str:
    names = leaf.field.names
    if isinstance(leaf, Exists):
        inside = tuple(f"{name}{SEPARATOR}" for name in names)
        return _any(
            "names", [_name(name) for name in sorted(known) if name in names or name.startswith(inside)]
        )
    if isinstance(leaf, In):
        return _any("values", [mark for value in leaf.values for mark in _equals(names, value)])
    if isinstance(leaf, Comparison) and leaf.operator in ("=", "!="):
        found = _any("values", _equals(names, leaf.value))
        return f"not ({found})" if leaf.operator == "!=" else found
    if isinstance(leaf, Comparison):
        tests = [test for name in names for test in _bounded(name, leaf.operator, leaf.value)]
    else:
        tests = [_test(name, "texts", f'like "%|{_hex(leaf.prefix)}%"') for name in names]
    return " or ".join(tests)


def _any(field: str, values: list[str]) -> str:
    listed = ", ".join(f'"{value}"' for value in dict.fromkeys(values))
    return f'json_contains_any({ATTRIBUTES}["{field}"], [{listed}])' if values else _NONE


def _equals(names: tuple[str, ...], value: str) -> list[str]:
    """The fingerprints of what equals a value. For a time of day, that is the point in time alone."""
    if has_time(value):
        return [_mark(name, f"time {instant(value)}") for name in names]
    kinds = [f"text {value}"]
    if number_of(value) is not None:
        kinds.append(f"number {exact(value)!r}")
    return [_mark(name, kind) for name in names for kind in kinds]


def _bounded(name: str, sign: Operator, value: str) -> list[str]:
    end = _LEAST[sign]
    if has_time(value):
        return [
            _test(name, f"time_{end}", f"{sign} {instant(value)}"),
            _test(name, f"other_{end}", f'{sign} "{_hex(value)}"'),
        ]
    form = list(forms(value))[-1]
    if isinstance(form, str):
        return [_test(name, f"text_{end}", f'{sign} "{_hex(form)}"')]
    if abs(form) >= _EXACT:
        raise InputError(f"{value!r} is too large to compare with in Milvus; at most 2^53 - 1")
    return [_test(name, f"number_{end}", f"{sign} {form!r}")]


def _test(name: str, key: str, test: str) -> str:
    """A test of a field. It is false, and not unknown, for a document that lacks the field."""
    field = _name(name)
    return f'({_any("names", [field])} and {ATTRIBUTES}["{field}"]["{key}"] {test})'
