import gzip
import io
import json
import sys
from pathlib import Path

import pytest

from index.errors import InputError
from retrieval.data import lines
from retrieval.data.dataset import read_all_queries, read_query_texts
from retrieval.data.queries import Query, read_qrels, read_queries, read_query_lines, splits
from retrieval.evaluation.runs import read_trec_run


def folder_with(tmp_path: Path, **files: str) -> Path:
    (tmp_path / "qrels").mkdir(exist_ok=True)
    for name, content in files.items():
        path = tmp_path / "queries.jsonl" if name == "queries" else tmp_path / "qrels" / f"{name}.tsv"
        path.write_text(content)
    return tmp_path


def test_queries_keep_the_order_of_their_file(tmp_path: Path) -> None:
    folder = folder_with(
        tmp_path, queries='{"_id": "q2", "text": "b"}\n{"_id": "q1", "text": "", "metadata": {}}\n'
    )
    assert read_queries(folder) == [Query("q2", "b"), Query("q1", "")]
    (folder / "queries.jsonl").unlink()
    (folder / "queries.jsonl.gz").write_bytes(gzip.compress(b'{"_id": "q", "text": "z"}'))
    assert read_queries(folder) == [Query("q", "z")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"_id": "q"}', ':1: no "text"'),
        ('{"text": "q"}', ':1: no "_id"'),
        ('{"_id": "q", "text": 3}', ':1: "text" is not text but int'),
        (
            '{"_id": "q", "text": "x"}\n{"_id": "q", "text": "y"}',
            ":2: \"_id\" 'q' was already used on line 1",
        ),
        ("", ": holds no queries"),
    ],
)
def test_broken_queries_name_their_line(tmp_path: Path, content: str, message: str) -> None:
    folder = folder_with(tmp_path, queries=content)
    with pytest.raises(InputError) as caught:
        read_queries(folder)
    assert str(caught.value).startswith(f"{folder / 'queries.jsonl'}{message}")


def test_folder_without_queries_is_no_beir_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_queries(tmp_path)
    assert str(caught.value).startswith(
        f"{tmp_path}: holds no judged queries; give a table with a query and "
    )
    assert '{"_id": ..., "text": ...} a line' in str(caught.value)
    assert "qrels/SPLIT.tsv (the ids of a query and of a document, and a grade" in str(caught.value)


def test_qrels_are_graded_and_their_header_is_optional(tmp_path: Path) -> None:
    judged = "q1\td1\t2\nq1\td2\t0\n\nq2\tq2\t-1\r\nq1\td1\t2\n"
    folder = folder_with(tmp_path, test="query-id\tcorpus-id\tscore\n" + judged, dev=judged)
    expected = {"q1": {"d1": 2, "d2": 0}, "q2": {"q2": -1}}
    assert read_qrels(folder, "test") == read_qrels(folder, "dev") == expected
    assert read_qrels(folder, "dev", query_ids={"q1", "q2"}, document_ids={"d1", "d2", "q2"}) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q1\td1\n", ":1: 2 columns"),
        ("q1 0 d1 1\n", ":1: 1 columns"),
        ("q1\td1\t1.0\n", ":1: grade '1.0' is not a whole number"),
        ("q1\td1\t1\nq1\td2\tyes\n", ":2: grade 'yes'"),
        ("q1\td1\t99999999999\n", ":1: grade"),
        ("q1\td1\t1\nq1\td1\t2\n", ":2: grades 'd1' for query 'q1' differently"),
        ("q1\td1\t1\nqx\td1\t1\n", ":2: unknown query 'qx'"),
        ("q1\tdx\t1\n", ":1: unknown document 'dx'"),
        ("query-id\tcorpus-id\tscore\n", ": holds no judgements"),
    ],
)
def test_broken_qrels_name_their_line(tmp_path: Path, content: str, message: str) -> None:
    folder = folder_with(tmp_path, test=content)
    with pytest.raises(InputError) as caught:
        read_qrels(folder, "test", query_ids={"q1"}, document_ids={"d1", "d2"})
    assert str(caught.value).startswith(f"{folder / 'qrels' / 'test.tsv'}{message}")


