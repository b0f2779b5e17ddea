"""From a data folder to a model folder: what comes out, what is held out, what a failure leaves behind."""

from __future__ import annotations

import gc
import json
import shutil
import sys
import zlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from index.disk.carried_model import fingerprint
from index.disk.writer_lock import WriterLock
from index.documents.store import Document
from index.errors import BusyError, InputError, StorageError
from index.ranking import Ranking
from retrieval.data.dataset import open_dataset
from retrieval.model.config import ModelConfig
from retrieval.model.folder import FILES, read_model
from retrieval.text.vocabulary import Vocabulary
from retrieval.towers.two_tower import TwoTower
from retrieval.training.dev import dev_measures
from retrieval.training.examples.dataset import read_training_data
from retrieval.training.fitting.dev_index import best_dense_share, dev_index
from retrieval.training.fitting.dev_rankings import rank_dev
from retrieval.training.output import CHECKPOINT, DEV
from retrieval.training.recipe import Recipe
from retrieval.training.train import DENSE_SHARE_WITHOUT_DEV, train

CONFIG = ModelConfig("lstm", 8, 4, 8, "attention", tie="none", query_words=8, document_words=8)
RECIPE = Recipe(epochs=3, batch=4, learning_rate=0.02, warmup=2, members=1)

# Queries share no word with their documents.
TOPICS = {
    "feline purr": "cat kitten",
    "canine bark": "dog puppy",
    "automobile engine": "car wheel",
    "vessel harbour": "boat sail",
    "timber grain": "tree leaf",
    "dwelling roof": "house door",
    "beverage hot": "tea cup",
    "meal evening": "dinner plate",
}
DOCUMENTS = {f"d{n}": text for n, text in enumerate(TOPICS.values())}
QUERIES = {f"q{n}": text for n, text in enumerate(TOPICS)}
PAIRS = {f"q{n}": {f"d{n}": 1} for n in range(len(TOPICS))}


@pytest.fixture(autouse=True)
def settings_of_the_process():
    """Training asks for fast matrix products; other tests must not get them."""
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.fixture
def data(tmp_path, write_beir):
    return write_beir(tmp_path / "data", DOCUMENTS, QUERIES, {"train": PAIRS, "dev": PAIRS})


