"""The verbs of an index's life after its build: add, delete, compact, and searches that filter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import verbs
from index.disk.writer_lock import WriterLock
from retrieval.search.retriever import Retriever


def peephole(*args: object, typed: str | None = None) -> Result:
    return CliRunner().invoke(verbs, [str(arg) for arg in args], input=typed, prog_name="peephole")


def told(*args: object, typed: str | None = None):
    """What a verb prints with --json: one document and nothing else."""
    result = peephole(*args, "--json", typed=typed)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return json.loads(result.stdout)


def failure(*args: object, typed: str | None = None) -> str:
    """The one line of a verb that fails."""
    result = peephole(*args, typed=typed)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1), result.output
    return result.stderr


def ids(index: Path, *query: str, **options: object) -> list[str]:
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    return [hit["id"] for hit in told("search", index, *query, "-k", "20", *flags)["hits"]]


@pytest.fixture
def index(made, tmp_path) -> Path:
    """A copy of the index of eight documents, d0 to d7."""
    return Path(shutil.copytree(made.index, tmp_path / "index"))


@pytest.fixture
def more(tmp_path) -> Path:
    """One document that the index has, two that are new."""
    path = tmp_path / "more.jsonl"
    documents = [
        {"_id": "d1", "text": "brew green tea", "metadata": {"lang": "en", "year": 2024}},
        {"_id": "n1", "text": "bake rye bread", "metadata": {"lang": "en", "year": 2019}},
        {"_id": "n2", "text": "Brot backen", "metadata": {"lang": "de", "year": 2021}},
    ]
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


def test_index_that_is_written_to_while_it_is_read_is_sound(index, more):
    with Retriever.open(index):
        told("add", index, more)
    remark = (
        f"{index}/generation-000001: an earlier generation that is not used any more; "
        "the next write removes it"
    )
    facts = {"index": str(index), "sound": True, "problems": [], "remarks": [remark]}
    assert told("verify", index) == facts
    verified = peephole("verify", index)
    assert (verified.exit_code, verified.stdout) == (0, f"{index}: sound\n{remark}\n")
    told("compact", index)
    assert told("verify", index)["remarks"] == []


def test_interrupted_work_is_told_and_is_no_problem(index, more):
    (index / ".staging").mkdir()
    (index / ".learning").mkdir()
    (index / ".learning" / "plan").touch()
    verified = told("verify", index)
    assert verified["sound"]
    assert [remark.partition(" was interrupted, or is at work; ")[0] for remark in verified["remarks"]] == [
        f"{index}/.staging: `build` or `add`",
        f"{index}/.learning: `learn`",
    ]
    told("add", index, more)
    assert [".staging" in remark for remark in told("verify", index)["remarks"]] == [False]


def test_added_documents_are_found_and_replace_their_namesakes(index, more):
    done = told("add", index, more)
    assert (done["added"], done["replaced"], done["documents"]) == (2, 1, 10)
    assert done["generation"] == told("info", index)["generation"]
    assert ids(index, "bread", mode="lexical") == ["n1"]
    assert ids(index, "green", mode="lexical") == ["d1"]
    assert "d1" not in ids(index, "disk", mode="lexical")
    assert ids(index, "folder", mode="lexical") == ["d1"]  # a known query, which stays
    assert sorted(ids(index, "bread")) == sorted([f"d{n}" for n in range(8)] + ["n1", "n2"])
    assert told("verify", index)["sound"]


def test_documents_are_added_from_standard_input(index, more):
    assert told("add", index, "-", typed=more.read_text())["documents"] == 10
    assert "bake" in peephole("search", index, "bread").output


def test_add_prints_counts_for_a_person(index, more):
    assert "2 added, 1 replaced, 10 documents, generation-000002" in peephole("add", index, more).output


def test_deleted_documents_are_gone_and_compact_frees_their_room(index, more):
    told("add", index, more)
    assert told("delete", index, "d0", "n1")["documents"] == 8
    assert told("delete", index, "--ids", "-", typed="d2\nd3\n")["deleted"] == 2
    left = ["d1", "d4", "d5", "d6", "d7", "n2"]
    assert sorted(ids(index, "bread")) == left
    before = told("info", index)
    after = told("compact", index)
    assert (after["documents"], len(after["segments"])) == (6, 1)
    assert after["bytes"] < before["bytes"]
    assert sorted(ids(index, "bread")) == left
    assert "6 documents" in peephole("compact", index).output


def test_all_documents_gone_finds_nothing_in_any_mode(index):
    told("delete", index, *(f"d{n}" for n in range(8)))
    for mode in ("dense", "lexical", "hybrid"):
        assert ids(index, "copy", mode=mode) == []
    assert told("verify", index)["sound"]


def test_unknown_id_is_told_and_nothing_is_deleted(index):
    assert "no document has the id 'x'; nothing was deleted" in failure("delete", index, "d0", "x")
    assert told("delete", index, "x", "--missing-ok")["deleted"] == 0
    assert told("delete", index, "d0", "x", "--missing-ok")["documents"] == 7


@pytest.mark.parametrize("args", [[], ["d0", "--ids", "-"]])
def test_ids_come_from_one_place(index, args):
    assert peephole("delete", index, *args).exit_code == 2


def test_ids_of_a_file_are_bounded(index, monkeypatch):
    monkeypatch.setattr("retrieval.data.lines.MOST_LINES", 2)
    assert "standard input:3: more than 2 lines" in failure(
        "delete", index, "--ids", "-", typed="d0\nd1\nd2\n"
    )
    assert told("delete", index, "--ids", "-", typed="d0\nd1\n")["deleted"] == 2


def test_filter_keeps_what_matches_in_every_mode(index, more):
    told("add", index, more)
    for mode in ("dense", "lexical", "hybrid"):
        assert ids(index, "bread", "tea", mode=mode, where="year>=2020") == (
            ["d1"] if mode == "lexical" else ids(index, "bread", "tea", mode=mode, where="year > 2019")
        )
    assert sorted(ids(index, "bread", where="lang=en")) == ["d1", "n1"]
    assert ids(index, "bread", where="lang=de") == ["n2"]
    found = told("search", index, "bread", "--where", "lang=en", "--where", "year>=2020")
    assert [hit["id"] for hit in found["hits"]] == ["d1"]


@pytest.mark.parametrize(
    ("condition", "named"),
    [
        ("colour=red", "no document has a field 'colour'"),
        ("year", "is no condition"),
        ("lang=\udcff", "not valid UTF-8"),
    ],
)
def test_filter_that_makes_no_sense_is_told(index, more, condition, named):
    told("add", index, more)
    assert named in failure("search", index, "bread", "--where", condition)


@pytest.mark.parametrize("verb", ["add", "delete", "compact"])
def test_writer_is_told_of_another_at_work(index, more, verb):
    told("delete", index, "d7")
    arguments = {"add": [more], "delete": ["d0"], "compact": []}[verb]
    with WriterLock(index):
        assert "another writer is at work" in failure(verb, index, *arguments, "--wait", "0.1")


@pytest.mark.parametrize("verb", ["add", "delete", "compact"])
def test_where_no_index_is_the_remedy_is_told(tmp_path, more, verb):
    arguments = {"add": [more], "delete": ["d0"], "compact": []}[verb]
    assert "no such folder; check the path, `peephole build` makes" in failure(
        verb, tmp_path / "none", *arguments
    )
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_empty_addition_is_told_and_the_index_stays(index, tmp_path, content):
    before = (index / "CURRENT").read_bytes()
    (tmp_path / "empty.jsonl").write_text(content)
    assert "no documents" in failure("add", index, tmp_path / "empty.jsonl")
    assert (index / "CURRENT").read_bytes() == before


def test_broken_line_of_an_addition_is_named_and_nothing_is_added(index, more):
    more.write_text(more.read_text() + "{broken\n")
    assert "more.jsonl:4" in failure("add", index, more)
    assert told("info", index)["documents"] == 8


def test_same_id_twice_in_an_addition_is_told(index, more):
    more.write_text(more.read_text() * 2)
    assert "'d1'" in failure("add", index, more)
    assert told("info", index)["documents"] == 8


def test_a_limit_of_deleted_documents_needs_sync(index, tmp_path):
    result = peephole("add", index, tmp_path, "--most-deleted", 10)
    assert result.exit_code == 2
    assert "--most-deleted needs --sync" in result.stderr


def test_a_shrunken_corpus_is_refused_in_one_line(index, tmp_path):
    before = peephole("info", index).stdout
    (first, *_) = ids(index, "cats")
    table = tmp_path / "export.jsonl"
    table.write_text(json.dumps({"_id": first, "text": "what is left"}) + "\n")
    assert "--most-deleted allows" in failure("add", index, table, "--sync", "--most-deleted", 10)
    assert peephole("info", index).stdout == before
