"""What a user names is written where they point: files whole, pipes and devices as they are."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import verbs
from index.disk.output import write_output
from index.errors import InputError, StorageError
from retrieval.evaluation.ann.curves import write_bench

COMMAND = [sys.executable, "-c", "from cli import main; main()"]
POINT = {"recall@10": 1.0, "batch_processor_qps": 9.0, "single_processor_qps": 5.0}
BENCH = {"systems": {"exact": {"points": [POINT]}}, "vectors": 1, "dimension": 1, "threads": 1}


def peephole(*arguments: object) -> None:
    result = CliRunner().invoke(verbs, [str(one) for one in arguments])
    assert result.exit_code == 0, result.output


def failure(*arguments: object) -> str:
    """The one line that a failing command prints."""
    result = CliRunner().invoke(verbs, [str(one) for one in arguments])
    assert result.exit_code != 0
    assert "unexpected" not in result.stderr
    return result.stderr.splitlines()[-1]


Ask = Callable[[Path], None]


@pytest.fixture(params=["run", "plot", "per-query", "report", "bench"])
def ask(request: pytest.FixtureRequest, made, tmp_path: Path) -> tuple[Ask, Path, bytes]:
    """A command that writes a file, which file, and how its content begins."""
    file = tmp_path / "out"
    if request.param == "run":
        return lambda path: peephole("search", made.index, "copy", "--run", path), file, b"1 Q0 "
    if request.param == "plot":
        return lambda path: peephole("explain", made.index, "copy", "--plot", path), file, b"\x89PNG"
    evaluate = ("evaluate", made.index, made.data, "--mode", "lexical")
    if request.param == "per-query":
        return lambda path: peephole(*evaluate, "--per-query", path), file, b"query\tlexical"
    if request.param == "report":
        return lambda path: peephole(*evaluate, "--report", path.parent), tmp_path / "queries.tsv", b"query\t"
    return lambda path: write_bench(path.with_suffix(""), BENCH), tmp_path / "out.json", b"{"


def test_hyphen_is_no_file(made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    told = failure("search", made.index, "copy", "--run", "-")
    assert told == "Error: '-' names no file; give /dev/stdout for standard output"
    assert "'-' names no file" in failure("evaluate", made.index, made.data, "--per-query", "-")
    assert not list(tmp_path.iterdir())


def test_pipe_is_written_and_stays_a_pipe(ask: tuple[Ask, Path, bytes]):
    write, path, begin = ask
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.set_blocking(reader, True)
        write(path)
        assert stat.S_ISFIFO(path.stat().st_mode)
        assert os.read(reader, 1 << 16).startswith(begin)
    finally:
        os.close(reader)


def test_device_stays_a_device(ask: tuple[Ask, Path, bytes]):
    write, path, _ = ask
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # a null device of our own
        os.close(os.open(path, os.O_WRONLY))
    except OSError:
        pytest.skip("no devices may be made here")
    write(path)
    assert stat.S_ISCHR(path.lstat().st_mode)
    assert path.lstat().st_rdev == os.makedev(1, 3)


@pytest.mark.parametrize("there", [True, False])
def test_link_is_followed_and_stays_a_link(ask: tuple[Ask, Path, bytes], there: bool):
    write, path, begin = ask
    target = path.with_name("target")
    if there:
        target.write_text("old")
    path.symlink_to(target)
    write(path)
    assert path.is_symlink()
    assert target.read_bytes().startswith(begin)


def test_terminal_is_written(tmp_path: Path):
    ours, theirs = os.openpty()
    try:
        (tmp_path / "terminal").symlink_to(os.ttyname(theirs))
        write_output(tmp_path / "terminal", b"hits\n")
        assert (tmp_path / "terminal").is_symlink()
        assert os.read(ours, 100).split() == [b"hits"]
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_standard_output_by_name_is_written_before_what_is_printed_later(tmp_path: Path, kind: str):
    """A link stands for /dev/stdout, which no test may risk."""
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")
    code = (
        "import sys; from pathlib import Path; from index.disk.output import write_output;"
        "print('first', flush=True); write_output(Path(sys.argv[1]), b'second\\n'); print('third')"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "stdout")]
    if kind == "file":
        with (tmp_path / "out").open("wb") as out:
            subprocess.run(command, stdout=out, check=True)
        said = (tmp_path / "out").read_bytes()
    else:
        said = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    assert said == b"first\nsecond\nthird\n"
    assert (tmp_path / "stdout").is_symlink()


def test_open_file_by_its_number_is_written_where_it_is(tmp_path: Path):
    with (tmp_path / "log").open("wb") as log:
        write_output(Path(f"/dev/fd/{log.fileno()}"), b"one\n")
        assert os.path.samestat(os.fstat(log.fileno()), (tmp_path / "log").stat())
    assert (tmp_path / "log").read_bytes() == b"one\n"


def test_pipe_without_its_reader_is_told_in_a_line(tmp_path: Path):
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(StorageError, match=r"cannot be written \(Broken pipe\); keep open what reads it"):
        write_output(Path(f"/dev/fd/{writer}"), b"hits\n")
    os.close(writer)


def test_several_runs_are_not_written_to_one_pipe(made, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    line = failure("evaluate", made.index, made.data, "--run", tmp_path / "pipe")
    assert "runs are 3; choose one with --mode" in line
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize("name", ["", ".", "..", "folder"])
@pytest.mark.parametrize("option", ["run", "runs", "plot", "per-query"])
def test_folder_or_no_name_for_a_file_is_refused_in_a_line(
    made, tmp_path: Path, option: str, name: str, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    evaluate = ("evaluate", made.index, made.data)
    command = {
        "run": ("search", made.index, "copy", "--run"),
        "runs": (*evaluate, "--run"),
        "plot": ("explain", made.index, "copy", "--plot"),
        "per-query": (*evaluate, "--per-query"),
    }[option]
    line = failure(*command, name)
    if name:
        assert line == f"Error: {name}: is a folder; name a file to write"
    else:
        assert line.startswith(f"Error: '{command[-1]}' is empty; give a path")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def test_suffix_of_another_kind_is_refused_in_a_line_before_the_work(made, tmp_path: Path):
    for kind, command in (
        (".png", ("explain", made.index, "copy", "--plot")),
        (".onnx", ("export", made.model, "-o")),
    ):
        for name in ("out.pdf", "out.txt"):
            told = f"Error: {tmp_path / name}: is not {kind}, which is written; name the output so"
            assert failure(*command, tmp_path / name) == told
    assert list(tmp_path.iterdir()) == []


def test_suffix_counts_in_either_case(made, tmp_path: Path):
    peephole("explain", made.index, "copy", "--plot", tmp_path / "out.PNG")
    assert (tmp_path / "out.PNG").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", [".", ".."])
def test_output_without_a_name_is_refused_in_a_line(
    made, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert "has no name" in failure("bench", "ann", made.index, "--system", "exact", "-o", name)
    assert "has no name" in failure("corpus", "pydoc", "--package", "json", "-o", name)


# A folder to train into.


STRANGERS = {
    "config of something else": {"config.json": '{"compilerOptions": {}}'},
    "half a model": {"config.json": '{"format_version": 1, "tower": "lstm", "dimension": 8}'},
    "notes": {"notes.txt": "read me"},
    "an index": {"CURRENT": "generation-000001 "},
}


@pytest.mark.parametrize("files", STRANGERS.values(), ids=STRANGERS)
def test_training_leaves_a_folder_of_something_else_alone(made, tmp_path: Path, files: dict[str, str]):
    for name, content in (files | {".cache.tmp": "mine", ".lock": "locked"}).items():
        (tmp_path / name).write_text(content)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    line = failure("train", made.data, "-o", tmp_path, "--tower", "bag", "--epochs", "1")
    assert line.startswith(f"Error: {tmp_path}: holds ")
    assert line.endswith("and is no model; choose an empty folder")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_training_takes_the_place_of_a_model_and_removes_only_its_own_temporaries(made, tmp_path: Path):
    model = Path(shutil.copytree(made.model, tmp_path / "model"))
    (model / ".cache.tmp").write_text("mine")
    (model / ".weights.safetensors.77.tmp").write_text("half")
    (model / "README").write_text("about this model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"format_version": 0}))  # of another version
    peephole("train", made.data, "-o", model, "--tower", "bag", "--epochs", "1")
    assert json.loads((model / "config.json").read_text())["tower"] == "bag"
    assert (model / ".cache.tmp").read_text() == "mine"
    assert (model / "README").read_text() == "about this model"
    assert not (model / ".weights.safetensors.77.tmp").exists()


@pytest.mark.parametrize("name", ["report", ".teacher", ".dev"])
def test_training_does_not_follow_a_link_out_of_the_model(made, tmp_path: Path, name: str):
    model = Path(shutil.copytree(made.model, tmp_path / "model", ignore=lambda *_: ["report"]))
    before = (model / "config.json").read_bytes()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "diary.txt").touch()
    (model / name).symlink_to(tmp_path / "home")
    line = failure("train", made.data, "-o", model, "--tower", "bag", "--epochs", "1")
    assert line == f"Error: {model / name}: a link or a file where training has a folder; remove it"
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["diary.txt"]
    assert (model / "config.json").read_bytes() == before


# Pipes to read.


def test_process_substitution_is_a_corpus(made, tmp_path: Path):
    inner = 'exec "$@" <(cat "$0") -m "$MODEL" -o "$INDEX" --json'
    done = subprocess.run(
        ["bash", "-c", inner, str(made.data / "corpus.jsonl"), *COMMAND, "build"],
        env=os.environ | {"MODEL": str(made.model), "INDEX": str(tmp_path / "index")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["documents"] == 8


def test_named_pipe_is_a_corpus_and_cannot_be_resumed(made, tmp_path: Path):
    index = Path(shutil.copytree(made.index, tmp_path / "index"))
    os.mkfifo(tmp_path / "more.jsonl")
    with subprocess.Popen(["cp", "/dev/stdin", tmp_path / "more.jsonl"], stdin=subprocess.PIPE) as writer:
        writer.stdin.write(b'{"_id": "new", "text": "through a pipe"}\n')
        writer.stdin.close()
        peephole("add", index, tmp_path / "more.jsonl")
    assert (
        json.loads(
            subprocess.run(
                [*COMMAND, "search", index, "pipe", "--mode", "lexical", "--json"],
                capture_output=True,
                check=True,
            ).stdout
        )["hits"][0]["id"]
        == "new"
    )
    line = failure("add", index, tmp_path / "more.jsonl", "--resume")
    assert "a pipe or standard input cannot be resumed; give a file" in line


@pytest.mark.parametrize("name", ["corpus.jsonl", "b.txt"])
@pytest.mark.parametrize("verb", ["build", "train"])
def test_pipe_inside_a_corpus_folder_is_refused_at_once(made, tmp_path: Path, name: str, verb: str):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text("a text")
    os.mkfifo(tmp_path / "corpus" / name)
    more = ("-m", made.model) if verb == "build" else ()
    line = failure(verb, tmp_path / "corpus", *more, "-o", tmp_path / "out")
    assert line == (
        f"Error: {tmp_path / 'corpus' / name}: a pipe, a device or a broken link inside a folder; remove it"
    )
    assert not (tmp_path / "out").exists()


def test_text_files_behind_links_are_still_read(made, tmp_path: Path):
    (tmp_path / "a.txt").write_text("a text")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").symlink_to(tmp_path / "a.txt")
    peephole("build", tmp_path / "corpus", "-m", made.model, "-o", tmp_path / "index")


@pytest.mark.parametrize("name", ["vocabulary.json", "weights.safetensors"])
def test_pipe_in_a_model_is_told_at_once(made, tmp_path: Path, name: str):
    model = Path(shutil.copytree(made.model, tmp_path / "model"))
    (model / name).unlink()
    os.mkfifo(model / name)
    for line in (
        failure("explain", model, "copy"),
        failure("build", made.data, "-m", model, "-o", tmp_path / "out"),
    ):
        assert f"{model / name}: " in line
        assert "not a regular file" in line


def test_model_file_that_the_manifest_does_not_name_is_not_read(made, tmp_path: Path):
    import hashlib

    index = Path(shutil.copytree(made.index, tmp_path / "index"))
    (manifest,) = index.glob("generation-*/manifest.json")
    content = json.loads(manifest.read_bytes())
    del content["files"]["model/weights.safetensors"]
    manifest.write_text(json.dumps(content))
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    (index / "CURRENT").write_text(f"{manifest.parent.name} {digest}\n")
    for command in (("search", index, "copy"), ("explain", index, "copy")):
        assert "model/weights.safetensors: the manifest does not name it" in failure(*command)


def test_output_is_whole_or_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "out").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        write_output(tmp_path / "out", b"new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out", "old")]


def test_folder_is_no_output(tmp_path: Path):
    with pytest.raises(InputError, match="is a folder; name a file to write"):
        write_output(tmp_path, b"")
