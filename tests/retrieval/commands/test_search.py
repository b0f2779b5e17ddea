"""The verb search: filters, facets, pages, and what it says of filters that cannot be read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import verbs
from index.documents.filtering.parse import MOST_CHARACTERS, parse_where

DOCUMENTS = [
    {
        "_id": "n1",
        "text": "bake rye bread",
        "metadata": {"lang": "en", "year": 2019, "tags": ["rye", "oven"]},
    },
    {"_id": "n2", "text": "bake bread", "metadata": {"lang": "en", "year": 2021, "author": {"name": "Ann"}}},
    {
        "_id": "n3",
        "text": "bread backen",
        "metadata": {"lang": "de", "year": 2021, "author": [{"name": "Bo"}]},
    },
    {"_id": "n4", "text": "bread", "metadata": {"lang": None, "note": "in two words", "a.b": 1, "tags": []}},
]


def peephole(*args: object) -> Result:
    return CliRunner().invoke(verbs, [str(arg) for arg in args], prog_name="peephole")


@pytest.fixture(scope="module")
def index(made, tmp_path_factory) -> Path:
    """The index of eight documents without metadata, and the four above."""
    folder = tmp_path_factory.mktemp("searched")
    shutil.copytree(made.index, folder / "index")
    (folder / "more.jsonl").write_text("".join(json.dumps(one) + "\n" for one in DOCUMENTS))
    assert peephole("add", folder / "index", folder / "more.jsonl").exit_code == 0
    return folder / "index"


def answer(index: Path, *flags: object) -> dict:
    result = peephole("search", index, "bread", "--json", *flags)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return json.loads(result.stdout)


def found(index: Path, where: str) -> list[str]:
    return sorted(hit["id"] for hit in answer(index, "--where", where, "--mode", "dense", "-k", 20)["hits"])


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("lang = 'en' and year >= 2020", ["n2"]),
        ("lang=en or lang=de", ["n1", "n2", "n3"]),
        ("exists lang and not lang=en", ["n3"]),
        ("author.name = Bo", ["n3"]),
        ("author.name prefix A or tags = oven", ["n1", "n2"]),
        ("year in (2019, '2020')", ["n1"]),
        ("year not in (2019) and exists year", ["n2", "n3"]),
        ("exists author", ["n2", "n3"]),
        ("exists tags", ["n1"]),
        ("note=in two words", ["n4"]),
        ('"a.b" = 1 or a.b = 2', ["n4"]),
        ("(lang=en and (year=2019 or year=2021)) and (not (year=2021))", ["n1"]),
        ("EXISTS lang AND NOT lang = en", ["n3"]),
    ],
)
def test_expression_selects_the_documents_it_names(index, where, ids):
    assert found(index, where) == ids


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("yeer = 2020", "column 1: no document has a field 'yeer'; did you mean year?"),
        (
            "lang = en and autor.name = x",
            "column 15: no document has a field 'autor.name'; did you mean author.name?",
        ),
        ("5 = 5", "column 1: no document has a field '5'; they have "),
        ("author = Ann", "column 1: 'author' is an object; name what is in it: author.name"),
        ("year => 3", "column 6: '=>' is no operator, did you mean '>='?"),
        ("year == 3", "column 6: '==' is no operator, did you mean '='?"),
        ("lang like 'e'", "column 6: 'like' is no operator; there are =, !=, <, <=, >, >=, in (...), prefix"),
        ("lang＝en", "column 5: '＝' is full-width; write '='"),
        ("lang in （'en'）", "column 9: '（' is full-width; write '('"),
        ("lang in ('en'，'de')", "column 14: '，' is full-width; write ','"),
        ("lang = “en”", "column 8: a value is quoted with ' or \", not with “; write 'en'"),
        ("(lang = en", "column 1: '(' is not closed"),
        ("lang = en)", "column 10: ')' closes nothing"),
        ("lang = (en", "column 8: '(' is not closed"),
        ("", "the filter is empty"),
        ("  ", "the filter is empty"),
        ("lang in ()", "column 9: 'in ()' holds no value"),
        ("lang in (en", "column 9: the list is not closed"),
        ("lang = 'en", "column 8: the quote ' is not closed"),
        ('"lang = en', 'column 1: the quote " is not closed'),
        ("'lang' = 'en'", "column 1: a field stands here, not a text"),
        ("lang = en and", "column 14: a condition is missing before the end"),
        (
            "lang = war and peace",
            "column 16: 'peace' is no condition; quote a value that has 'and' or 'or' in it",
        ),
        ("lang = 'en' de", "column 13: 'and', 'or' or the end should stand before 'de'"),
        ("lang = > 1", "column 8: a value that begins with a sign needs quotes"),
        ("= en", "column 1: no field stands before '='"),
        ("exists", "column 7: 'exists' needs the name of a field"),
        ("(" * 10_000 + "lang=en" + ")" * 9_000, "column 51: more than 50 parentheses"),
        ("not " * 4_000 + "lang=en", "column 201: more than 50 parentheses and 'not'"),
        ("lang=en or " * 1_500 + "lang=en", "more than 1,000 values; write fewer"),
        ("lang=" + "x" * MOST_CHARACTERS, "the filter has 20,005 characters; write at most 20,000"),
    ],
)
def test_filter_that_cannot_be_read_is_told_in_one_line(index, where, told):
    result = peephole("search", index, "bread", "--where", where)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1), result.output
    assert told in result.stderr
    assert len(result.stderr) < 300


@pytest.mark.parametrize("option", ["--facet", "--per"])
def test_field_that_no_document_has_is_told(index, option):
    result = peephole("search", index, "bread", option, "language")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert result.stderr.startswith("Error: no document has a field 'language'")
    assert "no document has a field 'language'; did you mean lang?" in result.stderr


def test_facets_count_hits_of_all_pages(index):
    flags = ["--facet", "lang", "--facet", "author.name", "--facet", "tags", "--mode", "lexical", "-k", 1]
    assert answer(index, *flags)["facets"] == {
        "lang": [{"value": "en", "count": 2}, {"value": "de", "count": 1}],
        "author.name": [{"value": "Ann", "count": 1}, {"value": "Bo", "count": 1}],
        "tags": [{"value": "oven", "count": 1}, {"value": "rye", "count": 1}],
    }
    assert answer(index, *flags, "--where", "year=2021")["facets"]["lang"] == [
        {"value": "de", "count": 1},
        {"value": "en", "count": 1},
    ]
    assert "facets" not in answer(index)
    shown = peephole("search", index, "bread", *flags).stdout
    assert "lang  en (2), de (1)" in shown


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_offset_gives_the_next_page(index, mode):
    deep = answer(index, "-k", 12, "--mode", mode)["hits"]
    pages = [answer(index, "-k", 3, "--offset", start, "--mode", mode)["hits"] for start in (0, 3, 6, 9)]
    assert [hit for page in pages for hit in page] == deep
    assert [hit["rank"] for hit in pages[1]] == [hit["rank"] for hit in deep][3:6]


def test_ranks_of_a_run_go_on_from_the_offset(index, tmp_path):
    flags = ("-k", "3", "--offset", "2", "--mode", "lexical", "--run", tmp_path / "run")
    hits = answer(index, *flags)["hits"]
    lines = [line.split() for line in (tmp_path / "run").read_text().splitlines()]
    assert [int(line[3]) for line in lines] == [hit["rank"] for hit in hits]
    assert [int(line[3]) for line in lines][:1] == [3]


def test_per_gives_one_hit_a_value(index):
    hits = answer(index, "--where", "exists lang", "--per", "lang", "--mode", "dense")["hits"]
    assert sorted(hit["rank"] for hit in hits) == [1, 2]
    assert {hit["id"] for hit in hits} & {"n1", "n2"}
    assert "n3" in {hit["id"] for hit in hits}


@pytest.mark.parametrize(
    ("simple", "same"),
    [
        ("lang=en", "lang = 'en'"),
        (" lang = en ", 'lang="en"'),
        ("title=two words", "title = 'two words'"),
        ("no te=a=b>c", "`no te` = 'a=b>c'"),
        ("title=", "title = ''"),
        ("title=it's", "title = 'it''s'"),
        ("title=f(x, y)", "title = 'f(x, y)'"),
        ("state=OR", "state = 'OR'"),
        ("state=OR or state=or", "state = 'OR' or state = 'or'"),
        ("sign in=3", "`sign in` = 3"),
        ("url prefix = 3", "`url prefix` = 3"),
        ("exists=3", '"exists" = 3'),
        ("not=3", '"not" = 3'),
        ("day>=2024-05-01T10:00:00+02:00", "day >= '2024-05-01T10:00:00+02:00'"),
    ],
)
def test_single_comparison_needs_no_quotes(simple, same):
    assert parse_where(simple) == parse_where(same)


def test_hits_of_a_calibrated_model_show_their_probability(calibrated):
    hits = json.loads(peephole("search", calibrated.index, "copy folder", "--json").stdout)["hits"]
    assert all(0 < hit["probability"] < 1 for hit in hits)
    said = peephole("search", calibrated.index, "copy folder").stdout
    assert f"  {hits[0]['score']:.3f}  {hits[0]['probability']:4.0%}  {hits[0]['id']}" in said


def test_a_model_without_calibration_gives_no_probability(made):
    assert {hit["probability"] for hit in answer(made.index)["hits"]} == {None}
    result = peephole("search", made.index, "copy", "--min-probability", "0.2")
    assert result.exit_code == 1
    assert "has no calibration" in result.stderr and "train it with dev queries" in result.stderr
    assert result.stderr.count("\n") == 1


def test_less_likely_hits_are_left_out_and_none_is_said_in_a_line(calibrated):
    asked = ("search", calibrated.index, "copy folder", "--json")
    hits = json.loads(peephole(*asked).stdout)["hits"]
    least = sorted(hit["probability"] for hit in hits)[2]
    kept = json.loads(peephole(*asked, "--min-probability", least).stdout)["hits"]
    likely = [hit for hit in hits if hit["probability"] >= least]
    assert kept == [hit | {"rank": rank} for rank, hit in enumerate(likely, 1)]
    assert len(kept) == len(hits) - 2
    none = peephole("search", calibrated.index, "copy folder", "--min-probability", "0.999")
    assert (none.exit_code, none.stderr) == (0, "")
    assert none.stdout.split("\n") == [
        "copy folder  no good answer: no hit is relevant with a probability of 0.999",
        "",
        "",
    ]
    assert json.loads(peephole(*asked, "--min-probability", "1").stdout)["hits"] == []
    assert peephole(*asked, "--min-probability", "1.5").exit_code == 2


def test_hits_show_their_metadata_if_it_is_asked_for(index):
    given = {one["_id"]: one["metadata"] for one in DOCUMENTS}
    asked = answer(index, "-k", 20, "--metadata")
    assert {hit["id"]: hit["metadata"] for hit in asked["hits"] if hit["id"] in given} == given
    assert {len(hit["metadata"]) for hit in asked["hits"] if hit["id"] not in given} == {0}
    for hit in asked["hits"]:
        assert list(hit)[-1] == "metadata"
        del hit["metadata"]
    assert asked["hits"] == answer(index, "-k", 20)["hits"]


def test_metadata_is_a_short_line_under_the_hit(index, tmp_path):
    more = {"_id": "n5", "text": "bread of the sea", "metadata": {"ok": True, "note": "a\nb", "z": "x" * 500}}
    folder = Path(shutil.copytree(index, tmp_path / "index"))
    (tmp_path / "more.jsonl").write_text(json.dumps(more))
    assert peephole("add", folder, tmp_path / "more.jsonl").exit_code == 0
    asked = ("search", folder, "bread", "-k", 5, "--mode", "lexical")
    lines = peephole(*asked, "--metadata").stdout.splitlines()
    assert '            lang: en, year: 2019, tags: ["rye", "oven"]' in lines
    assert '            lang: de, year: 2021, author: [{"name": "Bo"}]' in lines
    (cut,) = [line for line in lines if "ok: true" in line]
    assert cut.startswith(r"            ok: true, note: a\x0ab, z: xxx") and cut.endswith("x…")
    assert len(cut) < 250
    assert "year: 2019" not in peephole(*asked).stdout


def test_documents_without_metadata_have_no_line_for_it(made):
    asked = ("search", made.index, "copy", "-k", 3)
    plain, shown = peephole(*asked).stdout, peephole(*asked, "--metadata").stdout
    assert plain.splitlines()[1:] == shown.splitlines()[1:]
