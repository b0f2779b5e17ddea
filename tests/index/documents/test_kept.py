import pytest

from index.documents import kept
from index.documents.kept import Kept

ONE, TWO, THREE = "one", "two", "three"


@pytest.fixture
def documents(monkeypatch: pytest.MonkeyPatch) -> Kept[str]:
    """Room for two documents of ten characters."""
    monkeypatch.setattr(kept, "_CHARACTERS_A_DOCUMENT", 5)
    monkeypatch.setattr(kept, "_MOST_CHARACTERS", 30)
    return Kept()


def test_documents_are_found_by_row(documents: Kept[str]):
    documents.keep({1: ONE}, 10)
    documents.keep({2: TWO}, 10)
    assert documents.find([2, 7, 1, 2]) == {1: ONE, 2: TWO}


def test_all_are_dropped_for_one_that_has_no_room(documents: Kept[str]):
    documents.keep({1: ONE, 2: TWO}, 20)
    documents.keep({3: THREE}, 10)
    assert documents.find([1, 2, 3]) == {3: THREE}
    documents.keep({1: ONE}, 10)
    assert documents.find([1, 2, 3]) == {1: ONE, 3: THREE}


def test_more_than_there_is_room_for_are_not_kept(documents: Kept[str]):
    documents.keep({4: ONE}, 10)
    documents.keep({1: ONE, 2: TWO, 3: THREE}, 30)
    assert documents.find([1, 2, 3, 4]) == {4: ONE}
