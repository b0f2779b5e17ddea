"""Types that several modules share: arrays, texts, metadata values, the callback that reports progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:  # the command line imports this module before it needs numpy
    import numpy as np
    from numpy.typing import NDArray

# Vectors row by row, float32 (n, dimension).
Vectors: TypeAlias = "NDArray[np.float32]"

# Row numbers of documents, int64 (n,).
Rows: TypeAlias = "NDArray[np.int64]"

# Which rows of a segment are meant, bool (count,).
Mask: TypeAlias = "NDArray[np.bool_]"


def lines_of(text: str) -> tuple[str, ...]:
    """The lines of a text, such as `Texts.queries`. An empty text has none."""
    return tuple(text.split("\n")) if text else ()


class Texts(NamedTuple):
    """The texts of a document. queries: the queries that it is known to answer, one a line."""

    title: str
    text: str
    queries: str = ""

    def joined(self) -> str:
        """All of them in one."""
        return f"{self.title} {self.text} {self.queries}" if self.queries else f"{self.title} {self.text}"


# Gives queries that documents may answer, from the texts of some: unit vectors, float32 (n, dimension).
QueriesOf: TypeAlias = "Callable[[Sequence[Texts]], Vectors]"

# A value of a setting in a manifest.
Scalar: TypeAlias = str | int | float | bool | None

# A value of a document's metadata: all that JSON can say.
Json: TypeAlias = "Scalar | Sequence[Json] | Mapping[str, Json]"

# Called with the name of a stage, how much of it is done, and how much there is (None if that is unknown).
# What follows a comma in the name is a note, which may change while the stage lasts.
Progress: TypeAlias = Callable[[str, int, int | None], None]


def no_progress(stage: str, done: int, total: int | None) -> None:
    """Report to nobody."""
