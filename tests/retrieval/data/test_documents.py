import csv
import gzip
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from index.documents.store import Document
from index.errors import InputError
from retrieval.data import lines
from retrieval.data.documents import corpus_fingerprint, left_out_files, read_documents
from retrieval.data.tables import RECORDS_TO_LOOK_AT


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def error_of(path: Path | str) -> str:
    with pytest.raises(InputError) as caught:
        list(read_documents(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_beir_folder_streams_documents_with_metadata(tmp_path: Path) -> None:
    write(
        tmp_path / "corpus.jsonl",
        '{"_id": "a", "title": "T", "text": "x y", "metadata": {"url": "u", "year": 2020}}\n'
        '\n{"_id": "b", "text": "只", "score": 1.5, "ok": true, "none": null, "list": [1, "é"]}\n',
    )
    first, second = read_documents(tmp_path)
    assert first == Document("a", "T", "x y", {"url": "u", "year": 2020})
    assert (second.id, second.title, second.text) == ("b", "", "只")
    assert dict(second.metadata) == {"score": 1.5, "ok": True, "none": None, "list": [1, "é"]}


def test_metadata_that_is_no_object_is_kept_under_its_name(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", '{"_id": "a", "text": "x", "metadata": 3}')
    assert dict(next(read_documents(path)).metadata) == {"metadata": 3}


def test_documents_are_read_one_at_a_time(tmp_path: Path) -> None:
    records = "".join(f'{{"_id": "{name}", "text": "x"}}\n' for name in ("a", *range(RECORDS_TO_LOOK_AT)))
    path = write(tmp_path / "c.jsonl", f"{records}broken")
    assert next(read_documents(path)).id == "a"


def test_byte_order_mark_crlf_and_blank_lines_are_tolerated(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.jsonl", b'\xef\xbb\xbf{"_id": "a", "text": "x"}\r\n  \r\n{"id": "b", "title": "y"}\r\n'
    )
    assert [(d.id, d.title, d.text) for d in read_documents(path)] == [("a", "", "x"), ("b", "y", "")]


@pytest.mark.parametrize("name", ["corpus.jsonl.gz", "corpus.jsonl"])
def test_gzip_is_told_by_content(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, gzip.compress(b'{"_id": "a", "text": "x"}\n'))
    assert [d.id for d in read_documents(tmp_path)] == ["a"]


@pytest.mark.parametrize("packed", [False, True])
def test_standard_input_is_jsonl(monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    content = b'{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}\n'
    stream = io.BytesIO(gzip.compress(content) if packed else content)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(stream)))  # type: ignore[type-var]
    documents = read_documents("-")
    assert next(documents).text == "x"
    with pytest.raises(InputError, match=r"^standard input:2: .*line 1"):
        next(documents)
    assert corpus_fingerprint("-") is None


def test_tsv_takes_quotation_marks_as_they_are(tmp_path: Path) -> None:
    path = write(tmp_path / "c.tsv", 'id\ttitle\ttext\tcolour\r\n1\t"T\tsay "hi"\tred\r\n')
    (document,) = read_documents(path)
    assert document == Document("1", '"T', 'say "hi"', {"colour": "red"})


def test_csv_cells_may_hold_lines_and_be_long(tmp_path: Path) -> None:
    out = io.StringIO()
    long = "w " * 100_000
    csv.writer(out).writerows([["_id", "text", "n"], ["1", "two\nlines, quoted", "5"], [], ["2", long, ""]])
    first, second = read_documents(write(tmp_path / "c.csv.gz", gzip.compress(out.getvalue().encode())))
    assert first == Document("1", "", "two\nlines, quoted", {"n": "5"})
    assert second.text == long


def test_folder_of_texts_takes_paths_as_ids_and_headings_as_titles(tmp_path: Path) -> None:
    write(tmp_path / "b" / "x.md", "# Heading one #\n\nbody\n")
    write(tmp_path / "a.txt", "plain\ntext\n")
    write(tmp_path / "c.rst", "Title\n=====\n\nbody *rst*\n")
    write(tmp_path / "d.MD", "#hashtag no heading")
    write(tmp_path / ".git" / "x.txt", "hidden")
    write(tmp_path / "image.png", b"\xff")
    found = [(d.id, d.title, d.text) for d in read_documents(tmp_path)]
    assert found == [
        ("a.txt", "a", "plain\ntext"),
        ("c.rst", "Title", "body *rst*"),
        ("d.MD", "d", "#hashtag no heading"),
        ("b/x.md", "Heading one", "body"),
    ]


def test_empty_files_and_files_of_other_kinds_are_left_out_and_counted(tmp_path: Path) -> None:
    for name in ("a.html", "b/c.HTML", "b/d.pdf", "LICENSE", ".hidden", ".git/e.html"):
        write(tmp_path / name, "x")
    write(tmp_path / "empty.md", "")
    write(tmp_path / "b" / "blank.txt", b"\xef\xbb\xbf\r\n \t\n")
    assert left_out_files(tmp_path) == {}
    assert "neither corpus.jsonl nor text files (.txt, .md, .rst) with text" in error_of(tmp_path)
    write(tmp_path / "f.md", "# \n")
    assert [(d.id, d.title, d.text) for d in read_documents(tmp_path)] == [("f.md", "f", "")]
    assert left_out_files(tmp_path) == {".html": 2, ".pdf": 1, "no suffix": 1, "empty": 2}
    before = corpus_fingerprint(tmp_path)
    write(tmp_path / "another.md", "\n")
    assert corpus_fingerprint(tmp_path) == before
    write(tmp_path / "corpus.jsonl", '{"_id": "a", "text": "x"}')
    assert left_out_files(tmp_path) == left_out_files(tmp_path / "corpus.jsonl") == left_out_files("-") == {}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            '{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}',
            ":2: \"_id\" 'a' was already used on line 1;",
        ),
        ('{"_id": "a", "text": "x"}\n\n{"_id": "b", ', ":3: broken JSON"),
        ("[1]", ":1: not a JSON object"),
        (
            '{"text": "x"}',
            ": no column is recognised as the id; the columns are 'text': name one with --column",
        ),
        ('{"_id": 7.5, "text": "x"}', ':1: the id ("_id") is float; write a text or a whole number'),
        ('{"_id": true, "text": "x"}', ':1: the id ("_id") is bool; write a text or a whole number'),
        ('{"_id": null, "text": "x"}', ':1: "_id" is null; give every record its own'),
        ('{"_id": " ", "text": "x"}', ':1: "_id" is empty'),
        ('{"_id": "a", "text": ["x"]}', ':1: "text" is not text but list'),
        ('{"_id": "a", "title": 1}', ':1: "title" is not text but int'),
        ('{"_id": "a", "stuff": "x"}', ": no column is recognised as the title or text; the columns are"),
        ('{"_id": "a", "text": "x"}\n{"_id": "b"}', ':2: neither "title" nor "text"'),
        (
            '{"_id": "a", "text": "x"}\n{"_id": "b", "title": "", "text": " \\n"}\n{"_id": "c", "text": "x"}',
            ':2: "title" and "text" hold no text; fill one of them or drop the document',
        ),
        ('{"_id": "a", "text": "x", "m": NaN}', ":1: broken JSON (NaN is not a JSON number); write null"),
        ('{"_id": "a", "text": "x", "m": 1e999}', ":1: 'm' is NaN or past float64"),
        ('{"_id": "a", "text": "x", "m": [1e999]}', ":1: 'm' is NaN or past float64"),
        ('{"_id": "a", "text": "x", "m": -Infinity}', ":1: broken JSON (-Infinity is not a JSON number)"),
        (
            f'{{"_id": "a", "text": "x", "m": {"9" * 400}}}',
            ":1: 'm' is NaN or past float64; write it as text",
        ),
        (f'{{"_id": "a", "text": "x", "m": -{"9" * 400}}}', ":1: 'm' is NaN or past float64; write it as"),
        (
            f'{{"_id": "a", "text": "x", "m": {"9" * 5000}}}',
            ":1: broken JSON (a number of 5000 digits, write",
        ),
        ('{"_id": "a", "text": 1e400}', ':1: "text" is not text but float'),
        ('{"_id": "a", "text": "\\ud800"}', ":1: broken JSON"),
        ("[" * 200_000, ":1: broken JSON"),
        (b'{"_id": "a", "text": "x"}\n{"_id": "\xe9"}', ":2: not UTF-8: a byte is 0xe9; save it as"),
        ("", ": holds no documents"),
        ("\n  \n", ": holds no documents"),
    ],
)
def test_broken_jsonl_is_one_line_with_its_place(tmp_path: Path, content: str | bytes, expected: str) -> None:
    path = write(tmp_path / "c.jsonl", content)
    assert error_of(path).startswith(f"{path}{expected}")


