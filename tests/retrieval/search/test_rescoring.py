"""Hybrid search that re-scores: against the features and the network by hand, and through every change."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.errors import CorruptError
from index.phases import recording
from index.ranking import Ranking
from index.reader import Index
from index.values import Vectors
from index.writing.delete import delete
from retrieval.explain.rescoring import explain_rank
from retrieval.indexing.build import add, build
from retrieval.indexing.compact import compact
from retrieval.indexing.sync import sync
from retrieval.model.calibration import Calibration, ModeCalibration
from retrieval.model.config import ModelConfig
from retrieval.model.folder import read_model
from retrieval.model.rescoring import Rescorer
from retrieval.search.evidence import known_of
from retrieval.search.features import NAMES
from retrieval.search.fusion import fuse
from retrieval.search.modes import MODES
from retrieval.search.ordering import features_of
from retrieval.search.probabilities import probabilities_of
from retrieval.search.ranking import page, rank
from retrieval.search.rescoring import MOST_RESCORED
from retrieval.search.retriever import Retriever

CONFIG = ModelConfig("lstm", 8, 4, 8, "attention", tie="table", dense_share=0.3)
RNG = np.random.default_rng(4)
WORDS = ["cat", "dog", "boat", "sail", "tree", "leaf", "house", "door", "tea", "cup", "meal", "plate"]
COUNT = 460
TEXTS = {f"d{n}": " ".join(RNG.choice(WORDS, 5)) for n in range(COUNT)}
QUERIES = ["cat boat", "tea cup leaf", "plate", "door door unknown"]
FITTED = ModeCalibration((-1, 2, 0.5, 1, -0.2, 0.4, 0.7), (-2, 2, 0.5, 1, -0.2, 0.3, 0.6, 1.5, 0.5))
GONE = [f"d{n}" for n in range(0, COUNT, 9)]


def random_rescorer(features: int = len(NAMES), seed: int = 1) -> Rescorer:
    rng = np.random.default_rng(seed)
    shapes = ((8, 5), (8,), (1,), (4, features), (4,), (4,), (features,))
    return Rescorer(*(rng.normal(size=shape).astype(np.float32) for shape in shapes))


def write(path: Path, names: list[str]) -> Path:
    records = (
        {"_id": name, "title": name, "text": TEXTS[name], "metadata": {"part": int(name[1:]) % 7}}
        for name in names
    )
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory, random_model):
    """An index of three segments with deleted documents, of a model that re-scores and has a calibration."""
    folder = tmp_path_factory.mktemp("rescoring")
    model = random_model(CONFIG, texts=WORDS)
    model.rescorer = random_rescorer()
    model.save(folder / "model", calibration=Calibration(dict.fromkeys(MODES, FITTED), 100))
    names = list(TEXTS)
    build(write(folder / "a.jsonl", names[:300]), folder / "model", folder / "index")
    add(write(folder / "b.jsonl", names[300:400]), folder / "index")
    add(write(folder / "c.jsonl", names[400:]), folder / "index")
    delete(folder / "index", GONE)
    return folder


@pytest.fixture
def retriever(place):
    with Retriever.open(place / "index") as opened:
        yield opened


def test_a_server_re_scores_as_a_search_from_the_shell_does(place, retriever):
    with Retriever.open(place / "index", kept_bytes=1) as server:
        assert server.rescoring._of_words is not None
        for query in QUERIES:
            expected, found = (each.rank([query], 60, "hybrid") for each in (retriever, server))
            assert np.array_equal(found.rows, expected.rows)
            np.testing.assert_allclose(found.scores, expected.scores, atol=2e-6)


@pytest.mark.parametrize("kept_bytes", [0, 1])
def test_what_is_known_of_the_documents_of_a_ranking_is_what_the_index_tells(place, kept_bytes):
    with Retriever.open(place / "index", kept_bytes=kept_bytes) as opened, opened._using() as generation:
        embeddings = opened.encode(QUERIES)
        found = rank(generation, QUERIES, embeddings, 30, "hybrid")
        each = zip(QUERIES, embeddings, found.ranking.rows, found.known, strict=True)
        for query, embedding, rows, known in each:
            expected = known_of(opened.index, query, embedding, rows)
            of_them = known.of(rows)
            np.testing.assert_allclose(of_them.cosines, expected.cosines, atol=1e-6)
            for ours, theirs in zip(of_them.matches, expected.matches, strict=True):
                np.testing.assert_allclose(ours, theirs, atol=1e-6)
            assert known.of(np.append(rows, opened.index.count + len(GONE))) is None
        for mode in ("dense", "lexical"):
            made = None if mode == "lexical" else embeddings
            assert rank(generation, QUERIES, made, 30, mode).known == [None] * len(QUERIES)


@pytest.mark.parametrize("kept_bytes", [0, 1])
@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"offset": 20},
        {"k": MOST_RESCORED + 30},
        {"offset": MOST_RESCORED - 5},
        {"per": "part"},
        {"per": "part", "offset": 3},
        {"where": "part < 3", "offset": 2},
        {"where": "part > 9"},
    ],
    ids=str,
)
def test_probabilities_are_of_what_the_index_tells_of_the_hits(place, kept_bytes, asked):
    with Retriever.open(place / "index", kept_bytes=kept_bytes) as opened:
        for query, hits in zip(QUERIES, opened.search_all(QUERIES, **{"k": 10, **asked}), strict=True):
            (first,) = opened.search(query, 1, where=asked.get("where", ())) or [None]
            assert (first is None) == (asked.get("where") == "part > 9")
            assert bool(hits) == (first is not None)
            rows = np.array([[opened.index.row_of(hit.id) for hit in [first, *hits] if hit]], np.int64)
            (evidence,) = opened.evidence([query], rows)
            expected = FITTED.probabilities(evidence)[1:].tolist()
            if hits and not asked.get("offset"):
                expected = FITTED.probabilities(evidence[1:]).tolist()
            assert [hit.probability for hit in hits] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kept_bytes", [0, 1])
def test_a_hit_is_as_likely_in_a_long_search_as_in_a_short_one(place, kept_bytes):
    """Even if re-scoring compared other passages of its document than the index would."""
    with Retriever.open(place / "index", kept_bytes=kept_bytes) as opened, opened._using() as generation:
        embeddings = opened.encode(QUERIES)

        def likely(k: int, offset: int = 0) -> list[list[float]]:
            found = page(generation, QUERIES, embeddings, k, "hybrid", (), offset, None)
            for known in found.known:
                known.cosines[::2] -= np.float32(0.2)
            every = probabilities_of(generation, QUERIES, embeddings, found, "hybrid", offset)
            return [each.tolist() for each in every]

        long = likely(MOST_RESCORED + 30)
        assert all(len(each) == MOST_RESCORED + 30 for each in long)
        for shorter, start in ((likely(10), 0), (likely(20, MOST_RESCORED - 10), MOST_RESCORED - 10)):
            for each, all_of_them in zip(shorter, long, strict=True):
                assert each == pytest.approx(all_of_them[start : start + len(each)], abs=1e-6)


def scores_by_hand(retriever: Retriever, query: str, where: str | tuple[()] = ()) -> dict[str, float]:
    """Document ids to scores of the network, of the candidates of both rankings."""
    rescoring = retriever._opened.tower.rescoring
    dense = retriever.rank([query], 50, "dense", where)
    lexical = retriever.rank([query], 50, "lexical", where)
    embedding = retriever.encode([query])[0]
    rows, features = features_of(rescoring.compared(retriever.index, query, embedding, dense, lexical))
    likeliest = fuse(dense, lexical, MOST_RESCORED, retriever.dense_share).rows[0].tolist()
    assert set(rows.tolist()) == {row for row in likeliest if row >= 0}
    ids = [document.id for document in retriever.index.texts(rows.tolist())]
    return dict(zip(ids, rescoring.rescorer.scores(features).tolist(), strict=True))


def test_candidates_have_cosines_and_ranks_also_where_only_bm25_found_them(retriever):
    for query in QUERIES:
        rankings = [retriever.rank([query], 50, mode) for mode in ("dense", "lexical")]
        rankings[1].rows[0, 40:] = -1  # as if BM25 had found no more
        embedding = retriever.encode([query])[0]
        rows, found, *_ = retriever.rescoring.compared(retriever.index, query, embedding, *rankings)
        assert (np.diff(rows) > 0).all()
        assert not np.isin(rows, rankings[0].rows).all()
        assert found.cosines == pytest.approx(retriever.index.cosines(rows, embedding), abs=1e-3)
        for ranking, ranks in zip(rankings, (found.dense_ranks, found.lexical_ranks), strict=True):
            ranked = ranking.rows[0].tolist()
            assert ranks.tolist() == [ranked.index(row) if row in ranked else 50 for row in rows]


@pytest.mark.parametrize("where", [(), "part < 3"])
def test_hybrid_ranks_the_candidates_of_both_by_the_network(retriever, where):
    for query in QUERIES:
        want = scores_by_hand(retriever, query, where)
        hits = retriever.search(query, len(want), where=where)
        assert sorted(hit.id for hit in hits) == sorted(want)
        found = [want[hit.id] for hit in hits]
        assert found == pytest.approx(sorted(want.values(), reverse=True), abs=1e-4)
        low, high = min(found), max(found)
        assert [hit.score for hit in hits] == pytest.approx(
            [(s - low) / (high - low) for s in found], abs=1e-4
        )


def test_explanations_rank_as_searches_do_where_depth_changes_the_order(place, retriever, monkeypatch):
    real = Index.search_dense

    def compressed(self: Index, queries: Vectors, k: int, *others: Any) -> Ranking:
        ranking = real(self, queries, k, *others)
        return ranking if k >= 50 else Ranking(ranking.scores, ranking.rows[:, ::-1].copy())

    monkeypatch.setattr(Index, "search_dense", compressed)
    monkeypatch.setattr(Index, "is_exact", lambda self, where: False)
    for query in QUERIES:
        hits = retriever.search(query, 20)
        explained = [explain_rank(place / "index", query, hit.id) for hit in hits]
        assert [each and each.rank for each in explained] == [hit.rank for hit in hits]


def test_the_other_modes_do_not_re_score(retriever):
    with recording() as phases:
        retriever.search("cat", mode="dense")
        retriever.search("cat", mode="lexical")
    assert "rescore" not in phases
    with recording() as phases:
        retriever.search("cat")
    assert phases["rescore"] > 0
    assert "fuse" not in phases


def test_pages_of_any_size_are_one_ranking(retriever):
    for query in QUERIES:
        whole = retriever.search(query, COUNT)
        assert len({hit.id for hit in whole}) == len(whole) == COUNT - len(GONE)
        assert all(one.score >= other.score for one, other in pairwise(whole))
        paged = [hit for start in range(0, COUNT, 37) for hit in retriever.search(query, 37, offset=start)]
        assert paged == whole
        for part, hits in ((one, retriever.search(query, 3, per="part", offset=one)) for one in range(4)):
            assert [hit.rank for hit in hits] == [part + 1, part + 2, part + 3]


def test_several_queries_at_once_are_those_of_one(retriever):
    for query, hits in zip(QUERIES, retriever.search_all(QUERIES, 20), strict=True):
        alone = retriever.search(query, 20)
        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in alone], abs=1e-4)


def best(index: Path) -> list[tuple[str, float]]:
    with Retriever.open(index) as opened:
        assert opened.index.word_width() == 5
        return [(hit.id, round(hit.score, 3)) for hit in opened.search("tea cup leaf", 15)]


def test_compaction_and_synchronisation_keep_the_words(place, tmp_path):
    index = Path(shutil.copytree(place / "index", tmp_path / "index"))
    compact(index)
    with Retriever.open(index) as opened:
        assert len(opened.index.segments) == 1
        left = [document.id for document in opened.index.texts(opened.index.rows().tolist())]
        for query in QUERIES:
            want = scores_by_hand(opened, query)
            found = [want[hit.id] for hit in opened.search(query, len(want))]
            assert found == pytest.approx(sorted(want.values(), reverse=True), abs=1e-4)
    compacted = best(index)
    build(write(tmp_path / "left.jsonl", left), place / "model", tmp_path / "anew")
    assert best(tmp_path / "anew") == compacted
    sync(write(tmp_path / "less.jsonl", left[:200]), index)
    build(tmp_path / "less.jsonl", place / "model", tmp_path / "less")
    with Retriever.open(index) as synced, Retriever.open(tmp_path / "less") as fresh:
        assert synced.index.word_width() == 5
        assert synced.index.count == fresh.index.count == 200


def fused_by_hand(opened: Retriever, query: str) -> list[float]:
    dense, lexical = (opened.rank([query], 100, mode) for mode in ("dense", "lexical"))
    return fuse(dense, lexical, 10, CONFIG.dense_share).scores[0].tolist()


def test_an_index_without_words_is_fused_as_before(place, tmp_path, random_model):
    plain = random_model(CONFIG, texts=WORDS)
    plain.save(tmp_path / "plain")
    build(place / "a.jsonl", tmp_path / "plain", tmp_path / "index")
    with Retriever.open(tmp_path / "index") as opened:
        assert opened.index.word_width() == 0
        found = [hit.score for hit in opened.search("cat boat", 10)]
        assert found == pytest.approx(fused_by_hand(opened, "cat boat"))


def test_a_rescorer_of_another_version_is_passed_over(place, tmp_path, monkeypatch):
    monkeypatch.setattr("retrieval.model.rescoring.VERSIONS", (3, 4))
    with Retriever.open(place / "index") as opened:
        found = [hit.score for hit in opened.search("cat boat", 10)]
        assert found == pytest.approx(fused_by_hand(opened, "cat boat"))


def test_a_rescorer_for_other_features_is_damaged(place, tmp_path, random_model):
    model = random_model(CONFIG, texts=WORDS)
    model.rescorer = random_rescorer(len(NAMES) - 1)
    model.save(tmp_path / "model")
    build(place / "a.jsonl", tmp_path / "model", tmp_path / "index")
    with pytest.raises(CorruptError, match=r"rescoring\.safetensors"):
        Retriever.open(tmp_path / "index")


def test_a_rescorer_that_the_manifest_does_not_name_is_refused(place, tmp_path, random_model):
    random_model(CONFIG, texts=WORDS).save(tmp_path / "plain")
    build(place / "a.jsonl", tmp_path / "plain", tmp_path / "index")
    (model,) = (tmp_path / "index").glob("generation-*/model")
    random_rescorer().save(model / "rescoring.safetensors")
    with pytest.raises(CorruptError, match="the manifest does not name it"):
        Retriever.open(tmp_path / "index")


def test_a_model_saved_anew_without_a_rescorer_has_none(tmp_path, random_model):
    model = random_model(CONFIG, texts=WORDS)
    model.rescorer = random_rescorer()
    model.save(tmp_path / "model")
    assert type(model).load(tmp_path / "model").rescorer is not None
    model.rescorer = None
    model.save(tmp_path / "model")
    assert read_model(tmp_path / "model").rescorer() is None
