from __future__ import annotations

import pytest
import torch

from index.documents.store import Document
from retrieval.model.config import ModelConfig
from retrieval.text.vocabulary import learn_vocabulary
from retrieval.training.examples.training_set import training_set
from retrieval.training.long_forms import following_long_forms, spell_out
from retrieval.training.loop import Trainer
from retrieval.training.recipe import Recipe
from retrieval.training.start import initial_model

TEXTS = ["machado joseph disease (MJD)", "treatment of MJD", "another text", "of quince and marrow"]


def a_training_set(texts=TEXTS, relevant="d0"):
    documents = [Document(f"d{n}", "", text) for n, text in enumerate(texts)]
    vocabulary = learn_vocabulary(texts, min_count=1)
    queries, qrels = {"q": "joseph", "r": "quince"}, {"q": {relevant: 1}, "r": {"d3": 1}}
    return vocabulary, training_set(documents, queries, qrels, vocabulary, 8, 8)


def long_form(table, vocabulary):
    return sum(table[vocabulary.features(word)].sum(0) for word in ("machado", "joseph", "disease"))


def test_the_row_of_an_abbreviation_starts_as_itself_and_its_long_form():
    vocabulary, data = a_training_set()
    table = torch.randn(len(vocabulary), 8)
    before = table.clone()
    spell_out(table, data)
    row = vocabulary.features("mjd")[-1]
    torch.testing.assert_close(table[row], before[row] + long_form(before, vocabulary))
    others = torch.arange(len(vocabulary)) != row
    torch.testing.assert_close(table[others], before[others])


def test_without_a_row_of_its_own_an_abbreviation_changes_nothing():
    documents = [Document("d", "", TEXTS[0])]
    vocabulary = learn_vocabulary(TEXTS, max_words=0)
    data = training_set(documents, {"q": "joseph"}, {"q": {"d": 1}}, vocabulary, 8, 8)
    table = torch.randn(len(vocabulary), 8)
    before = table.clone()
    spell_out(table, data)
    assert torch.equal(table, before)


@pytest.mark.filterwarnings("error")
def test_arrays_in_files_raise_no_warning():
    vocabulary, data = a_training_set()
    for array in (data.abbreviations, data.long_forms.values, data.long_forms.offsets):
        array.setflags(write=False)
    spell_out(torch.zeros(len(vocabulary), 8), data)


def test_an_abbreviation_moves_with_its_long_form():
    vocabulary, data = a_training_set()
    table = torch.randn(len(vocabulary), 8)
    before = table.clone()
    row = vocabulary.features("mjd")[-1]
    with following_long_forms([table], data):
        table += torch.randn(table.shape)
        moved = table.clone()
    change = long_form(moved, vocabulary) - long_form(before, vocabulary)
    torch.testing.assert_close(table[row], moved[row] + change)


def test_training_moves_an_abbreviation_that_no_pair_has(tmp_path):
    vocabulary, data = a_training_set([TEXTS[0], "joseph coat", TEXTS[1], TEXTS[3]], "d1")
    torch.manual_seed(0)
    model = initial_model(ModelConfig("bag", 8, 4, 8), vocabulary, data)
    table = model.tower("query").table
    row = vocabulary.features("mjd")[-1]
    before = table.detach().clone()
    Trainer(model, data, Recipe(epochs=1, dropout=0), tmp_path / "checkpoint", "x").train(None)
    moved = long_form(table.detach(), vocabulary) - long_form(before, vocabulary)
    assert moved.norm() > 0
    torch.testing.assert_close(table[row].detach() - before[row], moved)
