"""Files of vectors: the same as those of `encode`, whole or not there, and made once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from index.errors import InputError
from retrieval.indexing.encode import encode
from retrieval.model.config import preset
from retrieval.model.folder import read_model

parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")

from retrieval.data.locations import Location, matching_files  # noqa: E402
from retrieval.indexing.arrow_files import (  # noqa: E402
    EncodedFile,
    Settings,
    encode_file,
    remove_temporaries,
    target_of,
)

if TYPE_CHECKING:
    from retrieval.model.folder import TrainedModel
    from retrieval.towers.two_tower import TwoTower

LONG = " ".join(f"Sentence {number} says what file {number} holds." for number in range(60))
SETTINGS = Settings("a model")


@pytest.fixture(scope="module")
def model(random_model: Callable[..., TwoTower], tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    folder = tmp_path_factory.mktemp("arrow_files") / "model"
    random_model(preset("lstm"), texts=["list files by size", "sentence says what holds"]).save(folder)
    return read_model(folder)


def write(path: Path, *texts: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"_id": f"{path.stem}/{n}", "title": "T", "text": text}) for n, text in enumerate(texts)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def rows_of(path: Path) -> tuple[list[dict[str, Any]], Any]:
    table = parquet.read_table(path)
    names = table.drop_columns(["vector"]).to_pylist()
    return names, np.array(table["vector"].to_pylist(), np.float32)


@pytest.mark.parametrize("words", [0, 40])
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_file_has_the_vectors_of_encode(tmp_path: Path, model: TrainedModel, words: int, kind: str) -> None:
    source = write(tmp_path / "in" / "a.jsonl", "list files", LONG, "启动服务")
    encode(source, model.folder, tmp_path / "expected.parquet", passage_words=words)
    if kind == "parquet":
        records = [json.loads(line) for line in source.read_text().splitlines()]
        parquet.write_table(__import__("pyarrow").Table.from_pylist(records), source.with_suffix(".parquet"))
        source = source.with_suffix(".parquet")
    (location,) = matching_files(str(source))
    target = target_of(location, str(tmp_path / "out"))
    done = encode_file(location, target, model, Settings("m", "document", words), resume=False)
    names, vectors = rows_of(
        tmp_path / "out" / "a.jsonl.parquet" if kind == "jsonl" else tmp_path / "out/a.parquet"
    )
    expected_names, expected = rows_of(tmp_path / "expected.parquet")
    assert done == EncodedFile(3, len(expected), kept=False)
    assert (len(expected) > 3) == (words > 0)
    assert names == expected_names
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_the_query_tower_encodes_queries(tmp_path: Path, model: TrainedModel) -> None:
    (source,) = matching_files(str(write(tmp_path / "a.jsonl", "list files")))
    encode_file(source, target_of(source, str(tmp_path / "out")), model, Settings("m", "query"), resume=False)
    _, vectors = rows_of(tmp_path / "out" / "a.jsonl.parquet")
    np.testing.assert_allclose(vectors, model.encoder("query").encode(["T list files"]), atol=1e-6)


def test_a_file_is_made_once_for_each_model_setting_and_source(tmp_path: Path, model: TrainedModel) -> None:
    (source,) = matching_files(str(write(tmp_path / "in" / "a.jsonl", "list files", "copy")))
    target = target_of(source, str(tmp_path / "out"))

    def again(settings: Settings = SETTINGS, *, resume: bool = True) -> bool:
        return encode_file(source, target, model, settings, resume=resume).kept

    assert not again()
    assert encode_file(source, target, model, SETTINGS, resume=True) == EncodedFile(2, 2, kept=True)
    assert not again(resume=False)
    for other in (Settings("other"), Settings("a model", "query"), Settings("a model", "document", 16)):
        assert not again(other)
        assert again(other)
    assert not again()
    path = tmp_path / "in" / "a.jsonl"
    write(path, "list files", "move")
    os.utime(path, ns=(1, 1))
    assert not again()
    assert again()
    output = tmp_path / "out" / "a.jsonl.parquet"
    output.write_bytes(output.read_bytes()[:-9])
    assert not again()
    assert again()


@pytest.mark.parametrize("before", [True, False])
def test_a_broken_file_leaves_what_was_there(tmp_path: Path, model: TrainedModel, before: bool) -> None:
    path = write(tmp_path / "in" / "a.jsonl", "list files")
    (source,) = matching_files(str(path))
    target = target_of(source, str(tmp_path / "out"))
    if before:
        encode_file(source, target, model, SETTINGS, resume=False)
    kept = {p.name: p.read_bytes() for p in (tmp_path / "out").glob("*")}
    path.write_text(path.read_text() + "{broken\n")
    with pytest.raises(InputError, match=rf"^{path}:2: "):
        encode_file(source, target, model, SETTINGS, resume=False)
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").glob("*")} == kept


def test_files_of_a_store_are_fetched_and_sent_whole(store: Path, model: TrainedModel) -> None:
    write(store / "bucket" / "in" / "a.jsonl", "list files")
    path = write(store / "bucket" / "in" / "b.jsonl", "list files")
    sources = matching_files("store://bucket/in/*.jsonl?region=x")
    assert sources == [Location("store://bucket/in?region=x", f"{name}.jsonl") for name in "ab"]
    targets = [target_of(source, "store://bucket/out") for source in sources]
    assert [str(target) for target in targets] == [
        f"store://bucket/out/{name}.jsonl.parquet" for name in "ab"
    ]
    assert not encode_file(sources[0], targets[0], model, SETTINGS, resume=True).kept
    assert encode_file(sources[0], targets[0], model, SETTINGS, resume=True).kept
    path.write_text("{broken\n")
    with pytest.raises(InputError, match=r"^store://bucket/in/b\.jsonl:1: "):
        encode_file(sources[1], targets[1], model, SETTINGS, resume=True)
    assert [file.name for file in (store / "bucket" / "out").iterdir()] == ["a.jsonl.parquet"]


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    names = (".a.parquet.0f.vectors.tmp", "a.parquet", ".other", "b.vectors.tmp")
    (tmp_path / "sub").mkdir()
    for name in names:
        (tmp_path / "sub" / name).touch()
    remove_temporaries(str(tmp_path))
    assert sorted(path.name for path in (tmp_path / "sub").iterdir()) == [
        ".other",
        "a.parquet",
        "b.vectors.tmp",
    ]
    remove_temporaries(str(tmp_path / "missing"))
