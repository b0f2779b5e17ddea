"""Types that travel between modules: metadata values, and the callback that reports progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

# A value of a document's metadata, or of a setting in a manifest.
Scalar: TypeAlias = str | int | float | bool | None

# Called with the name of a stage, how much of it is done, and how much there is (None if that is unknown).
Progress: TypeAlias = Callable[[str, int, int | None], None]


def no_progress(stage: str, done: int, total: int | None) -> None:
    """Report to nobody."""