def files(folder):
    """Content of every file of a model folder but the lock, by name; the report is for people."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and path.name != WriterLock.NAME
    }


def assert_serves(folder):
    vectors = read_model(folder).encoder("query").encode(["feline", "?", ""])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_training_finds_what_shares_no_word(data, tmp_path):
    trained = train(data, tmp_path / "m", CONFIG, replace(RECIPE, epochs=30, batch=8, learning_rate=0.03))
    assert trained.tower == "lstm"
    assert trained.dev == {"nDCG@10": 1, "R@1": 1, "R@10": 1, "R@100": 1, "RR@10": 1}
    model = TwoTower.load(tmp_path / "m")
    assert trained.parameters == sum(parameter.numel() for parameter in model.parameters())
    scores = model.encode_queries(list(TOPICS)) @ model.encode_documents(list(TOPICS.values())).T
    assert scores.argmax(1).tolist() == list(range(len(TOPICS)))
    assert sorted(files(tmp_path / "m")) == sorted(
        [FILES.config, FILES.table, FILES.training, FILES.vocabulary, FILES.weights]
    )


@pytest.mark.usefixtures("like_nfs")
def test_a_model_is_trained_into_a_folder_on_nfs_twice(data, tmp_path):
    for _ in range(2):
        assert train(data, tmp_path / "model", CONFIG, RECIPE).dev_queries == len(PAIRS)


def test_training_json_tells_how_it_went(data, tmp_path):
    trained = train(data, tmp_path / "m", CONFIG, RECIPE)
    told = json.loads((tmp_path / "m" / FILES.training).read_text())
    assert told["dev"] == trained.dev
    assert told["recipe"]["epochs"] == 3
    assert len(told["history"]) == 3
    assert all("dev" in entry for entry in told["history"])
    assert told["best_epoch"] == trained.best_epoch == 3, "so few dev queries do not choose"


def test_the_same_training_gives_the_same_weights(data, tmp_path):
    for name in ("a", "b"):
        train(data, tmp_path / name, CONFIG, RECIPE)
    assert files(tmp_path / "a")[FILES.weights] == files(tmp_path / "b")[FILES.weights], (
        "one seed, one machine, one number of threads"
    )


def test_few_queries_without_a_dev_split_are_all_learned_from(tmp_path, write_beir):
    folder = write_beir(tmp_path / "d", DOCUMENTS, QUERIES, {"train": PAIRS})
    dataset = read_training_data(folder)
    assert (dataset.train, dataset.dev) == (PAIRS, {})
    trained = train(folder, tmp_path / "m", CONFIG, RECIPE)
    assert trained.dev == {}
    assert trained.best_epoch == 3
    assert_serves(tmp_path / "m")


def test_many_queries_without_a_dev_split_lend_a_tenth_by_hash(tmp_path, write_beir):
    queries = {f"q{n}": f"word{n}" for n in range(200)}
    pairs = {query: {"d1": 1} for query in queries}
    dataset = read_training_data(write_beir(tmp_path / "d", DOCUMENTS, queries, {"train": pairs}))
    expected = {query for query in queries if zlib.crc32(query.encode()) % 10 == 0}
    assert 10 <= len(expected) <= 30
    assert set(dataset.dev) == expected
    assert set(dataset.train) == set(queries) - expected


def test_held_out_queries_are_not_in_the_vocabulary(tmp_path, write_beir):
    queries = {f"q{n}": f"onlyhere{n} onlyhere{n}" for n in range(60)}
    pairs = {query: {"d1": 1, "d2": 1} for query in queries}
    folder = write_beir(tmp_path / "d", DOCUMENTS, queries, {"train": pairs})
    held = read_training_data(folder).dev
    train(folder, tmp_path / "m", CONFIG, replace(RECIPE, epochs=1))
    names = read_model(tmp_path / "m").vocabulary.names
    assert held
    for query in queries:
        assert (f" onlyhere{query[1:]} " in names) == (query not in held)


def test_five_pairs_are_enough(tmp_path, write_beir):
    pairs = {f"q{n}": PAIRS[f"q{n}"] for n in range(5)}
    train(write_beir(tmp_path / "d", DOCUMENTS, QUERIES, {"train": pairs}), tmp_path / "m", CONFIG, RECIPE)
    assert_serves(tmp_path / "m")


@pytest.mark.parametrize("tower", ["lstm", "cnn", "dnn", "bag"])
def test_one_document_makes_a_model_that_serves(tmp_path, write_beir, tower):
    folder = write_beir(tmp_path / "d", {"d": "cat"}, {"q": "feline"}, {"train": {"q": {"d": 1}}})
    train(folder, tmp_path / "m", ModelConfig(tower, 8, 4, 8), RECIPE)
    assert_serves(tmp_path / "m")


def bare(folder, *texts):
    """A corpus and nothing else: titles and texts."""
    folder.mkdir()
    lines = [json.dumps({"_id": f"d{n}", "title": t, "text": x}) for n, (t, x) in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    return folder


def test_a_bare_corpus_teaches_titles_and_sentences(tmp_path):
    pages = [(query, f"{text} {text.split()[0]}ish") for query, text in TOPICS.items()]
    recipe = replace(RECIPE, epochs=40, batch=8, learning_rate=0.03)
    trained = train(bare(tmp_path / "d", *pages), tmp_path / "m", CONFIG, recipe)
    assert trained.dev == {}
    model = TwoTower.load(tmp_path / "m")
    # The title of each page finds the page's text, with which it shares no word.
    scores = model.encode_queries(list(TOPICS)) @ model.encode_documents([text for _, text in pages]).T
    assert scores.argmax(1).tolist() == list(range(len(pages)))


def test_a_dev_split_without_a_train_split_chooses_the_epoch(tmp_path, write_beir):
    folder = write_beir(tmp_path / "d", DOCUMENTS | {"d0": "one two three. a cat"}, QUERIES, {"dev": PAIRS})
    trained = train(folder, tmp_path / "m", CONFIG, RECIPE)
    assert set(trained.dev) == {"nDCG@10", "R@1", "R@10", "R@100", "RR@10"}


def test_judgements_of_test_alone_are_not_learned_from(tmp_path, write_beir):
    dataset = read_training_data(write_beir(tmp_path / "d", DOCUMENTS, QUERIES, {"test": PAIRS}))
    assert (dataset.queries, dataset.train, dataset.dev) == ({}, {}, {})


def test_without_dev_queries_hybrid_search_leans_on_bm25(tmp_path):
    train(bare(tmp_path / "d", ("ls", "list all files")), tmp_path / "m", CONFIG, RECIPE)
    assert read_model(tmp_path / "m").config.dense_share == DENSE_SHARE_WITHOUT_DEV < 0.5


def test_without_dev_queries_hits_are_re_scored_by_the_prior_and_have_no_probability(tmp_path):
    pages = [("ls", "list all files"), ("rm", "remove a file"), ("cp", "copy one file")]
    config = ModelConfig("bag", 8, 8, 8, tie="all")
    trained = train(bare(tmp_path / "d", *pages), tmp_path / "m", config, RECIPE)
    model = read_model(tmp_path / "m")
    assert model.rescorer().is_linear
    assert model.rescorer().linear.any()
    assert model.calibration is None
    assert not trained.calibrated
    assert not (tmp_path / "m" / DEV).exists()


def test_a_bare_corpus_without_a_sentence_is_told(tmp_path):
    with pytest.raises(InputError, match=r"no document has a title .*; add pairs: to qrels.*table"):
        train(bare(tmp_path / "d", ("", "cat"), ("", "dog")), tmp_path / "m", CONFIG, RECIPE)


def test_pairs_that_contradict_each_other_are_learned_from(tmp_path, write_beir):
    # One text under two ids wants two documents; another wants a document and is told it is wrong.
    queries = {"a": "cat", "b": "cat", "c": "dog", "e": "dog"}
    pairs = {"a": {"d0": 1}, "b": {"d1": 1, "d0": 0}, "c": {"d2": 2}, "e": {"d2": 0, "d3": 1}}
    folder = write_beir(tmp_path / "d", DOCUMENTS, queries, {"train": pairs, "dev": pairs})
    trained = train(folder, tmp_path / "m", CONFIG, RECIPE)
    assert 0 <= trained.dev["R@1"] <= 1
    assert_serves(tmp_path / "m")


def test_empty_texts_are_learned_from(tmp_path, write_beir):
    folder = write_beir(
        tmp_path / "d", DOCUMENTS | {"d1": "", "d2": "?!"}, QUERIES | {"q0": ""}, {"train": PAIRS}
    )
    train(folder, tmp_path / "m", CONFIG, RECIPE)
    assert_serves(tmp_path / "m")


def test_a_dev_split_without_relevant_documents_still_trains(tmp_path, write_beir):
    dev = {"q1": {"d1": 0}}
    folder = write_beir(tmp_path / "d", DOCUMENTS, QUERIES, {"train": PAIRS, "dev": dev})
    assert train(folder, tmp_path / "m", CONFIG, RECIPE).dev["nDCG@10"] == 0


@pytest.mark.parametrize(
    ("qrels", "problem"),
    [
        ({"train": {"q0": {"gone": 1}}}, r"train\.tsv:2: unknown document 'gone'"),
        ({"train": {"gone": {"d0": 1}}}, r"train\.tsv:2: unknown query 'gone'"),
        ({"train": {"q0": {"d0": 0}}}, "no query has a relevant document"),
        ({"train": PAIRS, "dev": {"q0": {"gone": 1}}}, r"dev\.tsv:2: unknown document"),
    ],
)
def test_wrong_judgements_are_told_with_their_place(tmp_path, write_beir, qrels, problem):
    folder = write_beir(tmp_path / "d", DOCUMENTS, QUERIES, qrels)
    with pytest.raises(InputError, match=problem):
        train(folder, tmp_path / "m", CONFIG, RECIPE)


def test_a_pair_graded_twice_differently_is_told_with_its_line(tmp_path, write_beir):
    folder = write_beir(tmp_path / "d", DOCUMENTS, QUERIES, {"train": PAIRS})
    with (folder / "qrels" / "train.tsv").open("a") as file:
        file.write("q0\td0\t2\n")
    with pytest.raises(InputError, match=r"train\.tsv:10: grades 'd0' for query 'q0' differently"):
        train(folder, tmp_path / "m", CONFIG, RECIPE)


def test_two_trainings_into_one_folder_exclude_each_other(data, tmp_path):
    (tmp_path / "m").mkdir()
    with WriterLock(tmp_path / "m"), pytest.raises(BusyError, match="another writer is at work"):
        train(data, tmp_path / "m", CONFIG, RECIPE)
    train(data, tmp_path / "m", CONFIG, RECIPE)


def test_the_old_model_stays_until_the_new_one_is_done(data, tmp_path):
    output = tmp_path / "m"
    train(data, output, CONFIG, RECIPE)
    old = files(output)
    seen = []
    train(data, output, ModelConfig("bag", 8, 4, 8), RECIPE, on_step=lambda step: seen.append(files(output)))
    assert len(seen) == 6
    assert all({name: now[name] for name in old} == old for now in seen)
    assert read_model(output).config.tower == "bag"


def test_a_failed_training_leaves_the_old_model(data, tmp_path, write_beir):
    train(data, tmp_path / "m", CONFIG, RECIPE)
    old = files(tmp_path / "m")
    broken = write_beir(tmp_path / "broken", DOCUMENTS, QUERIES, {"train": {"q0": {"gone": 1}}})
    with pytest.raises(InputError):
        train(broken, tmp_path / "m", CONFIG, RECIPE)
    assert files(tmp_path / "m") == old


def interrupt(data, output, after, config=CONFIG, recipe=RECIPE):
    steps = []
    with pytest.raises(KeyboardInterrupt):
        train(data, output, config, recipe, on_step=steps.append, stop=lambda: len(steps) >= after)


@pytest.mark.parametrize("after", [1, 2, 5])
def test_an_interrupted_training_resumed_writes_the_same_model(data, tmp_path, after):
    whole = train(data, tmp_path / "whole", CONFIG, RECIPE)
    interrupt(data, tmp_path / "m", after)
    assert CHECKPOINT in files(tmp_path / "m")
    resumed = train(data, tmp_path / "m", CONFIG, RECIPE, resume=True)
    assert replace(resumed, seconds=0) == replace(whole, seconds=0)
    expected, got = files(tmp_path / "whole"), files(tmp_path / "m")
    assert got.keys() == expected.keys()
    for name in (FILES.config, FILES.vocabulary, FILES.weights):
        assert got[name] == expected[name], name


@pytest.mark.parametrize("after", [2, 8, 12])
def test_an_interrupted_training_of_members_resumed_writes_the_same_model(data, tmp_path, after):
    recipe, steps = replace(RECIPE, members=2), []
    whole = train(data, tmp_path / "whole", CONFIG, recipe, on_step=steps.append)
    assert len(steps) == 12, "each member is a training of its own"
    interrupt(data, tmp_path / "m", after, recipe=recipe)
    assert files(tmp_path / "m").keys() >= {".checkpoint.safetensors", ".checkpoint-1.safetensors"}
    resumed = train(data, tmp_path / "m", CONFIG, recipe, resume=True)
    assert replace(resumed, seconds=0) == replace(whole, seconds=0)
    expected, got = files(tmp_path / "whole"), files(tmp_path / "m")
    assert got.keys() == expected.keys()
    assert got[FILES.weights] == expected[FILES.weights]
    told = json.loads(got[FILES.training])
    assert told["recipe"]["members"] == 2
    assert told["parameters"] == train(data, tmp_path / "one", CONFIG, RECIPE).parameters


def test_members_that_an_abandoned_training_left_are_not_gone_on_with(data, tmp_path, write_beir):
    recipe = replace(RECIPE, members=2)
    interrupt(data, tmp_path / "m", 8, recipe=recipe)
    other = write_beir(tmp_path / "other", DOCUMENTS | {"d0": "cat kitten tom"}, QUERIES, {"train": PAIRS})
    interrupt(other, tmp_path / "m", 1, recipe=recipe)
    train(other, tmp_path / "m", CONFIG, recipe, resume=True)
    assert_serves(tmp_path / "m")


def test_a_model_to_start_from_or_one_that_is_no_sum_of_rows_has_a_single_member(data, tmp_path):
    recipe, steps = replace(RECIPE, members=3), []
    config = ModelConfig("dnn", 8, 8, 8)
    train(data, tmp_path / "m", config, recipe, on_step=steps.append)
    train(data, tmp_path / "n", config, recipe, init=tmp_path / "m", on_step=steps.append)
    assert len(steps) == 12
    told = json.loads((tmp_path / "n" / FILES.training).read_text())
    assert told["recipe"]["members"] == 1


def test_an_interrupted_training_on_a_file_of_pairs_resumed_writes_the_same_model(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"anchor": QUERIES[f"q{n}"], "positive": DOCUMENTS[f"d{n}"], "negative": DOCUMENTS[f"d{n - 1}"]}
        for n in range(1, 4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole = train(path, tmp_path / "whole", CONFIG, RECIPE)
    interrupt(path, tmp_path / "m", 2)
    resumed = train(path, tmp_path / "m", CONFIG, RECIPE, resume=True)
    assert replace(resumed, seconds=0) == replace(whole, seconds=0)
    assert files(tmp_path / "m")[FILES.weights] == files(tmp_path / "whole")[FILES.weights]
    # Other negatives are other data.
    interrupt(path, tmp_path / "m", 2)
    rows[0]["negative"] = DOCUMENTS["d3"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match="begun with other data"):
        train(path, tmp_path / "m", CONFIG, RECIPE, resume=True)


@pytest.mark.parametrize("after", [1, 2, 4])
def test_an_interrupted_training_on_pseudo_queries_resumed_writes_the_same_model(tmp_path, write_beir, after):
    pages = {name: f"{text} here. {text} is told there." for name, text in DOCUMENTS.items()}
    data = write_beir(tmp_path / "d", pages, QUERIES, {"train": {"q0": {"d0": 1}, "q1": {"d1": 1}}})
    whole = []
    train(data, tmp_path / "whole", CONFIG, RECIPE, on_step=whole.append)
    assert len(whole) == 3 * (1 + 2)  # two pairs are one batch, eight pseudo-queries two
    interrupt(data, tmp_path / "m", after)
    train(data, tmp_path / "m", CONFIG, RECIPE, resume=True)
    assert files(tmp_path / "m")[FILES.weights] == files(tmp_path / "whole")[FILES.weights]


def test_resume_without_a_checkpoint_begins(data, tmp_path):
    train(data, tmp_path / "m", CONFIG, RECIPE, resume=True)
    train(data, tmp_path / "m", CONFIG, RECIPE, resume=True)
    assert_serves(tmp_path / "m")


def test_without_resume_an_old_checkpoint_is_started_over(data, tmp_path):
    train(data, tmp_path / "whole", CONFIG, RECIPE)
    interrupt(data, tmp_path / "m", 3)
    train(data, tmp_path / "m", CONFIG, RECIPE)
    assert files(tmp_path / "m")[FILES.weights] == files(tmp_path / "whole")[FILES.weights]


# Two groups that share no word.
LIKE = {f"d{n}": [1.0, 0.1 * n] if n % 2 else [-1.0, 0.1 * n] for n in range(len(DOCUMENTS))}


def vectors(path, width=2, **changed):
    """A teacher's file for the documents and queries of the toy data."""
    rows = LIKE | changed
    known = np.array([rows[name] + [0.0] * (width - 2) for name in DOCUMENTS], np.float32)
    np.savez(
        path,
        document_ids=np.array(list(DOCUMENTS)),
        document_vectors=known,
        query_ids=np.array(list(QUERIES)),
        query_vectors=known,
    )
    return str(path)


