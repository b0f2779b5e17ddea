"""The outcome of learning from clicks: published or not, and why.

In: what was counted and compared. Out: an `Outcome`, also as the JSON that `learn` prints and keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from retrieval.learning.comparison import Compared
from retrieval.learning.pairs import LearningCounts


@dataclass(frozen=True)
class Outcome:
    """The outcome of a learning."""

    reason: str  # why the model was not published; "" if it was
    generation: str  # the live one now
    documents: int  # in the index now
    counts: LearningCounts
    compared: Sequence[Compared] = ()  # empty if nothing was trained
    training: dict[str, object] | None = None  # what `train` reached; None if nothing was trained
    previous: Sequence[str] = ()  # generations that are kept for a rollback, the latest first
    seconds: float = 0.0
    kept_aside: str = ""  # the folder with the model that was not published; "" if there is none

    @property
    def published(self) -> bool:
        """Whether the index has the new model."""
        return not self.reason

    def as_json(self) -> dict[str, object]:
        """Plain values by name."""
        return {
            "published": self.published,
            "reason": self.reason,
            "generation": self.generation,
            "documents": self.documents,
            "previous": list(self.previous),
            "kept_aside": self.kept_aside,
            "seconds": round(self.seconds, 1),
            "counts": asdict(self.counts),
            "compared": [each.as_json() for each in self.compared],
            "training": self.training,
        }
