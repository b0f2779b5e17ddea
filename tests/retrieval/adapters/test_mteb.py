"""MTEB runs the engine and the towers, and finds the figures that `peephole evaluate` finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mteb", reason="needs the extra mteb")

import mteb
from mteb.models.models_protocols import EncoderProtocol, SearchProtocol

from index.errors import InputError
from retrieval.adapters.mteb import PeepholeEncoder, PeepholeSearch, beir_task
from retrieval.evaluation.evaluate import evaluate_index
from retrieval.indexing.build import build
from retrieval.model.config import preset
from retrieval.model.folder import read_model

WORDS = [
    "list",
    "copy",
    "file",
    "folder",
    "archive",
    "date",
    "thread",
    "matrix",
    "mail",
    "disk",
    "text",
    "service",
]
LONG = " ".join(f"Sentence {number} says what file {number} holds." for number in range(40))


@pytest.fixture(scope="module")
def data(tmp_path_factory, write_beir) -> Path:
    rng = np.random.default_rng(0)
    documents = {f"d{n}": " ".join(rng.choice(WORDS, 6)) for n in range(40)} | {"long": LONG}
    queries = {f"q{n}": " ".join(rng.choice(WORDS, 3)) for n in range(12)} | {"unknown": "zebra"}
    queries["misspelt"] = "archvie of a flie"
    judged = {
        query: {f"d{document}": int(document % 3) for document in rng.integers(0, 40, 5)} for query in queries
    }
    return write_beir(tmp_path_factory.mktemp("mteb") / "data", documents, queries, {"test": judged})


@pytest.fixture(scope="module")
def model(tmp_path_factory, random_model) -> Path:
    folder = tmp_path_factory.mktemp("mteb") / "model"
    random_model(preset("lstm"), texts=[" ".join(WORDS), LONG]).save(folder)
    return folder


def scores_of(model, task):
    result = mteb.evaluate(model, task, cache=None, show_progress_bar=False)
    return result.task_results[0].scores["test"][0]


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_the_engine_has_the_figures_of_evaluate(mode, data, model, tmp_path):
    build(data, model, tmp_path / "index")
    ours = evaluate_index(
        tmp_path / "index", data, modes=(mode,), measures=("nDCG@10", "R@10", "AP@100")
    ).modes[mode]
    theirs = scores_of(PeepholeSearch(model, mode), beir_task(data))
    assert theirs["ndcg_at_10"] == pytest.approx(ours.mean("nDCG@10"), abs=1e-5)
    assert theirs["recall_at_10"] == pytest.approx(ours.mean("R@10"), abs=1e-5)
    assert theirs["map_at_100"] == pytest.approx(ours.mean("AP@100"), abs=1e-5)
    assert 0 < theirs["ndcg_at_10"] < 1


def test_the_towers_have_the_figures_of_a_dense_index_of_whole_documents(data, model, tmp_path):
    build(data, model, tmp_path / "index", passage_words=0)
    ours = evaluate_index(tmp_path / "index", data, modes=("dense",)).modes["dense"]
    theirs = scores_of(PeepholeEncoder(model), beir_task(data))
    assert theirs["ndcg_at_10"] == pytest.approx(ours.mean("nDCG@10"), abs=1e-5)


def test_both_meet_the_protocols_of_the_library_and_say_what_they_are(model):
    engine, towers = PeepholeSearch(model), PeepholeEncoder(model)
    assert isinstance(engine, SearchProtocol)
    assert isinstance(towers, EncoderProtocol)
    meta = engine.mteb_model_meta
    assert meta.model_type == ["hybrid"]
    assert (meta.embed_dim, meta.max_tokens) == (256, 128)
    assert meta.revision == towers.mteb_model_meta.revision
    assert meta.to_dict()["name"] == f"peephole/{model.name}"
    arrays = read_model(model).arrays
    assert meta.n_parameters == sum(array.size for name, array in arrays.items() if "scales" not in name)


def test_reranking_ranks_the_candidates_alone(data, model):
    engine, task = PeepholeSearch(model), beir_task(data)
    task.load_data()
    corpus, queries = (task.dataset["default"]["test"][part] for part in ("corpus", "queries"))
    engine.index(corpus)
    whole = engine.search(queries, top_k=41)
    candidates = {query: ["d3", "d1", "d2"] for query in whole}
    among = engine.search(queries, top_k=2, top_ranked=candidates)
    for query, ranked in whole.items():
        expected = [document for document in ranked if document in candidates[query]][:2]
        assert list(among[query]) == expected
    engine.close()
    with pytest.raises(InputError, match="call index before search"):
        engine.search(queries, top_k=2)


def test_the_engine_corrects_misspelt_words_as_evaluate_does(data, model):
    engine, task = PeepholeSearch(model, "lexical"), beir_task(data)
    task.load_data()
    engine.index(task.dataset["default"]["test"]["corpus"])
    typed, meant = (
        engine.search({"id": ["q"], "text": [text]}, top_k=5) for text in ("archvie flie", "archive file")
    )
    assert typed == meant
    assert len(typed["q"]) == 5
    engine.close()
