"""Statistics of terms, which stay on our side, and the sparse vectors in Milvus. No server is needed."""

from pathlib import Path

import numpy as np
import pytest

from index.errors import CorruptError
from index.remote.terms import Statistics, sparse_of, write_statistics


def test_terms_keep_their_numbers_and_their_documents_add_up(tmp_path: Path):
    first = write_statistics(tmp_path / "1", None, {"a": 2, "b": 1}, {"x"})
    second = write_statistics(tmp_path / "2", tmp_path / "1", {"b": 1, "c": 1}, {"x", "y"})
    assert first["b"] == second["b"]
    assert len({first["a"], first["b"], second["c"]}) == 3
    assert 0 not in {*first.values(), *second.values()}
    old, new = Statistics(tmp_path / "1", 2), Statistics(tmp_path / "2", 3)
    assert new.fields() == {"x", "y"}
    # ln(1 + (3 - 2 + 1/2) / (2 + 1/2)), twice in the query
    assert new.weigh("b b unknown").terms == pytest.approx({first["b"]: 2 * np.log(1.6)})
    assert old.weigh("b").terms == pytest.approx({first["b"]: np.log(2)})
    assert old.weigh("c").terms == {}
    assert [new.first_term_from(text) for text in ("", "a", "aé", "b", "c", "cé", "é")] == [
        *"aabbc",
        None,
        None,
    ]


def test_damaged_statistics_are_told(tmp_path: Path):
    write_statistics(tmp_path / "1", None, {"a": 5}, ())
    with pytest.raises(CorruptError, match="damaged"):
        Statistics(tmp_path / "1", 4).weigh("a")  # more documents have the word than there are
    (tmp_path / "2").write_bytes(b"no database")
    for path in (tmp_path / "2", tmp_path / "missing"):
        with pytest.raises(CorruptError, match="cannot be read"):
            Statistics(path, 4)


def test_sparse_vector_holds_the_tf_parts_and_is_never_empty():
    # two of three tokens, average 3: 2 / (2 + .9)
    assert sparse_of(["a", "b", "a"], {"a": 7, "b": 9}, 3) == pytest.approx({7: 2 / 2.9, 9: 1 / 1.9})
    assert sparse_of([], {}, 3) == {0: 1.0}


def test_a_single_character_is_a_term_only_where_it_stands_alone(tmp_path: Path):
    """Unlike in a local index; docs/milvus.md says why."""
    numbers = write_statistics(tmp_path / "1", None, {"药店": 2, "吃": 1, "吃药": 1}, ())
    weighed = Statistics(tmp_path / "1", 3).weigh("药 吃")
    assert weighed.terms.keys() == {numbers["吃"]}
    assert weighed.words == 2
