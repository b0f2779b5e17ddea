"""Evidence and probabilities of hits against exact computation, in every mode and on pages."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from index.documents.store import Document
from index.errors import CorruptError, InputError
from index.lexical.tokens import lexical_tokens
from index.writing.delete import delete
from retrieval.indexing.build import add_documents, build
from retrieval.model.calibration import Calibration, ModeCalibration
from retrieval.model.config import ModelConfig
from retrieval.model.folder import FILES
from retrieval.search.modes import MODES
from retrieval.search.retriever import Retriever

CONFIG = ModelConfig("bag", 8, dimension=8, document_words=16)
FURTHER = (-2.0, 2.0, 0.5, 1.0, -0.2, 0.3, 0.6, 1.5, 0.5)
FITTED = Calibration(
    {
        mode: ModeCalibration((intercept, 2.0, 0.5, 1.0, -0.2, 0.4, 0.7), FURTHER)
        for mode, intercept in zip(MODES, (-1.0, -1.5, -0.5), strict=True)
    },
    100,
)
GENERATOR = np.random.default_rng(0)
WORDS = ["cat", "dog", "boat", "sail", "tree", "leaf", "house", "door", "tea", "cup", "meal", "plate"]
TEXTS = [" ".join(GENERATOR.choice(WORDS, 6)) for _ in range(60)]
TEXTS += [" ".join(GENERATOR.choice(WORDS, 40)) for _ in range(5)]  # of several passages
QUERIES = ["cat boat nowhere", "tree tree leaf", "plate"]


@pytest.fixture
def folder(tmp_path: Path, random_model) -> Path:
    """An index of two segments, with deleted documents in the first."""
    random_model(CONFIG, texts=WORDS).save(tmp_path / "model", calibration=FITTED)
    lines = [json.dumps({"_id": f"d{n}", "text": text}) for n, text in enumerate(TEXTS)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    build(tmp_path / "corpus.jsonl", tmp_path / "model", tmp_path / "index")
    add_documents([Document(f"m{n}", "", text[::-1] + " cat", {}) for n, text in enumerate(TEXTS[:4])],
                  tmp_path / "index")  # fmt: skip
    delete(tmp_path / "index", ["d3", "d4"])
    return tmp_path


def expected(retriever: Retriever, query: str, hits: list, mode: str) -> list[float]:
    """Probabilities by the formulas, from full rankings of both kinds."""
    index = retriever.index
    count = index.count
    cosines = retriever.rank([query], count, "dense")
    scores = retriever.rank([query], count, "lexical")
    cosine_of, score_of = (
        dict(zip(r.rows[0].tolist(), r.scores[0].tolist(), strict=True)) for r in (cosines, scores)
    )
    documents = sum(segment.count for segment in index.segments)  # deleted ones too, as BM25 counts them
    texts = [document.text for document in index.documents(range(documents))]
    weights = {}
    for term, tf in Counter(lexical_tokens(query)).items():
        df = sum(term in lexical_tokens(text) for text in texts)
        weights[term] = tf * math.log(1 + (documents - df + 0.5) / (df + 0.5))
    rows = []
    for hit in hits:
        row = index.row_of(hit.id)
        has = set(lexical_tokens(hit.text))
        share = sum(weight for term, weight in weights.items() if term in has) / sum(weights.values())
        cosine, score = cosine_of[row], score_of.get(row, 0.0) / sum(weights.values())
        between = min(max(cosine, 0.02), 0.98)
        logit = math.log(between / (1 - between))
        rows.append([cosine, score, share, math.log(len(weights)), logit, share > 0])
    first, *further = np.array(rows)
    fitted = FITTED.modes[mode]
    odds = [fitted.first[0] + first @ fitted.first[1:]]
    odds += [fitted.further[0] + np.r_[row, (row - first)[:2]] @ fitted.further[1:] for row in further]
    return [1 / (1 + math.exp(-each)) for each in odds]


@pytest.mark.parametrize("mode", MODES)
def test_probabilities_are_those_of_the_formulas(folder, mode):
    with Retriever.open(folder / "index") as retriever:
        assert len(retriever.index.segments) == 2
        for query, hits in zip(QUERIES, retriever.search_all(QUERIES, 30, mode), strict=True):
            assert len(hits) > 5
            assert [hit.probability for hit in hits] == pytest.approx(
                expected(retriever, query, hits, mode), abs=1e-4
            )


@pytest.mark.parametrize("mode", MODES)
def test_pages_have_the_probabilities_of_one_long_search(folder, mode):
    with Retriever.open(folder / "index") as retriever:
        whole = retriever.search(QUERIES[0], 20, mode)
        pages = [hit for start in (0, 7, 14) for hit in retriever.search(QUERIES[0], 7, mode, offset=start)]
        assert [hit.id for hit in pages[:20]] == [hit.id for hit in whole]
        assert [h.probability for h in pages[:20]] == pytest.approx([h.probability for h in whole], abs=1e-6)
        assert retriever.search(QUERIES[0], 5, mode, offset=500) == []


def test_hits_below_the_least_probability_are_left_out_and_the_others_numbered_anew(folder):
    with Retriever.open(folder / "index") as retriever:
        hits = retriever.search(QUERIES[0], 10)
        least = sorted(hit.probability for hit in hits)[4]
        kept = retriever.search(QUERIES[0], 10, min_probability=least)
        assert [hit.id for hit in kept] == [hit.id for hit in hits if hit.probability >= least]
        assert [hit.rank for hit in kept] == list(range(1, 7))
        assert len(kept) == 6
        assert retriever.search(QUERIES[0], 10, min_probability=0) == hits
        least = sorted(hit.probability for hit in hits[5:])[2]
        kept = retriever.search(QUERIES[0], 5, min_probability=least, offset=5)
        assert [hit.id for hit in kept] == [hit.id for hit in hits[5:] if hit.probability >= least]
        assert [hit.rank for hit in kept] == [6, 7, 8]
        assert retriever.search(QUERIES[0], 10, min_probability=1) == []
        for wrong in (-0.1, 1.1, math.nan):
            with pytest.raises(InputError, match="must be from 0 to 1"):
                retriever.search(QUERIES[0], min_probability=wrong)


def test_words_in_no_document_make_a_hit_less_likely(folder):
    with Retriever.open(folder / "index") as retriever:
        evidence = [retriever.evidence([query], np.array([[0, -1]]))[0] for query in ("cat", "cat zzz yyy")]
    assert np.isnan(evidence[0][1]).all()
    assert evidence[0][0, 2] == (1 if "cat" in TEXTS[0] else 0)
    assert evidence[1][0, 2] < 0.5
    assert evidence[1][0, 3] == pytest.approx(math.log(3))


def test_without_calibration_there_is_no_probability(tmp_path, folder, random_model):
    random_model(CONFIG, texts=WORDS).save(folder / "model")  # takes the old calibration away
    assert not (folder / "model" / FILES.calibration).exists()
    build(folder / "corpus.jsonl", folder / "model", folder / "plain")
    with Retriever.open(folder / "plain") as retriever:
        assert retriever.calibration is None
        assert {hit.probability for hit in retriever.search("cat")} == {None}
        with pytest.raises(InputError, match=r"plain.*has no calibration.*train it with dev queries"):
            retriever.search("cat", min_probability=0.5)


def test_a_calibration_that_the_manifest_does_not_name_is_refused(folder, random_model):
    random_model(CONFIG, texts=WORDS).save(folder / "model")
    build(folder / "corpus.jsonl", folder / "model", folder / "plain")
    with Retriever.open(folder / "plain") as retriever:
        place = retriever.index.model_folder / FILES.calibration
    place.write_text("{}")
    with pytest.raises(CorruptError, match=r"calibration\.json: the manifest does not name it"):
        Retriever.open(folder / "plain")
