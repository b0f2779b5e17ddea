"""A file of pairs at the command: train, build, evaluate, search; every kind of file; bad input."""

from __future__ import annotations

import gzip
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from made_files import workbook

from cli import verbs
from retrieval.data.dataset import open_dataset
from retrieval.data.hashed_ids import document_id

TOPICS = ("copy a file", "list a folder", "启动 nginx 服务", "wait for threads", "parse a date", "send mail")
ROWS = [
    {"question": f"how to {topic} {n}", "answer": f'{topic}: "use" tool {n},\nthen check it', "topic": topic}
    for n in range(12)
    for topic in TOPICS
]


def peephole(*args: object) -> Result:
    return CliRunner().invoke(verbs, [str(arg) for arg in args], prog_name="peephole")


def works(*args: object) -> str:
    result = peephole(*args)
    assert result.exit_code == 0, result.output
    return result.stdout


def failure(*args: object) -> str:
    """The one line that a failing command prints."""
    result = peephole(*args)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    assert "unexpected" not in result.stderr
    return result.stderr.removeprefix("Error: ").rstrip("\n")


def write_csv(path: Path) -> None:
    rows = [list(ROWS[0]), *(row.values() for row in ROWS)]
    quoted = (",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)
    path.write_text("".join(f"{line}\r\n" for line in quoted), encoding="utf-8", newline="")


def write_jsonl(path: Path) -> None:
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    path.write_bytes(gzip.compress(text.encode()))


def write_parquet(path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


@pytest.fixture(scope="module")
def faq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with faq.csv, the model trained on it and the index of both; not to change."""
    folder = tmp_path_factory.mktemp("faq")
    write_csv(folder / "faq.csv")
    (folder / "said").write_text(works("train", folder / "faq.csv", "-o", folder / "M", "--epochs", 2))
    works("build", folder / "faq.csv", "-m", folder / "M", "-o", folder / "I")
    return folder


def contents(folder: Path, but: tuple[str, ...]) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file() and file.name not in but)
    return {str(file.relative_to(folder)): file.read_bytes() for file in files if "report" not in file.parts}


def test_two_commands_from_a_file_to_an_answer(faq: Path) -> None:
    first, second, third = (faq / "said").read_text().splitlines()[:3]
    assert first == f"{faq / 'faq.csv'}: query is 'question', document is 'answer'"
    assert second.startswith("  not used: 'topic' (--column metadata=NAME ")
    assert third.startswith("  72 rows: 72 pairs, 72 documents, 72 queries (train ")
    assert "test" in third
    (hit, *_) = json.loads(works("search", faq / "I", "how to copy a file 3", "--json"))["hits"]
    wanted = next(row["answer"] for row in ROWS if row["question"] == "how to copy a file 3")
    assert hit["id"] == document_id("", wanted)


def test_semicolons_as_spreadsheets_write_them_give_the_same_model_and_index(
    faq: Path, tmp_path: Path
) -> None:
    rows = [list(ROWS[0]), *(row.values() for row in ROWS)]
    cells = [['"' + cell.replace('"', '""') + '"' if '"' in cell else cell for cell in row] for row in rows]
    text = "".join(";".join(row) + "\r\n" for row in cells)
    (tmp_path / "faq.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    works("train", tmp_path / "faq.csv", "-o", tmp_path / "M", "--epochs", 2)
    assert contents(tmp_path / "M", ("training.json",)) == contents(faq / "M", ("training.json",))
    added = json.loads(works("add", faq / "I", tmp_path / "faq.csv", "--sync", "--json"))
    assert (added["added"], added["replaced"], added["deleted"]) == (0, 0, 0)
    measured = [
        json.loads(works("evaluate", faq / "I", folder / "faq.csv", "--mode", "dense", "--json"))["modes"]
        for folder in (faq, tmp_path)
    ]
    assert measured[0] == measured[1]


def test_evaluation_takes_the_queries_that_training_left_out(faq: Path) -> None:
    data = json.loads(
        works("train", faq / "faq.csv", "-o", faq / "other", "--epochs", 1, "--tower", "bag", "--json")
    )["data"]
    assert data["columns"] == {"query": "question", "document": "answer"}
    assert sum(data["splits"].values()) == data["queries"] == 72
    evaluation = json.loads(works("evaluate", faq / "I", faq / "faq.csv", "--json"))
    assert evaluation["queries"] == data["splits"]["test"] > 0
    assert evaluation["modes"]["lexical"]["R@100"] == 1


@pytest.mark.parametrize(("name", "write"), [("faq.jsonl.gz", write_jsonl), ("faq.parquet", write_parquet)])
def test_the_same_rows_give_the_same_model_and_index(
    faq: Path, tmp_path: Path, name: str, write: Callable[[Path], None]
) -> None:
    write(tmp_path / name)
    works("train", tmp_path / name, "-o", tmp_path / "M", "--epochs", 2)
    works("build", tmp_path / name, "-m", tmp_path / "M", "-o", tmp_path / "I")
    # training.json and the manifest, which has its digest, hold times.
    times = ("training.json", "manifest.json", "CURRENT")
    assert contents(tmp_path / "M", times) == contents(faq / "M", times)
    assert contents(tmp_path / "I", times) == contents(faq / "I", times)


@pytest.mark.parametrize(
    ("negative", "rest"),
    [
        ("no answer {}: it says something else", "learning from titles and sentences alone"),
        ("", "nothing is learnt"),
    ],
)
def test_pairs_that_no_batch_can_hold_are_told(tmp_path: Path, negative: str, rest: str) -> None:
    path = tmp_path / "faq.csv"
    path.write_text("query,pos,neg\n" + "".join(f"q {n},mail us,{negative.format(n)}\n" for n in range(4)))
    args = ("train", path, "-o", tmp_path / "M", "--epochs", 1, "--tower", "bag")
    result = peephole(*args)
    assert result.exit_code == 0
    assert result.stderr == (
        "Warning: all training pairs have the same document, and a query learns against the documents of "
        f"other pairs: {rest}; add pairs with other documents\n"
    )
    with path.open("a") as file:
        file.write("q 9,call us,\n")
    assert peephole(*args).stderr == ""


def test_columns_may_be_named_to_every_verb(made, tmp_path: Path) -> None:
    path = tmp_path / "faq.csv"
    path.write_text("Frage,Antwort,Nr\nwie geht es,gut,n1\nwo ist es,da,n2\n")
    named = ("--column", "query=Frage", "--column", "document=Antwort", "--column", "id=Nr")
    said = works("train", path, "-o", tmp_path / "M", "--epochs", 1, "--tower", "bag", *named)
    assert "query is 'Frage', document is 'Antwort', id is 'Nr'" in said
    works("build", path, "-m", tmp_path / "M", "-o", tmp_path / "I", *named)
    found = json.loads(works("search", tmp_path / "I", "gut", "--json"))["hits"]
    assert {hit["id"] for hit in found} == {"n1", "n2"}
    again = json.loads(works("add", tmp_path / "I", path, *named, "--json"))
    assert (again["added"], again["replaced"]) == (0, 2)
    evaluation = works("evaluate", tmp_path / "I", path, "--split", "train", *named, "--json")
    assert json.loads(evaluation)["queries"] == 2


def test_named_metadata_is_found_by_filters_and_changes_no_model(faq: Path, tmp_path: Path) -> None:
    named = ("--column", "metadata=topic")
    said = works("train", faq / "faq.csv", "-o", tmp_path / "M", "--epochs", 2, *named)
    assert "document is 'answer', metadata is 'topic'\n" in said
    assert "not used" not in said
    assert contents(tmp_path / "M", ("training.json",)) == contents(faq / "M", ("training.json",))
    works("build", faq / "faq.csv", "-m", faq / "M", "-o", tmp_path / "I", *named)
    query = ("how to copy a file 3", "-k", 20, "--json")
    found = json.loads(works("search", tmp_path / "I", "--where", "topic=启动 nginx 服务", *query))["hits"]
    assert {hit["id"] for hit in found} == {
        document_id("", row["answer"]) for row in ROWS if row["topic"] == "启动 nginx 服务"
    }
    again = json.loads(works("add", tmp_path / "I", faq / "faq.csv", "--sync", *named, "--json"))
    assert (again["added"], again["replaced"], again["unchanged"]) == (0, 0, 72)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_metadata_may_be_several_columns_and_numbers(faq: Path, tmp_path: Path, kind: str) -> None:
    rows = [
        {"query": "a b", "doc": "x y", "lang": "de", "year": 2001},
        {"query": "c d", "doc": "z", "lang": "fr", "year": 1999},
    ]
    table = [list(rows[0]), *(map(str, row.values()) for row in rows)]
    text = {
        "csv": "".join(",".join(row) + "\n" for row in table),
        "jsonl": "".join(json.dumps(row) + "\n" for row in rows),
    }[kind]
    path = tmp_path / f"faq.{kind}"
    path.write_text(text)
    named = ("--column", "metadata=lang", "--column", "metadata=year")
    works("build", path, "-m", faq / "M", "-o", tmp_path / "I", *named)
    for where, wanted in (("year > 2000", "x y"), ("lang = fr", "z")):
        found = json.loads(works("search", tmp_path / "I", "a", "--where", where, "--json"))["hits"]
        assert [hit["text"] for hit in found] == [wanted]


def test_queries_to_measure_by_are_those_of_the_split(faq: Path, tmp_path: Path) -> None:
    splits = open_dataset(faq / "faq.csv").splits()
    assert splits == ["train", "dev", "test"]
    expected = open_dataset(faq / "faq.csv").qrels("test")
    bench = ("bench", "ann", faq / "I", "--system", "exact", "--json", "--queries")
    assert json.loads(works(*bench, faq / "faq.csv"))["queries"] == len(expected)
    (tmp_path / "typed.tsv").write_text("id\tquery\n1\thow to copy\n")
    assert json.loads(works(*bench, tmp_path / "typed.tsv"))["queries"] == 1
    (tmp_path / "few.csv").write_text("query,doc\na,x\n")
    assert "no query is in split 'test'" in failure(*bench, tmp_path / "few.csv")
    (tmp_path / "two.csv").write_text("query,question,doc\na,b,x\n")
    assert "all fit the query" in failure(*bench, tmp_path / "two.csv")


def test_a_build_may_be_tuned_by_the_training_queries_of_a_file_of_pairs(
    faq: Path, made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[list[str]] = []
    monkeypatch.setattr(
        "retrieval.commands.build.build_index", lambda *_, **more: given.append(more["queries"])
    )
    monkeypatch.setattr("retrieval.commands.build.manifest_json", lambda *_: {})
    works("build", made.data, "-m", faq / "M", "-o", tmp_path / "I", "--queries", faq / "faq.csv", "--json")
    dataset = open_dataset(faq / "faq.csv")
    assert given == [[dataset.queries[query] for query in dataset.qrels("train")]]


def test_other_columns_are_another_corpus(faq: Path, tmp_path: Path) -> None:
    other = ("--column", "document=topic")
    works("build", faq / "faq.csv", "-m", faq / "M", "-o", tmp_path / "I", *other)
    assert json.loads(works("info", tmp_path / "I", "--json"))["documents"] == len(TOPICS)


def test_a_column_of_metadata_that_is_named_twice_is_shown_once(faq: Path, tmp_path: Path) -> None:
    named = ("--column", "metadata=topic") * 2
    said = works("train", faq / "faq.csv", "-o", tmp_path / "M", "--epochs", 1, *named)
    assert "document is 'answer', metadata is 'topic'\n" in said


def test_pairs_whose_ids_the_index_has_are_not_added_under_others(faq: Path, tmp_path: Path) -> None:
    path, index = tmp_path / "pairs.csv", tmp_path / "I"
    path.write_text("question,answer,Réf\nhow are you,fine,n1\nwhere is it,there,n2\n", encoding="utf-8")
    works("build", path, "-m", faq / "M", "-o", index, "--column", "id=Réf")
    for sync in ((), ("--sync",)):
        assert failure("add", index, path, *sync) == (
            f"{path}: the ids of {index} are those of column 'Réf', which this would not read; give --column "
            "as then (--column 'id=Réf'), or --column id= for ids of their own"
        )
    assert "0 added, 2 replaced" in works("add", index, path, "--column", "id=Réf")
    assert "2 added, 0 replaced, 4 documents" in works("add", index, path, "--column", "id=")
    assert "0 added, 2 replaced" in works("add", index, path, "--column", "id=Réf")
    other = tmp_path / "other.csv"
    other.write_text("question,answer,topic\nwho is it,me,x\n")  # has no such column
    assert "1 added, 0 replaced, 5 documents" in works("add", index, other)


@pytest.mark.parametrize(
    "value", ["Frage", "question=a", "query=a --column query=b", "query=a --column document="]
)
def test_a_wrong_option_is_a_usage_error(faq: Path, tmp_path: Path, value: str) -> None:
    result = peephole("train", faq / "faq.csv", "-o", tmp_path / "M", "--column", *value.split())
    assert result.exit_code == 2, result.output


LONG = "question,answer\n" + "what,that\n" * 20
BAD: dict[str, tuple[str, str | bytes, str]] = {
    "no column": (
        "a.csv",
        "Wort,Sinn\nx,y\n",
        ": no column is recognised; the columns are 'Wort', 'Sinn': name those of documents with --column "
        "id=NAME --column text=NAME, or those of pairs with --column query=NAME --column document=NAME",
    ),
    "no document": ("a.csv", "query,Sinn\nx,y\n", ": no column is recognised as the document"),
    "two columns": (
        "a.tsv",
        "query\tquestion\tanswer\nx\ty\tz\n",
        ": 'query', 'question' all fit the query; ch",
    ),
    "semicolons and a comma": (
        "a.csv",
        "question;answer, long\nx;y\n",
        ": no column is recognised; the columns are 'question;answer', 'long': name those of documents with "
        "--column id=NAME --column text=NAME, or those of pairs with --column query=NAME --column "
        "document=NAME; or say what separates the cells in a first line, such as sep=;",
    ),
    "semicolons in TSV": (
        "a.tsv",
        "question;answer\nx;y\n",
        ": no column is recognised; the columns are 'question;answer': name those of documents with "
        "--column id=NAME --column text=NAME, or those of pairs with --column query=NAME --column "
        "document=NAME; or separate the cells by tabs, or name the file .csv",
    ),
    "click log": (
        "a.csv",
        "query,doc_id,clicks,impressions,rank\nx,d1,1,2,1\n",
        ": looks like a click log, which has ids of documents and not their texts (the columns are 'query', "
        "'doc_id', 'clicks', 'impressions', 'rank'); make a data set of it and a corpus: "
        "peephole corpus clicks ",
    ),
    "click log with other names": (
        "a.jsonl",
        '{"q": "x", "id": "d1", "clicked": 1, "position": 2}\n',
        ": looks like a click log",
    ),
    "text without id": (
        "a.csv",
        "text,label\nhello,1\n",
        ": no column is recognised as the id; the columns are 'text', 'label': name one with --column "
        "id=NAME, or have ids made of the texts with --column id=, or those of pairs with --column "
        "query=NAME --column document=NAME",
    ),
    "id without text": (
        "a.jsonl",
        '{"id": "1", "stuff": "x"}\n',
        ": no column is recognised as the title or text; the columns are 'id', 'stuff': name one with",
    ),
    "TSV with line ends in quotes": (
        "a.tsv",
        'question\tanswer\nx\t"y\nz"\n',
        ":3: 1 columns where the header has 2; check the separators and quotation marks",
    ),
    "UTF-16": (
        "a.csv",
        "question,answer\nx,y\n".encode("utf-16-be"),
        ": is not text (it holds zero bytes), not CSV; save the table as CSV in UTF-8",
    ),
    "HTML without quotation marks": (
        "a.csv",
        "question;answer\nx;bread &amp; butter\n",
        ":2: 3 columns where the header has 2; check the separators; in CSV a cell that holds one stands in "
        "quotation marks",
    ),
    "few fields": ("a.csv", "question,answer\nx,y\nx\n", ":3: 1 columns where the header has 2"),
    "empty query": ("a.csv", "question,answer\nx,y\n ,y\n", ':3: the query ("question") is empty'),
    "empty document": ("a.csv", 'question,answer\nx,y\n\nx,""\n', ':4: the document ("answer") is empty'),
    "empty list": ("a.jsonl", '{"query": "x", "pos": []}\n', ':1: the document ("pos") is empty'),
    "no query": ("a.jsonl", '{"query": "x", "pos": "y"}\n{"pos": "y"}\n', ':2: the query ("query") is empty'),
    "query of numbers": ("a.jsonl", '{"query": 1, "pos": "y"}\n', ':1: "query" is not text but int'),
    "no texts": ("a.jsonl", '{"query": "x", "pos": {"a": 1}}\n', ':1: "pos" is neither a text nor a list of'),
    "list of numbers": (
        "a.jsonl",
        '{"query": "x", "pos": ["y", 1]}\n',
        ':1: "pos" is neither a text nor a list',
    ),
    "list of nulls": ("a.jsonl", '{"query": "x", "pos": [null]}\n', ':1: "pos" is neither a text nor a list'),
    "broken JSON": ("a.jsonl", '{"query": "x", "pos": "y"}\n{"query"\n', ":2: broken JSON"),
    "JSON array of arrays": (
        "a.jsonl",
        '[[{"query": "x", "pos": "y"}]]',
        ':1: not a JSON object; write {"query": ..., "document": ...} for a pair or {"_id": ..., '
        '"text": ...} for a document, the objects of the array one a line',
    ),
    "empty CSV": (
        "a.csv",
        "",
        ": holds no documents; give a table with a query and a document in each row, or a corpus with at lea",
    ),
    "empty JSONL": ("a.jsonl", "\n", ": holds no documents"),
    "header alone": ("a.csv", "question,answer\n", ": holds no rows"),
    "Latin-1": (
        "a.csv",
        "question,answer\nx,caf\xe9\n".encode("latin-1"),
        ":2: not UTF-8: byte 5 of the line",
    ),
    "PDF": ("a.csv", b"%PDF-1.7\n%\xe2\xe3", ": is a PDF, not CSV"),
    "gzip": ("a.parquet", gzip.compress(b"x"), ": is gzip, not Parquet"),
    "zip": ("a.jsonl", b"PK\x03\x04\x14\x00", ": is a zip archive or a spreadsheet, not JSONL"),
    "cut gzip": ("a.csv.gz", gzip.compress(LONG.encode())[:-9], ":22: cannot be read on"),
    "cut Parquet": ("a.parquet", b"PAR1\x15\x04", ": cannot be read as Parquet"),
    "score": (
        "a.csv",
        "query,doc,score\nx,y,1\nx,z,good\n",
        ":3: the score (\"score\") is not a number: 'good'",
    ),
    "endless score": ("a.csv", "query,doc,score\nx,y,inf\n", ':2: the score ("score") is not a number'),
    "two grades": (
        "a.csv",
        "query,doc,score\nx,y,1\nx,y,2\n",
        ":3: grades the pair 2, and line 2 grades it 1",
    ),
    "one id twice": (
        "a.csv",
        "query,doc,id\nx,y,1\nz,w,1\nz,v,1\n",
        ":3: the id '1' was already used on line 2 for another document; give every document its own, or "
        "leave ids out with --column id=; 1 more like it: line 4",
    ),
    "id of a list": (
        "a.jsonl",
        '{"query": "x", "doc": "y", "id": [1]}\n',
        ':1: the id ("id") is list; write',
    ),
    "two splits": (
        "a.csv",
        "query,doc,split\nX,y,test\nx,z,dev\n",
        ":3: the query is in split dev here and in te",
    ),
    "unknown split": ("a.csv", "query,doc,split\nx,y,holdout\n", ":2: \"split\" names the split 'holdout'"),
    "missing file": ("none.csv", "", ""),
}


@pytest.mark.parametrize(("name", "content", "told"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line(tmp_path: Path, name: str, content: str | bytes, told: str) -> None:
    if told == ": cannot be read as Parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    if name.startswith("none"):
        told = ": no such file"
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    said = failure("train", path, "-o", tmp_path / "M")
    assert said.startswith(f"{path}{told}")
    assert not (tmp_path / "M").exists()


def test_a_parquet_file_cut_short_is_one_line(faq: Path, tmp_path: Path) -> None:
    write_parquet(tmp_path / "faq.parquet")
    content = (tmp_path / "faq.parquet").read_bytes()
    for size in (len(content) // 2, len(content) - 1):
        (tmp_path / "faq.parquet").write_bytes(content[:size])
        said = failure("build", tmp_path / "faq.parquet", "-m", faq / "M", "-o", tmp_path / "I")
        assert said.startswith(f"{tmp_path / 'faq.parquet'}: cannot be read as Parquet (")
        assert "cut short" in said


def test_a_row_of_parquet_that_is_wrong_is_named_by_its_number(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [{"query": "x", "pos": ["y"]}, {"query": "x", "pos": None}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    said = failure("train", tmp_path / "a.parquet", "-o", tmp_path / "M")
    assert said == f'{tmp_path / "a.parquet"}: row 2: the document ("pos") is empty; fill it or drop the row'


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 whatever PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    said = failure("train", tmp_path / "a.parquet", "-o", tmp_path / "M")
    assert said == "needs pyarrow, which is not installed; run: pip install 'peephole[parquet]'"


def test_what_spreadsheets_write_around_a_table_is_left_out(tmp_path: Path) -> None:
    text = (
        '\ufeff问题,答案,,\r\n怎么退款,"先点“我的”,\r\n再点退款",,\r\n,,,\r\n怎么登录,输入密码,,\r\n,,,\r\n'
    )
    (tmp_path / "faq.csv").write_text(text, encoding="utf-8", newline="")
    said = works("train", tmp_path / "faq.csv", "-o", tmp_path / "M", "--epochs", 1, "--tower", "bag")
    assert said.splitlines()[:2] == [
        f"{tmp_path / 'faq.csv'}: query is '问题', document is '答案'",
        "  2 rows: 2 pairs, 2 documents, 2 queries (train 2; too few to hold some out)",
    ]
    (tmp_path / "faq.csv").write_text("query,answer,,\nx,y,,\nz,w,note,\n")
    said = failure("train", tmp_path / "faq.csv", "-o", tmp_path / "M")
    assert said.startswith(f"{tmp_path / 'faq.csv'}:3: a value in a column without a name")


def test_training_on_a_table_of_documents_says_that_it_has_no_queries(tmp_path: Path) -> None:
    path = tmp_path / "corpus.csv"
    path.write_text("_id,title,text\n1,ls,list all files\n2,cp,copy a folder\n")
    said = works("train", path, "-o", tmp_path / "M", "--epochs", 1, "--tower", "bag")
    assert said.startswith("no queries: learning from titles and sentences of the documents alone\n")


def test_a_spreadsheet_named_csv_is_told(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "faq.csv", "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    assert "is a zip archive or a spreadsheet, not CSV" in failure(
        "train", tmp_path / "faq.csv", "-o", tmp_path / "M"
    )


def test_columns_of_a_folder_cannot_be_named(made, tmp_path: Path) -> None:
    said = failure("train", made.data, "-o", tmp_path / "M", "--column", "query=x")
    assert said == f"{made.data}: has no columns to name; leave --column out, or give a table"


def test_documents_that_the_index_lacks_are_named(faq: Path, made) -> None:
    said = failure("evaluate", made.index, faq / "faq.csv")
    assert said.startswith(f"{faq / 'faq.csv'}:")
    assert "is not in the index; build or add this file first, or give --column as then" in said


def test_a_messy_workbook_gives_the_same_model_and_index(faq: Path, tmp_path: Path) -> None:
    """Titles, two sheets of one table, notes, a pivot table and a hidden sheet."""
    half, names = len(ROWS) // 2, list(ROWS[0])
    sheets = {
        "Read me": [["Our FAQ"], ["Owner", "Anna"]],
        "One": [["FAQ, part 1"], [], names, *(list(row.values()) for row in ROWS[:half])],
        "Two": [names, *(list(row.values()) for row in ROWS[half:]), [], [" "]],
        "Pivot": [["Row labels", "Count"], ["x", 3]],
        "Old": [names, ["q", "a", "t"]],
    }
    path = workbook(tmp_path / "faq.xlsx", sheets, hidden=["Old"])
    train = peephole("train", path, "-o", tmp_path / "M", "--epochs", 2)
    assert train.exit_code == 0
    warning = (
        f"Warning: {path}: of its sheets 'One', 'Two' are read; left out: 'Read me', 'Pivot', 'Old' (hidden)"
    )
    assert warning in train.stderr.splitlines()
    works("build", path, "-m", tmp_path / "M", "-o", tmp_path / "I")
    assert "0 added, 0 replaced, 0 deleted, 72 unchanged" in works("add", tmp_path / "I", path, "--sync")
    assert "nDCG@10" in works("evaluate", tmp_path / "I", path)
    assert contents(tmp_path / "M", ("training.json",)) == contents(faq / "M", ("training.json",))
    works("search", tmp_path / "I", "--queries", path, "--run", tmp_path / "run.trec")
    queries = workbook(tmp_path / "q.xlsx", {"S": [["Who", "Frage"], ["Jo", "how to send mail 3"]]})
    assert "how to send mail 3" in works("search", tmp_path / "I", "--queries", queries)


def test_a_workbook_needs_the_extra_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "python_calamine.py").write_text("raise ModuleNotFoundError('no', name='python_calamine')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path.cwd()}")
    path = workbook(tmp_path / "faq.xlsx", {"S": [["query", "answer"], ["q", "a"]]})
    assert failure("train", path, "-o", tmp_path / "M") == (
        f"{path}: needs python_calamine, which is not installed; run: pip install 'peephole[files]'"
    )
    assert not (tmp_path / "M").exists()


def test_clicks_and_their_corpus_may_be_workbooks(tmp_path: Path) -> None:
    corpus = [["id", "title", "text"], [17, "bolt", "a bolt"], ["n", "nut", "a nut"], ["w", "wing", "a wing"]]
    log = [["Clicks of May"], ["query", "doc_id"], *[["metal", 17]] * 9, ["metal", "n"], ["x", "w"]]
    corpus_path = workbook(tmp_path / "c.xlsx", {"Parts": corpus})
    log_path = workbook(tmp_path / "l.xlsx", {"Notes": [["a", "b"]], "Log": log})
    works("corpus", "clicks", log_path, "--corpus", corpus_path, "-o", tmp_path / "data")
    judged = "".join(file.read_text() for file in (tmp_path / "data" / "qrels").iterdir())
    assert "\t17\t" in judged
