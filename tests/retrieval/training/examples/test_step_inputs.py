"""What a step reads: made ahead, the same from the same seeds, and of several ranks each its part."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from index.documents.store import Document
from retrieval.text.vocabulary import learn_vocabulary
from retrieval.training.distributed import ALONE, Ranks
from retrieval.training.examples.step_inputs import StepInput, StepSeeds, made_ahead, step_input
from retrieval.training.examples.training_set import training_set

WIDTHS = {"query": 5, "document": 3}
TEXTS = ["cat kitten", "dog", "car wheel of a car", "boat sail", "tree leaf leaf"]


def given(ranks: Ranks, dropout: float = 0.5) -> StepInput:
    documents = [Document(f"d{n}", "", text) for n, text in enumerate(TEXTS)]
    queries = {f"q{n}": text.split()[0] for n, text in enumerate(TEXTS)}
    qrels = {f"q{n}": {f"d{n}": 1} for n in range(len(TEXTS))}
    data = training_set(documents, queries, qrels, learn_vocabulary(TEXTS, buckets=8, min_count=1), 8, 8)
    return step_input(data, np.arange(len(TEXTS)), StepSeeds((0, 0), 7), dropout, WIDTHS, ranks)


def test_dropout_is_that_of_torch_for_the_distinct_words_of_each_side():
    sides = given(ALONE).sides
    torch.manual_seed(7)
    for side, found in sides.items():
        words = len(np.unique(found.texts.values))
        expected = F.dropout(torch.ones(words, WIDTHS[side]), 0.5)
        assert torch.equal(found.noise, expected)
    assert all(side.noise is None for side in given(ALONE, dropout=0).sides.values())


@pytest.mark.parametrize("size", [2, 8])  # with 8 ranks and 5 pairs three encode a text for nothing
def test_ranks_have_their_part_of_what_one_has(size: int):
    whole = given(ALONE)
    parts = [given(Ranks(rank, size)) for rank in range(size)]
    for side, all_of_it in whole.sides.items():
        words = np.unique(all_of_it.texts.values)
        noise = dict(zip(words.tolist(), all_of_it.noise.tolist(), strict=True))
        assert sum(part.sides[side].count for part in parts) == 5
        for rank, part in enumerate(parts):
            own = part.sides[side]
            assert np.array_equal(own.texts.values, all_of_it.texts.values)
            share = np.arange(5)[Ranks(rank, size).share(5)]
            texts = own.texts.take(share if len(share) else np.arange(1))
            assert own.count == len(share)
            assert own.own.lengths.tolist() == texts.lengths().tolist()
            assert own.noise.tolist() == [noise[word] for word in np.unique(texts.values).tolist()]


def test_the_next_one_is_made_while_one_is_used():
    made = [threading.Event() for _ in range(3)]

    def maker(number: int) -> int:
        made[number].set()
        return number

    found = made_ahead(lambda number=number: maker(number) for number in range(3))
    assert next(found) == 0
    assert made[1].wait(10)  # though nobody has asked for it
    assert list(found) == [1, 2]


def test_what_a_maker_raises_reaches_its_place():
    def fail() -> int:
        raise ValueError("no")

    found = made_ahead([lambda: 1, fail, lambda: 3])
    assert next(found) == 1
    with pytest.raises(ValueError, match="no"):
        next(found)


def test_nothing_is_made_of_nothing():
    assert list(made_ahead([])) == []
