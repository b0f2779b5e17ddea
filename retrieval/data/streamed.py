"""Mappings that are too large to hold in memory, and are read in their order each time.

In: what reads them. Out: mappings. Knows nothing of what they hold.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, ItemsView, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

V = TypeVar("V")


class Streamed(Mapping[str, V]):
    """A mapping that is faster to read in order than by key."""

    @abstractmethod
    def stream(self) -> Iterator[tuple[str, V]]:
        """The items in order, one in memory at a time."""

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self.stream())

    def items(self) -> ItemsView[str, V]:
        """The items, read in order each time."""
        return _Items(self)


def values_of(mapping: Mapping[str, V], keys: Iterable[str]) -> Iterator[V]:
    """The values of some keys, which come in the order of the mapping if it is streamed."""
    if not isinstance(mapping, Streamed):
        return map(mapping.__getitem__, keys)
    items = mapping.stream()
    return (next(value for other, value in items if other == key) for key in keys)


class _Items(ItemsView[str, V]):
    _mapping: Streamed[V]

    def __iter__(self) -> Iterator[tuple[str, V]]:
        return self._mapping.stream()


@dataclass(frozen=True, eq=False)
class Without(Streamed[V]):
    """A mapping without some of its keys."""

    whole: Mapping[str, V]
    left_out: Collection[str]  # keys of `whole`

    def __len__(self) -> int:
        return len(self.whole) - len(self.left_out)

    def __getitem__(self, key: str) -> V:
        if key in self.left_out:
            raise KeyError(key)
        return self.whole[key]

    def __iter__(self) -> Iterator[str]:
        return (key for key in self.whole if key not in self.left_out)

    def stream(self) -> Iterator[tuple[str, V]]:
        """The items that are left, in order."""
        return (item for item in self.whole.items() if item[0] not in self.left_out)
