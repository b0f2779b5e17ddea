"""Whether the documents have the fields that a filter names.

In: fields, and the stored names of the documents. Out: nothing, or an InputError with those that exist.
"""

from __future__ import annotations

import difflib
from collections.abc import Set
from typing import NoReturn

from index.documents.attributes import SEPARATOR, shown_name
from index.documents.filtering.expression import Exists, Expression, Field, leaves_of
from index.errors import InputError

# Fields that an error names.
_MOST_NAMED = 8


def check_fields(expression: Expression, known: Set[str]) -> None:
    """Raise InputError for a field that no document has. known: all stored names."""
    for leaf in leaves_of(expression):
        check_field(leaf.field, known, inside=isinstance(leaf, Exists))


def check_field(field: Field, known: Set[str], *, inside: bool = False) -> None:
    """Raise InputError unless a document has a value of the field, or the field is optional.

    field: what the caller named.
    known: all stored names.
    inside: whether values inside the field are enough, as for `exists`.
    """
    if field.optional or not known.isdisjoint(field.names):
        return
    below = [name for name in known if name.startswith(tuple(f"{own}{SEPARATOR}" for own in field.names))]
    if not below:
        _refuse(field, known)
    if not inside:
        raise InputError(f"{_place(field)}'{field}' is an object; name what is in it: {_listed(below)}")


def _refuse(field: Field, known: Set[str]) -> NoReturn:
    names = {shown_name(name): name for name in known}
    near = difflib.get_close_matches(str(field), names, 3)
    others = f"they have {_listed([*known])}" if known else "they have none"
    remedy = f"did you mean {' or '.join(near)}?" if near else others
    raise InputError(f"{_place(field)}no document has a field {str(field)!r}; {remedy}")


def _place(field: Field) -> str:
    """Where in a filter the field stands, if it stands in one."""
    return f"the filter, column {field.column}: " if field.column else ""


def _listed(names: list[str]) -> str:
    more = ", ..." if len(names) > _MOST_NAMED else ""
    return ", ".join(sorted(map(shown_name, names))[:_MOST_NAMED]) + more