@pytest.mark.parametrize("width", [2, 40])
def test_a_teacher_of_any_width_says_what_is_alike(data, tmp_path, width):
    recipe = replace(RECIPE, epochs=20, batch=8, learning_rate=0.03)
    odd = np.arange(len(DOCUMENTS)) % 2 == 1
    same = odd[:, None] == odd
    gaps = {}
    for name, teacher in (("alone", None), ("distilled", vectors(tmp_path / "t.npz", width))):
        train(data, tmp_path / name, CONFIG, recipe, teacher=teacher)
        texts = TwoTower.load(tmp_path / name).encode_documents(list(DOCUMENTS.values()))
        cosines = texts @ texts.T
        gaps[name] = cosines[same].mean() - cosines[~same].mean()
    assert gaps["distilled"] > gaps["alone"] + 0.3


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_training_with_a_teacher_resumed_writes_the_same_model(data, tmp_path, after):
    teacher = vectors(tmp_path / "t.npz")
    train(data, tmp_path / "whole", CONFIG, RECIPE, teacher=teacher)
    steps = []
    with pytest.raises(KeyboardInterrupt):
        train(
            data,
            tmp_path / "m",
            CONFIG,
            RECIPE,
            teacher=teacher,
            on_step=steps.append,
            stop=lambda: len(steps) == after,
        )
    train(data, tmp_path / "m", CONFIG, RECIPE, teacher=teacher, resume=True)
    assert files(tmp_path / "m")[FILES.weights] == files(tmp_path / "whole")[FILES.weights]


