"""`peephole explain`: what it prints, draws and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import verbs
from retrieval.explain.shares import explain
from retrieval.search.features import NAMES
from retrieval.search.fusion import fuse
from retrieval.search.retriever import Retriever


def peephole(*args, **more):
    return CliRunner().invoke(verbs, [str(arg) for arg in args], prog_name="peephole", **more)


def test_explain_shows_words_shares_and_pairs(made):
    result = peephole("explain", made.index, "copy folder", "d1")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    found = explain(made.index, "copy folder", "d1")
    lines = result.stdout.splitlines()
    assert lines[0] == f"lstm tower, cosine {found.cosine:.4f}, shares sum to the cosine"
    assert [line for line in lines if line and not line.startswith(" ")][1:] == [
        "query", "document d1", "word by word", "re-scoring",
    ]  # fmt: skip
    rows = [line.split() for line in lines]
    for word in found.query.words + found.document.words:
        assert any(row[:2] == [word.word, f"{word.share:+.3f}"] for row in rows)
    assert lines[lines.index("word by word") + 1].split() == [
        f"{found.pairs[0].share:+.3f}", found.pairs[0].query, "~", found.pairs[0].document,
    ]  # fmt: skip


def test_explain_marks_words_in_colour(made):
    shown = peephole("explain", made.index, "copy folder", "d1", color=True).stdout
    assert "\x1b[33m\x1b[1mcopy\x1b[0m" in shown


@pytest.mark.parametrize("place", ["model", "index"])
def test_explain_needs_no_document(made, place):
    told = json.loads(peephole("explain", getattr(made, place), "启动 folder", "--json").stdout)
    assert (told["document"], told["cosine"], told["pairs"]) == (None, None, [])
    assert [word["word"] for word in told["query"]["words"]] == ["启动", "动", "folder"]
    assert sum(word["share"] for word in told["query"]["words"]) == pytest.approx(1)


def test_explain_draws_a_picture(made, tmp_path):
    result = peephole("explain", made.index, "copy folder", "d1", "--plot", tmp_path / "g.png", "--json")
    assert json.loads(result.stdout)["document"]["id"] == "d1"
    assert (tmp_path / "g.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (("MODEL", "copy", "d1"), "a model holds no documents"),
        (("INDEX", "copy", "nobody"), "no document has the id 'nobody'"),
        (("INDEX", " "), "the query is empty"),
        (("NOWHERE", "copy"), "nowhere"),
        (("INDEX", "copy", "--plot", "nowhere/x.png"), "nowhere/x.png"),
    ],
)
def test_what_explain_refuses_is_one_line(made, tmp_path, monkeypatch, args, problem):
    monkeypatch.chdir(tmp_path)
    places = {"MODEL": made.model, "INDEX": made.index, "NOWHERE": tmp_path / "nowhere"}
    result = peephole("explain", *(places.get(arg, arg) for arg in args))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert problem in result.stderr


def test_explain_tells_how_re_scoring_ranks_the_document():
    golden = Path(__file__).parents[2] / "golden" / "index-4"
    query = "send a large file"
    with Retriever.open(golden) as retriever:
        hits = {hit.id: hit.rank for hit in retriever.search(query, 10)}
        dense, lexical = (retriever.rank([query], 100, mode) for mode in ("dense", "lexical"))
        fused = fuse(dense, lexical, 10, retriever.dense_share).rows[0].tolist()
        fused_rank = 1 + fused.index(retriever.index.row_of("faq/2"))
    lines = peephole("explain", golden, query, "faq/2").stdout.splitlines()
    told = lines[lines.index("re-scoring") + 1 :]
    assert told[0] == f"  rank {hits['faq/2']} of 6 candidates (by fusion alone {fused_rank})"
    assert [line.split()[0] for line in told[1:5]] == query.split()
    ranking = json.loads(peephole("explain", golden, query, "faq/2", "--json").stdout)["ranking"]
    assert (ranking["rank"], ranking["fused_rank"], ranking["candidates"]) == (hits["faq/2"], fused_rank, 6)
    assert sum(word["share"] for word in ranking["words"]) == pytest.approx(1)
    effects = [abs(feature["effect"]) for feature in ranking["features"]]
    assert effects == sorted(effects, reverse=True)
    assert len(effects) == len(NAMES)


def test_explain_tells_which_words_are_of_known_queries_alone():
    golden = Path(__file__).parents[2] / "golden" / "index-5"
    lines = peephole("explain", golden, "duplicate a directory", "faq/1").stdout.splitlines()
    told = lines[lines.index("re-scoring") + 2 :][:3]
    assert told[0].endswith("+1.00  duplicate (of a known query)")
    assert told[2].endswith("+1.00  directory")


def test_without_re_scoring_explain_tells_nothing_of_it():
    golden = Path(__file__).parents[2] / "golden" / "index-3"  # from before models learned to re-score
    asked = ("explain", golden, "send a large file", "faq/2")
    assert json.loads(peephole(*asked, "--json").stdout)["ranking"] is None
    assert "re-scoring" not in peephole(*asked).stdout


def test_explain_reads_a_misspelt_query_as_search_does(made):
    typed, read = "cpoy foldre", "copy folder"
    told = json.loads(peephole("explain", made.index, typed, "d1", "--json").stdout)
    assert told.pop("corrected") == read
    assert json.loads(peephole("search", made.index, typed, "--json").stdout)["corrected"] == read
    assert told == json.loads(peephole("explain", made.index, read, "d1", "--json").stdout)
    shown, of_read = (
        peephole("explain", made.index, query, "d1").stdout.splitlines() for query in (typed, read)
    )
    assert shown.pop(1) == f"searched for {read}; --as-typed corrects nothing"
    assert shown == of_read


@pytest.mark.parametrize("document", [(), ("d1",)])
def test_explain_can_read_the_words_as_they_are_typed(made, document):
    asked = ("explain", made.index, "cpoy", *document, "--as-typed")
    told = json.loads(peephole(*asked, "--json").stdout)
    assert "corrected" not in told
    assert told["query"]["text"] == "cpoy"
    assert [(word["word"], word["known"]) for word in told["query"]["words"]] == [("cpoy", False)]
    assert not document or [word["query"] for word in told["ranking"]["words"]] == ["cpoy"]
    assert "searched for" not in peephole(*asked).stdout


def test_a_query_alone_is_corrected_by_an_index_and_not_by_a_model(made):
    assert json.loads(peephole("explain", made.index, "cpoy", "--json").stdout)["corrected"] == "copy"
    assert "corrected" not in json.loads(peephole("explain", made.model, "cpoy", "--json").stdout)


def test_a_picture_is_of_the_corrected_query(made, tmp_path):
    for name, query in (("typed", "cpoy"), ("read", "copy")):
        assert peephole("explain", made.index, query, "--plot", tmp_path / f"{name}.png").exit_code == 0
    assert (tmp_path / "typed.png").read_bytes() == (tmp_path / "read.png").read_bytes()
