"""Everything that can go wrong at the command: one line on standard error, exit code 1, nothing damaged."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import verbs
from index.disk.writer_lock import WriterLock

ROOT = Path(__file__).parents[1]


def peephole(*args: object, typed: str | bytes | None = None) -> Result:
    return CliRunner().invoke(verbs, [str(arg) for arg in args], input=typed, prog_name="peephole")


def failure(*args: object, typed: str | bytes | None = None) -> str:
    """The one line that a failing command prints."""
    result = peephole(*args, typed=typed)
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.endswith("\n")
    assert result.stderr.count("\n") == 1, result.stderr
    assert "unexpected" not in result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr.removeprefix("Error: ").rstrip("\n")


def found(index, *words, **options):
    dashes = {name: "-" if len(name) == 1 else "--" for name in options}
    flags = [part for name, value in options.items() for part in (f"{dashes[name]}{name}", value)]
    result = peephole("search", index, *words, "--json", *flags)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def index(made, tmp_path):
    """A copy of the index that a test may damage."""
    return Path(shutil.copytree(made.index, tmp_path / "index"))


@pytest.fixture
def model(made, tmp_path):
    return Path(shutil.copytree(made.model, tmp_path / "model"))


@pytest.fixture
def data(made, tmp_path):
    return Path(shutil.copytree(made.data, tmp_path / "data"))


def generation(index):
    (folder,) = index.glob("generation-*")
    return folder


# Files that are missing or are not what they should be.


def test_data_that_is_missing_is_named_and_no_model_is_written(tmp_path):
    assert "none" in failure("train", tmp_path / "none", "-o", tmp_path / "m")
    assert not (tmp_path / "m" / "config.json").exists()


def test_a_corpus_that_is_missing_is_named_and_nothing_is_published(made, tmp_path):
    line = failure("build", tmp_path / "none.jsonl", "-m", made.model, "-o", tmp_path / "i")
    assert str(tmp_path / "none.jsonl") in line
    assert not (tmp_path / "i" / "CURRENT").exists()


@pytest.mark.parametrize("name", ["none", "file"])
def test_a_folder_without_a_model_is_told_as_that(made, tmp_path, name):
    (tmp_path / "file").write_text("no model")
    line = failure("build", made.data, "-m", tmp_path / name, "-o", tmp_path / "i")
    assert line.startswith(f"{tmp_path / name}: not a model folder")


@pytest.mark.parametrize("verb", [("search", "words"), ("info",), ("verify",), ("evaluate", "DATA")])
@pytest.mark.parametrize("name", ["none", "file", "."])
def test_a_folder_without_an_index_is_told_as_that(made, tmp_path, verb, name):
    (tmp_path / "file").write_text("no index")
    rest = [made.data if word == "DATA" else word for word in verb[1:]]
    line = failure(verb[0], tmp_path / name, *rest)
    problem = {"none": "no such folder", "file": "a file", ".": "not an index"}[name]
    assert line.startswith(f"{tmp_path / name}: {problem}") and "peephole build" in line


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        ("corpus", "files", "BROKEN"),
        ("train", "DATA", "--teacher", "./none"),
        ("train", "DATA", "--teacher", "none.npz"),
        ("build", "EMPTY", "-m", "MODEL"),
        ("build", "TWICE", "-m", "MODEL"),
    ],
)
def test_refused_command_leaves_nothing(made, tmp_path, arguments, there):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.md").write_bytes(b"\xff")
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "twice.jsonl").write_text('{"_id": "a", "text": "x"}\n' * 2)
    if there:
        (tmp_path / "out").mkdir()
    before = sorted(tmp_path.rglob("*"))
    places = {
        "BROKEN": tmp_path / "broken",
        "EMPTY": tmp_path / "empty.jsonl",
        "TWICE": tmp_path / "twice.jsonl",
        "DATA": made.data,
        "MODEL": made.model,
    }
    failure(*(places.get(word, word) for word in arguments), "-o", tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("train", "", "-o", "m"), "'DATA'"),
        (("train", "data", "-o", ""), "'-o' / '--output'"),
        (("train", "data", "-o", "m", "--teacher", ""), "'--teacher'"),
        (("build", "", "-m", "m", "-o", "i"), "'CORPUS'"),
        (("build", "data", "-m", "", "-o", "i"), "'-m' / '--model'"),
        (("search", "", "words"), "'INDEX'"),
        (("search", "i", "--queries", ""), "'--queries'"),
        (("search", "i", "words", "--run", ""), "'--run'"),
        (("evaluate", "i", ""), "'DATA'"),
        (("encode", "", "-m", "m", "-o", "v.npy"), "'CORPUS|QUERIES|PATTERN'"),
        (("encode", "data", "-m", "m", "-o", ""), "'-o' / '--output'"),
        (("corpus", "files", "", "-o", "data"), "'FOLDER'"),
    ],
)
def test_empty_path_is_refused_and_not_the_current_folder(tmp_path, monkeypatch, arguments, name):
    monkeypatch.chdir(tmp_path)
    line = failure(*arguments)
    assert line == f"{name} is empty; give a path, or set the variable of the shell that it comes from"
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_queries_that_is_missing_is_named(made, tmp_path):
    line = failure("search", made.index, "--queries", tmp_path / "none.txt")
    assert line == f"{tmp_path / 'none.txt'}: no such file; check the path"


def test_missing_split_names_those_there(made):
    assert "train, dev, test" in failure("evaluate", made.index, made.data, "--split", "final")


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_corpus_without_documents_is_told_and_nothing_is_published(data, made, tmp_path, content):
    (data / "corpus.jsonl").write_text(content)
    for line in (
        failure("train", data, "-o", tmp_path / "m"),
        failure("build", data, "-m", made.model, "-o", tmp_path / "i"),
    ):
        assert "corpus.jsonl: holds no documents" in line
    assert not (tmp_path / "i" / "CURRENT").exists()


def test_standard_input_without_documents_is_told_as_that(made, tmp_path):
    line = failure("build", "-", "-m", made.model, "-o", tmp_path / "i", typed="")
    assert line.startswith("standard input: holds no documents")


def test_a_file_without_queries_is_told_as_that(made, tmp_path):
    (tmp_path / "q.txt").write_text("\n")
    assert "holds no queries" in failure("search", made.index, "--queries", tmp_path / "q.txt")


BROKEN_CORPORA = {
    "duplicate _id": (b'{"_id": "a", "text": "x"}\n\n{"_id": "a", "text": "z"}\n', 3, "'a'"),
    "broken JSON": (b'{"_id": "a", "text": "x"}\n{"_id": "b", "text": \n', 2, "broken JSON"),
    "not an object": (b'{"_id": "a", "text": "x"}\n\n[1, 2]\n', 3, "not a JSON object"),
    "NaN": (b'{"_id": "a", "text": "x", "price": NaN}\n', 1, "NaN"),
    "not UTF-8": (b'{"_id": "a", "text": "x"}\n{"_id": "b", "text": "caf\xe9"}\n', 2, "0xe9"),
    "no id": (b'{"text": "x"}\n', 1, '"_id"'),
    "no text": (b'{"_id": "a"}\n', 1, '"text"'),
    "text is a number": (b'{"_id": "a", "text": 3}\n', 1, '"text"'),
}  # fmt: skip


@pytest.mark.parametrize(("content", "line_number", "named"), BROKEN_CORPORA.values(), ids=BROKEN_CORPORA)
def test_a_broken_line_of_a_corpus_is_named(data, made, index, tmp_path, content, line_number, named):
    (data / "corpus.jsonl").write_bytes(content)
    for verb in (("train", data, "-o", tmp_path / "m"), ("build", data, "-m", made.model, "-o", index)):
        line = failure(*verb)
        assert line.startswith(f"{data / 'corpus.jsonl'}:{line_number}: ")
        assert named in line
    assert found(index, "copy")["hits"]  # the index from before still serves


def test_a_broken_line_of_the_queries_is_named(data, made, tmp_path):
    with (data / "queries.jsonl").open("a") as file:
        file.write('{"_id": "q0", "text": "again"}\n')
    for verb in (("train", data, "-o", tmp_path / "m"), ("evaluate", made.index, data)):
        assert failure(*verb).startswith(f"{data / 'queries.jsonl'}:9: ")


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ("gone\td1\t1", "unknown query 'gone'"),
        ("q0\tgone\t1", "unknown document 'gone'"),
        ("q0\td1\tnan", "grade 'nan'"),
        ("q0\td1", "2 columns"),
    ],
)
def test_broken_judgements_are_named(data, tmp_path, row, named):
    with (data / "qrels" / "train.tsv").open("a") as file:
        file.write(f"{row}\n")
    line = failure("train", data, "-o", tmp_path / "m")
    assert line.startswith(f"{data / 'qrels' / 'train.tsv'}:10: ")
    assert named in line


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ("gone\td1\t1", "unknown query 'gone'"),
        ("q0\tgone\t1", "document 'gone', which is judged, is not in it"),
    ],
)
def test_judgements_of_what_is_not_there_are_not_evaluated(data, made, row, named):
    with (data / "qrels" / "test.tsv").open("a") as file:
        file.write(f"{row}\n")
    assert named in failure("evaluate", made.index, data)


# Models and indexes that are damaged or of another make.


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"gamma": float("nan")}, "gamma must be"),
        ({"dense_share": float("inf")}, "dense_share must be"),
        ({"colour": "blue"}, "unknown key colour"),
        ({"hidden": "64"}, "hidden must be"),
        ({"format_version": 2}, "format version 2, this program reads 1"),
        ({"pooling": "sum"}, "pooling must be"),
        ({"bidirectional": True}, "as a setting it was removed"),
        ({"tower": "dnn", "residual": False}, "does not fit"),
    ],
    ids=str,
)
def test_a_config_that_will_not_do_is_named(made, model, tmp_path, change, named):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | change))
    line = failure("build", made.data, "-m", model, "-o", tmp_path / "i")
    assert line.startswith(f"{model}/")
    assert named in line


@pytest.mark.parametrize("name", ["vocabulary.json", "weights.safetensors"])
@pytest.mark.parametrize("damage", ["gone", "empty", "half"])
def test_a_damaged_model_file_is_named(made, model, tmp_path, name, damage):
    whole = (model / name).read_bytes()
    if damage == "gone":
        (model / name).unlink()
    else:
        (model / name).write_bytes(whole[: len(whole) // 2 if damage == "half" else 0])
    assert str(model / name) in failure("build", made.data, "-m", model, "-o", tmp_path / "i")


def test_an_index_of_another_format_version_is_told(index):
    path = generation(index) / "manifest.json"
    content = json.loads(path.read_text()) | {"format_version": 99}
    path.write_text(json.dumps(content))
    pointer = f"{generation(index).name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n"
    (index / "CURRENT").write_text(pointer)
    for verb in (("search", index, "copy"), ("info", index)):
        assert "format version 99" in failure(*verb)


def every_file(index):
    return sorted(path for path in index.rglob("*") if path.is_file() and path.name != ".lock")


def test_a_flipped_byte_anywhere_is_found_by_verify_and_ends_no_search_in_a_traceback(index):
    files = every_file(index)
    assert len(files) > 8
    for path in files:
        whole = path.read_bytes()
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 0x10]) + whole[middle + 1 :])
        verified = peephole("verify", index)
        assert verified.exit_code == 1, path
        assert path.name in verified.stderr
        assert json.loads(peephole("verify", index, "--json").stdout)["sound"] is False
        searched = peephole("search", index, "copy a folder")
        assert searched.exit_code in (0, 1)
        assert searched.exit_code == 0 or searched.stderr.count("\n") == 1
        assert "Traceback" not in searched.output
        assert "unexpected" not in searched.stderr, (path, searched.stderr)
        path.write_bytes(whole)
    assert peephole("verify", index).exit_code == 0


def test_a_file_cut_short_or_gone_is_told_by_every_verb(index):
    for path in every_file(index):
        whole = path.read_bytes()
        for damage in ("cut", "gone"):
            if damage == "cut":
                path.write_bytes(whole[:-1])
            else:
                path.unlink()
            assert path.name in failure("search", index, "copy")
            assert peephole("verify", index).exit_code == 1
            path.write_bytes(whole)
    assert peephole("verify", index).exit_code == 0


# Queries that nobody expects.


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_k_larger_than_the_corpus_finds_what_there_is(made, mode):
    hits = found(made.index, "copy a folder to the directory", k=1000, mode=mode)["hits"]
    assert len({hit["id"] for hit in hits}) == len(hits) <= 8
    assert len(hits) == 8 or mode == "lexical"


@pytest.mark.parametrize("query", ["", "   ", "\t\n"])
def test_an_empty_query_is_refused(made, query):
    assert failure("search", made.index, query) == "the query is empty; give at least one word"


@pytest.mark.parametrize("query", ["♥♥♥", "?!", "ᚠᚢᚦ", "zzzz qqqq", "\x00", "'; DROP TABLE documents --"])
@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_a_query_of_unknown_characters_is_answered(made, query, mode):
    hits = found(made.index, query, mode=mode)["hits"]
    assert len(hits) == (0 if mode == "lexical" and "TABLE" not in query else len(hits))
    assert mode == "lexical" or len(hits) == 8


def test_a_query_that_is_not_utf8_is_answered(made):
    command = [sys.executable, "-m", "cli", "search", str(made.index), b"copy \xff\xfe", "--json"]
    run = subprocess.run(command, capture_output=True, cwd=Path(__file__).parent.parent, timeout=60)
    assert (run.returncode, run.stderr) == (0, b"")
    assert json.loads(run.stdout)["hits"][0]["id"] == "d1"


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_a_query_of_a_megabyte_is_answered(made, mode, tmp_path):
    query = "copy a folder " * 75_000
    assert len(query) > 1_000_000
    assert found(made.index, query, mode=mode)["hits"][0]["id"] == "d1"
    assert peephole("search", made.index, "x" * 1_000_000, "--mode", mode).exit_code == 0
    (tmp_path / "q.txt").write_text(query)
    assert peephole("search", made.index, "--queries", tmp_path / "q.txt", "--mode", mode).exit_code == 0


# Disks and other writers.


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """A disk that is full once a file is this large."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size_bytes", [0, 100, 5_000])
def test_a_full_disk_ends_a_build_and_the_old_index_serves(made, index, size_bytes):
    with largest_file(size_bytes):
        line = failure("build", made.data, "-m", made.model, "-o", index)
    assert "cannot be written" in line
    assert found(index, "copy a folder")["hits"][0]["id"] == "d1"
    assert peephole("build", made.data, "-m", made.model, "-o", index).exit_code == 0
    assert peephole("verify", index).exit_code == 0


