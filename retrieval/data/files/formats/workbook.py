"""Opens workbooks with python-calamine, which the extra `files` brings.

In: bytes that `archive` has checked. Out: the library's own workbook. Knows nothing of what is in its sheets.
"""

from __future__ import annotations

import io
from typing import Any

from index.errors import needing


def open_workbook(content: bytes) -> Any:
    """The workbook, of any kind that the library reads; the content tells which.

    Raises MissingExtraError; ValueError for one with a password; and what the library raises.
    """
    with needing("files"):
        from python_calamine import CalamineWorkbook, PasswordError
    try:
        return CalamineWorkbook.from_filelike(io.BytesIO(content))
    except PasswordError as error:
        raise ValueError("has a password; save it without one") from error


def has_cells(about: Any) -> bool:
    """Whether a sheet, of which the library tells this, has cells: a chart has none, nor has a dialogue."""
    return str(about.typ).endswith((".WorkSheet", ".MacroSheet"))
