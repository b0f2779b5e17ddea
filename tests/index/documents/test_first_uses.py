from __future__ import annotations

import errno
import random
import tempfile

import pytest

from index.documents import first_uses
from index.documents.first_uses import SOMEWHERE, FirstUses
from index.errors import StorageError


@pytest.fixture
def uses():
    found = FirstUses()
    yield found
    found.close()


def test_what_a_dictionary_says(uses):
    chance = random.Random(0)
    expected = {}
    for place in range(3000):
        used = f"d{chance.randrange(6000)}"
        assert uses.add(used, place) == expected.get(used)
        assert uses.add(used, place, exact=False) == SOMEWHERE
        expected.setdefault(used, place)
    assert len(uses) == len(expected)


def test_ids_with_the_same_hash_are_told_apart_and_found(monkeypatch, uses):
    monkeypatch.setattr(first_uses, "hash", lambda text: 7, raising=False)
    ids = ["a", "b", "", "a\n1 1\nb", "启", "\ud800", "1 1\na"]
    assert [uses.add(one, place) for place, one in enumerate(ids)] == [None] * len(ids)
    assert [uses.add(one, 99) for one in ids] == list(range(len(ids)))
    assert uses.add("c", 7) is None
    assert uses.add("d", 8, exact=False) == SOMEWHERE
    assert uses.add("d", 8) is None


@pytest.mark.parametrize("given", [0, -1, -2, 1 << 62])
def test_a_hash_of_zero_is_no_free_slot(monkeypatch, uses, given):
    monkeypatch.setattr(first_uses, "hash", lambda text: given, raising=False)
    assert uses.add("a", 3) is None
    assert uses.add("a", 4) == 3


def test_a_table_that_grows_keeps_all_and_is_at_most_two_thirds_full(uses):
    for place in range(5000):
        assert uses.add(str(place), place) is None
        assert 3 * len(uses) <= 2 * len(uses._slots)
    assert len(uses._slots) == 8192
    assert sum(key != 0 for key in uses._slots) == 5000
    assert [uses.add(str(place), -1) for place in (0, 511, 512, 4999)] == [0, 511, 512, 4999]


def test_many_ids_are_in_a_file_whose_end_grows_after_it_was_read(monkeypatch, uses):
    monkeypatch.setattr(first_uses, "_WRITTEN_AT_ONCE", 30)
    for place in range(10):
        assert uses.add(f"some words {place}", place) is None
        assert len(uses._unwritten) <= 30
        assert uses.add("some words 0", 99) == 0 or place == 0
    assert [uses.add(f"some words {place}", 99) for place in range(10)] == list(range(10))


def test_a_folder_of_temporary_files_that_is_full_is_named(monkeypatch, uses):
    def refuse():
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    uses.add("a", 1)
    with pytest.raises(StorageError, match="free some space") as raised:
        uses.add("a", 2)
    assert tempfile.gettempdir() in str(raised.value)