def test_resume_with_another_teacher_is_refused(data, tmp_path):
    interrupt(data, tmp_path / "m", 3)
    with pytest.raises(InputError, match="begun with other data or settings"):
        train(data, tmp_path / "m", CONFIG, RECIPE, teacher=vectors(tmp_path / "t.npz"), resume=True)


def test_a_teacher_without_a_document_is_told_before_anything_is_written(data, tmp_path):
    np.savez(tmp_path / "t.npz", document_ids=np.array(["d0"]), document_vectors=np.ones((1, 2), np.float32))
    with pytest.raises(InputError, match=r"t\.npz: no vector of document 'd1' and 6 more"):
        train(data, tmp_path / "m", CONFIG, RECIPE, teacher=str(tmp_path / "t.npz"))
    assert not (tmp_path / "m").exists()


def test_what_a_teacher_encoded_is_no_part_of_the_model(data, tmp_path, monkeypatch):
    class Fake:
        def __init__(self, *args, **options):
            pass

        def encode(self, texts, **options):
            return np.array([[len(text), 1.0] for text in texts])

    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=Fake))
    told = []
    train(data, tmp_path / "m", CONFIG, RECIPE, teacher="some/model", progress=lambda *at: told.append(at))
    assert [at for at in told if "epoch" not in at[0]] == [
        ("documents by the teacher", 8, 8),
        ("queries by the teacher", 8, 8),
        ("encoding", 8, 8),  # the documents of the dev queries, when training ends
    ]
    assert len(list((tmp_path / "m" / ".teacher").iterdir())) == 2
    before = fingerprint(tmp_path / "m")
    shutil.rmtree(tmp_path / "m" / ".teacher")
    assert fingerprint(tmp_path / "m") == before