def test_all_documents_without_text_are_named_at_once(tmp_path: Path) -> None:
    rows = ["_id,title,text", "a,,", "b,T,", "c,,x", "d, ,", "e,,"]
    assert error_of(write(tmp_path / "c.csv", "\n".join(rows))) == (
        f'{tmp_path / "c.csv"}:2: "title" and "text" hold no text; fill one of them or drop the document; '
        "2 more like it: line 5, line 6"
    )


def test_all_documents_without_an_id_of_their_own_are_named_at_once(tmp_path: Path) -> None:
    rows = ["Code;Text", "a;x", "b;y", "a;z", "b;", "a;v", "c;w", "b;u"]
    remedy = "give every document its own, or have ids made of the texts with --column id="
    path = write(tmp_path / "c.csv", "\n".join(rows))
    assert error_of(path) == (
        f"{path}:4: \"Code\" 'a' was already used on line 2; {remedy}; 2 more like it: line 6, line 8"
    )
    path = write(tmp_path / "d.csv", "\n".join(["Code;Text", "a;x", ";y", " ;z"]))
    assert error_of(path) == (
        f'{path}:3: "Code" is empty; {remedy.replace("document", "record")}; 1 more like it: line 4'
    )
    path = write(tmp_path / "e.jsonl", '{"sku": "a", "text": "x"}\n{"text": "y"}\n{"text": "z"}')
    assert error_of(path).startswith(f'{path}:2: no "sku"; give every record its own, or have ids made')
    path = write(tmp_path / "BEIR" / "corpus.jsonl", '{"_id": "a", "text": "x"}\n' * 30)
    assert error_of(tmp_path / "BEIR") == (
        f"{path}:2: \"_id\" 'a' was already used on line 1; give every document its own; 28 more like it: "
        + ", ".join(f"line {line}" for line in range(3, 23))
        + ", ..."
    )


