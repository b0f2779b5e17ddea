"""Retriever: hits of every mode against exact computation, and use by several threads."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import threading
from contextlib import ExitStack
from copy import copy, deepcopy
from pathlib import Path

import numpy as np
import pytest

import retrieval
from index.documents.store import Document
from index.errors import CorruptError, InputError
from index.opened import open_index
from index.protocol import OpenIndex
from index.ranking import Ranking
from index.writing.builder import IndexBuilder
from index.writing.delete import delete
from retrieval.evaluation.assess import assess
from retrieval.indexing.build import add, add_documents, build
from retrieval.model.config import ModelConfig
from retrieval.search.fusion import fuse
from retrieval.search.modes import MODES
from retrieval.search.retriever import Retriever
from retrieval.towers.two_tower import TwoTower

CONFIG = ModelConfig("lstm", 8, 4, 8, "attention", tie="none", dense_share=0.3)
RNG = np.random.default_rng(0)
WORDS = [
    "cat",
    "dog",
    "boat",
    "sail",
    "tree",
    "leaf",
    "house",
    "door",
    "tea",
    "cup",
    "meal",
    "plate",
    "启动",
    "服务",
]
TEXTS = [" ".join(RNG.choice(WORDS, 6)) for _ in range(150)]
QUERIES = [" ".join(RNG.choice(WORDS, 3)) for _ in range(12)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, random_model):
    """An index of 150 documents: more than fusion looks at on each side."""
    place = tmp_path_factory.mktemp("search")
    random_model(CONFIG, texts=WORDS).save(place / "model")
    lines = [json.dumps({"_id": f"d{n}", "title": f"t{n}", "text": text}) for n, text in enumerate(TEXTS)]
    (place / "corpus.jsonl").write_text("\n".join(lines))
    build(place / "corpus.jsonl", place / "model", place / "index")
    return place


@pytest.fixture
def retriever(folder):
    with Retriever.open(folder / "index") as opened:
        yield opened


@pytest.fixture(scope="module")
def cosines(folder):
    model = TwoTower.load(folder / "model")
    documents = model.encode_documents([f"t{n} {text}" for n, text in enumerate(TEXTS)])
    return model.encode_queries(QUERIES) @ documents.T


def test_names_of_the_contract_are_exported():
    assert retrieval.Retriever is Retriever
    assert retrieval.TwoTower is TwoTower
    assert retrieval.Hit.__module__ == "retrieval.search.hits"
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = retrieval.Nothing


def test_dense_hits_are_the_nearest_by_cosine(retriever, cosines):
    for hits, scores in zip(retriever.search_all(QUERIES, 10, "dense"), cosines, strict=True):
        best = np.sort(scores)[::-1][:10]
        np.testing.assert_allclose([hit.score for hit in hits], best, atol=3e-4)  # of halves
        np.testing.assert_allclose([scores[int(hit.id[1:])] for hit in hits], best, atol=3e-4)
        assert [hit.rank for hit in hits] == list(range(1, 11))
        assert all(hit.text == TEXTS[int(hit.id[1:])] and hit.title == f"t{hit.id[1:]}" for hit in hits)


def test_hybrid_is_the_fusion_of_both_sides_a_hundred_deep(retriever):
    dense, lexical = (retriever.rank(QUERIES, 100, mode) for mode in ("dense", "lexical"))
    expected = fuse(dense, lexical, 10, 0.3)
    got = retriever.rank(QUERIES, 10, "hybrid")
    assert isinstance(got, Ranking)
    np.testing.assert_array_equal(got.rows, expected.rows)
    np.testing.assert_allclose(got.scores, expected.scores, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_one_query_equals_itself_among_many(retriever, mode):
    together = retriever.search_all(QUERIES, 10, mode)
    for query, hits in zip(QUERIES, together, strict=True):
        alone = retriever.search(query, 10, mode)
        np.testing.assert_allclose([h.score for h in alone], [h.score for h in hits], atol=1e-5)
        assert len({hit.id for hit in alone} & {hit.id for hit in hits}) >= 9  # ties may swap at the end


@pytest.mark.parametrize("mode", MODES)
def test_an_index_whose_documents_are_all_deleted_finds_nothing(folder, tmp_path, mode):
    index = shutil.copytree(folder / "index", tmp_path / "index")
    delete(index, [f"d{n}" for n in range(len(TEXTS))])
    with Retriever.open(index) as retriever:
        assert retriever.search("cat", 5, mode) == []


@pytest.mark.parametrize("mode", MODES)
def test_fewer_hits_are_a_beginning_of_more(retriever, mode):
    few, many = (retriever.search("cat boat", k, mode) for k in (5, 60))
    assert [hit.id for hit in few] == [hit.id for hit in many][:5]


def test_lexical_hits_share_a_word_with_the_query(retriever):
    hits = retriever.search("leaf", 150, "lexical")
    assert {hit.id for hit in hits} == {f"d{n}" for n, text in enumerate(TEXTS) if "leaf" in text}


def test_k_past_the_corpus_gives_the_corpus(retriever):
    assert len(retriever.search("cat", 1000, "dense")) == 150
    assert len(retriever.search("cat", 1000, "hybrid")) == 150


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((" ", 10, "dense"), "the query is empty"),
        (("cat", 0, "dense"), "k must be at least 1, not 0"),
        (("cat", -3, "lexical"), "k must be at least 1"),
        (("cat", 10, "magic"), "mode must be one of dense, lexical, hybrid, not 'magic'"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(retriever, arguments, problem):
    with pytest.raises(InputError, match=problem):
        retriever.search(*arguments)


def test_threads_share_a_retriever(retriever):
    expected = {query: [h.id for h in retriever.search(query, 5)] for query in QUERIES}
    wrong = []

    def work(seed):
        order = np.random.default_rng(seed).permutation(QUERIES)
        for query in order:
            # Words that nobody else asks for make the encoder learn while others search.
            retriever.search(f"{query} w{seed} {query}", 5)
            if [h.id for h in retriever.search(str(query), 5)] != expected[query]:
                wrong.append(query)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_open_retriever_keeps_its_generation_while_another_is_published(folder, tmp_path):
    index = shutil.copytree(folder / "index", tmp_path / "index")
    (tmp_path / "corpus.jsonl").write_text('{"_id": "new", "text": "cat"}\n')
    with Retriever.open(index) as before:
        build(tmp_path / "corpus.jsonl", folder / "model", index)
        assert len(before.search("cat", 1000, "dense")) == 150
        with Retriever.open(index) as after:
            assert [hit.id for hit in after.search("cat")] == ["new"]


def test_a_refreshed_retriever_searches_the_newest_generation(folder, tmp_path):
    index = shutil.copytree(folder / "index", tmp_path / "index")
    (tmp_path / "new.jsonl").write_text('{"_id": "new", "text": "zebra", "metadata": {"year": 2024}}\n')
    with Retriever.open(index) as retriever:
        assert retriever.refresh() is False
        add(tmp_path / "new.jsonl", index)
        assert retriever.search("zebra", mode="lexical") == []
        assert retriever.refresh() is True
        assert [hit.id for hit in retriever.search("zebra", mode="lexical")] == ["new"]
        assert [hit.id for hit in retriever.search("cat", where=["year>2020"])] == ["new"]
        assert "new" in retriever
        delete(index, ["new"])
        assert retriever.refresh() is True
        assert "new" not in retriever
    retriever.close()


def test_a_refresh_takes_up_another_model(folder, tmp_path, random_model):
    index = shutil.copytree(folder / "index", tmp_path / "index")
    random_model(CONFIG, 7, texts=WORDS).save(tmp_path / "model")
    with Retriever.open(index) as retriever:
        before = retriever.encode(["cat"])
        build(folder / "corpus.jsonl", tmp_path / "model", index)
        assert retriever.refresh()
        assert not np.allclose(retriever.encode(["cat"]), before)
        with Retriever.open(index) as fresh:
            assert np.array_equal(retriever.encode(["cat"]), fresh.encode(["cat"]))


def test_a_refresh_sees_a_folder_that_was_swapped_or_built_anew(folder, tmp_path):
    """Both are generation-000001."""
    index, old = tmp_path / "index", tmp_path / "old"
    shutil.copytree(folder / "index", index)
    (tmp_path / "one.jsonl").write_text('{"_id": "only", "text": "cat"}\n')
    build(tmp_path / "one.jsonl", folder / "model", tmp_path / "other")
    with Retriever.open(index) as retriever:
        index.rename(old)
        (tmp_path / "other").rename(index)
        assert retriever.refresh() is True
        assert [hit.id for hit in retriever.search("cat")] == ["only"]
        assert retriever.refresh() is False
        shutil.rmtree(index)
        build(folder / "corpus.jsonl", folder / "model", index)
        assert retriever.refresh() is True
        assert "only" not in retriever


def test_a_refresh_that_fails_leaves_the_old_generation_at_work(folder, tmp_path):
    index = shutil.copytree(folder / "index", tmp_path / "index")
    with Retriever.open(index) as retriever:
        hits = retriever.search("cat")
        current = (index / "CURRENT").read_text().replace("000001", "000002")
        (index / "CURRENT").write_text(current)
        with pytest.raises(CorruptError):
            retriever.refresh()
        assert retriever.search("cat") == hits


def test_searches_under_way_end_while_others_refresh(folder, tmp_path):
    index = shutil.copytree(folder / "index", tmp_path / "index")
    wrong: list[object] = []
    done = threading.Event()
    with Retriever.open(index) as retriever:

        def look() -> None:
            while not done.is_set():
                try:
                    if len(retriever.search("cat dog", 5)) != 5:
                        wrong.append("too few")
                except Exception as error:
                    wrong.append(error)

        threads = [threading.Thread(target=look) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(15):
            delete(index, [f"d{number}"])
            assert retriever.refresh()
        done.set()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_model_of_another_dimension_is_refused(folder, tmp_path):
    vectors = np.float32([[1, 0, 0]])
    with IndexBuilder.begin(tmp_path / "i", model=folder / "model", dimension=3, source="test") as builder:
        builder.append([Document("a", "", "cat")], vectors)
        builder.publish()
    with pytest.raises(InputError, match="the model's dimension is not the index's"):
        Retriever.open(tmp_path / "i")


def test_checksums_are_read_on_request(folder, tmp_path):
    index = shutil.copytree(folder / "index", tmp_path / "index")
    path = next(index.glob("generation-*/model/training.json"))
    path.write_bytes(path.read_bytes()[:-2] + b" \n")
    Retriever.open(index).close()
    with pytest.raises(CorruptError, match=r"training\.json"):
        Retriever.open(index, checksums=True)


def test_assessment_scores_every_judged_query_in_every_mode(retriever, cosines):
    names = [f"q{n}" for n in range(len(QUERIES))]
    qrels = {name: {f"d{n}": 1, f"d{n + 50}": 2} for n, name in enumerate(names)}
    reports = []
    found = assess(
        retriever,
        dict(zip(names, QUERIES, strict=True)),
        qrels,
        MODES,
        measures=("RR@10", "R@100"),
        progress=lambda *report: reports.append(report),
    )
    assert reports == [(mode, 12, 12) for mode in MODES]
    ranked = np.argsort(-cosines, axis=1)
    reciprocal, recall = [], []
    for row, name in enumerate(names):
        ranks = sorted(int(np.flatnonzero(ranked[row] == int(d[1:]))[0]) + 1 for d in qrels[name])
        reciprocal.append(1 / ranks[0] if ranks[0] <= 10 else 0.0)
        recall.append(sum(rank <= 100 for rank in ranks) / 2)
    assert found.measures["dense"].mean("RR@10") == pytest.approx(np.mean(reciprocal))
    assert found.measures["dense"].mean("R@100") == pytest.approx(np.mean(recall))
    assert all(len(run) == 100 for run in found.runs["dense"].values())
    assert found.ann == {"recall@10": 1.0, "recall@100": 1.0}
    assert set(found.latency_ms) == {"p50", "p95", "p99"}


def test_a_k_beyond_the_index_costs_what_the_index_has(monkeypatch):
    widths = []
    monkeypatch.setattr(
        "retrieval.search.ranking.fuse", lambda *given: widths.append(given[2]) or fuse(*given)
    )
    golden = Path(__file__).parents[2] / "golden" / "index-3"  # does not re-score
    with Retriever.open(golden) as retriever:
        count = retriever.index.count
        assert len(retriever.search("send a large file", 10**9)) == count
    assert widths == [count]


def test_recall_of_ten_is_that_of_a_search_for_ten(retriever, monkeypatch):
    """As in a compressed index, where a search for more results looks at more candidates."""
    real = retriever.index.search_dense

    def hasty(queries, k):
        found = real(queries, k)
        if k <= 10:
            found.rows[:, 5:] = -1
        return found

    monkeypatch.setattr(retriever.index, "search_dense", hasty)
    found = assess(retriever, {"q": QUERIES[0]}, {"q": {"d0": 1}}, ["lexical"])
    assert found.ann == {"recall@10": 0.5, "recall@100": 1.0}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*is multi-threaded:DeprecationWarning")  # a fork among threads is meant
def test_a_forked_process_is_told_to_open_the_index_itself(made):
    """Each lock is held when the process forks, as by threads that search; the child must not wait."""
    with Retriever.open(made.index) as retriever:
        opened = retriever._opened
        locks = (retriever._lock, opened._lock, opened.tower._lock, opened.index.segments[0].documents._lock)
        with ExitStack() as held:
            for lock in locks:
                held.enter_context(lock)
            child = os.fork()
            if child == 0:
                _search_in_child(retriever)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert retriever.search("copy folder")[0].id == "d1"


def _search_in_child(retriever):
    """End the process: with 0 if each use is refused in words, with 1 otherwise; an alarm ends a deadlock."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(10)
    refused = 0
    uses = (
        lambda: retriever.search("copy folder"),
        lambda: retriever.encode(["copy"]),
        lambda: retriever.index.documents([0]),
    )
    for use in uses:
        try:
            use()
        except InputError as error:
            refused += "open it after the fork" in str(error)
    retriever.close()
    os._exit(0 if refused == len(uses) else 1)


