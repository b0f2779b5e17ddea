"""Encoding on a Ray cluster of this machine: a file of vectors for each file, made once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from index.errors import InputError, PeerError
from index.opened import open_index
from retrieval.indexing.build import build
from retrieval.indexing.encode import encode
from retrieval.model.config import preset

pytest.importorskip("ray", reason="needs the extra ray")

from pyarrow import parquet

from retrieval.indexing import distributed
from retrieval.indexing.distributed import LOCAL, EncodedFiles, encode_files

if TYPE_CHECKING:
    from retrieval.towers.two_tower import TwoTower

TEXTS = ("list files", "启动服务", "copy a folder")


@pytest.fixture(scope="module")
def model(random_model: Callable[..., TwoTower], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distributed") / "model"
    random_model(preset("lstm"), texts=["list files by size", "copy what holds"]).save(folder)
    return folder


def write(path: Path, repeated: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"_id": f"{path.stem}/{n}", "text": text}) for n, text in enumerate(TEXTS * repeated)]
    path.write_text("\n".join(lines) + "\n")
    return path


def vectors_of(path: Path) -> np.ndarray:
    return np.array(parquet.read_table(path)["vector"].to_pylist(), np.float32)


def test_each_file_is_encoded_once_and_a_broken_one_keeps_no_other(tmp_path: Path, model: Path) -> None:
    sources = [write(tmp_path / "in" / name) for name in ("a.jsonl", "b.jsonl", "sub/a.jsonl")]
    sources[1].write_text('{"_id": "x"\n')
    output = tmp_path / "out"
    seen: list[tuple[int, int | None]] = []

    def run(*, resume: bool) -> EncodedFiles:
        return encode_files(
            f"{tmp_path}/in/*.jsonl",
            model,
            str(output),
            LOCAL,
            resume=resume,
            progress=lambda stage, done, total: seen.append((done, total)),
        )

    with pytest.raises(
        InputError, match=rf"^1 of 3 files could not be encoded: {sources[1]}:1: .* --resume$"
    ):
        run(resume=False)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    made = {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")}
    assert {str(path.relative_to(output)) for path in made} == {"a.jsonl.parquet", "sub/a.jsonl.parquet"}
    write(sources[1])
    assert run(resume=True) == EncodedFiles("document", 3, 2, 9, 9, 256)
    assert {path: path.stat().st_mtime_ns for path in made} == made
    encode(sources[2], model, tmp_path / "expected.npy")
    expected = np.load(tmp_path / "expected.npy", allow_pickle=False)
    np.testing.assert_allclose(vectors_of(output / "sub" / "a.jsonl.parquet"), expected, atol=1e-6)


def test_a_driver_that_is_killed_leaves_whole_files_which_are_kept(tmp_path: Path, model: Path) -> None:
    for number in range(6):
        write(tmp_path / "in" / f"{number}.jsonl", repeated=4000)
    output = tmp_path / "out"
    arguments = [str(tmp_path / "in" / "*.jsonl"), "-m", str(model), "-o", str(output), "--ray", "local"]
    root = Path(__file__).parents[3]
    driver = subprocess.Popen([sys.executable, str(root / "cli.py"), "encode", *arguments])
    while not list(output.glob("*.parquet")):
        assert driver.poll() is None
        time.sleep(0.01)
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    time.sleep(1)  # until Ray has seen that it is alone
    made = {path: path.stat().st_mtime_ns for path in output.glob("*.parquet")}
    done = encode_files(arguments[0], model, str(output), LOCAL, resume=True)
    assert (done.files, done.texts) == (6, 72_000)
    assert len(made) <= done.kept < 6 or len(made) == 6
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert sorted(path.name for path in output.iterdir()) == [
        f"{number}.jsonl.parquet" for number in range(6)
    ]


def test_no_file_is_written_over_another_or_over_its_source(tmp_path: Path, model: Path) -> None:
    for name in ("a.jsonl", "a.jsonl.parquet"):
        write(tmp_path / "in" / name)
    with pytest.raises(InputError, match=r"out/a\.jsonl\.parquet: two files would have their vectors there"):
        encode_files(f"{tmp_path}/in", model, f"{tmp_path}/out", LOCAL)
    with pytest.raises(InputError, match="in: holds the files to encode; choose another folder"):
        encode_files(f"{tmp_path}/in/*.parquet", model, f"{tmp_path}/in", LOCAL)


def assert_equal(index: Path, other: Path) -> None:
    """Compare all files of the live generations but their manifests, which have a date.

    Other words at once can change the last bit of a sum, and with it the rounding to half precision.
    """
    apart = {"manifest.json", "vectors.faiss"}
    folders = [folder / (folder / "CURRENT").read_text().split()[0] for folder in (index, other)]
    own, others = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in folders
    )
    assert own.keys() == others.keys()
    assert [path for path in own if path.name not in apart and own[path] != others[path]] == []
    with open_index(index) as one, open_index(other) as two:
        numbers = one.vector_numbers()
        np.testing.assert_allclose(one.vectors(numbers), two.vectors(numbers), atol=1e-3)


def test_an_index_built_on_a_cluster_is_that_of_a_build_alone(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.indexing.passages._DOCUMENTS_PER_SHARD", 4)
    for name in ("a", "b"):
        write(tmp_path / "in" / f"{name}.jsonl", repeated=3)
    (tmp_path / "in" / "c.jsonl").write_text(
        json.dumps({"_id": "long", "text": "what it holds. " * 200}) + "\n"
    )
    pattern = f"{tmp_path}/in/*.jsonl"
    build(pattern, model, tmp_path / "alone")
    assert build(pattern, model, tmp_path / "ray", cluster=LOCAL).documents == 19
    assert_equal(tmp_path / "ray", tmp_path / "alone")

    def fail(stage: str, done: int, total: int | None) -> None:
        if (stage, done) == ("encoding", 8):
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        build(pattern, model, tmp_path / "broken", cluster=LOCAL, progress=fail)
    seen: list[int] = []
    build(
        *(pattern, model, tmp_path / "broken"),
        cluster=LOCAL,
        resume=True,
        progress=lambda stage, done, total: seen.append(done) if stage == "encoding" else None,
    )
    assert seen == [12, 16, 19]
    assert_equal(tmp_path / "broken", tmp_path / "alone")


def test_nothing_of_the_model_is_left_where_temporary_files_are(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray kills its processes, which then remove nothing."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", tempfile.gettempdir())  # Ray's own, for the names of sockets are short
    monkeypatch.setenv("TMPDIR", str(temporary))
    write(tmp_path / "a.jsonl")
    encode_files(f"{tmp_path}/*.jsonl", model, f"{tmp_path}/out", LOCAL)
    build(tmp_path / "a.jsonl", model, tmp_path / "index", cluster=LOCAL)
    assert list(temporary.glob("peephole-*")) == []


def test_a_cluster_that_fails_is_told_in_one_line(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "_encode_texts", fails)
    write(tmp_path / "a.jsonl")
    with pytest.raises(
        PeerError, match=r"^local: the Ray cluster could not encode \(.*no room.*--resume$"
    ) as caught:
        build(tmp_path / "a.jsonl", model, tmp_path / "index", cluster=LOCAL)
    assert "\n" not in str(caught.value)


def fails(*arguments: object) -> None:
    raise MemoryError("no room")


def test_a_cluster_that_is_not_there_is_told_in_one_line(tmp_path: Path, model: Path) -> None:
    write(tmp_path / "a.jsonl")
    with pytest.raises(PeerError, match=r"^auto: no Ray cluster can be reached there \(") as caught:
        encode_files(f"{tmp_path}/*.jsonl", model, f"{tmp_path}/out", "auto")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_an_address_where_nobody_listens_is_told_before_ray_asks_for_minutes(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(distributed.ray, "init", lambda **options: pytest.fail("Ray was asked"))
    write(tmp_path / "a.jsonl")
    with pytest.raises(PeerError, match=rf"^{address}: no Ray cluster .* \(Connection refused\)"):
        encode_files(f"{tmp_path}/*.jsonl", model, f"{tmp_path}/out", address)


def test_queries_that_are_no_records_are_told_what_to_do(tmp_path: Path, model: Path) -> None:
    (tmp_path / "queries.jsonl").write_text('{"text": "list files"}\n')
    with pytest.raises(InputError, match="with --ray queries are records with _id and text"):
        encode_files(f"{tmp_path}/*.jsonl", model, f"{tmp_path}/out", LOCAL, "query")
