"""Tables of every kind: the same records, and one line for a file that is not what its name says."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from index.errors import InputError
from retrieval.data.dataset import open_dataset
from retrieval.data.documents import read_documents
from retrieval.data.records import Record
from retrieval.data.table_kinds import table_kind
from retrieval.data.tables import header_of, table_records_of

ROWS = [
    {"question": 'say "a,b"', "answer": "one\ttwo".replace("\t", " ")},
    {"question": "启动", "answer": "服务"},
]
KINDS = ["csv", "tsv", "jsonl", "ndjson", "parquet", "csv.gz", "tsv.gz", "jsonl.gz"]


def write_table(path: Path, rows: list[dict[str, object]]) -> Path:
    """Rows of equal keys as a file of the kind that its name says."""
    kind = table_kind(path)
    if kind == "parquet":
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path
    if kind in ("jsonl", "ndjson"):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    elif kind == "csv":
        cells = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
        text = "".join(",".join('"' + c.replace('"', '""') + '"' for c in row) + "\r\n" for row in cells)
    else:
        text = "".join("\t".join(map(str, row)) + "\n" for row in [rows[0], *(row.values() for row in rows)])
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_rows_from_every_kind_are_the_same_records(tmp_path: Path, kind: str) -> None:
    path = write_table(tmp_path / f"faq.{kind}", ROWS)
    records = list(table_records_of(path))
    assert [record.fields for record in records] == ROWS
    first = 2 if kind.startswith(("csv", "tsv")) else 1
    assert [record.place.line for record in records] == [first, first + 1]
    assert header_of(path) == ([] if "json" in kind else ["question", "answer"])


SEPARATED: dict[str, tuple[str, int, dict[str, object]]] = {  # content, and line and cells of its only row
    "semicolons": ("Frage;Antwort\r\na, b;c\r\n", 2, {"Frage": "a, b", "Antwort": "c"}),
    "semicolons and quotation marks": (
        '"Frage, kurz";"Antwort"\r\n"a; b";c\r\n',
        2,
        {"Frage, kurz": "a; b", "Antwort": "c"},
    ),
    "tabs": ("Frage\tAntwort\r\na, b;\tc\r\n", 2, {"Frage": "a, b;", "Antwort": "c"}),
    "a header over two lines": (
        '"Frage\n(kurz)";Antwort\n"a\nb";c\n',
        3,
        {"Frage\n(kurz)": "a\nb", "Antwort": "c"},
    ),
    "blank lines above": ("\n\nFrage;Antwort\na;c\n", 4, {"Frage": "a", "Antwort": "c"}),
    "commas before semicolons": ("Frage;kurz,Antwort\na,c\n", 2, {"Frage;kurz": "a", "Antwort": "c"}),
    "sep": (
        "sep=;\r\nFrage, kurz;Antwort, lang\r\na;c\r\n",
        3,
        {"Frage, kurz": "a", "Antwort, lang": "c"},
    ),
    "SEP of commas": ('"SEP=,"\nFrage;kurz,Antwort\na;b,c\n', 3, {"Frage;kurz": "a;b", "Antwort": "c"}),
    "sep of tabs": ("sep=\t\nFrage;kurz\tAntwort\na\tc\n", 3, {"Frage;kurz": "a", "Antwort": "c"}),
}


@pytest.mark.parametrize(("text", "line", "cells"), SEPARATED.values(), ids=SEPARATED)
@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_a_first_line_or_the_header_says_what_separates_the_cells(
    tmp_path: Path, text: str, line: int, cells: dict[str, object], suffix: str
) -> None:
    content = b"\xef\xbb\xbf" + text.encode()
    path = tmp_path / f"faq.{suffix}"
    path.write_bytes(gzip.compress(content) if suffix == "csv.gz" else content)
    (record,) = table_records_of(path)
    assert (record.place.line, record.fields) == (line, cells)
    assert header_of(path) == list(record.fields)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "a.json", "a.jsonl"])
def test_the_mark_of_utf_16_is_enough(tmp_path: Path, encoding: str, name: str) -> None:
    rows: list[dict[str, object]] = [
        {"Frage": f"启动 {n} \u2028 😀", "Antwort": "ä" * 9000} for n in range(300)
    ]
    utf_8 = write_table(tmp_path / ("b.jsonl" if "json" in name else f"b.{name[2:5]}"), rows)
    content = f"\ufeff{utf_8.read_bytes().decode()}".encode(encoding)
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert [record.fields for record in table_records_of(path)] == rows


TITLED: dict[str, tuple[str, str, int]] = {  # the name, what is in the file, and the line of its only row
    "a line": ("a.csv", "Product list 2026\n\nid;title;text\n1;a;b\n", 4),
    "padded": ("a.csv", "Product list 2026;;\n;;\nas of;May;\nid;title;text\n1;a;b\n", 5),
    "sep": ("a.csv", "sep=;\nProduct, list;;\n;;\nid;title;text\n1;a;b\n", 5),
    "commas and quotation marks": (
        "a.csv",
        'As of 1.1.2026, Berlin\n"two\nlines";;\n5" pipes\n"id";"title";text\n1;a;b\n',
        6,
    ),
    "tabs": ("a.tsv", "Product list\t\t\n\nid\ttitle\ttext\n1\ta\tb\n", 4),
}


@pytest.mark.parametrize(("name", "text", "line"), TITLED.values(), ids=TITLED)
def test_titles_above_the_header_are_passed_over(tmp_path: Path, name: str, text: str, line: int) -> None:
    path = tmp_path / name
    path.write_text(text)
    (record,) = table_records_of(path)
    assert (record.place.line, record.fields) == (line, {"id": "1", "title": "a", "text": "b"})
    assert header_of(path) == list(record.fields)


def test_named_columns_find_the_header_below_titles(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("Parts;\nNr;Bez\n1;a\n")
    assert header_of(path) == ["Parts", ""]
    assert header_of(path, given={"id": ["Nr"], "text": ["Bez"]}) == ["Nr", "Bez"]


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_row_that_reads_like_a_header_is_none_below_one_as_wide(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_text("Wort\tSynonym\nFrage\tAntwort\n")
    assert [record.fields for record in table_records_of(path)] == [{"Wort": "Frage", "Synonym": "Antwort"}]
    path.write_text("Wort\tSynonym\n" + "x\t\n" * 9 + "id\ttext\tTitel\n")
    assert header_of(path) == ["Wort", "Synonym"]


def test_a_single_usual_name_makes_no_header_below_others(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("Wort,Sinn,\nx,y,\nName,noun,old\n")
    assert header_of(path, given={"id": []}) == ["Wort", "Sinn", ""]
    assert header_of(path, given={"id": [], "title": ["Name"]}) == ["Name", "noun", "old"]


def test_an_object_that_may_be_a_document_is_not_passed_over_for_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"sku": "A1", "name": "bolt", "images": [{"id": 1, "text": "front"}]}')
    with pytest.raises(InputError, match="may be a record, or hold records in 'images'"):
        table_records_of(path)
    path.write_text('{"text": "x", "authors": [{"id": 1, "text": "front"}]}')
    assert len(list(table_records_of(path))) == 1
    with pytest.raises(InputError, match="may be a record, or hold records in 'authors'"):
        table_records_of(path, {"id": []})


def test_a_line_within_a_quoted_cell_is_no_header(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('Wort,Text\n"a","b\nquestion,answer,score\nc"\n')
    assert [record.fields for record in table_records_of(path)] == [
        {"Wort": "a", "Text": "b\nquestion,answer,score\nc"}
    ]


def test_titles_that_are_no_csv_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"Products\rof May\nid,title,text\n1,a,b\n")
    with pytest.raises(InputError, match=r"a\.csv:1: a line end of old Macs"):
        list(table_records_of(path))


def test_utf_32_is_not_taken_for_utf_16(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("\ufeffid,text\n1,a\n".encode("utf-32-le"))
    with pytest.raises(InputError, match=r"a\.csv:1: not UTF-8"):
        list(table_records_of(path))


def test_the_line_of_an_error_counts_the_line_that_names_the_separator(tmp_path: Path) -> None:
    path = tmp_path / "faq.csv"
    path.write_text("sep=;\nFrage;Antwort\na;b\nc\n")
    with pytest.raises(InputError, match=r"faq\.csv:4: 1 columns where the header has 2"):
        list(table_records_of(path))


def test_an_open_quotation_mark_in_the_header_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "faq.csv"
    path.write_text('"Frage;Antwort\n' + "x;y\n" * 100_000)
    with pytest.raises(InputError, match=r"faq\.csv:1: broken CSV .* check the quotation marks"):
        list(table_records_of(path))


def test_a_row_of_parquet_is_told_as_a_row(tmp_path: Path) -> None:
    (record,) = table_records_of(write_table(tmp_path / "a.parquet", [{"a": "x"}]))
    error = record.place.error("is wrong")
    assert str(error) == f"{tmp_path / 'a.parquet'}: row 1: is wrong"
    assert error.line == 1


def test_a_column_that_parquet_names_twice_is_named(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table([["a"], ["x"], ["y"]], names=["_id", "text", "text"])
    parquet.write_table(table, tmp_path / "c.parquet")
    with pytest.raises(InputError, match="names the column 'text' twice; rename one"):
        list(read_documents(tmp_path / "c.parquet"))


def test_documents_of_a_parquet_file(tmp_path: Path) -> None:
    rows = [{"_id": f"d{n}", "text": f"text {n}", "year": 2000 + n} for n in range(3000)]
    documents = list(read_documents(write_table(tmp_path / "c.parquet", rows)))
    assert [(one.id, one.text, one.metadata["year"]) for one in documents[::2999]] == [
        ("d0", "text 0", 2000),
        ("d2999", "text 2999", 4999),
    ]
    twice = write_table(tmp_path / "twice.parquet", [rows[0], rows[0]])
    with pytest.raises(InputError, match=r"row 2: \"_id\" 'd0' was already used on row 1"):
        list(read_documents(twice))


def test_values_of_parquet_that_json_does_not_know(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    import datetime

    row = {"day": datetime.date(2024, 5, 1), "none": None, "bytes": "é".encode(), "list": ["a"], "n": 1.5}
    numbers = {"numbers": [0.5, float("nan"), None]}
    rows = [row | numbers, row | {"n": float("nan")}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    first, second = table_records_of(tmp_path / "a.parquet")
    assert first.fields.pop("numbers") == [0.5, None, None]
    assert first.fields == {"day": "2024-05-01", "none": None, "bytes": "é", "list": ["a"], "n": 1.5}
    assert second.fields["n"] is None


def test_maps_of_parquet_are_objects(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    kind = pyarrow.map_(pyarrow.string(), pyarrow.date32())
    maps = pyarrow.array([[("from", 0), ("to", None)], []], kind)
    parquet.write_table(pyarrow.table({"m": maps}), tmp_path / "a.parquet")
    first, second = table_records_of(tmp_path / "a.parquet")
    assert first.fields == {"m": {"from": "1970-01-01", "to": None}}
    assert not second.fields["m"]


def test_bytes_of_parquet_are_refused_only_where_a_text_is_wanted(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"question": ["a", "b"], "answer": ["c", "d"], "image": [b"\xff\xd8"] * 2})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert [document.text for document in open_dataset(tmp_path / "a.parquet").documents()] == ["c", "d"]
    with pytest.raises(InputError, match="row 1: 'image' is not text, number"):
        list(open_dataset(tmp_path / "a.parquet", {"metadata": ["image"]}).documents())
    parquet.write_table(pyarrow.table({"_id": ["a"], "text": [b"\xe9"]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match='row 1: "text" is not text but bytes'):
        list(read_documents(tmp_path / "b.parquet"))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b"%PDF-1.7 ...", "is a PDF, not CSV"),
        (
            "a.csv",
            "a,b\n1,2\n".encode("utf-16")[:-1],
            "2: cannot be read on (not UTF-16: truncated data); the",
        ),
        ("a.csv", b"\xff\xfea\0,\0b\0\n\0\0\xd8\n\0", "1: cannot be read on (not UTF-16: illegal"),
        ("a.csv", "a,b\n1,2\n".encode("utf-16-le"), "is not text (it holds zero bytes), not CSV; save the"),
        ("a.xlsx", b"\xff\xfea\0,\0", "is UTF-16 text, not .xlsx"),
        ("a.csv.gz", gzip.compress(b"%PDF-1.7 ...", mtime=0), "is a PDF inside gzip, not CSV"),
        ("a.jsonl", b"PK\x03\x04....", "is a zip archive or a spreadsheet, not JSONL"),
        ("a.jsonl", b"PAR1....", "is Parquet, not JSONL"),
        ("a.tsv", b"a\tb\0\n", "is not text (it holds zero bytes), not TSV"),
        ("a.parquet", gzip.compress(b"a", mtime=0), "is gzip, not Parquet"),
        ("a.parquet", b"question,answer", "is something else, not Parquet"),
        ("a.parquet", b"", "is empty, not Parquet"),
        ("a.parquet", b"PAR1 and nothing more", "cannot be read as Parquet ("),
        ("a.xml", b"<a/>", "not a kind of table that is read; give .jsonl, .ndjson, .json, .tsv"),
        ("a.numbers", b"PK\x03\x04", "not a kind of table that is read; save it as .xlsx"),
        ("a.XLSX", b"PK\x03\x04", "broken .xlsx (File is not a zip file); save it again"),
        ("a.xlsx", b"", "is empty, not .xlsx; open it in Excel and save it as .xlsx"),
        ("a.xls", b"a;b\n1;2\n", "is something else, not .xls; open it in Excel and save it as .xlsx"),
        ("a.ods", b"%PDF-1.7", "is a PDF, not .ods; open it in Excel and save it as .xlsx"),
        ("a.xlsx", b"\xd0\xcf\x11\xe0....", "is an old Office file, or one with a password, not .xlsx; save"),
        ("a.xls", b"\xd0\xcf\x11\xe0....", "cannot be read as xls ("),
        ("a.xlsx.gz", gzip.compress(b"PK", mtime=0), "is gzip, not .xlsx; unpack it"),
        ("a.csv", b"a,b\rc,d\re,f\r", "1: a line end of old Macs (CR alone) outside quotation marks; save"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    if told.startswith("cannot"):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        list[Record](table_records_of(path))
    assert str(caught.value).removeprefix(f"{path}:").lstrip().startswith(told)
    assert "\n" not in str(caught.value)


def test_a_parquet_file_damaged_in_the_middle_is_one_line(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.parquet", [{"a": f"some text {n}"} for n in range(5000)])
    content = bytearray(path.read_bytes())
    content[4:400] = b"\xff" * 396
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as Parquet") as caught:
        list(table_records_of(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        table_records_of(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        table_records_of(tmp_path / "folder.csv")


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("a.csv", "id,title\na,\\.\n\\.\n", [{"id": "a", "title": r"\."}]),
        ("a.tsv", "id\ttitle\na\tb\n\\.\n", [{"id": "a", "title": "b"}]),
        ("a.tsv", "title\na\n\\.\n", [{"title": "a"}]),
    ],
)
def test_the_line_that_ends_a_copy_of_postgresql_is_no_row(
    tmp_path: Path, name: str, text: str, rows: list[dict[str, object]]
) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert [record.fields for record in table_records_of(path)] == rows
