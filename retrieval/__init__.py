"""Text to vectors, and the search that joins towers and index.

>>> from retrieval import Retriever, TwoTower
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval.search.hits import Hit
    from retrieval.search.retriever import Retriever
    from retrieval.towers.two_tower import TwoTower

__all__ = ["Hit", "Retriever", "TwoTower"]


def __getattr__(name: str) -> Any:
    """Import on first use: a program that searches must not wait for torch, which TwoTower needs."""
    if name == "TwoTower":
        from retrieval.towers.two_tower import TwoTower

        return TwoTower
    if name == "Retriever":
        from retrieval.search.retriever import Retriever

        return Retriever
    if name == "Hit":
        from retrieval.search.hits import Hit

        return Hit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
