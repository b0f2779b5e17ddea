"""Files of a pattern: which ones, in what order, as one corpus or one table; errors that name the file."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="needs the extra parquet")

from index.errors import InputError, StorageError
from retrieval.data.dataset import open_dataset, read_query_texts
from retrieval.data.documents import corpus_fingerprint, read_documents
from retrieval.data.locations import Location, local_copy, matching_files
from retrieval.data.pairs.dataset import PairsDataset
from retrieval.data.tables import header_of, table_records_of


def write(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def document(name: str) -> dict[str, str]:
    return {"_id": name, "text": f"text of {name}"}


def test_a_pattern_finds_files_below_and_leaves_out_hidden_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.jsonl", "sub/b.jsonl", "sub/c.txt", ".hidden.jsonl", ".git/d.jsonl"):
        write(tmp_path / "in" / name)
    found = [Location(str(tmp_path / "in"), name) for name in ("a.jsonl", "sub/b.jsonl")]
    assert matching_files(f"{tmp_path}/in/*.jsonl") == found
    assert matching_files(f"file://{tmp_path}/in/*.jsonl") == [
        Location(f"file://{tmp_path}/in", name) for _, name in found
    ]
    monkeypatch.chdir(tmp_path)
    assert matching_files("in/*.jsonl") == found
    assert [name for _, name in matching_files("in")] == ["a.jsonl", "sub/b.jsonl", "sub/c.txt"]
    assert matching_files("in/sub/b.*") == [Location(str(tmp_path / "in" / "sub"), "b.jsonl")]
    assert matching_files("in/a.jsonl") == found[:1]
    assert [name for _, name in matching_files("*/s[tu]b/?.jsonl")] == ["in/sub/b.jsonl"]
    with pytest.raises(InputError, match=r"in/\*\.csv: no file matches; check the pattern, and quote it"):
        matching_files("in/*.csv")
    with pytest.raises(StorageError, match="nosuch://bucket/x: cannot be reached"):
        matching_files("nosuch://bucket/x")


def test_files_of_a_pattern_are_one_corpus_in_the_order_of_their_names(store: Path, tmp_path: Path) -> None:
    for folder in (store / "bucket", tmp_path):
        write(folder / "part-2.jsonl", document("c"))
        write(folder / "part-1.jsonl", document("b"), document("a"))
    for pattern in (f"{tmp_path}/part-*.jsonl", "store://bucket/part-*.jsonl", "store://bucket"):
        assert [each.id for each in read_documents(pattern)] == ["b", "a", "c"]
        assert [each.id for each in open_dataset(pattern).documents()] == ["b", "a", "c"]


def test_an_id_in_two_files_is_told(tmp_path: Path) -> None:
    first = write(tmp_path / "1.jsonl", document("a"))
    second = write(tmp_path / "2.jsonl", document("b"), document("a"))
    with pytest.raises(
        InputError, match=rf"^{second}: a document has the id 'a', which one of {first} has; "
    ):
        list(read_documents(f"{tmp_path}/*.jsonl"))


def test_a_fingerprint_tells_files_by_size_and_time(tmp_path: Path) -> None:
    pattern = f"{tmp_path}/*.jsonl"
    path = write(tmp_path / "1.jsonl", document("a"))
    os.utime(path, ns=(1, 1))
    before = corpus_fingerprint(pattern)
    assert corpus_fingerprint(pattern) == before
    os.utime(path, ns=(1, 2))
    assert corpus_fingerprint(pattern) != before
    os.utime(path, ns=(1, 1))
    write(tmp_path / "2.jsonl", document("b"))
    assert corpus_fingerprint(pattern) != before


def test_files_of_a_pattern_are_one_table_of_pairs(store: Path) -> None:
    write(store / "pairs" / "a.jsonl", {"query": "q1", "answer": "x"}, {"query": "q2", "answer": "y"})
    write(store / "pairs" / "b.jsonl", {"query": "q1", "answer": "y", "negative": "z"})
    dataset = open_dataset("store://pairs/*.jsonl")
    assert isinstance(dataset, PairsDataset)
    assert dataset.columns.negatives == ("negative",)
    assert [each.text for each in dataset.documents()] == ["x", "y", "z"]
    assert sorted(map(len, dataset.qrels("train").values())) == [1, 3]
    places = [
        (str(record.place.path), record.place.line) for record in table_records_of("store://pairs/*.jsonl")
    ]
    assert places == [
        ("store://pairs/a.jsonl", 1),
        ("store://pairs/a.jsonl", 2),
        ("store://pairs/b.jsonl", 1),
    ]


def test_a_folder_of_shards_is_the_table_of_all_their_rows(tmp_path: Path) -> None:
    """By name, whatever the kinds of the files are."""
    from pyarrow import Table, parquet

    rows = [{"query": f"q{n % 70}", "answer": f"a{n}", "negative": f"a{n + 7}"} for n in range(100)]
    shards = tmp_path / "shards"
    shards.mkdir()
    lines = [json.dumps(row) + "\n" for row in rows]
    with gzip.open(shards / "b.jsonl.gz", "wt") as file:
        file.writelines(lines[40:80])
    parquet.write_table(Table.from_pylist(rows[80:]), shards / "c.parquet")
    for name, mark, part in (("a.csv", ",", rows[:20]), ("a2.csv", ";", rows[20:40])):
        table = [mark.join(cells) + "\n" for cells in [rows[0], *(row.values() for row in part)]]
        (shards / name).write_text("".join(table))
    (tmp_path / "whole.jsonl").write_text("".join(lines))
    whole, parts = open_dataset(tmp_path / "whole.jsonl"), open_dataset(shards)
    assert isinstance(whole, PairsDataset)
    assert isinstance(parts, PairsDataset)
    assert list(parts.documents()) == list(whole.documents())
    assert parts.summary() == whole.summary()
    for split in whole.splits():
        assert list(parts.qrels(split).items()) == list(whole.qrels(split).items())
    assert read_query_texts(shards, "dev") == read_query_texts(tmp_path / "whole.jsonl", "dev")
    (shards / "d.csv").write_text('query,answer,negative\nq,"a,\n')
    with pytest.raises(InputError, match=r"shards/d\.csv:2: broken CSV"):
        open_dataset(shards).count_documents()


def test_a_folder_with_other_files_or_a_corpus_is_no_table(tmp_path: Path) -> None:
    write(tmp_path / "a" / "corpus.jsonl", {"_id": "1", "text": "x"})
    write(tmp_path / "b" / "notes.md").write_text("x")
    write(tmp_path / "b" / "pairs.jsonl", {"query": "q", "answer": "x"})
    for name, ids in (("a", ["1"]), ("b", ["notes.md"])):
        assert [each.id for each in open_dataset(tmp_path / name).documents()] == ids


def test_pairs_that_contradict_each_other_in_two_files_name_both(tmp_path: Path) -> None:
    first = write(tmp_path / "1.jsonl", {"query": "q", "answer": "x", "score": 2})
    second = write(tmp_path / "2.jsonl", {"query": "q", "answer": "x", "score": 1})
    told = rf"^{second}:1: grades the pair 1, and line 1 of {first} grades it 2; keep one"
    with pytest.raises(InputError, match=told):
        list(open_dataset(f"{tmp_path}/*.jsonl").documents())


def test_columns_of_all_files_count(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("query,answer\n")
    (tmp_path / "2.csv").write_text("query,answer,negative\n")
    assert header_of(f"{tmp_path}/*.csv") == ["query", "answer", "negative"]


def test_file_without_a_column_that_the_others_have_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("query,document,id\nq,d,1\n")
    (tmp_path / "b.csv").write_text("id,document,query,title\n2,e,r,t\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "more.jsonl").write_text('{"query": "s", "document": "f", "id": "3"}\n')
    assert [each.id for each in open_dataset(f"{tmp_path}/*").documents()] == ["1", "2", "3"]
    (tmp_path / "c.csv").write_text("a,b\nx,y\n")
    told = rf"^{tmp_path}/c\.csv: has no column 'query', which {tmp_path}/a\.csv has; rename"
    with pytest.raises(InputError, match=told):
        open_dataset(f"{tmp_path}/*")
    (tmp_path / "c.csv").write_text("query,b\nx,y\n")
    with pytest.raises(InputError, match=r"c\.csv: has no column 'document'"):
        open_dataset(f"{tmp_path}/*")


def test_an_error_names_the_file_and_not_its_copy(store: Path) -> None:
    write(store / "in" / "a.jsonl").write_text("{broken\n")
    with pytest.raises(InputError, match=r"^store://in/a\.jsonl:1: broken JSON"):
        list(read_documents("store://in/*.jsonl"))
    with (
        pytest.raises(StorageError, match=r"^store://in/b\.jsonl: cannot be reached"),
        local_copy(Location("store://in", "b.jsonl")),
    ):
        pass