def test_a_pinned_generation_outlives_refresh_and_close(folder, tmp_path):
    index = shutil.copytree(folder / "index", tmp_path / "index")
    retriever = Retriever.open(index)
    with retriever.pinned() as view:
        delete(index, ["d1"])
        assert view.refresh() is False
        view.close()
        assert retriever.refresh() is True
        assert "d1" in view
        assert "d1" not in retriever
        retriever.close()
        with view.pinned() as again:
            assert "d1" in again
        assert len(view.search("copy", 1000, "dense")) == 150
    with pytest.raises(InputError, match="is closed; open it again"):
        view.search("copy")
    with pytest.raises(InputError, match="is closed; open it again"):
        retriever.search("copy")


def test_a_closed_retriever_says_that_it_is_closed(folder):
    retriever = Retriever.open(folder / "index")
    retriever.close()
    with pytest.raises(InputError, match="is closed; open it again"):
        retriever.search("copy")


def test_no_search_begins_after_a_close_during_another_one(folder):
    retriever = Retriever.open(folder / "index")
    with retriever.pinned() as under_way:
        retriever.close()
        with pytest.raises(InputError, match="is closed; open it again"):
            retriever.search("cat")
        assert under_way.search("cat")


def test_a_refresh_does_not_open_a_closed_retriever(folder, tmp_path):
    index = shutil.copytree(folder / "index", tmp_path / "index")
    retriever = Retriever.open(index)
    retriever.close()
    delete(index, ["d1"])
    assert retriever.refresh() is False
    with pytest.raises(InputError, match="is closed; open it again"):
        retriever.search("copy")