def test_columns_of_one_name_are_a_list(tmp_path: Path) -> None:
    rows = ["Issue key,Summary,Labels,Labels,Sprint,Sprint", "A-1,x,new, ,,", "A-2,y,old,slow,,7", ",,,,,"]
    first, second = read_documents(write(tmp_path / "c.csv", "\n".join(rows)))
    assert first == Document("A-1", "x", "", {"Labels": ["new"], "Sprint": []})
    assert second == Document("A-2", "y", "", {"Labels": ["old", "slow"], "Sprint": ["7"]})


def test_what_databases_export_for_a_missing_value_is_empty(tmp_path: Path) -> None:
    path = write(tmp_path / "c.tsv", "id\ttitle\ttext\tn\n1\t\\N\tC:\\New\t\\N\n\\N\t\\N\t\\N\t2\n")
    assert list(read_documents(path)) == [Document("1", "", "C:\\New", {"n": ""})]


def test_rows_without_a_text_belong_to_the_row_above_with_the_same_id(tmp_path: Path) -> None:
    rows = [
        "Handle,Title,Size,Image,Tag,Tag",
        "shirt,Shirt,S,1.jpg,new,",
        "shirt,,M,,,old",
        "shirt,,S,2.jpg,,old",
        "shoe,Shoe,,,,",
        "shoe,,40,,,",
    ]
    path = write(tmp_path / "c.csv", "\n".join(rows))
    assert list(read_documents(path)) == [
        Document(
            "shirt", "Shirt", "", {"Size": ["S", "M"], "Image": ["1.jpg", "2.jpg"], "Tag": ["new", "old"]}
        ),
        Document("shoe", "Shoe", "", {"Size": "40", "Image": "", "Tag": []}),
    ]
    write(path, "\n".join([*rows, "shirt,,L,,,"]))
    assert error_of(path) == f'{path}:7: "Title" holds no text; fill it or drop the document'
    write(path, "\n".join([*rows, *["shoe,,41,,,"] * 1000]))
    assert error_of(path).startswith(f'{path}:1006: "Title" holds no text;')


