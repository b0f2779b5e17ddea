"""Conditions of other libraries' filters as expressions of ours.

In: a field, an operator, a value of Python. Out: an expression. Knows nothing of how a library writes them.

A field that no document has is no error: it has no value. Other libraries tell 1 from "1"; here, as in every
filter of ours, numbers equal the texts that spell them, and an array meets a condition if an element does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from typing import Literal, TypeAlias

from index.documents.filtering.expression import Comparison, Exists, Expression, Field, In, Not, Operator, Or
from index.errors import InputError

Sign: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">=", "in", "not in"]
_OPPOSITE: Mapping[Sign, Sign] = {"!=": "=", "not in": "in"}
_COMPARISONS: Mapping[Sign, Operator] = {"=": "=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


def condition(name: str, sign: Sign, value: object) -> Expression:
    """The expression of one condition.

    name: of the field; author.name is `name` inside `author`.
    sign: how to compare.
    value: a text, number, bool or date; a list of them for "in" and "not in". None stands for a field without
        a value, which nothing is less or greater than.
    Raises InputError for another value.
    """
    if sign in _OPPOSITE:
        return Not(condition(name, _OPPOSITE[sign], value))
    field = Field.bare(name, optional=True)
    if sign == "in":
        return _listed(field, value)
    if value is None:
        return Not(Exists(field)) if sign == "=" else Or(())
    return Comparison(field, _COMPARISONS[sign], _text(field, value))


def _listed(field: Field, values: object) -> Expression:
    if not isinstance(values, list):
        raise InputError(f"the values of {str(field)!r} must be a list, not {values!r}")
    listed = In(field, tuple(_text(field, value) for value in values if value is not None))
    return Or((listed, Not(Exists(field)))) if None in values else listed


def _text(field: Field, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    if isinstance(value, date):
        return value.isoformat()
    raise InputError(f"{str(field)!r} cannot be compared with {value!r}; give a text, number, bool or date")