def test_missing_split_names_those_that_exist(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, test="", train="", extra="", dev="")
    assert splits(folder) == ["train", "dev", "test", "extra"]
    with pytest.raises(InputError, match="those there: train, dev, test, extra"):
        read_qrels(folder, "validation")
    assert splits(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("one query\n\n  {2} \n", [Query("1", "one query"), Query("3", "{2}")]),
        ("a\tfirst\nb\tsecond\tpart\n", [Query("a", "first"), Query("b", "second\tpart")]),
        ('{"_id": "x", "text": "t"}\n{"text": "u"}\n', [Query("x", "t"), Query("2", "u")]),
        ("a\tb\tc\n", [Query("1", "a\tb\tc")]),
    ],
)
def test_query_file_is_read_as_its_first_line_says(
    tmp_path: Path, content: str, expected: list[Query]
) -> None:
    path = tmp_path / "queries"
    path.write_text(content)
    assert read_query_lines(path) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no queries"),
        ("a\tfirst\nsecond\n", "2: not an id, a tab and a query"),
        ("a\tfirst\na\tsecond\n", "2: .*already used on line 1"),
        ('{"text": "t"}\nplain\n', "2: broken JSON"),
        ('{"query": "t"}\n', '1: no "text"'),
    ],
)
def test_broken_query_file_names_its_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "queries"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_query_lines(path)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", 'Question\nhow do I\n"one, two"\n \n', {"2": "how do I", "3": "one, two"}),
        ("a.csv", "id,query,notes\nq1,how do I,x\nq2,why,\n", {"q1": "how do I", "q2": "why"}),
        ("a.jsonl", '{"_id": "q1", "query": "how do I"}\n', {"q1": "how do I"}),
        ("a.csv", "how do I, as a user\nwhy\n", {"1": "how do I, as a user", "2": "why"}),
        ("a.csv", "why\nprompt, how to\na, b\n", {"1": "why", "2": "prompt, how to", "3": "a, b"}),
        ("a.tsv", "q1\thow do I\n", {"q1": "how do I"}),
        ("a.txt", "question\nhow do I\n", {"1": "question", "2": "how do I"}),
    ],
)
def test_table_with_queries_alone_gives_their_column(
    tmp_path: Path, name: str, content: str, expected: dict[str, str]
) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert read_all_queries(path) == expected
    assert read_query_texts(path, "test") == list(expected.values())


@pytest.mark.parametrize("content", ['[{"_id": "a", "text": "x"}]', '{\n"_id": "a",\n"text": "x"}'])
def test_queries_of_jsonl_that_are_not_one_a_line_are_no_plain_queries(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=r"a\.jsonl:1: "):
        read_all_queries(path)


def test_table_of_pairs_gives_the_queries_of_all_splits(tmp_path: Path) -> None:
    path = tmp_path / "faq.csv"
    path.write_text('question,answer,split\nhow do I,"open it,\nthen wait",train\nwhy,so,test\n')
    assert sorted(read_all_queries(path).values()) == ["how do I", "why"]


def test_table_of_queries_that_is_broken_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,query\nq1,a\nq1,b\n")
    with pytest.raises(InputError, match=r"a\.csv:3: \"_id\" 'q1' was already used on line 2"):
        read_all_queries(path)
    path.write_text("query\n \n")
    with pytest.raises(InputError, match=r"a\.csv: holds no queries"):
        read_all_queries(path)


def test_queries_of_a_megabyte_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    query = "word " * 200_000
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(query.encode())))
    assert read_query_lines("-") == [Query("1", query.strip())]


@pytest.mark.parametrize(("most", "value"), [("MOST_LINES", 5), ("MOST_CHARACTERS", 10)])
def test_files_that_are_kept_in_memory_end_at_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: str, value: int
) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "queries.txt").write_text("".join(f"\n\nquery number {n} of a few\n" for n in range(6)))
    (tmp_path / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": f"q{n}", "text": "x"}) + "\n" for n in range(6))
    )
    (tmp_path / "qrels" / "dev.tsv").write_text("".join(f"query-id-{n}\tdocument\t1\n" for n in range(6)))
    (tmp_path / "run.txt").write_text("".join(f"query-id Q0 d{n} 1 1.5 tag\n" for n in range(6)))
    readers = [
        lambda: read_query_lines(tmp_path / "queries.txt"),
        lambda: read_queries(tmp_path),
        lambda: [document for query in read_qrels(tmp_path, "dev").values() for document in query],
        lambda: read_trec_run(tmp_path / "run.txt")["query-id"],
    ]
    assert [len(read()) for read in readers] == [6, 6, 6, 6]
    monkeypatch.setattr(lines, most, value)
    for read in readers:
        with pytest.raises(InputError, match=r":(1|3|6|18): more than .*; split the file"):
            read()