def test_a_retriever_that_is_closed_during_a_refresh_leaves_nothing_open(folder, tmp_path, monkeypatch):
    index = shutil.copytree(folder / "index", tmp_path / "index")
    retriever = Retriever.open(index)
    delete(index, ["d1"])

    def open_and_close(place: Path) -> OpenIndex:
        retriever.close()
        return open_index(place)

    monkeypatch.setattr("retrieval.search.retriever.open_index", open_and_close)
    assert retriever.refresh() is False
    with pytest.raises(InputError, match="is closed; open it again"):
        retriever.search("copy")


def test_of_two_refreshes_none_brings_back_an_older_generation(folder, tmp_path, monkeypatch):
    index = shutil.copytree(folder / "index", tmp_path / "index")
    others: list[threading.Thread] = []

    def open_slowly(place: Path) -> OpenIndex:
        opened = open_index(place)
        if not others:
            delete(index, ["d2"])
            others.append(threading.Thread(target=retriever.refresh))
            others[0].start()
            others[0].join(0.5)
        return opened

    with Retriever.open(index) as retriever:
        delete(index, ["d0"])
        monkeypatch.setattr("retrieval.search.retriever.open_index", open_slowly)
        retriever.refresh()
        others[0].join()
        assert "d2" not in retriever


@pytest.mark.parametrize("where", [{"lang": "en"}, ["lang = en", {"lang": "en"}], [3], b"lang"], ids=str)
def test_a_filter_of_another_kind_is_refused_with_what_a_filter_is(folder, where):
    with (
        Retriever.open(folder / "index") as retriever,
        pytest.raises(InputError, match="a filter is a text or a condition"),
    ):
        retriever.search("cat", where=where)