def test_rows_without_a_text_are_refused_where_nothing_has_a_title(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", "Code,Part,Notes\nA,bolt M8,for outdoors\nA,bolt M10,\n")
    assert error_of(path) == f'{path}:3: "Notes" holds no text; fill it or drop the document'


def test_rows_of_parquet_without_a_text_are_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra parquet")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "c.parquet"
    columns = {"id": ["a", "a"], "title": ["x", None], "text": ["y", ""], "stock": [0, 5]}
    parquet.write_table(pyarrow.table(columns), path)
    assert error_of(path) == (
        f'{path}: row 2: "title" and "text" hold no text; fill one of them or drop the document'
    )


def test_any_depth_of_nesting_is_kept_or_one_line(tmp_path: Path) -> None:
    for depth in [1, 20, 21, 22, *range(900, 1010)]:
        nested = "[" * depth + "]" * depth
        path = write(tmp_path / "c.jsonl", f'{{"_id": "a", "text": "\\\\ud", "m": {nested}}}')
        try:
            (document,) = read_documents(path)
            assert document.metadata["m"] == json.loads(nested)
            assert depth <= 21
        except InputError as error:
            assert str(error).startswith(f"{path}:1: ")
            assert depth > 21


def test_whole_numbers_of_any_size_are_kept_exactly(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", f'{{"_id": "a", "text": "x", "zero": -0, "big": {2**64 + 1}}}')
    assert dict(next(read_documents(path)).metadata) == {"zero": 0, "big": 2**64 + 1}
    path = write(tmp_path / "c.csv", f"_id,text,m,n,o\na,x,1e400,-0,{'9' * 5000}\n")
    assert dict(next(read_documents(path)).metadata) == {"m": "1e400", "n": "-0", "o": "9" * 5000}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("c.tsv", "_id\ttext\n1\tx\ty\n", ":2: 3 columns where the header has 2"),
        ("c.tsv", "_id\ttext\ttext\na\tx\ty\n", ":2: the header names the column 'text' twice; rename one"),
        ("c.tsv", "_id\t_id\ttext\na\tx\ty\n", ":2: the header names the column '_id' twice; rename one"),
        (
            "c.tsv",
            "which\ttext\n1\tx\n",
            ": no column is recognised as the id; the columns are 'which', 'text'",
        ),
        ("c.tsv", "_id\ttext\n", ": holds no documents"),
        ("c.tsv", "", ": holds no documents"),
        ("c.csv", '_id,text\n1,"x\n', ":2: broken CSV"),
        ("c.csv", '_id,text\n1,"x\ny"\n1,z', ":4: \"_id\" '1' was already used on line 2"),
        ("c.xml", "<a/>", ": not a kind of corpus that is read; give .jsonl, .ndjson, .json, .tsv"),
        ("c.numbers", "PK", ": not a kind of corpus that is read; save it as .xlsx"),
        ("c.jsonl", gzip.compress(b'{"_id": "a", "text": "x"}', mtime=0)[:-9], ":1: cannot be read on"),
        ("c.jsonl", gzip.compress(b"x" * 99, mtime=0)[:10] + b"\xff" * 50, ":1: cannot be read on"),
    ],
)
def test_broken_files_of_other_kinds(tmp_path: Path, name: str, content: str | bytes, expected: str) -> None:
    path = write(tmp_path / name, content)
    assert error_of(path).startswith(f"{path}{expected}")


