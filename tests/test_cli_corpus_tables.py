"""A corpus as people have it, at the command: its columns, its blank rows, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from made_files import workbook

from cli import verbs
from index.reader import Index

MODEL = Path(__file__).parent / "golden" / "model-1-bag"
PARTS = (
    "Part No.;Description;Category;Stock\n00815;red bolt M8;fasteners;12\n4711;blue nut;fasteners;3\n;;;\n"
)


def peephole(*args: object) -> Result:
    return CliRunner().invoke(verbs, [str(arg) for arg in args], prog_name="peephole")


def ids(index: Path, *args: object) -> list[str]:
    result = peephole("search", index, "-k", 9, "--json", *args)
    assert result.exit_code == 0, result.output
    return [hit["id"] for hit in json.loads(result.stdout)["hits"]]


def written(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def test_a_list_of_parts_is_an_index_with_filters(tmp_path):
    index = tmp_path / "index"
    parts = written(tmp_path / "parts.csv", PARTS)
    built = peephole("build", parts, "-m", MODEL, "-o", index)
    assert built.exit_code == 0, built.output
    assert "id is 'Part No.', text is 'Description', metadata is all others" in built.stderr
    assert ids(index, "red bolt")[0] == "00815"
    assert ids(index, "bolt", "--where", "Stock < 5") == ["4711"]
    more = written(tmp_path / "more.csv", "Part No.|Description|Category\nA|green washer|seals\n")
    assert peephole("add", index, more).exit_code == 0
    assert ids(index, "washer", "--where", "Category = seals") == ["A"]


def test_columns_are_named_and_texts_joined(tmp_path):
    index = tmp_path / "index"
    table = written(tmp_path / "t.csv", "Bestellnr,Bez 1,Bez 2,Gruppe\n1,Bolzen,rot,A\n2,Mutter,,B\n")
    failed = peephole("build", table, "-m", MODEL, "-o", index)
    assert failed.exit_code == 1
    assert (
        "the columns are 'Bestellnr', 'Bez 1', 'Bez 2', 'Gruppe': name those of documents with"
        in failed.stderr
    )
    assert not index.exists()
    named = ("--column", "id=Bestellnr", "--column", "text=Bez 1", "--column", "text=Bez 2")
    assert peephole("build", table, "-m", MODEL, "-o", index, *named).exit_code == 0
    found = json.loads(peephole("search", index, "rot", "-k", 1, "--json").stdout)["hits"][0]
    assert (found["id"], found["text"]) == ("1", "Bolzen\nrot")
    without = ("--column", "id=", "--column", "text=Bez 1")
    assert peephole("build", table, "-m", MODEL, "-o", tmp_path / "hashed", *without).exit_code == 0
    assert "1" not in ids(tmp_path / "hashed", "Bolzen")


def test_a_sync_by_other_columns_is_told(tmp_path):
    index = tmp_path / "index"
    table = written(tmp_path / "t.csv", "Nr,Bez 1,Bez 2,Name\n1,Bolzen,rot,A\n2,Mutter,,B\n")
    named = ("--column", "text=Bez 1", "--column", "text=Bez 2")
    assert peephole("build", table, "-m", MODEL, "-o", index, *named).exit_code == 0
    same = peephole("add", index, "--sync", table, *named)
    assert "2 unchanged" in same.stdout
    assert "Warning" not in same.stderr
    other = peephole("add", index, "--sync", table)
    assert (
        f"Warning: {table}: {index} was read by other columns before (id is 'Nr', title is 'Name', text is "
        "'Bez 1' and 'Bez 2', metadata is all others), so documents may have changed for that alone; to go "
        "back, run this again with --column as before\n"
    ) in other.stderr
    assert "2 replaced" in other.stdout
    assert "Warning" not in peephole("add", index, "--sync", table).stderr  # by now it is made by these
    assert peephole("add", index, table, *named).exit_code == 0  # what is added may have any columns
    shown = json.loads(peephole("info", index, "--json").stdout)
    assert shown["columns"] == {"id": "'Nr'", "title": "'Name'", "metadata": "all others"}


def test_a_sync_by_other_columns_that_changes_nothing_is_quiet(tmp_path):
    index = tmp_path / "index"
    before = written(tmp_path / "before.csv", "Nr,Name\n1,Bolzen\n")
    assert peephole("build", before, "-m", MODEL, "-o", index).exit_code == 0
    renamed = written(tmp_path / "renamed.csv", "Nr,Betreff\n1,Bolzen\n")
    same = peephole("add", index, "--sync", renamed)
    assert "1 unchanged" in same.stdout
    assert "Warning" not in same.stderr
    written(renamed, "Nr,Betreff\n1,Bolzen\n2,Mutter\n")
    assert (
        "other columns before (id is 'Nr', title is 'Name'"
        in peephole("add", index, "--sync", renamed).stderr
    )


def test_a_sync_opens_no_index_to_know_its_columns(tmp_path, monkeypatch):
    index = tmp_path / "index"
    table = written(tmp_path / "t.csv", "Nr,Name\n1,Bolzen\n")
    assert peephole("build", table, "-m", MODEL, "-o", index).exit_code == 0
    opened, open_files = [], Index.open

    def counted(folder, **settings):
        opened.append(folder)
        return open_files(folder, **settings)

    monkeypatch.setattr(Index, "open", counted)
    counts = []
    for options in ((), ("--sync",)):
        opened.clear()
        assert peephole("add", index, table, *options).exit_code == 0
        counts.append(len(opened))
    assert counts[0] == counts[1] > 0


def test_a_sync_that_would_delete_all_names_the_columns_as_a_cause(tmp_path):
    index = tmp_path / "index"
    table = written(tmp_path / "t.csv", "Nr,Name,Pos\n1,Bolzen,7\n")
    assert peephole("build", table, "-m", MODEL, "-o", index).exit_code == 0
    other = peephole("add", index, "--sync", table, "--column", "id=Pos")
    assert other.exit_code == 1
    assert "and the columns (`peephole info` shows by which it was read)" in other.stderr


VARIANTS = (
    "Handle,Title,Body (HTML),Colour\ncap,Cap,<p>warm</p>,red\ncap,,,blue\ncap,,,green\nhat,Hat,of straw,\n"
)


def test_rows_that_were_joined_to_a_document_are_told(tmp_path):
    index = tmp_path / "index"
    shop = written(tmp_path / "shop.csv", VARIANTS)
    told = "2 rows were joined to the document above, whose id they repeat\n"
    built = peephole("build", shop, "-m", MODEL, "-o", index)
    assert built.stdout.endswith(f"2 documents, 16 dimensions, generation-000001; {told}"), built.output
    assert peephole("add", index, shop).stdout.endswith(f"; {told}")
    assert json.loads(peephole("add", index, "--sync", shop, "--json").stdout)["joined_rows"] == 2
    (tmp_path / "shops").mkdir()
    for name in ("a", "b"):
        rows = VARIANTS.replace("cap,", f"{name},").replace("hat", name * 2)
        written(tmp_path / "shops" / f"{name}.csv", rows)
    assert "; 4 rows were joined" in peephole("add", index, tmp_path / "shops").stdout
    written(shop, "Handle,Title\ncap,Cap\ncap,\n")
    assert "; 1 row was joined to the document above" in peephole("add", index, shop).stdout
    plain = peephole("build", written(tmp_path / "p.csv", PARTS), "-m", MODEL, "-o", tmp_path / "p", "--json")
    assert json.loads(plain.stdout)["joined_rows"] == 0


def test_texts_of_a_corpus_and_columns_of_pairs_exclude_each_other(tmp_path):
    table = written(tmp_path / "t.csv", "a,b\n1,2\n")
    result = peephole(
        "build", table, "-m", MODEL, "-o", tmp_path / "i", "--column", "query=a", "--column", "text=b"
    )
    assert result.exit_code == 2
    assert "text is a column of a corpus, query one of pairs" in result.stderr


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
@pytest.mark.parametrize("indent", [None, 1])
def test_an_exported_array_is_a_corpus_alone_and_in_an_object(tmp_path, indent: int | None, suffix: str):
    articles = [
        {"id": 4711, "subject": "red bolt", "body": "of steel"},
        {"id": 7.0, "subject": "nut", "body": ""},
    ]
    index = tmp_path / "i"
    export = written(tmp_path / f"a.{suffix}", json.dumps(articles, indent=indent))
    assert peephole("build", export, "-m", MODEL, "-o", index).exit_code == 0
    assert sorted(ids(index, "bolt")) == ["4711", "7"]
    page = {"count": 2, "articles": articles, "next_page": "https://example.org/?page=2"}
    added = peephole("add", index, "--sync", written(export, json.dumps(page, indent=indent)))
    assert "0 added, 0 replaced, 0 deleted, 2 unchanged" in added.stdout, added.output


def test_sheets_that_are_left_out_are_told_where_queries_are_read(tmp_path):
    index = tmp_path / "index"
    assert peephole("build", written(tmp_path / "p.csv", PARTS), "-m", MODEL, "-o", index).exit_code == 0
    book = tmp_path / "q.xlsx"
    workbook(book, {"Queries": [["query"], ["red bolt"]], "Notes": [["to do"], ["nothing"]]})
    result = peephole("search", index, "--queries", book, "--run", tmp_path / "run.trec")
    assert result.exit_code == 0, result.output
    assert "Notes" in result.stderr