@pytest.mark.parametrize("arguments", [(None,), (b"copy",), ("copy", 2.5), ("copy", "5")], ids=str)
def test_arguments_of_another_type_are_refused(folder, arguments):
    with Retriever.open(folder / "index") as retriever, pytest.raises(TypeError):
        retriever.search(*arguments)


@pytest.mark.parametrize(
    "ask",
    [
        lambda retriever: retriever.encode("cat"),
        lambda retriever: retriever.search_all("cat"),
        lambda retriever: retriever.rank("cat", 3, "dense"),
        lambda retriever: retriever.facets("cat", "lang"),
    ],
)
def test_one_text_in_place_of_a_list_is_not_taken_for_a_list_of_letters(retriever, ask):
    with pytest.raises(TypeError, match="a list of texts is wanted, not one text"):
        ask(retriever)


@pytest.mark.parametrize("send", [pickle.dumps, copy, deepcopy])
def test_an_open_index_is_sent_to_no_other_process_and_the_remedy_is_told(retriever, send):
    with pytest.raises(TypeError, match="pass its folder, and open it there"):
        send(retriever)


def test_hits_hold_the_metadata_of_their_documents_if_it_is_asked_for(folder, tmp_path):
    index = Path(shutil.copytree(folder / "index", tmp_path / "index"))
    tags = {f"m{n}": {"n": n, "tags": ["x", {"y": None}]} for n in range(5)}
    add_documents([Document(each, "", "zebra " + WORDS[0], tags[each]) for each in tags], index)
    with Retriever.open(index) as retriever:
        for mode in MODES:
            hits = retriever.search("zebra cat", 200, mode, metadata=True)
            assert {hit.id: hit.metadata for hit in hits} == {hit.id: tags.get(hit.id, {}) for hit in hits}
            assert tags.keys() <= {hit.id for hit in hits}
            plain = retriever.search("zebra cat", 200, mode)
            assert plain == [hit._replace(metadata=None) for hit in hits]
        (both,) = retriever.search_all(["zebra"], 2, offset=1, metadata=True)
        assert both == retriever.search("zebra", 3, metadata=True)[1:]
