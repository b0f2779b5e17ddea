from threading import Thread

import numpy as np
import pytest

from retrieval.model.weights import Table
from retrieval.model.word_rows import WordRows
from retrieval.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("#ca", "cat", "at#", " cat "), buckets=2)
VALUES = np.random.default_rng(1).normal(size=(len(VOCABULARY), 4)).astype(np.float32)


@pytest.fixture
def rows() -> WordRows:
    return WordRows(VOCABULARY, Table(VALUES))


def expected(word: str) -> np.ndarray:
    return VALUES[VOCABULARY.features(word)].sum(axis=0)


def test_a_row_is_the_sum_of_the_rows_of_the_features(rows):
    np.testing.assert_allclose(rows.of(["cat", "dog"]), [expected("cat"), expected("dog")], rtol=1e-5)


def test_the_words_of_the_last_call_are_remembered_and_no_others(rows):
    first = rows.of(["cat"])
    assert rows.of(["cat"]) is first
    np.testing.assert_allclose(rows.of(["dog"]), [expected("dog")], rtol=1e-5)
    np.testing.assert_allclose(rows.of(["cat", "dog"])[0], first[0], rtol=1e-5)


def test_threads_get_the_rows_of_their_own_words(rows):
    words = [["cat"], ["dog"], ["dog", "cat"], ["bird"]]
    wrong = []

    def ask(mine: list[str]) -> None:
        right = [expected(word) for word in mine]
        if not all(np.allclose(rows.of(mine), right, rtol=1e-5) for _ in range(300)):
            wrong.append(mine)

    threads = [Thread(target=ask, args=(each,)) for each in words]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
