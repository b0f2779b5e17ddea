"""Folders of every format so far open, verify and answer as on the day they were written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from index.disk.verify import verify
from index.reader import Index
from retrieval.model.folder import read_model
from retrieval.search.modes import MODES
from retrieval.search.retriever import Retriever

GOLDEN = Path(__file__).parent
EXPECTED = json.loads((GOLDEN / "expected.json").read_text("utf-8"))
INDEXES = sorted(EXPECTED["queries"])
MODELS = sorted(EXPECTED["models"])


def test_every_golden_folder_is_tested():
    folders = {path.name for path in GOLDEN.iterdir() if path.name.startswith(("index-", "model-"))}
    assert folders == {*INDEXES, *MODELS}


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a golden folder: opening one must not be able to change the original."""
    return Path(shutil.copytree(GOLDEN / request.param, tmp_path / request.param))


@pytest.mark.parametrize("folder", INDEXES, indirect=True)
def test_an_index_answers_as_it_did(folder: Path):
    assert verify(folder) == []
    with Retriever.open(folder, checksums=True) as retriever:
        for query, modes in EXPECTED["queries"][folder.name].items():
            for mode in MODES:
                hits = retriever.search(query, 5, mode)
                assert [hit.id for hit in hits] == [name for name, _ in modes[mode]]
                assert [hit.score for hit in hits] == pytest.approx([s for _, s in modes[mode]], abs=2e-5)


def test_known_queries_of_an_index_are_read():
    with Index.open(GOLDEN / "index-5") as index:
        known = {document.id: document.queries for document in index.live_documents() if document.queries}
    assert known.keys() == {"faq/1", "faq/3", "faq/6", "faq/7"}
    assert known["faq/1"] == ("duplicate a folder", "clone everything below a path")


@pytest.mark.parametrize("folder", MODELS, indirect=True)
def test_a_model_encodes_as_it_did(folder: Path):
    model = read_model(folder)
    for side, expected in EXPECTED["models"][folder.name].items():
        vector = model.encoder(side).encode(["copy a 文件 folder"])[0]
        assert vector.tolist() == pytest.approx(expected, abs=2e-5)


def test_deleted_documents_and_filters_of_an_old_index_hold():
    with Index.open(GOLDEN / "index-2") as index:
        assert index.count == 8
        assert index.row_of("faq/8") is None
    with Retriever.open(GOLDEN / "index-2") as retriever:
        found = {hit.id for hit in retriever.search("copy files", 10, "dense", ["lang=en", "year>=2021"])}
    assert found == {"faq/1", "faq/2", "faq/5", "faq/9"}


def test_passages_and_nested_filters_of_format_3_hold():
    with Retriever.open(GOLDEN / "index-3") as retriever:
        assert retriever.index.count == 5
        assert retriever.index.row_of("faq/5") is None
        (hit,) = retriever.search("read gzip", 1, where="tags = shell and not exists author")
        assert (hit.id, hit.passage.text) == ("faq/2", "The option -z reads gzip.")
        long = {hit.id for hit in retriever.search("copy", 10) if hit.passage is not None}
        assert long == {"faq/1", "faq/2", "faq/3", "faq/6"}


def test_an_index_of_format_4_re_scores():
    with Retriever.open(GOLDEN / "index-4") as retriever:
        assert retriever.index.word_width() == 8
        assert len(retriever.index.segments) == 2
        assert retriever.rescoring is not None
        assert retriever.index.row_of("faq/8") is None


@pytest.mark.parametrize("name", ["index-2", "index-3", "index-4", "index-5"])
def test_old_indexes_find_single_characters_within_words(name: str):
    with Retriever.open(GOLDEN / name) as retriever:
        expected = {
            document.id
            for document in retriever.index.live_documents()
            if "务" in document.texts().joined()  # it stands alone nowhere
        }
        assert expected
        assert {hit.id for hit in retriever.search("务", 10, "lexical")} == expected
        assert expected <= {hit.id for hit in retriever.search("务", 10, "hybrid")}
