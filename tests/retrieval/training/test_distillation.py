"""The teacher: files of vectors taken at their word only if it is sound, models asked once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from index.errors import InputError, StorageError
from retrieval.training.distillation import read_teacher_vectors

DOCUMENTS = {"d1": "cat", "d2": "dog"}
QUERIES = {"q1": "feline"}


def arrays(**changed):
    """Sound arrays, with some replaced; None leaves one out."""
    sound = {
        "query_ids": np.array(["q0", "q1"]),
        "query_vectors": np.array([[1, 0], [3, 4]], np.float16),
        "document_ids": np.array(["d2", "extra", "d1"]),
        "document_vectors": np.array([[0, 2], [9, 9], [-5, 0]], np.float32),
    }
    return {name: array for name, array in (sound | changed).items() if array is not None}


def saved(folder, **changed):
    np.savez(folder / "t.npz", **arrays(**changed))
    return str(folder / "t.npz")


def test_file_gives_the_wanted_rows_in_order_and_of_unit_length(tmp_path):
    vectors = read_teacher_vectors(saved(tmp_path), DOCUMENTS, QUERIES, tmp_path / "cache")
    np.testing.assert_allclose(vectors.documents, [[-1, 0], [0, 1]])
    np.testing.assert_allclose(vectors.queries, [[0.6, 0.8]], rtol=1e-6)
    assert vectors.documents.dtype == vectors.queries.dtype == np.float32
    assert not (tmp_path / "cache").exists()


def test_a_bare_corpus_needs_no_vectors_of_queries(tmp_path):
    path = saved(tmp_path, query_ids=None, query_vectors=None)
    vectors = read_teacher_vectors(path, DOCUMENTS, {}, tmp_path / "cache")
    assert vectors.documents.shape == (2, 2)
    assert len(vectors.queries) == 0


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"query_ids": None}, "no array query_ids; add it"),
        ({"document_vectors": None}, "no array document_vectors; add it"),
        ({"document_ids": np.array(["d1", "d2", "d1"])}, "document_ids holds 'd1' twice; give every"),
        ({"document_ids": np.array(["d1", "x", "y"])}, "no vector of document 'd2'; encode"),
        ({"document_ids": np.array(["x", "y", "z"])}, "no vector of document 'd1' and 1 more; encode"),
        ({"query_ids": np.array([1, 2])}, r"query_ids is int64 \(2,\); make it a list of text"),
        ({"query_ids": np.array([["q1"]])}, r"query_ids is <U2 \(1, 1\); make it"),
        ({"query_ids": np.array(["q1", None])}, "not readable as arrays of text"),
        ({"query_vectors": np.ones((2, 2))}, "query_vectors is float64 .* make it float16 or float32"),
        ({"query_vectors": np.ones((3, 2), np.float32)}, r"\(3, 2\); make it float16 or float32 \(2, width"),
        ({"query_vectors": np.ones(2, np.float32)}, "a row for each of query_ids"),
        ({"query_vectors": np.ones((2, 0), np.float32)}, "make it float16 or float32"),
        ({"query_vectors": np.ones((2, 3), np.float32)}, "queries and documents are 3 and 2 wide; use one"),
        ({"query_vectors": np.full((2, 2), np.nan, np.float32)}, "of query 'q1' is not finite; encode"),
        ({"document_vectors": np.full((3, 2), np.inf, np.float16)}, "of document 'd1' is not finite"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_in_a_line(tmp_path, changed, problem):
    with pytest.raises(InputError, match=problem) as caught:
        read_teacher_vectors(saved(tmp_path, **changed), DOCUMENTS, QUERIES, tmp_path / "cache")
    assert str(caught.value).startswith(f"{tmp_path / 't.npz'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["missing", "text", "cut short", "one array", "header", "encrypted"])
def test_a_file_that_is_no_archive_is_told(tmp_path, damage):
    path = Path(saved(tmp_path))
    if damage == "missing":
        path.unlink()
    elif damage == "one array":
        with path.open("wb") as file:
            np.save(file, np.ones(3))
    else:
        whole = path.read_bytes()
        flags = whole.index(b"PK\x01\x02") + 8
        damaged = {
            "text": b"hello",
            "cut short": whole[: len(whole) // 2],
            "header": whole.replace(b"), }", b"), ("),
            "encrypted": whole[:flags] + b"\x01" + whole[flags + 1 :],
        }
        path.write_bytes(damaged[damage])
    with pytest.raises(InputError, match=r"\.npz: not readable as arrays") as caught:
        read_teacher_vectors(str(path), DOCUMENTS, QUERIES, tmp_path / "cache")
    assert "\n" not in str(caught.value)


class Fake:
    """A sentence-transformers model whose vectors are the lengths of the texts; it counts what it encodes."""

    asked: list[str]
    prompts: dict[str, str]

    def __init__(self, name, device, model_kwargs):
        assert (device, model_kwargs) == ("cpu", {"use_safetensors": True})
        if name == "no such model":
            raise OSError("not found\nsecond line")

    def encode(self, texts, prompt_name, normalize_embeddings, show_progress_bar):
        assert normalize_embeddings
        assert not show_progress_bar
        Fake.asked += [f"{Fake.prompts.get(prompt_name, '')}{text}" for text in texts]
        return np.array([[len(text), 1] for text in texts], np.float32)


@pytest.fixture
def library(monkeypatch):
    Fake.asked, Fake.prompts = [], {}
    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=Fake))
    monkeypatch.setattr("retrieval.training.distillation._TEXTS_PER_SHARD", 2)
    return Fake


def test_model_encodes_each_text_once_and_ever(tmp_path, library):
    documents = {f"d{n}": "x" * (n % 5) for n in range(12)}
    first = read_teacher_vectors("some/model", documents, QUERIES, tmp_path / "c")
    assert library.asked == ["", "x", "xx", "xxx", "xxxx", "feline"]
    expected = np.array([[n % 5, 1] for n in range(12)], np.float32)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(first.documents, expected, atol=1e-3)
    library.asked.clear()
    again = read_teacher_vectors("some/model", documents, QUERIES, tmp_path / "c")
    assert library.asked == []
    np.testing.assert_array_equal(again.documents, first.documents)
    np.testing.assert_array_equal(again.queries, first.queries)


def test_another_model_or_text_is_encoded_anew_and_the_old_forgotten(tmp_path, library):
    read_teacher_vectors("a", DOCUMENTS, QUERIES, tmp_path)
    library.asked.clear()
    read_teacher_vectors("a", DOCUMENTS | {"d2": "hound"}, QUERIES, tmp_path)
    assert library.asked == ["cat", "hound"]
    library.asked.clear()
    read_teacher_vectors("b", DOCUMENTS, QUERIES, tmp_path)
    assert library.asked == ["cat", "dog", "feline"]
    assert len(list(tmp_path.iterdir())) == 2


def test_only_shards_of_the_cache_are_forgotten(tmp_path, library):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "notes.txt").touch()
    (tmp_path / "c" / f".{'0' * 64}.npy.77.tmp").touch()
    read_teacher_vectors("a", DOCUMENTS, QUERIES, tmp_path / "c")
    assert [path.name for path in (tmp_path / "c").iterdir() if path.suffix != ".npy"] == ["notes.txt"]


def test_a_cache_that_is_a_link_is_not_followed(tmp_path, library):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / f"{'0' * 64}.npy").touch()
    (tmp_path / "c").symlink_to(tmp_path / "home")
    with pytest.raises(StorageError, match=r"c: not a folder, so nothing is written there; remove it"):
        read_teacher_vectors("a", DOCUMENTS, QUERIES, tmp_path / "c")
    assert [path.name for path in (tmp_path / "home").iterdir()] == [f"{'0' * 64}.npy"]


def test_a_folder_with_other_contents_is_another_model(tmp_path, library):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_text("1")
    read_teacher_vectors(str(folder), DOCUMENTS, QUERIES, tmp_path / "c")
    library.asked.clear()
    (folder / "weights").write_text("23")
    read_teacher_vectors(str(folder), DOCUMENTS, QUERIES, tmp_path / "c")
    assert library.asked == ["cat", "dog", "feline"]


def test_encoding_cut_short_goes_on_at_the_shard(tmp_path, library):
    documents = {f"d{n}": "x" * n for n in range(6)}
    told = []

    def progress(stage, done, total):
        told.append((stage, done, total))

    with pytest.raises(KeyboardInterrupt):
        read_teacher_vectors("a", documents, QUERIES, tmp_path, progress, lambda: len(told) == 2)
    assert library.asked == ["", "x", "xx", "xxx"]
    library.asked.clear()
    read_teacher_vectors("a", documents, QUERIES, tmp_path, progress)
    assert library.asked == ["xxxx", "xxxxx", "feline"]
    assert told[2:] == [("documents by the teacher", n, 6) for n in (2, 4, 6)] + [
        ("queries by the teacher", 1, 1)
    ]


@pytest.mark.parametrize("damage", [b"", b"hello", "shape"])
def test_a_damaged_shard_is_encoded_again(tmp_path, library, damage):
    whole = read_teacher_vectors("a", DOCUMENTS, {}, tmp_path)
    (shard,) = tmp_path.iterdir()
    if damage == "shape":
        np.save(shard, np.ones((1, 2), np.float16))
    else:
        shard.write_bytes(damage)
    np.testing.assert_array_equal(
        read_teacher_vectors("a", DOCUMENTS, {}, tmp_path).documents, whole.documents
    )
    assert library.asked == ["cat", "dog"] * 2


def test_models_that_tell_queries_from_documents_are_told(tmp_path, library):
    library.prompts = {"query": "query: ", "other": "?"}
    read_teacher_vectors("a", DOCUMENTS, QUERIES, tmp_path)
    assert library.asked == ["cat", "dog", "query: feline"]


def test_vectors_that_are_not_finite_are_refused(tmp_path, library, monkeypatch):
    monkeypatch.setattr(library, "encode", lambda self, texts, **_: np.full((len(texts), 2), np.nan))
    with pytest.raises(InputError, match="teacher a: its vectors are not finite rows; choose another model"):
        read_teacher_vectors("a", DOCUMENTS, QUERIES, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_be_loaded_is_told_in_a_line(tmp_path, library):
    with pytest.raises(InputError, match=r"'no such model' cannot be loaded .OSError: not found.; give") as e:
        read_teacher_vectors("no such model", DOCUMENTS, QUERIES, tmp_path)
    assert "\n" not in str(e.value)


def test_a_folder_that_asks_for_code_of_its_own_is_refused(tmp_path, library):
    folder = tmp_path / "teacher"
    folder.mkdir()
    modules = [{"type": "sentence_transformers.models.Transformer"}, {"type": "evil.Module"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match=r"modules\.json: asks for 'evil\.Module', which is not of"):
        read_teacher_vectors(str(folder), DOCUMENTS, QUERIES, tmp_path / "cache")
    (folder / "modules.json").write_text("{")
    with pytest.raises(InputError, match="not a list of modules"):
        read_teacher_vectors(str(folder), DOCUMENTS, QUERIES, tmp_path / "cache")


def test_without_the_library_its_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(InputError, match=r"needs sentence-transformers; pip install 'peephole\[teacher\]'"):
        read_teacher_vectors("a", DOCUMENTS, QUERIES, tmp_path)
