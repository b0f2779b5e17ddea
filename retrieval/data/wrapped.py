"""Records whose columns stand in an object inside them, as the interfaces of some databases give them.

In: records. Out: the same, each with the columns beside its id. Knows nothing of what the columns mean.

    {"id": "rec1", "createdTime": "2026-01-31T10:00:00Z", "fields": {"Name": "bolt", "Notes": "of steel"}}
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain

from retrieval.data.columns.names import METADATA, plain
from retrieval.data.records import Record

_IDS = frozenset({"id", "uid", "uuid", "guid", "key", "recordid"})
_TIMES = re.compile(r"(last)?(creat|updat|modif|publish)(e|ed|y|ied)(at|on|time|date)?|timestamp|time|date")


def unwrapped(records: Iterable[Record]) -> Iterator[Record]:
    """The records. Those of an id, perhaps times, and a single object have what that holds beside them.

    The first record tells whether they are such ones, and how the object is called. A member of the object
    that has the name of an id or time outside gets that of the object before it. A record whose object is
    empty is passed over, as a blank row of a table is.
    """
    stream = iter(records)
    first = next(stream, None)
    if first is None:
        return
    wrapper = _wrapper(first.fields)
    if wrapper is None:
        yield first
        yield from stream
        return
    for record in chain((first,), stream):
        if _wrapper(record.fields) != wrapper:  # among records with texts it is one that lacks its text
            yield record
            continue
        own = dict(record.fields)
        held = own.pop(wrapper)
        if isinstance(held, dict) and held:
            named = {f"{wrapper}.{key}" if key in own else key: value for key, value in held.items()}
            yield Record(record.place, {**own, **named})


def _wrapper(fields: dict[str, object]) -> str | None:
    """The name of the object that holds the columns; None if there is none."""
    objects = [name for name, value in fields.items() if isinstance(value, dict)]
    if len(objects) != 1 or objects[0] == METADATA:
        return None
    others = [plain(name) for name in fields if name != objects[0]]
    ids = [name for name in others if name in _IDS]
    return objects[0] if ids and all(name in _IDS or _TIMES.fullmatch(name) for name in others) else None
