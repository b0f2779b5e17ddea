"""Workbooks as tables: which sheets and rows are read, what cells say, and files that are hostile."""

from __future__ import annotations

import datetime
import zipfile
from pathlib import Path

import pytest
from made_files import ods, workbook, xlsb, xlsx, zipped

from index.errors import InputError, StorageError
from retrieval.data.columns.names import ColumnNames
from retrieval.data.dataset import open_dataset, read_all_queries, workbooks_of
from retrieval.data.documents import corpus_fingerprint, read_documents
from retrieval.data.files import confinement
from retrieval.data.files.formats import archive
from retrieval.data.pairs.dataset import PairsDataset
from retrieval.data.sheets import spool, worker
from retrieval.data.sheets.reading import SheetNames
from retrieval.data.tables import header_of, sheets_of_table, table_records_of

PAIRS = [["Question", "Answer"], ["how big?", "17 cm"], ["how old?", "3 years"]]


def rows_of(path: Path, given: ColumnNames | None = None) -> list[tuple[str, dict[str, object]]]:
    return [(str(place), fields) for place, fields in table_records_of(path, given or {})]


def error_of(path: Path, given: ColumnNames | None = None) -> str:
    with pytest.raises(InputError) as caught:
        rows_of(path, given)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


def test_cells_are_texts_as_csv_has_them(tmp_path: Path) -> None:
    row = [
        " a\nb ",
        17.0,
        0.1 + 0.2,
        4006381333931,
        -2.5,
        True,
        datetime.datetime(2024, 1, 5),
        datetime.datetime(2024, 1, 5, 13, 29, 59, 999000),
        datetime.time(9, 5),
        "问题",
        None,
    ]
    names = ["query", "whole", "sum", "ean", "half", "true", "day", "time", "clock", "zh", "none"]
    path = workbook(tmp_path / "a.xlsx", {"S": [names, row]})
    ((place, fields),) = rows_of(path)
    assert place == "sheet 'S', row 2"
    assert list(fields.values()) == [
        *(" a\nb ", "17", "0.3", "4006381333931", "-2.5", "true", "2024-01-05", "2024-01-05T13:30:00"),
        *("09:05:00", "问题", ""),
    ]
    assert header_of(path) == names


def test_an_error_in_a_formula_is_empty(tmp_path: Path) -> None:
    from xlsxwriter import Workbook

    with Workbook(tmp_path / "a.xlsx") as made:
        sheet = made.add_worksheet("S")
        sheet.write_row(0, 0, ["query", "answer"])
        sheet.write(1, 0, "q")
        sheet.write_formula(1, 1, "=1/0", None, "#DIV/0!")
        sheet.write_formula(2, 0, '="a"&"b"', None, "ab")
    assert [list(fields.values()) for _, fields in rows_of(tmp_path / "a.xlsx")] == [["q", ""], ["ab", ""]]


def test_rows_have_the_numbers_that_excel_shows_and_blank_ones_are_passed_over(tmp_path: Path) -> None:
    sheet = [[], ["FAQ 2024"], [], ["as of", "May"], *PAIRS[:2], [], [" ", None], PAIRS[2]]
    path = workbook(tmp_path / "a.xlsx", {"Billing": sheet})
    assert [place for place, _ in rows_of(path)] == ["sheet 'Billing', row 6", "sheet 'Billing', row 9"]


def test_a_table_may_begin_in_another_column_and_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    sheet = [[None, None, "Question", None, "Answer"], [None, None, "q", "x", "a", None, "look here"]]
    path = workbook(tmp_path / "a.xlsx", {"S": sheet})
    assert rows_of(path) == [("sheet 'S', row 2", {"Question": "q", "Answer": "a"})]
    assert header_of(path) == ["Question", "Answer"]


def test_sheets_with_the_columns_of_the_table_are_read_one_after_the_other(tmp_path: Path) -> None:
    sheets = {
        "Read me": [["This holds our FAQ"], ["Owner", "Anna"]],
        "Searches": [["query"], ["one more"]],
        "IT": PAIRS,
        "Pivot": [["Row labels", "Count"], ["IT", 2]],
        "HR": [["About people"], ["Answer", "Question", "Remark"], ["30 days", "how many holidays?", "!"]],
        "Old": PAIRS,
        "Empty": [],
    }
    path = workbook(tmp_path / "a.xlsx", sheets, hidden=["Old"])
    assert [place for place, _ in rows_of(path)] == [
        *("sheet 'IT', row 2", "sheet 'IT', row 3", "sheet 'HR', row 3"),
    ]
    assert header_of(path) == ["Question", "Answer", "Remark"]
    assert sheets_of_table(path) == SheetNames(
        ["IT", "HR"], ["Read me", "Searches", "Pivot", "Empty"], ["Old"]
    )
    dataset = open_dataset(path)
    assert isinstance(dataset, PairsDataset)
    assert dataset.summary().pairs == 3


