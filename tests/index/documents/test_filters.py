from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from index.documents.filters import Condition, parse_condition
from index.documents.store import Document, DocumentReader, DocumentWriter
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
    assert np.flatnonzero(reader.matching(parse_condition(condition))).tolist() == rows


def test_fields_are_the_names_in_use(reader: DocumentReader):
    assert reader.fields() == {"lang", "year", "free", "day", "big", "no te"}


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("a>=b", Condition("a", ">=", "b")),
        ("a>b", Condition("a", ">", "b")),
        ("a!=b", Condition("a", "!=", "b")),
        (" a b <= c ", Condition("a b", "<=", "c")),
        ("a==b", Condition("a", "=", "=b")),
        ("语言=中文", Condition("语言", "=", "中文")),
    ],
)
def test_condition_is_read(text: str, condition: Condition):
    assert parse_condition(text) == condition


@pytest.mark.parametrize("text", ["", "lang", "=en", " =en", ">3", "lang en"])
def test_what_is_no_condition_is_refused_with_an_example(text: str):
    with pytest.raises(InputError, match="write NAME=VALUE"):
        parse_condition(text)


def test_value_is_never_read_as_sql(reader: DocumentReader):
    assert not reader.matching(Condition("lang", "=", "x' OR '1'='1")).any()
    assert not reader.matching(Condition("lang' --", "=", "en")).any()


def test_attribute_of_a_row_beyond_the_documents_is_corruption(tmp_path: Path):
    import sqlite3

    writer = DocumentWriter(tmp_path / "staged.sqlite")
    writer.append([Document("a", metadata={"lang": "en"})])
    writer.copy_to(tmp_path / "documents.sqlite")
    writer.close()
    database = sqlite3.connect(tmp_path / "documents.sqlite", isolation_level=None)
    database.execute("UPDATE attributes SET row = 5")
    database.close()
    with pytest.raises(CorruptError, match="damaged"):
        DocumentReader(tmp_path / "documents.sqlite").matching(Condition("lang", "=", "en"))
