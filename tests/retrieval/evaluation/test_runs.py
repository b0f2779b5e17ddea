import math
from pathlib import Path

import numpy as np
import pytest

from index.errors import InputError, StorageError
from retrieval.evaluation.runs import read_trec_run, write_trec_run


def test_run_is_written_as_trec_eval_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    write_trec_run(path, {"q1": {"a": 0.25, "b": 0.5}, "q/2#1": {"c": -1.0}, "q3": {}}, "tag")
    assert path.read_text() == "q1 Q0 b 1 0.5 tag\nq1 Q0 a 2 0.25 tag\nq/2#1 Q0 c 1 -1.0 tag\n"


def test_ranks_go_on_from_the_first_rank(tmp_path: Path) -> None:
    write_trec_run(tmp_path / "run", {"q1": {"a": 0.25, "b": 0.5}, "q2": {"c": 1.0}}, "t", first_rank=11)
    assert (tmp_path / "run").read_text() == "q1 Q0 b 11 0.5 t\nq1 Q0 a 12 0.25 t\nq2 Q0 c 11 1.0 t\n"


def test_scores_read_back_as_the_same_float32(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal(500).astype(np.float32)
    run = {"q": {f"d{i}": float(value) for i, value in enumerate(values)}}
    write_trec_run(tmp_path / "run", run)
    back = read_trec_run(tmp_path / "run")["q"]
    assert all(np.float32(back[name]) == np.float32(score) for name, score in run["q"].items())


@pytest.mark.parametrize(
    ("run", "tag", "message"),
    [
        ({"q 1": {"a": 1.0}}, "t", "query id 'q 1'"),
        ({"q": {"a\tb": 1.0}}, "t", "document id"),
        ({"q": {"a\u3000b": 1.0}}, "t", "document id"),
        ({"q": {"": 1.0}}, "t", "document id ''"),
        ({"q": {"a": 1.0}}, "my tag", "the tag 'my tag'"),
        ({"q": {"a": math.inf}}, "t", "the score of document 'a'"),
        ({"q": {"a": math.nan}}, "t", "the score of document 'a'"),
    ],
)
def test_what_the_format_cannot_carry_is_refused_and_leaves_nothing(
    tmp_path: Path, run: dict[str, dict[str, float]], tag: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_trec_run(tmp_path / "run", run, tag)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="none/run: cannot be written"):
        write_trec_run(tmp_path / "none" / "run", {"q": {"a": 1.0}})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q Q0 d 1 0.5 t\nq Q0 e 2 0.4\n", ":2: 5 columns"),
        ("q Q0 d 1 high t\n", ":1: score 'high'"),
        ("q Q0 d 1 nan t\n", ":1: score 'nan'"),
        ("q Q0 d 1 0.5 t\nq Q0 d 2 0.4 t\n", ":2: document 'd' occurs twice"),
        ("\n", ": holds no results"),
    ],
)
def test_broken_run_names_its_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "run"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_trec_run(path)
    assert str(caught.value).startswith(f"{path}{message}")


def test_ranks_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("q Q0 a 1 0.1 t\r\nq\t0\tb\t2\t0.2\tt\n")
    assert read_trec_run(tmp_path / "run") == {"q": {"a": 0.1, "b": 0.2}}
