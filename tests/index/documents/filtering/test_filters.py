import sqlite3
from collections.abc import Callable, Mapping
from operator import eq, ge, gt, le, lt, ne
from pathlib import Path

import numpy as np
import pytest

from index.documents.filtering.expression import (
    And,
    Comparison,
    Exists,
    Expression,
    Field,
    In,
    Not,
    Operator,
    Or,
    Prefix,
)
from index.documents.filtering.fields import check_field
from index.documents.filtering.parse import parse_filters, parse_where
from index.documents.store import Document, DocumentReader
from index.documents.writer import DocumentWriter
from index.errors import CorruptError, InputError
from index.values import Scalar

METADATA: list[Mapping[str, Scalar]] = [
    {"lang": "en", "year": 2019, "free": True},
    {"lang": "de", "year": 2020.5, "free": False},
    {"lang": "en", "year": "2021", "day": "2021-05-01"},
    {"lang": None, "year": -3, "day": "2020-12-31", "big": 10**30},
    {},
    {"lang": "EN ", "year": "007", "no te": "a=b>c"},
]


@pytest.fixture
def reader(tmp_path: Path) -> DocumentReader:
    writer = DocumentWriter(tmp_path / "staged.sqlite")
    writer.append([Document(str(row), metadata=metadata) for row, metadata in enumerate(METADATA)])
    writer.copy_to(tmp_path / "documents.sqlite")
    writer.close()
    return DocumentReader(tmp_path / "documents.sqlite")


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("lang=en", [0, 2]),
        ("lang = en", [0, 2]),
        ("lang!=en", [1, 3, 4, 5]),
        ("lang=fr", []),
        ("year>=2020", [1, 2]),
        ("year>2020.5", [2]),
        ("year<2020", [0, 3, 5]),
        ("year<=-3", [3]),
        ("year=2021", [2]),
        ("year=2021.0", [2]),
        ("year=7", [5]),
        ("year=007", [5]),
        ("free=true", [0]),
        ("free!=true", [1, 2, 3, 4, 5]),
        ("day>=2021-01-01", [2]),
        ("day<2021-01-01", [3]),
        ("big>1e29", [3]),
        ("no te=a=b>c", [5]),
        ("lang=", []),
        ("LANG=en", []),
    ],
)
def test_condition_selects_the_rows_it_names(reader: DocumentReader, condition: str, rows: list[int]):
    assert np.flatnonzero(reader.matching(parse_where(condition))).tolist() == rows


