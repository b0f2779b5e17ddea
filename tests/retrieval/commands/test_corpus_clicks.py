"""peephole corpus clicks: logs in every shape, what it says, and one line for each kind of broken log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import verbs
from retrieval.data.dataset import Dataset
from retrieval.data.hashed_ids import document_id
from retrieval.training.examples.dataset import read_training_data

HEADER = "query,doc_id,clicks,impressions,rank"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a corpus of two documents."""
    monkeypatch.chdir(tmp_path)
    documents = [
        {"_id": "a", "title": "cp", "text": "copy a folder", "metadata": {"year": 2021}},
        {"_id": "b", "title": "", "text": "list files"},
    ]
    Path("corpus.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    return tmp_path


def run(*options: str, name: str = "log.csv") -> Result:
    arguments = ["corpus", "clicks", name, "--corpus", "corpus.jsonl", "-o", "data", *options]
    return CliRunner().invoke(verbs, arguments, prog_name="peephole")


def told(*rows: str, header: str = HEADER, options: tuple[str, ...] = ()):
    """What --json says of a log."""
    Path("log.csv").write_text("\n".join([header, *rows]) + "\n")
    result = run("--json", *options)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return json.loads(result.stdout)


def qrels() -> dict[str, dict[str, int]]:
    """Query text to document to grade, of the split train."""
    dataset = Dataset(Path("data"))
    return {dataset.queries[query]: grades for query, grades in dataset.qrels("train").items()}


# Half as many look at rank 2.
AGGREGATED = [
    "copy,a,80,100,1",
    "copy,a,40,100,2",
    "copy,b,6,100,1",
    "copy,b,3,100,2",
    "list,b,40,100,2",
    "list,a,0,100,1",
]


def test_an_aggregated_log_is_corrected_and_graded():
    counts = told(*AGGREGATED)
    assert counts["propensity_by_rank"] == {"1": 1.0, "2": 0.5}
    assert counts["not_corrected_because"] == ""
    assert (counts["rows"], counts["queries"], counts["clicks"], counts["impressions"]) == (6, 2, 169, 600)
    assert qrels() == {"copy": {"a": 2}, "list": {"b": 2}}
    assert (counts["pairs"], counts["pairs_by_grade"]) == (2, {"2": 2})
    assert Dataset(Path("data")).splits() == ["train"]  # so few queries are all for training
    documents = list(Dataset(Path("data")).documents())
    assert [(d.id, d.title, d.text, dict(d.metadata)) for d in documents] == [
        ("a", "cp", "copy a folder", {"year": 2021}),
        ("b", "", "list files", {}),
    ]


def test_columns_with_chinese_names_are_recognised():
    counts = told(*AGGREGATED, header="搜索词,文档编号,点击次数,曝光次数,排名")
    assert (counts["clicks"], counts["impressions"]) == (169, 600)
    assert qrels() == {"copy": {"a": 2}, "list": {"b": 2}}


def test_single_events_add_up_to_the_same_pairs():
    events = []
    for row in AGGREGATED:
        query, document, clicks, shown, rank = row.split(",")
        events += [f"{query},{document},{int(n < int(clicks))},{rank},user{n}" for n in range(int(shown))]
    as_aggregated = told(*AGGREGATED)
    first = qrels()
    counts = told(*events, header="Search Term,url,clicked,Position,session")
    assert qrels() == first
    assert counts == {**as_aggregated, "rows": 600}


def test_json_lines_with_numbers_and_truth_values_are_read():
    rows = [{"q": "copy", "product_id": "a", "clicked": n < 8, "rank": 1 + n % 2} for n in range(10)]
    rows += [{"q": "copy", "product_id": "b", "clicked": n < 1, "rank": 1.0} for n in range(10)]
    Path("log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(name="log.jsonl").exit_code == 0
    assert qrels() == {"copy": {"a": 1}}


def test_clicks_alone_are_graded_without_correction():
    counts = told(*["copy,a,1"] * 9, *["copy,b,2"] * 1, *["list,b,1"] * 4, header="query,doc_id,rank")
    assert qrels() == {"copy": {"a": 3}, "list": {"b": 2}}
    assert counts["impressions"] is None
    assert counts["propensity_by_rank"] == {}
    assert counts["not_corrected_because"] == "the log does not say how often a document was shown"


@pytest.mark.parametrize(
    ("header", "rows", "why"),
    [
        ("query,doc_id,clicked", ["copy,a,1"] * 5 + ["copy,b,0"] * 5, "at which rank a document was shown"),
        (HEADER, ["copy,a,8,9,1", "copy,b,1,9,1"], "every document was shown at rank 1"),
        (HEADER, ["copy,a,8,9,1", "copy,b,1,9,2"], "at two ranks for a query"),
    ],
)
def test_a_log_that_cannot_be_corrected_says_why(header, rows, why):
    assert why in told(*rows, header=header)["not_corrected_because"]
    printed = run().output
    assert "no correction of position bias" in printed
    assert why in printed


def test_a_person_reads_what_was_kept_left_out_and_examined():
    told(*AGGREGATED, "rare,a,1,1,1")
    printed = run().output
    assert "2 pairs of 2 queries (train 2, dev 0, test 0)" in printed
    assert "1 queries without a document of 3 clicks" in printed
    assert "rank 1 1.00, rank 2 0.50" in printed


def test_no_query_text_stands_in_two_splits():
    rows = [
        f"{text},{document},{clicks},10,{rank}"
        for n in range(200)
        for text in (f"query {n}", f"Query  {n} ")
        for document, clicks, rank in (("a", 8, 1), ("b", 1, 2))
    ]
    counts = told(*rows)
    dataset = Dataset(Path("data"))
    assert dataset.splits() == ["train", "dev", "test"]
    assert sum(counts["queries_by_split"].values()) == counts["queries"] == len(dataset.queries) == 200
    texts = [{dataset.queries[query].lower() for query in dataset.qrels(split)} for split in dataset.splits()]
    assert sum(map(len, texts)) == len(set.union(*texts)) == 200
    assert 140 < len(texts[0]) < 180


def test_rows_of_unknown_documents_are_passed_over_when_asked():
    counts = told(*AGGREGATED, "copy,gone,5,9,1", "list,lost,0,9,1", options=("--missing-ok",))
    assert counts["rows_of_unknown_documents"] == 2
    assert qrels() == {"copy": {"a": 2}, "list": {"b": 2}}
    assert "passed over 2 rows of unknown documents" in run("--missing-ok").output


def test_the_least_clicks_decide_which_pairs_count():
    assert told(*AGGREGATED, options=("--least-clicks", "41"))["pairs"] == 1
    assert qrels() == {"copy": {"a": 2}}


def test_training_reads_the_folder_as_any_other():
    told(*AGGREGATED)
    data = read_training_data(Path("data"))
    assert sorted(data.queries.values()) == ["copy", "list"]
    assert sorted(map(str, data.train.values())) == ["{'a': 2}", "{'b': 2}"]
    assert [document.id for document in data.documents] == ["a", "b"]


PAIRS = "Frage;Antwort;Thema\nhow to copy?;copy a folder;files\nwhat is here?;list files;files\n"


def clicks_of_pairs(*options: str) -> Result:
    """The log that a user of an index of faq.csv has, whose ids are those that `build` gave."""
    ids = {"a": document_id("", "copy a folder"), "b": document_id("", "list files")}
    cells = [row.split(",") for row in AGGREGATED]
    rows = [",".join([query, ids[document], *rest]) for query, document, *rest in cells]
    Path("log.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    arguments = ["corpus", "clicks", "log.csv", "-o", "data", *options]
    return CliRunner().invoke(verbs, arguments, prog_name="peephole")


def test_a_table_of_pairs_is_a_corpus_as_for_build():
    Path("faq.csv").write_text(PAIRS)
    result = clicks_of_pairs("--corpus", "faq.csv", "--column", "metadata=Thema")
    assert (result.exit_code, result.stderr) == (0, "")
    texts = {document.id: document.text for document in Dataset(Path("data")).documents()}
    assert sorted(texts.values()) == ["copy a folder", "list files"]
    found = {
        query: {texts[document]: grade for document, grade in row.items()} for query, row in qrels().items()
    }
    assert found == {"copy": {"copy a folder": 2}, "list": {"list files": 2}}
    assert [dict(document.metadata) for document in Dataset(Path("data")).documents()] == [
        {"Thema": "files"},
        {"Thema": "files"},
    ]


def test_columns_of_the_corpus_are_named_as_for_build():
    Path("faq.csv").write_text(PAIRS.replace("Frage", "Was").replace("Antwort", "Dies"))
    told = clicks_of_pairs("--corpus", "faq.csv")
    assert (told.exit_code, told.stderr.count("\n")) == (1, 1)
    assert "no column is recognised; the columns are 'Was', 'Dies'" in told.stderr
    named = clicks_of_pairs("--corpus", "faq.csv", "--column", "query=Was", "--column", "document=Dies")
    assert (named.exit_code, named.stderr) == (0, "")


def test_a_folder_and_a_folder_of_texts_are_corpora_as_for_build():
    Path("log.csv").write_text(f"{HEADER}\ncopy,a.txt,8,9,1\ncopy,b.txt,1,9,2\n")
    Path("texts").mkdir()
    for name in ("a.txt", "b.txt", "c.html"):
        Path("texts", name).write_text("text")
    arguments = ["corpus", "clicks", "log.csv", "--corpus", "texts", "-o", "data"]
    result = CliRunner().invoke(verbs, arguments)
    assert result.exit_code == 0
    assert result.stderr.startswith("Warning: texts: 1 file left out (1 .html); ")
    told(*AGGREGATED, options=("-o", "beir"))
    again = CliRunner().invoke(verbs, ["corpus", "clicks", "log.csv", "--corpus", "beir", "-o", "more"])
    assert (again.exit_code, again.stderr) == (0, "")
    assert [document.id for document in Dataset(Path("more")).documents()] == ["a", "b"]


BROKEN = [
    (
        ["copy,zz,1,1,1", "copy,yy,1,1,1", "copy,zz,1,1,1"],
        ":2: unknown document 'zz'; the corpus lacks 2 documents",
    ),
    (["copy,a,1,1,1", "copy,a,9,8,1"], ":3: 9 clicks of 8 impressions"),
    (["copy,a,-1,8,1"], ":2: \"clicks\" is '-1'"),
    (["copy,a,1.5,8,1"], ":2: \"clicks\" is '1.5'"),
    (["copy,a,,8,1"], ":2: \"clicks\" is ''"),
    (["copy,a,many,8,1"], ":2: \"clicks\" is 'many'"),
    (["copy,a,1,9999999999999,1"], ':2: "impressions" is'),
    (["copy,a,1,8,0"], ':2: "rank" is 0; count ranks from 1'),
    (["copy,a,1,8,first"], ":2: \"rank\" is 'first'"),
    ([" ,a,1,8,1"], ':2: "query" is empty'),
    (["copy,,1,8,1"], ':2: "doc_id" is empty'),
    (["copy,a,0,8,1"], "no document of the corpus was clicked"),
    (["copy,a,1,8,1"], "no document has 3 clicks"),
    ([], "holds no rows"),
    (["copy,a,1"], ":2: 3 columns where the header has 5"),
]


def failure(*options: str) -> str:
    """The one line of a run that fails, and nothing is written."""
    result = run(*options)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1), result.output
    assert sorted(path.name for path in Path().iterdir()) == ["corpus.jsonl", "log.csv"]
    return result.stderr


@pytest.mark.parametrize(("rows", "problem"), BROKEN, ids=[problem for _, problem in BROKEN])
def test_a_broken_log_is_one_line_with_its_place(rows, problem):
    Path("log.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    said = failure()
    assert said.startswith("Error: log.csv:")
    assert problem in said


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("text,doc_id,clicks", "log.csv:1: no column of the query; name it query or q"),
        ("query,thing,clicks", "log.csv:1: no column of the document; name it doc_id or document_id"),
        ("query,doc_id,views", "log.csv:1: no column of clicks; name it clicks or click"),
    ],
)
def test_a_log_without_a_column_that_is_needed_names_it(header, problem):
    Path("log.csv").write_text(f"{header}\ncopy,a,1\n")
    assert problem in failure()


def test_a_run_that_fails_leaves_the_folder_of_the_last_one():
    told(*AGGREGATED)
    before = {path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()}
    Path("log.csv").write_text(f"{HEADER}\ncopy,a,9,8,1\n")
    assert run().exit_code == 1
    assert {path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()} == before


def test_a_folder_of_another_origin_is_not_replaced():
    Path("log.csv").write_text("\n".join([HEADER, *AGGREGATED]) + "\n")
    Path("data").mkdir()
    Path("data/precious").write_text("x")
    result = run()
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "was not written by this command" in result.stderr
    assert [path.name for path in Path("data").iterdir()] == ["precious"]


def test_a_document_id_that_no_qrels_file_can_hold_is_refused():
    Path("corpus.jsonl").write_text(json.dumps({"_id": "a\tb", "text": "x"}) + "\n")
    Path("log.jsonl").write_text(json.dumps({"query": "q", "id": "a\tb", "clicks": 9, "shown": 9}) + "\n")
    result = run(name="log.jsonl")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "holds a tab or a line end" in result.stderr
    assert not Path("data").exists()


def recorded(number: int, *documents: str, clicked: str = "") -> str:
    """The lines of a search as a server records them."""
    common = {"time": "2026-11-28T12:00:00Z", "search": f"{number:016x}"}
    lines = [{**common, "query": "copy", "mode": "hybrid", "offset": 0, "shown": documents}]
    lines += [{**common, "clicked": clicked, "rank": 1 + documents.index(clicked)}] if clicked else []
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_the_log_that_a_server_records_is_read_with_its_older_files():
    events = [recorded(n, *(("a", "b") if n % 2 else ("b", "a")), clicked="a" * (n < 9)) for n in range(12)]
    Path("clicks.1").write_text("".join(events[:6]))
    Path("clicks").write_text("".join(events[6:]) + '{"time":"2026-')
    result = run("--json", name="clicks")
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    counts = json.loads(result.stdout)
    assert (counts["rows"], counts["queries"], counts["clicks"], counts["impressions"]) == (24, 1, 9, 24)
    assert counts["not_corrected_because"] == "" and qrels() == {"copy": {"a": 1}}


def test_a_recorded_log_is_no_data_set_and_the_error_says_what_makes_one():
    Path("clicks.jsonl").write_text(recorded(1, "a", clicked="a"))
    result = CliRunner().invoke(verbs, ["train", "clicks.jsonl", "-o", "model"])
    assert result.exit_code == 1 and "looks like a click log" in result.stderr
    assert "peephole corpus clicks clicks.jsonl --corpus CORPUS -o DATA" in result.stderr
