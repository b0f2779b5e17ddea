import numpy as np

from index.lexical.sums import Sums


def test_an_array_given_back_is_taken_again():
    sums = Sums(3)
    first = sums.take()
    assert (first.tolist(), first.dtype) == ([0.0, 0.0, 0.0], np.float32)
    sums.give_back(first)
    assert sums.take() is first


def test_an_array_in_use_is_nobody_elses():
    sums = Sums(3)
    first, second = sums.take(), sums.take()
    assert not np.shares_memory(first, second)
    sums.give_back(second)
    assert sums.take() is second


def test_an_array_that_is_not_given_back_is_replaced_by_zeros():
    sums = Sums(2)
    sums.take()[:] = 7
    assert sums.take().tolist() == [0.0, 0.0]