@pytest.mark.parametrize("size_bytes", [0, 5_000])
def test_a_full_disk_ends_a_training_and_the_old_model_stays(made, model, size_bytes):
    def contents():
        files = (path for path in model.rglob("*") if path.is_file() and path.name != WriterLock.NAME)
        return {path: path.read_bytes() for path in files}

    before = contents()
    with largest_file(size_bytes):
        line = failure("train", made.data, "-o", model, "--tower", "bag", "--epochs", "1")
    assert "cannot be written" in line
    assert contents() == before


def test_a_full_disk_ends_a_run_file(made, tmp_path):
    with largest_file(10):
        line = failure("search", made.index, "copy", "--run", tmp_path / "r.trec")
    assert str(tmp_path / "r.trec") in line


@pytest.mark.parametrize("place", ["file/below", "file"])
def test_an_unwritable_folder_is_told(made, tmp_path, place):
    # Root may write anywhere, so the folder is one that cannot exist.
    (tmp_path / "file").write_text("")
    output = tmp_path / place
    for verb in (
        ("train", made.data, "-o", output),
        ("build", made.data, "-m", made.model, "-o", output),
        ("corpus", "pydoc", "--package", "json", "-o", output),
    ):
        assert str(output) in failure(*verb)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_folder_that_the_system_refuses_is_told(made):
    for verb in (
        ("train", made.data, "-o", "/proc/nothing"),
        ("build", made.data, "-m", made.model, "-o", "/proc/nothing"),
    ):
        assert "/proc/nothing" in failure(*verb)


