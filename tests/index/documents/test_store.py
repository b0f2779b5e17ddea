import os
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from fruit_corpus import numbered

from index.documents import untrusted
from index.documents import writer as writer_module
from index.documents.filtering.parse import parse_where
from index.documents.store import Document, DocumentReader
from index.documents.writer import DocumentWriter
from index.errors import CorruptError, InputError, PeepholeError, StorageError


@pytest.fixture
def writer(tmp_path: Path) -> DocumentWriter:
    return DocumentWriter(tmp_path / "staged.sqlite")


def published(writer: DocumentWriter, path: Path) -> DocumentReader:
    writer.copy_to(path)
    return DocumentReader(path)


@pytest.mark.parametrize(("count", "numbers"), [(0, []), (3, [0, 1, 2]), (10, [0, 2, 5, 7])])
def test_a_sample_is_spread_over_all_rows(writer: DocumentWriter, count: int, numbers: list[int]):
    documents = [Document(f"d{n}", f"title {n}", f"text {n}", queries=(f"q{n}",)) for n in range(count)]
    writer.append(documents)
    assert writer.sample(4) == [documents[n].texts() for n in numbers]


def test_documents_come_back_by_row_in_the_order_asked_for(writer: DocumentWriter, tmp_path: Path):
    documents = [
        Document(
            "ü/1",
            "Titel",
            "text\0with zero",
            {"year": 2020, "ratio": 0.5, "old": True, "by": None},
        ),
        Document("2", text="'; DROP TABLE documents; --"),
        Document("3"),
    ]
    writer.append(documents[:1])
    writer.append(documents[1:])
    assert writer.count == 3
    assert list(writer) == documents
    reader = published(writer, tmp_path / "documents.sqlite")
    assert reader.count == 3
    assert reader.documents([2, 0, 2]) == [documents[2], documents[0], documents[2]]
    assert reader.rows_of(["ü/1", "2", "4", "\ud800"]) == {"ü/1": 0, "2": 1}


def test_texts_are_the_documents_without_metadata(writer: DocumentWriter, tmp_path: Path):
    writer.append([Document("1", "a", "b", {"year": 2020}), Document("2"), Document("3", text="c")])
    reader = published(writer, tmp_path / "documents.sqlite")
    for _ in range(2):
        assert reader.texts([2, 0, 2]) == [
            Document("3", text="c"),
            Document("1", "a", "b"),
            Document("3", text="c"),
        ]
    assert reader.documents([0])[0].metadata == {"year": 2020}
    assert reader.texts([]) == []


def test_texts_seen_before_are_not_read_again(
    writer: DocumentWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    writer.append(numbered(5))
    reader = published(writer, tmp_path / "d.sqlite")
    reader.texts([0, 1, 2])
    asked: list[list[int]] = []
    real = untrusted.query

    def noted(
        database: object, statement: str, parameters: list[int], **rest: object
    ) -> list[tuple[object, ...]]:
        asked.append(parameters)
        return real(database, statement, parameters, **rest)

    monkeypatch.setattr(untrusted, "query", noted)
    assert [each.id for each in reader.texts([1, 4, 0])] == ["d1", "d4", "d0"]
    assert asked == [[4]]


def test_thousands_of_rows_are_found_at_once(writer: DocumentWriter, tmp_path: Path):
    documents = numbered(2500)
    writer.append(documents)
    rows = list(range(2499, -1, -1))
    assert published(writer, tmp_path / "d.sqlite").documents(rows) == documents[::-1]


def test_row_outside_is_an_index_error(writer: DocumentWriter, tmp_path: Path):
    writer.append(numbered(3))
    with pytest.raises(IndexError, match="row 3"):
        published(writer, tmp_path / "d.sqlite").documents([0, 3])
    with pytest.raises(IndexError, match="row 3"):
        published(writer, tmp_path / "e.sqlite").texts([0, 3])


@pytest.mark.parametrize("second", [["d9", "x", "x"], ["x", "d1"]])
def test_duplicate_id_is_named_and_nothing_of_its_batch_is_kept(writer: DocumentWriter, second: list[str]):
    writer.append(numbered(3))
    with pytest.raises(InputError, match=r"two documents have the id '(x|d1)'"):
        writer.append([Document(name) for name in second])
    assert writer.count == 3
    writer.append([Document("x")])
    assert [document.id for document in writer] == ["d0", "d1", "d2", "x"]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (Document(""), "no document id"),
        (Document(7), "no document id"),  # type: ignore[arg-type]
        (Document("a", text="\ud800"), "lone surrogate"),
        (Document("\ud800"), "lone surrogate"),
        (Document("a", metadata={"x": float("nan")}), "NaN"),
        (Document("a", metadata={"x": {1}}), "metadata 'x'"),  # type: ignore[dict-item]
        (Document("a", metadata={"x": {"y": [{2: 3}]}}), "metadata 'x'"),  # type: ignore[dict-item]
        (Document("a", metadata={"x": [0] * 10_000}), "more than 10,000 values"),
        (Document("a", metadata={1: "x"}), "metadata 1"),  # type: ignore[dict-item]
    ],
)
def test_document_that_would_not_come_back_as_it_was_is_refused(
    writer: DocumentWriter, document: Document, problem: str
):
    with pytest.raises(InputError, match=problem):
        writer.append([Document("first"), document])
    assert list(writer) == []
    writer.append([Document("first")])
    assert writer.count == 1


