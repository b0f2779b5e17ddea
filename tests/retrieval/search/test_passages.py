"""Long documents: found by any part, and the hit names the part."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cli import verbs
from index.reader import Index
from retrieval.explain.shares import explain
from retrieval.indexing.build import add, build
from retrieval.indexing.passages import DOCUMENT_SHARE
from retrieval.model.config import ModelConfig
from retrieval.model.folder import read_model
from retrieval.search.modes import MODES, Mode
from retrieval.search.retriever import Retriever
from retrieval.text.passages import passage_texts

CONFIG = ModelConfig("bag", 8, 4, 8, document_words=16)
FILLER = "cat dog boat sail tree leaf house door tea cup."
PARTS = [
    FILLER,
    "启动服务 meal plate in the harbour at night.",
    "sail the boat home.",
    "tea cup tea cup leaf.",
]
LONG = " ".join(PARTS)
SHORT = "a house with one door"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, random_model) -> Path:
    place = tmp_path_factory.mktemp("passages")
    random_model(CONFIG, texts=[LONG, SHORT]).save(place / "model")
    write(place / "corpus.jsonl", {"long": LONG, "short": SHORT})
    build(place / "corpus.jsonl", place / "model", place / "index")
    return place


def write(path: Path, texts: dict[str, str]) -> Path:
    path.write_text("\n".join(json.dumps({"_id": name, "text": text}) for name, text in texts.items()))
    return path


@pytest.mark.parametrize("mode", MODES)
def test_hit_carries_the_passage_that_answers(folder: Path, mode: Mode):
    with Retriever.open(folder / "index") as retriever:
        hits = {hit.id: hit for hit in retriever.search("meal plate harbour", mode=mode)}
    passage = hits["long"].passage
    assert "meal plate in the harbour" in passage.text
    assert passage.text == LONG[passage.start : passage.end] != LONG
    assert hits["long"].text == LONG
    if mode != "lexical":
        assert hits["short"].passage is None


@pytest.mark.parametrize("query", ["务", "服 zebra", "boat 启 务"])  # tokens of the text are pairs
def test_passage_of_a_lexical_hit_has_the_single_characters_of_the_query(folder: Path, query: str):
    with Retriever.open(folder / "index") as retriever:
        hit = retriever.search(query, 1, "lexical")[0]
        assert (hit.id, hit.passage.text) == ("long", PARTS[1])


def test_score_is_the_cosine_of_the_best_passage_drawn_towards_the_document(folder: Path):
    encoder = read_model(folder / "model").encoder("document")
    with Retriever.open(folder / "index") as retriever, Index.open(folder / "index") as index:
        spans = index.spans(0)
        read = encoder.encode(passage_texts("", LONG, spans, 16))
        vectors = read + DOCUMENT_SHARE * read.mean(axis=0)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        cosines = vectors @ retriever.encode(["meal plate harbour"])[0]
        (hit,) = (hit for hit in retriever.search("meal plate harbour", mode="dense") if hit.id == "long")
    assert len(spans) > 2
    assert hit.score == pytest.approx(cosines.max(), abs=1e-3)
    assert (hit.passage.start, hit.passage.end) == spans[cosines.argmax()]


def test_explanation_is_of_the_passage_as_the_tower_reads_it(folder: Path):
    explanation = explain(folder / "index", "meal plate harbour", "long")
    with Retriever.open(folder / "index") as retriever:
        (hit,) = (hit for hit in retriever.search("meal plate harbour", mode="dense") if hit.id == "long")
    assert explanation.passage == (hit.passage.start, hit.passage.end)
    assert explanation.document.text.endswith(hit.passage.text)
    assert explain(folder / "index", "meal", "short").passage is None


def test_added_documents_are_split_as_those_of_the_build(folder: Path, tmp_path: Path):
    for words in (0, 8, None):
        index = tmp_path / f"index-{words}"
        build(folder / "corpus.jsonl", folder / "model", index, passage_words=words)
        add(write(tmp_path / "more.jsonl", {"more": LONG}), index)
        with Index.open(index) as opened:
            spans = [opened.spans(opened.row_of(name)) for name in ("long", "more")]
        assert spans[0] == spans[1]
        assert bool(spans[0]) == (words != 0)


def test_passages_can_be_turned_off_and_must_not_be_longer_than_the_model_reads(folder: Path, tmp_path: Path):
    arguments = ["build", folder / "corpus.jsonl", "-m", folder / "model", "-o", tmp_path / "i", "--passages"]
    result = CliRunner().invoke(verbs, [*map(str, arguments), "off"])
    assert result.exit_code == 0
    with Index.open(tmp_path / "i") as opened:
        assert len(opened.vector_numbers()) == opened.count == 2
    result = CliRunner().invoke(verbs, [*map(str, arguments), "17"])
    assert result.exit_code == 1
    assert "the model reads 16 words; --passages must not be more" in result.output
    assert CliRunner().invoke(verbs, [*map(str, arguments), "some"]).exit_code == 2