def moved(texts, name, other):
    """The same words in the same order, the last of one text now the first of the next."""
    first, last = texts[name].split()
    return texts | {name: first, other: f"{last} {texts[other]}"}


@pytest.mark.parametrize(
    "changed",
    [
        {"documents": DOCUMENTS | {"d0": "cat kitten tom"}},
        {"documents": moved(DOCUMENTS, "d0", "d1")},
        {"queries": QUERIES | {"q3": "ship"}},
        {"queries": moved(QUERIES, "q0", "q1")},
        {"train": PAIRS | {"q0": {"d1": 1}}},
        {"train": PAIRS | {"q0": {"d0": 2}}},
        {"dev": {"q0": {"d0": 1}}},
        {"recipe": replace(RECIPE, seed=1)},
        {"recipe": replace(RECIPE, epochs=4)},
        {"config": CONFIG._replace(gamma=10.0)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_resume_with_other_data_or_settings_is_refused(data, tmp_path, write_beir, changed):
    interrupt(data, tmp_path / "m", 3)
    other = write_beir(
        tmp_path / "other",
        changed.get("documents", DOCUMENTS),
        changed.get("queries", QUERIES),
        {"train": changed.get("train", PAIRS), "dev": changed.get("dev", PAIRS)},
    )
    with pytest.raises(InputError, match="begun with other data or settings"):
        train(
            other, tmp_path / "m", changed.get("config", CONFIG), changed.get("recipe", RECIPE), resume=True
        )


def test_what_a_killed_write_left_is_cleared_away(data, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / f".{CHECKPOINT}.123.tmp").write_bytes(b"half")
    (tmp_path / "m" / DEV / "index").mkdir(parents=True)
    train(data, tmp_path / "m", CONFIG, RECIPE)
    assert not list((tmp_path / "m").glob("*.tmp"))
    assert not (tmp_path / "m" / DEV).exists()


def test_an_output_that_cannot_be_a_folder_is_told(data, tmp_path):
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file", tmp_path / "file" / "m"):
        with pytest.raises(StorageError, match="cannot be written"):
            train(data, output, CONFIG, RECIPE)


def test_dev_measures_equal_ranking_by_hand(data, tmp_path, write_beir):
    dev = {"q0": {"d0": 1, "d4": 1}, "q1": {"d6": 1}, "q2": {"d7": 3}}
    dataset = read_training_data(write_beir(tmp_path / "d", DOCUMENTS, QUERIES, {"train": PAIRS, "dev": dev}))
    torch.manual_seed(3)
    model = TwoTower(CONFIG, Vocabulary(("cat",), 50))
    scores = (
        model.encode_queries([QUERIES[q] for q in dev]) @ model.encode_documents(list(DOCUMENTS.values())).T
    )
    ranks = []
    for row, (_, grades) in enumerate(dev.items()):
        order = [f"d{n}" for n in np.argsort(-scores[row])]
        ranks.append(min(order.index(document) for document in grades) + 1)
    got = dev_measures(model, dataset, ("RR@10", "Success@1"))
    assert got["RR@10"] == pytest.approx(np.mean([1 / rank for rank in ranks]))
    assert got["Success@1"] == pytest.approx(np.mean([rank == 1 for rank in ranks]))


def test_a_training_holds_no_texts_but_those_that_fits_need(tmp_path, monkeypatch):
    monkeypatch.setattr("retrieval.training.examples.dataset._DEV_DOCUMENTS", 9)
    rows = [{"query": f"which is {n}", "answer": f"number {n} it is", "split": "train"} for n in range(99)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = open_dataset(tmp_path / "pairs.jsonl")
    dataset.summary()
    held = []
    train(
        *(dataset, tmp_path / "model", CONFIG, RECIPE),
        on_step=lambda step: held.append([d for d in gc.get_objects() if type(d) is Document]),
    )
    assert held
    texts = {document.text for documents in held for document in documents if "number" in document.text}
    assert len(texts) < 50


def test_dev_on_a_large_corpus_ranks_the_relevant_among_a_sample(tmp_path, write_beir, monkeypatch):
    monkeypatch.setattr("retrieval.training.examples.dataset._DEV_DOCUMENTS", 20)
    documents = {f"d{n}": f"text {n}" for n in range(200)}
    dev = {"q0": {f"d{n}": 1 for n in range(100, 130)}}
    folder = write_beir(tmp_path / "d", documents, {"q0": "text"}, {"train": dev, "dev": dev})
    torch.manual_seed(0)
    model = TwoTower(CONFIG, Vocabulary(("tex",), 50))
    encoded = []
    encode = TwoTower.encode_documents
    monkeypatch.setattr(
        TwoTower, "encode_documents", lambda self, texts: encoded.extend(texts) or encode(self, texts)
    )
    recall = dev_measures(model, read_training_data(folder).for_dev(), ("R@100",))["R@100"]
    assert {f"text {n}" for n in range(100, 130)} <= set(encoded)
    assert 30 < len(encoded) < 30 + 2 * 20
    assert recall == 1


@pytest.mark.parametrize(("first", "dense_is_right"), [("wanted", True), ("other", False)])
def test_share_leans_to_the_side_that_is_right_on_dev(tmp_path, write_beir, first, dense_is_right):
    # BM25 puts first the one document that has the query's word twice.
    twice = "other" if dense_is_right else "wanted"
    documents = {name: "quince quince" if name == twice else "quince tart" for name in ("wanted", "other")}
    pairs = {"train": {"q": {"wanted": 1}}, "dev": {"q": {"wanted": 1}}}
    dataset = read_training_data(write_beir(tmp_path / "d", documents, {"q": "quince"}, pairs))
    rows = [[0, 1]] if first == "wanted" else [[1, 0]]
    dense = Ranking(np.array([[0.9, 0.1]], np.float32), np.array(rows))
    model = TwoTower(CONFIG, Vocabulary(("tex",), 50))
    with dev_index(model, dataset, tmp_path / ".dev") as retriever:
        rank = retriever.rank
        retriever.rank = lambda queries, k, mode, **rest: (
            dense if mode == "dense" else rank(queries, k, mode, **rest)
        )
        share = best_dense_share(retriever, dataset, rank_dev(retriever, dataset))
    assert not (tmp_path / ".dev").exists()
    assert (share > 0.5) == dense_is_right