def test_ids_have_an_index_when_the_file_is_copied_and_more_can_follow(
    writer: DocumentWriter, tmp_path: Path
):
    """The copy is one that SQLite itself would have made with `UNIQUE`, and the staged file goes on."""
    writer.append(numbered(5))
    assert not writer._has_index()
    first = published(writer, tmp_path / "first.sqlite")
    assert first.rows_of(["d4", "d5"]) == {"d4": 4}
    assert writer._has_index() and writer._uses is None
    with pytest.raises(InputError, match="two documents have the id 'd4'"):
        writer.append(numbered(5, start=4))
    writer.append(numbered(5, start=5))
    writer.close()
    resumed = DocumentWriter(tmp_path / "staged.sqlite")
    with pytest.raises(InputError, match="two documents have the id 'd7'"):
        resumed.append([Document("x"), Document("d7")])
    resumed.append([Document("x")])
    reader = published(resumed, tmp_path / "second.sqlite")
    assert reader.rows_of(["d7", "x"]) == {"d7": 7, "x": 10}
    assert [one.id for one in reader.documents(range(11))] == [*(f"d{row}" for row in range(10)), "x"]
    for path in (tmp_path / "first.sqlite", tmp_path / "second.sqlite"):
        database = sqlite3.connect(path)
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        with pytest.raises(sqlite3.IntegrityError, match="UNIQUE constraint failed"):
            database.execute("INSERT INTO documents VALUES (99, 'd3', '', '', '{}')")
        plan = database.execute("EXPLAIN QUERY PLAN SELECT row FROM documents WHERE id = 'd3'").fetchall()
        assert "sqlite_autoindex_documents_1" in plan[0][-1]
        database.close()


