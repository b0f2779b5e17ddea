"""What a search is asked for: the names of its modes, and its filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from index.errors import InputError

if TYPE_CHECKING:
    from index.documents.filtering.expression import Expression

Mode = Literal["dense", "lexical", "hybrid"]
MODES: tuple[Mode, ...] = get_args(Mode)

# A filter as a text or a tree, or several that must all hold.
Where: TypeAlias = "str | Expression | Sequence[str | Expression]"


def check_mode(mode: str) -> None:
    """Raise InputError for an unknown mode."""
    if mode not in MODES:
        raise InputError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