def test_an_unwritable_output_file_is_told_in_one_way(made, tmp_path):
    for verb in (
        ("search", made.index, "copy", "--run"),
        ("evaluate", made.index, made.data, "--mode", "lexical", "--run"),
        ("evaluate", made.index, made.data, "--mode", "lexical", "--per-query"),
        ("explain", made.index, "copy", "--plot"),
    ):
        line = failure(*verb, tmp_path / "none" / "file")
        assert f"{tmp_path}/none/file" in line
        assert "cannot be written (No such file or directory); check the disk" in line


def test_two_builds_at_once_in_one_index(made, index):
    with WriterLock(index):
        line = failure("build", made.data, "-m", made.model, "-o", index)
        assert f"process {os.getpid()}" in line
        assert found(index, "copy")["hits"]  # readers are not shut out
    assert peephole("build", made.data, "-m", made.model, "-o", index).exit_code == 0


def test_two_trainings_at_once_in_one_folder(made, model):
    with WriterLock(model):
        assert "another writer is at work" in failure("train", made.data, "-o", model)


def test_resume_of_a_build_from_standard_input_is_refused(made, tmp_path):
    line = failure("build", "-", "-m", made.model, "-o", tmp_path / "i", "--resume", typed="{}")
    assert "standard input cannot be resumed" in line