def test_an_index_of_ids_that_is_cut_short_leaves_the_file_as_it_was(
    writer: DocumentWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    writer.append(numbered(3))

    class NoText:
        def strip(self) -> object:
            return object()

    monkeypatch.setattr(writer_module, "_DOCUMENTS", NoText())
    with pytest.raises(PeepholeError):
        writer.copy_to(tmp_path / "d.sqlite")
    monkeypatch.undo()
    writer.close()
    resumed = DocumentWriter(tmp_path / "staged.sqlite")
    assert not resumed._has_index()
    assert published(resumed, tmp_path / "d.sqlite").rows_of(["d2"]) == {"d2": 2}


def test_ids_of_documents_that_were_not_stored_are_free(writer: DocumentWriter):
    writer.append(numbered(2))
    with pytest.raises(InputError, match="'d1'"):
        writer.append([Document("x"), Document("d1")])
    with pytest.raises(InputError, match="lone surrogate"):
        writer.append([Document("x"), Document("y", text="\ud800")])
    writer.append([Document("x"), Document("y")])
    with pytest.raises(InputError, match="'x'"):
        writer.append([Document("x")])
    assert [document.id for document in writer] == ["d0", "d1", "x", "y"]


def test_file_that_is_no_database_is_corrupt(tmp_path: Path):
    (tmp_path / "staged.sqlite").write_bytes(b"not a database " * 100)
    with pytest.raises(CorruptError, match="damaged"):
        DocumentWriter(tmp_path / "staged.sqlite")
    with pytest.raises(CorruptError, match="damaged"):
        DocumentReader(tmp_path / "staged.sqlite")


def test_missing_file_is_corrupt_for_readers_and_never_created(tmp_path: Path):
    with pytest.raises(CorruptError):
        DocumentReader(tmp_path / "none.sqlite")
    assert not (tmp_path / "none.sqlite").exists()


def test_folder_that_cannot_be_written_is_told(tmp_path: Path):
    with pytest.raises(StorageError, match="unable to open"):
        DocumentWriter(tmp_path / "none" / "staged.sqlite")


def test_metadata_that_is_no_json_is_corrupt(writer: DocumentWriter, tmp_path: Path):
    writer.append(numbered(1))
    writer.copy_to(tmp_path / "d.sqlite")
    with sqlite3.connect(tmp_path / "d.sqlite") as database:
        database.execute("UPDATE documents SET metadata = '{'")
    database.close()
    with pytest.raises(CorruptError, match="damaged"):
        DocumentReader(tmp_path / "d.sqlite").documents([0])


ENDLESS_VIEW = """
CREATE VIEW documents (row, id, title, text, metadata) AS
WITH RECURSIVE numbers (row) AS (SELECT 0 UNION ALL SELECT row + 1 FROM numbers LIMIT 9)
SELECT row, row, '', '', '{}' FROM numbers
"""  # endless without its LIMIT, which is for code that would read it


@pytest.mark.parametrize(
    "statements",
    [
        ["DROP TABLE documents", ENDLESS_VIEW],
        ["CREATE VIEW more AS SELECT 1"],
        ["CREATE TABLE more (x)"],
        ["CREATE INDEX more ON documents (text)"],
        ["CREATE TRIGGER more AFTER INSERT ON documents BEGIN DELETE FROM attributes; END"],
        ["ALTER TABLE documents ADD COLUMN more AS (zeroblob(1000000000))"],
        ["DROP TABLE attributes", "CREATE TABLE attributes (name TEXT, value, row INTEGER)"],
        ["DROP TABLE attributes"],
    ],
)
def test_tables_of_a_stranger_are_not_read(writer: DocumentWriter, tmp_path: Path, statements: list[str]):
    writer.append(numbered(2))
    writer.close()
    database = sqlite3.connect(tmp_path / "staged.sqlite", isolation_level=None)
    for statement in statements:
        database.execute(statement)
    database.close()
    for kind in (DocumentReader, DocumentWriter):
        with pytest.raises(CorruptError, match="tables are not those of an index"):
            kind(tmp_path / "staged.sqlite")


def test_query_without_an_end_is_given_up(
    writer: DocumentWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    writer.append(numbered(50))
    reader = published(writer, tmp_path / "d.sqlite")
    searches = [
        reader.fields,
        lambda: reader.documents(range(50)),
        lambda: reader.rows_of([f"d{row}" for row in range(50)]),
        lambda: reader.matching(parse_where("number>=0")),
        lambda: DocumentWriter(tmp_path / "staged.sqlite"),
    ]
    monkeypatch.setattr(untrusted, "STEPS_A_LOOK", 1)
    monkeypatch.setattr(untrusted, "SECONDS_A_QUERY", -1)
    for search in searches:
        with pytest.raises(CorruptError, match="a query takes more than"):
            search()
    monkeypatch.undo()
    for search in searches:
        search()


def test_more_rows_than_documents_are_damage(writer: DocumentWriter, tmp_path: Path):
    writer.append([Document("a", metadata={"n": "1"}), Document("b")])
    reader = published(writer, tmp_path / "d.sqlite")
    reader._most = 0
    with pytest.raises(CorruptError, match="more rows than there can be"):
        reader.matching(parse_where("n=1"))


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE documents SET title = x'00'", "not made of texts"),
        ("UPDATE documents SET metadata = '[]'", "no JSON object"),
        ("UPDATE documents SET metadata = '" + "[" * 100_000 + "'", "no JSON"),
    ],
)
def test_document_of_another_kind_is_damage(
    writer: DocumentWriter, tmp_path: Path, statement: str, problem: str
):
    writer.append(numbered(1))
    writer.copy_to(tmp_path / "d.sqlite")  # makes the tables those of an index
    writer.close()
    with sqlite3.connect(tmp_path / "staged.sqlite") as database:
        database.execute(statement)
    database.close()
    with pytest.raises(CorruptError, match=problem):
        DocumentReader(tmp_path / "staged.sqlite").documents([0])
    with pytest.raises(CorruptError, match=problem):
        list(DocumentWriter(tmp_path / "staged.sqlite"))


def test_missing_rows_of_a_staged_file_are_damage(writer: DocumentWriter, tmp_path: Path):
    writer.append(numbered(3))
    writer.close()
    with sqlite3.connect(tmp_path / "staged.sqlite") as database:
        database.execute("DELETE FROM documents WHERE row = 1")
    database.close()
    opened = DocumentWriter(tmp_path / "staged.sqlite")
    for read in (list, lambda writer: list(writer.ids())):
        with pytest.raises(CorruptError, match="row 2 where row 1 should be"):
            read(opened)


