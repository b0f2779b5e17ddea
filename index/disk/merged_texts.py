"""Texts that are numbered block by block, for more of them than fit in memory.

In: the distinct texts of each block. Out: the distinct texts of all blocks in order, and which of them each
block has. Knows nothing of what the texts are. This is how inverted indexes larger than memory are made
(Heinz and Zobel 2003, "Efficient single-pass index construction for text databases").

    N.utf8, N.i64     the texts of block N, sorted (index/disk/sorted_texts.py)
    N.order.i32       the number under which each of them was given
    N.merged.i64      the number that the caller noted for each of them, see `TextBlocks.note`
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.disk.opening import create, map_file, read_file
from index.disk.sorted_texts import SortedTexts, sorted_texts

# Texts of all blocks together that are merged at once.
_MERGED_AT_ONCE = 1 << 16


class TextBlocks:
    """Blocks of texts in files of a folder. The caller makes and removes the folder. Methods raise OSError.

    sizes: how many texts each block has.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.sizes: list[int] = []

    def add(self, texts: Iterable[str]) -> NDArray[np.int32]:
        """Store the next block.

        texts: different ones, in the order of their numbers.
        Returns the place of each among the sorted texts, int32 (texts,).
        """
        given = list(texts)
        order = sorted(range(len(given)), key=given.__getitem__)
        ordered = sorted_texts(map(given.__getitem__, order))
        numbers = np.array(order, "<i4")
        self._write(".utf8", ordered.characters)
        self._write(".i64", ordered.starts)
        self._write(".order.i32", numbers)
        self.sizes.append(len(given))
        places = np.empty(len(given), np.int32)
        places[numbers] = np.arange(len(given), dtype=np.int32)
        return places

    def texts(self, block: int) -> SortedTexts:
        """The texts of a block, memory-mapped."""
        return SortedTexts(
            map_file(self._folder / f"{block}.utf8", "|u1"), map_file(self._folder / f"{block}.i64", "<i8")
        )

    def order(self, block: int) -> NDArray[np.int32]:
        """The numbers under which the sorted texts of a block were given, int32 (texts,)."""
        return np.frombuffer(read_file(self._folder / f"{block}.order.i32"), "<i4")

    def merged(self) -> Iterator[tuple[list[str], list[NDArray[np.int64]]]]:
        """The distinct texts of all blocks in order, a part at a time.

        Yields the texts of a part, and for each block an int64 array: the positions within the part of those
        of the block's sorted texts that are in it.
        """
        blocks = [self.texts(block) for block in range(len(self.sizes))]
        longest = max(blocks, key=len, default=None)
        if longest is None:
            return
        step = max(1, _MERGED_AT_ONCE // len(blocks))
        starts = [0] * len(blocks)
        for split in chain(range(step, len(longest), step), [None]):
            if split is None:
                stops = self.sizes
            else:
                (first_of_next,) = longest.between(split, split + 1)
                stops = [block.smaller(first_of_next) for block in blocks]
            parts = [block.between(*ends) for block, *ends in zip(blocks, starts, stops, strict=True)]
            distinct = sorted(set(chain.from_iterable(parts)))
            numbers = dict(zip(distinct, count()))
            yield (
                distinct,
                [np.fromiter(map(numbers.__getitem__, part), np.int64, len(part)) for part in parts],
            )
            starts = list(stops)

    def note(self, block: int, values: NDArray[np.int64]) -> None:
        """Store a number for each of the next sorted texts of a block, int64 (texts,)."""
        with (self._folder / f"{block}.merged.i64").open("ab") as file:
            file.write(values.astype("<i8").data)

    def noted(self, block: int) -> NDArray[np.int64]:
        """The numbers that `note` stored for all sorted texts of a block, int64 (texts,)."""
        return np.frombuffer(read_file(self._folder / f"{block}.merged.i64"), "<i8")

    def _write(self, ending: str, values: NDArray[Any]) -> None:
        with create(self._folder / f"{len(self.sizes)}{ending}") as file:
            file.write(np.ascontiguousarray(values).data)