def test_a_fault_of_the_program_is_one_line_and_a_traceback_on_demand(made, monkeypatch):
    def broken(*args: object, **more: object) -> None:
        raise ZeroDivisionError("first line\nsecond line")

    monkeypatch.setattr("retrieval.search.retriever.Retriever.search_all", broken)
    result = peephole("search", made.index, "copy")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: unexpected ZeroDivisionError: first line; run `peephole --debug ...` and report it\n"
    )
    assert isinstance(peephole("--debug", "search", made.index, "copy").exception, ZeroDivisionError)


def status_without_a_reader(*args: object) -> int:
    """The exit status of a command whose standard output and error nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, str(ROOT / "cli.py"), *map(str, args)]
        return subprocess.run(command, stdout=writing, stderr=writing, check=False).returncode
    finally:
        os.close(writing)


def test_the_work_and_not_the_reader_of_the_output_decides_the_exit_status(index, tmp_path):
    more = tmp_path / "more.jsonl"
    more.write_text('{"_id": "new", "title": "A new title", "text": "a new text"}\n')
    assert status_without_a_reader("add", index, more) == 0
    assert found(index, "a", "new", "text", k=1)["hits"][0]["id"] == "new"
    assert status_without_a_reader("search", index, "new") == 0
    (index / "CURRENT").write_text("damaged")
    assert status_without_a_reader("search", index, "new") == 1
    assert status_without_a_reader("verify", index) == 1


def test_output_on_a_full_disk_is_one_line_that_names_the_stream(index):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, str(ROOT / "cli.py"), "info", str(index)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: standard output: No space left") and done.stderr.count("\n") == 1


def test_a_library_of_an_extra_that_does_not_fit_is_named(index, monkeypatch):
    pytest.importorskip("uvicorn", reason="needs the extra serve")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # which the verb sets otherwise
    for name in ("process", "protocol"):
        monkeypatch.delitem(sys.modules, f"retrieval.serving.{name}", raising=False)
    monkeypatch.delattr("uvicorn.protocols.http.httptools_impl.STATUS_LINE")
    line = failure("serve", index)
    assert line.startswith(
        "the uvicorn that is installed does not fit (cannot import name 'STATUS_LINE' from"
    )
    assert line.endswith("); run: pip install 'peephole[serve]'")