def test_staged_file_with_damaged_pages_is_not_gone_on_with(writer: DocumentWriter, tmp_path: Path):
    writer.append([Document(f"d{n}", text="x" * 3000) for n in range(50)])
    writer.close()
    path = tmp_path / "staged.sqlite"
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    (root,) = (
        sqlite3.connect(path)
        .execute("SELECT rootpage FROM sqlite_master WHERE name = 'documents'")
        .fetchone()
    )
    page = (root - 1) * size
    assert data[page] == 5  # an inner page of a table, whose first two children become one
    first, second = (int.from_bytes(data[page + at : page + at + 2], "big") for at in (12, 14))
    data[page + second : page + second + 4] = data[page + first : page + first + 4]
    path.write_bytes(data)
    with pytest.raises(CorruptError, match="damaged"):
        DocumentWriter(path)


def test_field_name_that_is_no_text_is_damage(writer: DocumentWriter, tmp_path: Path):
    writer.append(numbered(1))
    writer.copy_to(tmp_path / "d.sqlite")  # makes the tables those of an index
    writer.close()
    with sqlite3.connect(tmp_path / "staged.sqlite") as database:
        database.execute("INSERT INTO attributes VALUES (x'00', 1, 0)")
    database.close()
    with pytest.raises(CorruptError, match="a name that is no text"):
        DocumentReader(tmp_path / "staged.sqlite").fields()


def test_lengths_are_limited_to_what_is_asked_for_or_the_file_can_hold(
    writer: DocumentWriter, tmp_path: Path
):
    """A few pages can claim, in a circle, to hold a value of a gigabyte."""
    reader = published(writer, tmp_path / "d.sqlite")
    assert reader._database.getlimit(sqlite3.SQLITE_LIMIT_LENGTH) == 1 << 27
    assert reader._database.getlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH) == 1 << 16


def test_a_file_larger_than_a_c_int_can_count_is_read(writer: DocumentWriter, tmp_path: Path):
    writer.append([Document("a", metadata={"n": 1}), Document("b")])
    path = tmp_path / "d.sqlite"
    writer.copy_to(path)
    os.truncate(path, 8 * 2**31)  # a hole, which takes no space
    reader = DocumentReader(path)
    assert reader.documents([0]) == [Document("a", metadata={"n": 1})]
    assert reader.matching(parse_where("n=1")).tolist() == [True, False]


def test_full_disk_is_told_and_the_writer_goes_on(writer: DocumentWriter):
    writer.append(numbered(3))
    (pages,) = writer._database.execute("PRAGMA page_count").fetchone()
    writer._database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageError, match="full"):
        writer.append(numbered(1000, start=3))
    assert writer.count == 3
    writer._database.execute("PRAGMA max_page_count = 100000")
    writer.append(numbered(1000, start=3))
    assert list(writer) == numbered(1003)


def test_threads_may_share_a_reader(writer: DocumentWriter, tmp_path: Path):
    documents = numbered(100)
    writer.append(documents)
    reader = published(writer, tmp_path / "d.sqlite")
    found: list[bool] = []

    def read() -> None:
        found.extend(
            reader.documents([row]) == [documents[row]]
            and reader.texts([row])[0].text == documents[row].text
            and reader.rows_of([f"d{row}"]) == {f"d{row}": row}
            for row in range(100)
        )

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 400


def test_a_reader_is_closed_when_no_thread_reads_it(
    writer: DocumentWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Python ends with a segmentation fault if a connection is closed while it runs a statement."""
    writer.append(numbered(1))
    reader = published(writer, tmp_path / "d.sqlite")
    reading, found, real = threading.Event(), [], untrusted.query

    def slow(*arguments: object, **rest: object) -> list[tuple[object, ...]]:
        reading.set()
        time.sleep(0.05)
        return real(*arguments, **rest)

    monkeypatch.setattr(untrusted, "query", slow)
    read = threading.Thread(target=lambda: found.append(reader.rows_of(["d0"])))
    read.start()
    reading.wait()
    reader.close()
    read.join()
    assert found == [{"d0": 0}]


def test_closed_reader_is_the_callers_mistake(writer: DocumentWriter, tmp_path: Path):
    writer.append(numbered(1))
    reader = published(writer, tmp_path / "d.sqlite")
    reader.texts([0])
    reader.close()
    reader.close()
    for read in (reader.documents, reader.texts):
        with pytest.raises(sqlite3.ProgrammingError):
            read([0])
