"""Members side by side: each is the training that it would be alone, and all end together."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from index.errors import InputError
from retrieval.training.members import _side_by_side


def waiting(stop: Callable[[], bool]) -> None:
    """A training that ends when it is told to."""
    until = time.monotonic() + 60
    while not stop():
        assert time.monotonic() < until
        time.sleep(0.001)
    raise KeyboardInterrupt


def failing(stop: Callable[[], bool]) -> None:
    raise InputError("the loss is no longer finite")


def never() -> bool:
    return False


@pytest.mark.parametrize("trainings", [[failing, waiting, waiting], [waiting, failing]])
def test_if_one_fails_all_end_and_its_error_is_told(trainings):
    with pytest.raises(InputError, match="no longer finite"):
        _side_by_side(trainings, never)


def test_all_stop_when_told_to():
    with pytest.raises(KeyboardInterrupt):
        _side_by_side([waiting, waiting], lambda: True)


def test_each_has_its_share_of_the_threads_and_later_work_has_all():
    before, found = torch.get_num_threads(), []
    _side_by_side([lambda stop: found.append(torch.get_num_threads())] * 64, never)
    assert set(found) == {1}
    assert torch.get_num_threads() == before
