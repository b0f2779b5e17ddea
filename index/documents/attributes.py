"""The values by which filters find a document, and the names under which they are stored.

In: metadata as JSON has it. Out: (name, value) pairs for the table `attributes` (index/documents/store.py).
Knows nothing of conditions.

A value inside an object is stored under the path to it, `author` and `name` for {"author": {"name": "x"}}. An
array adds nothing to the path: each element is a value of the field that holds the array.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from index.documents.numbers import Attribute, forms, stored
from index.values import Json

# Between the keys of a path. In a key it is escaped, and so is the sign that escapes it.
SEPARATOR = "\x1f"
_ESCAPE = "\x1e"


def attributes(metadata: Mapping[str, Json]) -> Iterator[tuple[str, Attribute]]:
    """The (stored name, value) pairs by which filters find a document; a pair may come twice."""
    for name, value in leaves(metadata):
        if isinstance(value, str):
            for form in forms(value):
                yield name, form
        else:
            yield name, stored(value)


def leaves(metadata: Mapping[str, Json]) -> Iterator[tuple[str, Attribute]]:
    """The stored name and the value of everything that can be compared.

    true and false come as texts; null gives nothing.
    """
    pending: list[tuple[str, Json]] = [(stored_name((name,)), value) for name, value in metadata.items()]
    while pending:
        name, value = pending.pop()
        if isinstance(value, Mapping):
            pending += [(f"{name}{SEPARATOR}{_escaped(key)}", inner) for key, inner in value.items()]
        elif isinstance(value, Sequence) and not isinstance(value, str):
            pending += [(name, inner) for inner in value]
        elif isinstance(value, bool):
            yield name, "true" if value else "false"
        elif value is not None:
            yield name, value


def stored_name(path: Sequence[str]) -> str:
    """The name under which the values at a path of keys are stored."""
    return SEPARATOR.join(map(_escaped, path))


def shown_name(name: str) -> str:
    """A stored name as a filter spells it: author.name, or "a.b".c where a key has a dot."""
    keys = [_plain(key) for key in name.split(SEPARATOR)]
    if len(keys) == 1:
        return keys[0]
    return ".".join(key if key and not set(key) & set(".\"`'") else _quoted(key) for key in keys)


def _quoted(key: str) -> str:
    doubled = key.replace('"', '""')
    return f'"{doubled}"'


def _escaped(key: str) -> str:
    if SEPARATOR in key or _ESCAPE in key:
        return key.replace(_ESCAPE, f"{_ESCAPE}0").replace(SEPARATOR, f"{_ESCAPE}1")
    return key


def _plain(key: str) -> str:
    return key.replace(f"{_ESCAPE}1", SEPARATOR).replace(f"{_ESCAPE}0", _ESCAPE)
