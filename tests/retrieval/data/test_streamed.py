"""Mappings that are read in order each time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from retrieval.data.streamed import Streamed, Without, values_of

ITEMS = {"a": 1, "b": 2, "c": 3}


class Letters(Streamed[int]):
    """Of `ITEMS`."""

    def __len__(self) -> int:
        return len(ITEMS)

    def __getitem__(self, key: str) -> int:
        return ITEMS[key]

    def stream(self) -> Iterator[tuple[str, int]]:
        """The items."""
        return iter(ITEMS.items())


def test_a_streamed_mapping_is_a_mapping() -> None:
    letters = Letters()
    assert letters == ITEMS
    assert (list(letters), list(letters.values()), list(letters.items())) == (
        ["a", "b", "c"],
        [1, 2, 3],
        [("a", 1), ("b", 2), ("c", 3)],
    )


@pytest.mark.parametrize("whole", [ITEMS, Letters()])
def test_keys_are_left_out(whole: dict[str, int]) -> None:
    rest = Without(whole, {"b": 5})
    assert (len(rest), list(rest), dict(rest.items())) == (2, ["a", "c"], {"a": 1, "c": 3})
    assert rest == {"a": 1, "c": 3}
    assert "b" not in rest


def test_values_of_keys_in_order() -> None:
    assert list(values_of(Letters(), ["a", "c"])) == [1, 3]
    assert list(values_of(ITEMS, ["c", "a"])) == [3, 1]
