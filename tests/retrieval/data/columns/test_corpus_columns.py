"""Which columns of a corpus are what: by usual names, as the user says, or an error that says what to do."""

from __future__ import annotations

import pytest

from index.errors import InputError
from retrieval.data.columns.corpus import BEIR, CorpusColumns, find_corpus_columns, no_corpus


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["_id", "title", "text"], BEIR),
        (["ID", "Text"], CorpusColumns("ID", None, ("Text",))),
        (["Part No.", "Description", "Category"], CorpusColumns("Part No.", None, ("Description",))),
        (["Artikelnummer", "Bezeichnung", "Preis"], CorpusColumns("Artikelnummer", "Bezeichnung", ())),
        (["Número", "Título", "Texto"], CorpusColumns("Número", "Título", ("Texto",))),
        (["Numéro", "Titre", "Texte"], CorpusColumns("Numéro", "Titre", ("Texte",))),
        (["Codice", "Titolo", "Testo"], CorpusColumns("Codice", "Titolo", ("Testo",))),
        (["Codice", "Contenuto"], CorpusColumns("Codice", None, ("Contenuto",))),
        (["编号", "标题", "内容"], CorpusColumns("编号", "标题", ("内容",))),
        (["Nr.", "Name", "Beschreibung"], CorpusColumns("Nr.", "Name", ("Beschreibung",))),
        (["Summary", "Issue key", "Description"], CorpusColumns("Issue key", "Summary", ("Description",))),
        (["ID", "Text", "Summary"], CorpusColumns("ID", None, ("Text",))),
        (["id", "document", "summary"], CorpusColumns("id", None, ("document",))),
        (["ID", "Summary", "Text"], CorpusColumns("ID", "Summary", ("Text",))),
        (["ID", "Description", "Summary"], CorpusColumns("ID", "Summary", ("Description",))),
        (["ID", "Text", "Summary", "Name"], CorpusColumns("ID", "Name", ("Text",))),
        (["ID", "Summary"], CorpusColumns("ID", "Summary", ())),
        (["Handle", "Title", "Body (HTML)"], CorpusColumns("Handle", "Title", ("Body (HTML)",))),
        (["Material", "Materialkurztext"], CorpusColumns("Material", "Materialkurztext", ())),
        (["Nr", "Material", "Text"], CorpusColumns("Nr", None, ("Text",))),
        (["Name", "Notes", "Record ID"], CorpusColumns("Record ID", "Name", ("Notes",))),
        (["SKU", "Notes", "Body"], CorpusColumns("SKU", None, ("Body",))),
        (["Code", "Handle", "Title", "Text"], CorpusColumns("Code", "Title", ("Text",))),
        (["Number", "Record ID", "Title", "Text"], CorpusColumns("Number", "Title", ("Text",))),
        (["ID", "Bezeichnung", "Materialbezeichnung"], CorpusColumns("ID", "Bezeichnung", ())),
        (["ID", "Body (HTML)", "Content"], CorpusColumns("ID", None, ("Content",))),
        (["Description", "Category"], None),
        (["id", "Category"], None),
    ],
)
def test_columns_have_their_usual_names_in_any_case(names: list[str], found: CorpusColumns | None):
    assert find_corpus_columns("parts.csv", names) == found


def test_two_columns_that_fit_are_told():
    with pytest.raises(InputError, match=r"'SKU', 'Item Number' all fit the id; choose one with"):
        find_corpus_columns("parts.csv", ["SKU", "Item Number", "Body"])


def test_beside_beirs_own_names_others_are_metadata():
    columns = find_corpus_columns("c.csv", ["_id", "text", "name", "description"])
    assert columns == CorpusColumns("_id", None, ("text",))
    assert columns.metadata_of(["_id", "text", "name", "description"]) == ["metadata", "name", "description"]


@pytest.mark.parametrize(
    ("id_", "names"), [("Part No.", ["Part No.", "text", "Stock"]), ("_id", ["_id", "id", "text", "Stock"])]
)
def test_the_id_is_no_metadata(id_: str, names: list[str]):
    assert CorpusColumns(id_, None, ("text",)).metadata_of(names) == ["metadata", "Stock"]


def test_named_columns_go_before_usual_ones():
    names = ["id", "text", "A", "B", "C"]
    given = {"id": ["A"], "text": ["B", "text"], "metadata": ["C"]}
    columns = find_corpus_columns("c.csv", names, given)
    assert columns == CorpusColumns("A", None, ("B", "text"), ("C",))
    assert columns.metadata_of(names) == ["C"]
    assert find_corpus_columns("c.csv", ["Description"], {"id": []}) == CorpusColumns(
        None, None, ("Description",)
    )


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"text": ["Body"]}, "has no column 'Body'; the columns are 'ID', 'Note'"),
        ({"score": ["Note"]}, "'Note' is named as the score, which only a table of pairs has"),
    ],
)
def test_what_is_named_must_be_there_and_of_a_corpus(given: dict[str, list[str]], problem: str):
    with pytest.raises(InputError, match=problem):
        find_corpus_columns("c.csv", ["ID", "Note"], given)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (
            ["Description", "Price"],
            r"as the id; .*--column id=NAME, or have ids made of the texts",
        ),
        (
            ["ID", "Price"],
            r"as the title or text; .*: name one with --column text=NAME",
        ),
        (
            ["Price", "Stock"],
            r"no column is recognised; .*--column id=NAME --column text=NAME",
        ),
    ],
)
def test_what_lacks_is_told_with_the_option_that_names_it(names: list[str], problem: str):
    assert find_corpus_columns("c.csv", names) is None
    with pytest.raises(InputError, match=problem):
        raise no_corpus("c.csv", names)
