"""The cells of a workbook as text, as a CSV file of the same table would have them.

In: values as python-calamine gives them. Out: text. Knows nothing of sheets.
"""

from __future__ import annotations

import datetime

_EXACT = 1e15  # below it spreadsheets show all digits of a whole number


def text_of(value: object) -> str:
    """The text of a cell; "" for an empty one and for an error such as #REF!, which the library gives so.

    >>> text_of(17.0), text_of(0.1 + 0.2), text_of(True), text_of(datetime.datetime(2024, 1, 5))
    ('17', '0.3', 'true', '2024-01-05')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < _EXACT else f"{value:.15g}"
    if isinstance(value, datetime.datetime):
        # A time is a fraction of a day, which is seldom exact.
        value = (value + datetime.timedelta(milliseconds=500)).replace(microsecond=0)
        return str(value.date()) if value.time() == datetime.time() else value.isoformat()
    if isinstance(value, datetime.time):
        return value.isoformat(timespec="seconds")
    return str(value)
