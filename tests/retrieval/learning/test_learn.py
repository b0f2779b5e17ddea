"""Learning end to end: what is published, what is refused, what is kept, what a killed learning leaves."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from clicked_world import World, at_random, at_random_from_above, people, the_last

from index.dense.tuning import Goal
from index.disk.folder import LEARNING, read_current
from index.disk.verify import verify
from index.documents.store import Document
from index.errors import BusyError, InputError
from index.reader import Index
from index.writing.delete import delete
from retrieval.data.dataset import open_dataset
from retrieval.indexing.build import add_documents, build
from retrieval.learning import learn as module
from retrieval.learning.learn import Reports, Settings, learn
from retrieval.learning.rollback import rollback
from retrieval.learning.work import Work
from retrieval.model.calibration import EVIDENCE, MARGINS, Calibration, ModeCalibration, to_json
from retrieval.model.folder import FILES, read_model
from retrieval.search.modes import MODES
from retrieval.search.retriever import Retriever
from retrieval.training.recipe import Recipe

RECIPE = Recipe(epochs=12, batch=64, learning_rate=0.03, warmup=2, patience=12)
SETTINGS = Settings(RECIPE)


@pytest.fixture(autouse=True)
def settings_of_the_process():
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.fixture
def log(world: World, tmp_path: Path) -> Path:
    return world.record(tmp_path / "clicks.jsonl", people)


def found_first(world: World) -> float:
    """The share of the queries whose document is the first hit of a dense search."""
    with Retriever.open(world.index) as retriever:
        hits = retriever.search_all(list(world.relevant), 1, "dense")
    return float(
        np.mean([hit[0].id == wanted for hit, wanted in zip(hits, world.relevant.values(), strict=True)])
    )


def left(index: Path) -> list[str]:
    """What a learning has left beside the index."""
    return sorted(path.name for path in (index / LEARNING).glob("*") if path.name != ".lock")


def test_a_better_model_is_published_and_the_one_before_is_kept(world: World, log: Path):
    before = found_first(world)
    with Index.open(world.index) as index:
        documents = list(index.live_documents())
    outcome = learn(world.index, log, settings=SETTINGS)
    assert (outcome.published, outcome.reason, outcome.documents) == (True, "", len(documents))
    assert (outcome.generation, outcome.previous) == ("generation-000002", ["generation-000001"])
    assert outcome.counts.held_out_queries >= 20
    assert found_first(world) > before + 0.3
    with Index.open(world.index, checksums=True) as index:
        assert list(index.live_documents()) == documents
    assert (verify(world.index), left(world.index)) == ([], [])


@pytest.mark.usefixtures("like_nfs")
def test_an_index_on_nfs_learns_and_goes_back(world: World, log: Path):
    assert learn(world.index, log, settings=SETTINGS).published
    assert rollback(world.index).restored == "generation-000001"
    assert learn(world.index, log, settings=SETTINGS).published


@pytest.mark.parametrize("behaviour", [at_random, at_random_from_above, the_last])
def test_clicks_that_tell_nothing_are_refused(world: World, tmp_path: Path, behaviour):
    before = read_current(world.index)
    log = world.record(tmp_path / "clicks.jsonl", behaviour)
    outcome = learn(world.index, log, settings=SETTINGS)
    assert not outcome.published
    assert outcome.reason
    assert (read_current(world.index), verify(world.index)) == (before, [])


def test_a_refused_model_is_put_aside_with_a_report(world: World, log: Path):
    settings = replace(SETTINGS, recipe=replace(RECIPE, epochs=1, learning_rate=1e-9))
    outcome = learn(world.index, log, settings=settings)
    assert outcome.reason.startswith("no improvement shown: click agreement of hybrid search is")
    assert left(world.index) == ["refused"]
    folder = Path(outcome.kept_aside)
    report = json.loads((folder / "report.json").read_text())
    assert (report["published"], report["reason"]) == (False, outcome.reason)
    assert read_model(folder / "model").config.tower == "bag"
    assert verify(world.index) == []
    assert learn(world.index, log, settings=SETTINGS).published
    assert left(world.index) == []  # the refused model is older than what is live now


def test_a_data_set_that_contradicts_the_clicks_refuses_the_model(
    world: World, log: Path, write_beir, tmp_path: Path
):
    """The data set says that every question is answered by what the live model finds for it."""
    queries = {f"q{n}": text for n, text in enumerate(world.relevant)}
    with Retriever.open(world.index) as retriever:
        hits = retriever.search_all(list(world.relevant), 1)
    dev = {f"q{n}": {hit[0].id: 1} for n, hit in enumerate(hits)}
    data = write_beir(tmp_path / "other", {"d0": ""}, queries, {"dev": dev})
    outcome = learn(world.index, log, open_dataset(data), SETTINGS)
    assert outcome.reason.startswith("worse: nDCG@10 of hybrid search")
    assert outcome.counts.data_queries > 100


def test_hits_keep_their_probabilities_where_clicks_alone_are_learnt_from(
    world: World, log: Path, tmp_path: Path
):
    model = tmp_path / "calibrated"
    with Index.open(world.index) as index:
        shutil.copytree(index.model_folder, model)
    weights = (0.1,) * (len(EVIDENCE) + 1)
    calibration = Calibration(
        dict.fromkeys(MODES, ModeCalibration(weights, weights + (0.1,) * len(MARGINS))), 30
    )
    (model / FILES.calibration).write_text(to_json(calibration))
    build(world.corpus, model, world.index, goal=Goal(recall=1))
    assert learn(world.index, log, settings=SETTINGS).published
    with Retriever.open(world.index) as retriever:
        assert retriever.calibration == calibration
        assert retriever.search(next(iter(world.relevant)), min_probability=0.0)[0].probability is not None


def test_a_dry_run_trains_nothing(world: World, log: Path):
    outcome = learn(world.index, log, settings=replace(SETTINGS, dry_run=True))
    assert (outcome.published, outcome.training) == (False, None)
    assert outcome.counts.clicked_queries == len(world.relevant)
    assert not (world.index / LEARNING).exists()


def test_documents_that_change_meanwhile_are_in_what_is_published(world: World, log: Path, monkeypatch):
    """Added, replaced and deleted after the candidate was built, as a server does it."""

    def compare_and_change(*arguments: object) -> object:
        add_documents([Document("new", "", "answer1 new"), Document("d2", "", "changed")], world.index)
        delete(world.index, ["d3"])
        return compare(*arguments)

    compare = module.compare
    monkeypatch.setattr(module, "compare", compare_and_change)
    outcome = learn(world.index, log, settings=SETTINGS)
    assert (outcome.published, outcome.documents) == (True, 16)
    with Retriever.open(world.index) as retriever:
        texts = {document.id: document.text for document in retriever.index.live_documents()}
        assert (texts["new"], texts["d2"], "d3" in texts) == ("answer1 new", "changed", False)
        encoder = read_model(retriever.index.model_folder).encoder("document")
        (hit,) = retriever.index.search_exact(encoder.encode(["answer1 new"]), 1).rows[0]
        assert retriever.index.texts([int(hit)])[0].id == "new"
    assert verify(world.index) == []
    rolled = rollback(world.index)
    assert (rolled.documents, rolled.encoded) == (16, 0)  # what is kept is what was live at publication


def test_another_model_that_was_built_meanwhile_stays(world: World, log: Path, monkeypatch, random_model):
    def compare_and_build(*arguments: object) -> object:
        with Index.open(world.index) as index:
            config = read_model(index.model_folder).config
        random_model(config, seed=1, texts=["other"]).save(log.parent / "other")
        build(world.corpus, log.parent / "other", world.index)
        return compare(*arguments)

    compare = module.compare
    monkeypatch.setattr(module, "compare", compare_and_build)
    with pytest.raises(InputError, match="built anew or rolled back while this one was learnt"):
        learn(world.index, log, settings=SETTINGS)
    assert read_current(world.index).generation == "generation-000002"


def test_two_processes_do_not_learn_at_once(world: World, log: Path):
    with Work(world.index), pytest.raises(BusyError, match="another process is learning"):
        learn(world.index, log, settings=SETTINGS)


def test_a_learning_that_leaves_nothing_leaves_no_folder(tmp_path: Path):
    with Work(tmp_path) as work:
        work.begin("plan")
        work.clear()
    assert not list(tmp_path.iterdir())


class _KillError(Exception):
    """What ends a learning in the tests below, as a kill would: nothing is cleaned up."""


@pytest.mark.parametrize("moment", ["train", "build_candidate", "compare", "publish_candidate"])
def test_a_learning_that_was_cut_short_goes_on_with_the_same_input(
    world: World, log: Path, monkeypatch, moment: str
):
    """Cut short before each part; what was done before is not done again and the outcome is the same."""
    whole = Path(shutil.copytree(world.index, log.parent / "whole"))
    learn(whole, log, settings=SETTINGS)

    def stopping(*arguments: object, **options: object) -> None:
        raise _KillError

    with monkeypatch.context() as patch:
        patch.setattr(module, moment, stopping)
        with pytest.raises(_KillError):
            learn(world.index, log, settings=SETTINGS)
    assert verify(world.index) == []
    if moment != "train":
        monkeypatch.setattr(module, "train", stopping)
    assert learn(world.index, log, settings=SETTINGS).published
    with Index.open(whole) as one, Index.open(world.index) as other:
        weights = [index.manifest.files[f"model/{FILES.weights}"] for index in (one, other)]
    assert weights[0] == weights[1]
    assert (verify(world.index), left(world.index)) == ([], [])


def test_other_input_begins_anew(world: World, log: Path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(module, "compare", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            learn(world.index, log, settings=SETTINGS)
    assert left(world.index) == ["candidate", "model", "plan"]
    world.record(log, people, seed=1)
    trained = []
    train = module.train
    monkeypatch.setattr(module, "train", lambda *a, **o: (trained.append(1), train(*a, **o))[1])
    assert learn(world.index, log, settings=SETTINGS).published
    assert trained == [1]


def test_an_interrupted_training_keeps_its_steps(world: World, log: Path):
    steps = iter(range(100))
    with pytest.raises(KeyboardInterrupt):
        learn(world.index, log, settings=SETTINGS, reports=Reports(stop=lambda: next(steps) == 5))
    told: list[str] = []
    outcome = learn(
        world.index,
        log,
        settings=SETTINGS,
        reports=Reports(progress=lambda stage, done, total: told.append(f"{stage} {done}")),
    )
    assert outcome.published
    first = next(line for line in told if line.startswith("steps"))
    assert int(first.rpartition(" ")[2]) > 1