def test_named_columns_find_the_sheet(tmp_path: Path) -> None:
    sheets = {"A": PAIRS, "B": [["Kunde schreibt", "Baustein"], ["q", "a"]]}
    path = workbook(tmp_path / "a.xlsx", sheets)
    given = {"query": ["Kunde schreibt"], "document": ["Baustein"]}
    assert [place for place, _ in rows_of(path, given)] == ["sheet 'B', row 2"]
    dataset = open_dataset(path, given)
    assert [document.text for document in dataset.documents()] == ["a"]


def test_a_named_query_without_a_known_document_is_told_as_for_other_tables(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", {"B": [["Kunde schreibt", "Baustein"], ["q", "a"]]})
    with pytest.raises(InputError, match="no column is recognised as the document; the columns are 'Kunde"):
        open_dataset(path, {"query": ["Kunde schreibt"]})


def test_a_workbook_without_a_table_is_one_line_with_its_sheets(tmp_path: Path) -> None:
    sheets = {"Texte": [["FAQ"], ["Kunde schreibt", "Baustein"], ["q", "a"]], "Notes": [["x"]], "Empty": []}
    path = workbook(tmp_path / "a.xlsx", sheets)
    assert error_of(path) == (
        "no sheet has columns that are known ('Texte' begins 'Kunde schreibt', 'Baustein'; 'Notes' begins "
        "'x'); name the columns of pairs with --column query=NAME --column document=NAME, or those of "
        "documents with --column id=NAME --column text=NAME"
    )
    assert error_of(path, {"query": ["Frage"]}).startswith("no sheet has a row with 'Frage' ('Texte' begins ")
    empty = workbook(tmp_path / "b.xlsx", {"S": [], "T": PAIRS}, hidden=["T"])
    assert error_of(empty) == "has no cells in a visible sheet; give a workbook with a table"


def test_a_header_is_looked_for_in_ten_rows(tmp_path: Path) -> None:
    titles = [[f"title {n}"] for n in range(10)]
    assert len(rows_of(workbook(tmp_path / "a.xlsx", {"S": [*titles[:9], *PAIRS]}))) == 2
    assert "no sheet has columns" in error_of(workbook(tmp_path / "b.xlsx", {"S": [*titles, *PAIRS]}))


def test_a_corpus_a_click_log_and_queries_are_found_by_their_columns(tmp_path: Path) -> None:
    notes = [["Remarks", "Date"], ["x", "y"]]
    corpus = workbook(tmp_path / "c.xlsx", {"N": notes, "C": [["_id", "text", "year"], [17, "t", 2021]]})
    (document,) = read_documents(corpus)
    assert (document.id, document.text, document.metadata) == ("17", "t", {"year": "2021"})
    clicks = [["query", "doc_id", "clicks"], ["q", 17, 3]]
    assert len(rows_of(workbook(tmp_path / "l.xlsx", {"N": notes, "L": clicks}))) == 1
    assert len(rows_of(workbook(tmp_path / "q.xlsx", {"N": notes, "L": [["q", "url"], ["a", "b"]]}))) == 1


def test_queries_of_several_sheets_have_ids_of_their_own(tmp_path: Path) -> None:
    sheets = {"A": [["query"], ["one"], ["two"]], "B": [["title"], ["query"], ["three"]]}
    path = workbook(tmp_path / "a.xlsx", sheets)
    assert read_all_queries(path) == {"2": "one", "3": "two", "2.3": "three"}


def test_a_corpus_is_no_list_of_queries(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", {"A": [["_id", "text"], ["1", "t"]]})
    with pytest.raises(
        InputError, match="no column is recognised as the query; the columns are '_id', 'text'"
    ):
        read_all_queries(path)
    with pytest.raises(InputError, match="no such file; check the path"):
        read_all_queries(tmp_path / "none.xlsx")


def test_errors_name_sheet_and_row(tmp_path: Path) -> None:
    twice = workbook(tmp_path / "a.xlsx", {"A": [["question", "answer", "question"], ["q", "a", "r"]]})
    with pytest.raises(
        InputError, match="sheet 'A', row 2: the header names the column 'question' twice; ren"
    ):
        list(open_dataset(twice).documents())
    sheets = {"A": [*PAIRS, ["q", None]], "B": [[], *PAIRS, [None, "a"], ["only"]]}
    incomplete = workbook(tmp_path / "b.xlsx", sheets)
    with pytest.raises(InputError) as caught:
        list(open_dataset(incomplete).documents())
    assert str(caught.value) == (
        f"{incomplete}: sheet 'A', row 4: the document (\"Answer\") is empty; fill it or drop the row; "
        "2 more like it: sheet 'B', row 5, sheet 'B', row 6"
    )
    ids = {"A": [["_id", "text"], ["x", "t"]], "B": [["_id", "text"], ["y", "t"], ["x", "t"]]}
    with pytest.raises(InputError, match=r"sheet 'B', row 3: .* was already used on sheet 'A', row 2;"):
        list(read_documents(workbook(tmp_path / "c.xlsx", ids)))


def test_patterns_leave_out_the_lock_of_an_open_workbook(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for name in ("a", "b"):
        workbook(tmp_path / f"{name}.xlsx", {"S": [PAIRS[0], [f"q {name}", f"a {name}"]]})
    (tmp_path / "~$a.xlsx").write_bytes(b"x" * 165)
    for source in (tmp_path, f"{tmp_path}/*.xlsx"):
        assert [d.text for d in open_dataset(source).documents()] == ["a a", "a b"]
        assert workbooks_of(source) == [tmp_path / "a.xlsx", tmp_path / "b.xlsx"]
    places = [place for place, _ in table_records_of(f"{tmp_path}/*.xlsx")]
    assert str(places[1].error("bad")) == f"{tmp_path}/b.xlsx: sheet 'S', row 2: bad"


@pytest.mark.parametrize("suffix", ["xlsm", "xls", "XLSX"])
def test_the_content_tells_which_kind_of_workbook_it_is(tmp_path: Path, suffix: str) -> None:
    workbook(tmp_path / "a.xlsx", {"S": PAIRS}).rename(tmp_path / f"a.{suffix}")
    assert len(rows_of(tmp_path / f"a.{suffix}")) == 2


def test_an_opendocument_sheet_is_read_by_its_headings_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.ods").write_bytes(ods([["FAQ"], ["Frage", "Antwort"], ["wie groß?", "<17 cm"]]))
    assert rows_of(tmp_path / "a.ods") == [
        ("sheet 'Blatt', row 3", {"Frage": "wie groß?", "Antwort": "<17 cm"})
    ]


def test_a_binary_workbook(tmp_path: Path) -> None:
    sheets = {
        "Info": [["Parts"]],
        "Teile": [["Teile 2024"], ["Part No.", "Größe", "Preis"], ["00815", "M8", 2.5]],
    }
    (tmp_path / "a.xlsb").write_bytes(xlsb(sheets))
    given = {"id": ["Part No."], "text": ["Größe"]}
    assert rows_of(tmp_path / "a.xlsb", given) == [
        ("sheet 'Teile', row 3", {"Part No.": "00815", "Größe": "M8", "Preis": "2.5"})
    ]
    (document,) = open_dataset(tmp_path / "a.xlsb", given).documents()
    assert (document.id, document.text, document.metadata) == ("00815", "M8", {"Preis": "2.5"})


@pytest.mark.parametrize("kind", ["xlsb", "xlsx"])
def test_a_sheet_that_is_a_chart_is_left_out(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "xlsb":
        path.write_bytes(xlsb({"S": PAIRS}, charts=["Chart"]))
    else:
        from xlsxwriter import Workbook

        with Workbook(path) as made:
            sheet = made.add_worksheet("S")
            for number, row in enumerate(PAIRS):
                sheet.write_row(number, 0, row)
            chart = made.add_chart({"type": "line"})
            chart.add_series({"values": "=S!$A$1:$A$2"})
            made.add_chartsheet("Chart").set_chart(chart)
    assert len(rows_of(path)) == 2
    assert sheets_of_table(path) == SheetNames(["S"], ["Chart"], [])


def test_another_content_is_read_and_gives_another_fingerprint(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", {"S": PAIRS})
    first = corpus_fingerprint(path)
    assert len(rows_of(path)) == 2
    workbook(path, {"S": [*PAIRS, ["q", "a"]]})
    assert len(rows_of(path)) == 3
    assert corpus_fingerprint(path) != first


def test_rows_are_read_several_times_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_CHUNK", 7)
    path = workbook(tmp_path / "a.xlsx", {"S": [PAIRS[0], *([f"q{n}", f"äöü {n}"] for n in range(50))]})
    one, other = table_records_of(path), table_records_of(path)
    assert [(a.fields, b.fields) for a, b in zip(one, other, strict=True)] == [
        ({"Question": f"q{n}", "Answer": f"äöü {n}"},) * 2 for n in range(50)
    ]


def answer(path: Path, tmp_path: Path, kind: str = "xlsx") -> str:
    """What the process would say of a workbook, without its limits, which would hold for the tests."""
    with (tmp_path / "rows").open("wb") as rows:
        return str(worker._answer(path, kind, rows).get("problem"))


def test_what_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.xlsx"
    path.write_bytes(xlsx({"S": [["query"], ["x" * 100_000]]}))
    monkeypatch.setattr(worker, "MOST_BYTES", 1000)
    assert answer(path, tmp_path).startswith("holds more than 0 MiB of text; split it, or save the sheet as")
    monkeypatch.setattr(worker, "LONGEST_LINE_BYTES", 1000)
    assert answer(path, tmp_path) == "sheet 'S', row 2: longer than 1000 bytes; shorten it"
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 1 << 10)
    assert answer(path, tmp_path).startswith(
        "unpacks to more than 0 MiB; split it, or save the sheet as .csv"
    )
    monkeypatch.setattr(confinement, "MAX_FILE_BYTES", 3)
    assert answer(path, tmp_path).startswith("larger than 0 MiB; split it, or save the sheet as .csv (in")


def test_a_cell_far_away_costs_the_process_and_no_more(tmp_path: Path) -> None:
    """A dense sheet up to the last cell would take half a terabyte."""
    path = tmp_path / "a.xlsx"
    workbook(path, {"S": PAIRS})
    parts = {name: zipfile.ZipFile(path).read(name) for name in zipfile.ZipFile(path).namelist()}
    sheet = parts["xl/worksheets/sheet1.xml"].decode()
    far = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'
    parts["xl/worksheets/sheet1.xml"] = sheet.replace("</sheetData>", far).encode()
    path.write_bytes(zipped(parts))
    assert error_of(path).startswith("ended the process that read it (broken, or it needs too much memory)")


def test_a_bomb_and_a_damaged_workbook_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "bomb.xlsx").write_bytes(zipped({"xl/workbook.xml": bytes(300 << 20)}))
    assert error_of(tmp_path / "bomb.xlsx").startswith("unpacks to more than 256 MiB; split it, or save the")
    whole = workbook(tmp_path / "a.xlsx", {"S": PAIRS}).read_bytes()
    (tmp_path / "cut.xlsx").write_bytes(whole[:-500])
    assert error_of(tmp_path / "cut.xlsx").startswith("broken .xlsx (")
    (tmp_path / "zip.xlsx").write_bytes(zipped({"a.txt": "x"}))
    assert error_of(tmp_path / "zip.xlsx") == "is a ZIP archive but no .xlsx; rename it or remove it"
    (tmp_path / "bad.xlsx").write_bytes(zipped({"xl/workbook.xml": "<workbook"}))
    assert error_of(tmp_path / "bad.xlsx").startswith("cannot be read as xlsx (")


def test_a_panic_of_the_library_is_a_workbook_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsb"
    path.write_bytes(xlsb({"S": [["a"]]}))
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    name = "xl/worksheets/sheet1.bin"
    shared = parts[name].replace(bytes([6, 14]), bytes([7, 14]))  # the cell's text is a shared one, of none
    assert shared != parts[name]
    path.write_bytes(zipped(parts | {name: shared}))
    told = error_of(path)
    assert told.startswith("cannot be read as xlsb (PanicException: index out of bounds")
    assert told.endswith('); save it again, or save the sheet as .csv (in Excel: "CSV UTF-8")')


def test_a_workbook_that_takes_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_SECONDS", 0.0)
    path = workbook(tmp_path / "a.xlsx", {"S": PAIRS})
    assert error_of(path).startswith(
        "takes longer than 0 seconds to read; split it, or save the sheet as .csv"
    )


def test_a_process_that_does_not_start_and_a_full_disk_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = workbook(tmp_path / "a.xlsx", {"S": PAIRS})
    with Path("/dev/full").open("wb", buffering=0) as full:
        assert worker._answer(path, "xlsx", full) == {"full": "No space left on device"}
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(StorageError, match="a process that reads workbooks does not start"):
        rows_of(path)
