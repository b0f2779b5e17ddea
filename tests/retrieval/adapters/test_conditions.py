"""Conditions of other libraries against the documents of `conftest.DOCUMENTS`."""

from __future__ import annotations

from datetime import date

import pytest

from index.errors import InputError
from index.reader import Index
from retrieval.adapters.conditions import condition


@pytest.mark.parametrize(
    ("name", "sign", "value", "ids"),
    [
        ("section", "=", 1, ["ls", "cp", "ssh"]),
        ("section", "=", 1.0, ["ls", "cp", "ssh"]),
        ("section", "!=", 1, ["tar"]),
        ("section", ">", 1, ["tar"]),
        ("section", ">=", 1, ["ls", "cp", "tar", "ssh"]),
        ("section", "<", 8, ["ls", "cp", "ssh"]),
        ("section", "<=", 0.5, []),
        ("section", "in", [8, 9], ["tar"]),
        ("section", "not in", [8, 9], ["ls", "cp", "ssh"]),
        ("section", "in", [], []),
        ("tags", "=", "dir", ["ls"]),
        ("tags", "in", ["dir", "file"], ["ls", "cp"]),
        ("tags", "=", None, ["tar", "ssh"]),
        ("tags", "!=", None, ["ls", "cp"]),
        ("tags", "in", ["dir", None], ["ls", "tar", "ssh"]),
        ("tags", ">", None, []),
        ("secure", "=", True, ["ssh"]),
        ("added", "<", date(2024, 6, 1), ["tar"]),
        ("added", ">=", date(2024, 6, 1), []),
        ("nobody has it", "=", 1, []),
        ("nobody has it", "!=", 1, ["ls", "cp", "tar", "ssh"]),
        ("nobody has it", "=", None, ["ls", "cp", "tar", "ssh"]),
    ],
)
def test_a_condition_selects_the_documents_it_names(index, name, sign, value, ids):
    with Index.open(index) as opened:
        rows = opened.rows([condition(name, sign, value)])
        assert [document.id for document in opened.documents(rows)] == ids


@pytest.mark.parametrize(
    ("sign", "value", "problem"),
    [
        ("=", [1], "'section' cannot be compared with"),
        ("<", float("nan"), "'section' cannot be compared with nan"),
        ("in", (1, 2), "the values of 'section' must be a list"),
        ("in", "ab", "the values of 'section' must be a list"),
        ("not in", [[1]], "'section' cannot be compared with"),
    ],
)
def test_a_value_that_has_no_order_is_refused(sign, value, problem):
    with pytest.raises(InputError, match=problem):
        condition("section", sign, value)
