"""Points in time that texts spell, for conditions such as updated >= 2024-05-01T10:00:00Z.

In: a text. Out: microseconds. Knows nothing of documents.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_DATE = re.compile(
    r"\d{4}-\d\d-\d\d(?P<time>[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(text: object) -> int | None:
    """The microseconds from 1970 to the date or time that a text spells in ISO 8601; None if it spells none.

    A date is its first moment. A time without an offset from UTC is in UTC.

    >>> instant("1970-01-01T01:00:01+01:00")
    1000000
    """
    if not isinstance(text, str) or not _DATE.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:  # such as month 13
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)


def has_time(text: str) -> bool:
    """Whether a text spells a date with a time of day."""
    match = _DATE.fullmatch(text)
    return match is not None and match["time"] is not None and instant(text) is not None