def test_an_array_in_a_beir_folder_is_told_the_remedy(tmp_path: Path) -> None:
    write(tmp_path / "corpus.jsonl", '[\n{"_id": "a", "text": "x"}\n]')
    assert error_of(tmp_path).startswith(f"{tmp_path / 'corpus.jsonl'}:1: broken JSON (")
    assert error_of(tmp_path).endswith("; write the objects of the array one a line")


def test_missing_path_is_told_before_reading(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        read_documents(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="cannot be read"):
        corpus_fingerprint(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="no such file; check"):
        list(lines.read_lines(tmp_path / "none"))
    with pytest.raises(InputError, match="is a folder"):
        list(lines.read_lines(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open anything")
def test_unreadable_file_is_an_input_error(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", "{}")
    path.chmod(0)
    assert "cannot be opened" in error_of(path)


def test_folder_without_corpus_says_what_it_looked_for(tmp_path: Path) -> None:
    assert "neither corpus.jsonl nor text files" in error_of(tmp_path)


def test_file_name_that_is_not_unicode_is_refused(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("x")
    except OSError:
        pytest.skip("the file system takes only UTF-8 names")
    assert "not UTF-8" in error_of(tmp_path)


def test_line_without_end_stops_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE_BYTES", 1000)
    bomb = write(tmp_path / "c.jsonl", gzip.compress(b'{"_id": "a", "text": "%b"}' % (b"x" * 1_000_000)))
    assert ":1: the line is longer than 1000 bytes" in error_of(bomb)
    for content in ("short\n" * 400, "\n" * 100_000, "ab\n" * 1000):
        write(tmp_path / "texts" / "a.txt", gzip.compress(content.encode()))
        assert "the file is longer than 1000 bytes" in error_of(tmp_path / "texts")


def test_text_file_is_not_read_past_the_limit_to_find_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE_BYTES", 1000)
    read = []

    def endless(path: Path) -> Iterator[str]:
        while True:
            read.append(path)
            assert len(read) <= 1001
            yield ""

    monkeypatch.setattr(lines, "read_lines", endless)
    with pytest.raises(InputError, match="longer than 1000 bytes"):
        lines.read_text(tmp_path / "a.txt")


def test_text_file_keeps_its_lines(tmp_path: Path) -> None:
    for content in ("", "\n", "one", "one\n", "\n\none\r\n two\n\n"):
        kept = content.replace("\r", "").removesuffix("\n")
        assert lines.read_text(write(tmp_path / "a.txt", content)) == kept


def test_fingerprint_follows_content_and_names(tmp_path: Path) -> None:
    corpus = write(tmp_path / "one" / "corpus.jsonl", '{"_id": "a", "text": "x"}')
    before = corpus_fingerprint(tmp_path / "one")
    write(tmp_path / "one" / "queries.jsonl", "not part of the corpus")
    assert corpus_fingerprint(tmp_path / "one") == before
    write(corpus, '{"_id": "a", "text": "y"}')
    assert corpus_fingerprint(tmp_path / "one") != before
    write(tmp_path / "texts" / "a.txt", "x")
    texts = corpus_fingerprint(tmp_path / "texts")
    (tmp_path / "texts" / "a.txt").rename(tmp_path / "texts" / "b.txt")
    assert texts != corpus_fingerprint(tmp_path / "texts")


def test_many_documents_round_trip(tmp_path: Path) -> None:
    wanted = [Document(f"d{i}", f"t{i}", "words " * (i % 5)) for i in range(5000)]
    rows = (json.dumps({"_id": d.id, "title": d.title, "text": d.text}) for d in wanted)
    path = write(tmp_path / "c.jsonl.gz", gzip.compress("\n".join(rows).encode()))
    assert list(read_documents(path)) == wanted