# Neighbours that float64 rounds to one number: past 2^53 those of a text, past 2^63 those that SQLite keeps.
@pytest.mark.parametrize(
    ("first", "step"),
    [(2**53, 1), (-(2**53) - 3, 1), (2**63 - 3, 1), (-(2**63) - 3, 1), (2**64, 1), (10**30, 1), (10**308, 7)],
)
@pytest.mark.parametrize("kind", [int, str, "{}.0".format])
def test_whole_numbers_compare_exactly(tmp_path: Path, first: int, step: int, kind: Callable[[int], Scalar]):
    numbers = [first + step * place for place in range(6)]
    writer = DocumentWriter(tmp_path / "staged.sqlite")
    writer.append([Document(f"d{n}", metadata={"n": kind(n)}) for n in numbers] + [Document("without")])
    writer.copy_to(tmp_path / "documents.sqlite")
    writer.close()
    reader = DocumentReader(tmp_path / "documents.sqlite")
    comparisons = {"=": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
    for sign, compare in comparisons.items():
        for wanted in numbers:
            expected = [compare(number, wanted) for number in numbers] + [sign == "!="]
            for spelled in (f"{wanted}", f"{wanted}.0", f"{wanted}000e-3"):
                assert reader.matching(parse_where(f"n{sign}{spelled}")).tolist() == expected


def test_numbers_that_float64_has_no_room_for_are_texts_or_refused(tmp_path: Path):
    huge = "9" * 400
    writer = DocumentWriter(tmp_path / "staged.sqlite")
    for number in (int(huge), -int(huge), float("inf"), 10**5000):
        with pytest.raises(InputError, match="metadata 'n' is NaN or past float64; write it as text"):
            writer.append([Document("a", metadata={"n": number})])
    writer.append([Document("a", metadata={"n": huge}), Document("b", metadata={"n": "1e400"})])
    writer.copy_to(tmp_path / "documents.sqlite")
    writer.close()
    reader = DocumentReader(tmp_path / "documents.sqlite")
    assert reader.matching(parse_where(f"n={huge}")).tolist() == [True, False]
    assert reader.matching(parse_where("n=1e400")).tolist() == [False, True]
    for small in ("0e99999999999999999999", "1e-99999999999999999999", "0" * 5000 + "1"):
        assert not reader.matching(parse_where(f"n<{small}")).any()


def test_fields_are_the_names_in_use(reader: DocumentReader):
    assert reader.fields() == {"lang", "year", "free", "day", "big", "no te"}


@pytest.mark.parametrize(
    ("text", "field", "operator", "value"),
    [
        ("a>=b", "a", ">=", "b"),
        ("a>b", "a", ">", "b"),
        ("a!=b", "a", "!=", "b"),
        (" a b <= c ", "a b", "<=", "c"),
        ("语言=中文", "语言", "=", "中文"),
    ],
)
def test_condition_is_read(text: str, field: str, operator: Operator, value: str):
    assert parse_where(text) == Comparison(Field.bare(field), operator, value)


@pytest.mark.parametrize("text", ["", "lang", "=en", " =en", ">3"])
def test_what_is_no_condition_is_refused_with_an_example(text: str):
    with pytest.raises(InputError, match="write NAME=VALUE"):
        parse_where(text)


@pytest.mark.parametrize("text", ["lang=\udcff", "\udcff=en", "lang>\ud800"])
def test_condition_that_is_not_unicode_is_the_callers_mistake(text: str):
    with pytest.raises(InputError, match="not valid UTF-8"):
        parse_where(text)


def test_comparison_with_an_unknown_operator_is_refused():
    with pytest.raises(InputError, match="is no operator"):
        Comparison(Field.bare("a"), "= 1 OR 1 --", "x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        (Comparison(Field.bare("year"), ">=", 2020), "made of texts, not of 2020"),  # type: ignore[arg-type]
        (Comparison(Field.bare("year"), "=", "\ud800"), "not valid UTF-8"),
        (Exists(Field.bare("\ud800")), "not valid UTF-8"),
        (Or((In(Field.bare("year"), ("2020", 2021)),)), "made of texts, not of 2021"),  # type: ignore[arg-type]
        (Not(Prefix(Field.bare("lang"), b"e")), "made of texts, not of b'e'"),  # type: ignore[arg-type]
        (And(("lang = en",)), "a filter is a text or a condition, not 'lang = en'"),  # type: ignore[arg-type]
        (Comparison("lang", "=", "en"), "a filter is a text or a condition, not Comp"),  # type: ignore[arg-type]
        (In(Field.bare("lang"), ["en"]), "a filter is a text or a condition, not In"),  # type: ignore[arg-type]
    ],
    ids=["number", "value", "name", "in a list", "bytes", "text", "no field", "no tuple"],
)
def test_a_condition_of_other_things_is_refused(condition: Expression, problem: str):
    with pytest.raises(InputError, match=problem):
        parse_filters([condition])


def test_filter_that_is_no_text_is_refused():
    with pytest.raises(InputError, match="made of texts"):
        parse_where(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "metadata", ['{"n": "text"}', "{}", '{"n": [1]}', "[]", '{"n": null}', '{"n": NaN}', "[" * 100_000]
)
def test_number_that_the_metadata_does_not_hold_is_corruption(tmp_path: Path, metadata: str):
    writer = DocumentWriter(tmp_path / "staged.sqlite")
    writer.append([Document("a", metadata={"n": 2**64})])
    writer.copy_to(tmp_path / "documents.sqlite")
    writer.close()
    database = sqlite3.connect(tmp_path / "documents.sqlite", isolation_level=None)
    database.execute("UPDATE documents SET metadata = ?", (metadata,))
    database.close()
    with pytest.raises(CorruptError, match="damaged"):
        DocumentReader(tmp_path / "documents.sqlite").matching(parse_where(f"n>{2**64}"))


def test_value_is_never_read_as_sql(reader: DocumentReader):
    assert not reader.matching(Comparison(Field.bare("lang"), "=", "x' OR '1'='1")).any()
    assert not reader.matching(Comparison(Field.bare("lang' --"), "=", "en")).any()


@pytest.mark.parametrize("row", ["5", "-1", "'x'", "0.5"])
def test_attribute_of_a_row_beyond_the_documents_is_corruption(tmp_path: Path, row: str):
    writer = DocumentWriter(tmp_path / "staged.sqlite")
    writer.append([Document("a", metadata={"lang": "en"})])
    writer.copy_to(tmp_path / "documents.sqlite")
    writer.close()
    database = sqlite3.connect(tmp_path / "documents.sqlite", isolation_level=None)
    database.execute(f"UPDATE attributes SET row = {row}")
    database.close()
    with pytest.raises(CorruptError, match="damaged"):
        DocumentReader(tmp_path / "documents.sqlite").matching(parse_where("lang=en"))


def test_an_optional_field_that_no_document_has_is_not_refused():
    with pytest.raises(InputError, match="no document has a field 'lang'"):
        check_field(Field.bare("lang"), {"year"})
    check_field(Field.bare("lang", optional=True), {"year"})


def test_all_of_nothing_holds_and_one_of_nothing_does_not(reader: DocumentReader):
    assert reader.matching(And(())).all()
    assert not reader.matching(Or(())).any()
    assert not reader.matching(In(Field.bare("lang"), ())).any()
