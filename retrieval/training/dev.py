"""Evaluation on the dev queries after each epoch: measures of a ranking by exact search.

In: a TwoTower and the part of a `TrainingData` for dev. Out: means of measures. Knows nothing of how the
model is trained.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from index.documents.store import Document
from index.ranking import Ranking, empty_ranking
from retrieval.evaluation.measures import evaluate_run
from retrieval.indexing.passages import (
    SplitDocument,
    passage_vectors,
    passage_words_of,
    split_document,
    texts_to_encode,
)
from retrieval.model.config import ModelConfig
from retrieval.towers.two_tower import TwoTower
from retrieval.training.examples.dataset import TrainingData

# Bounds the memory: cosines held at once, 64 MiB.
_SCORES_AT_ONCE = 1 << 24


def dev_candidates(dataset: TrainingData, config: ModelConfig) -> list[SplitDocument]:
    """The documents of `TrainingData.for_dev`, split for a model with this config."""
    words = config.document_words, passage_words_of(config)
    return [split_document(document, *words) for document in dataset.documents]


def dev_measures(
    model: TwoTower,
    dataset: TrainingData,
    measures: Sequence[str],
    depth: int = 100,
    candidates: Sequence[SplitDocument] | None = None,
) -> dict[str, float]:
    """Means over the dev queries, with all documents of the data set as candidates.

    model: the model to evaluate.
    dataset: of `TrainingData.for_dev`; its dev split must not be empty.
    measures: names as ir-measures has them, such as nDCG@10.
    depth: how many documents of each ranking are scored.
    candidates: of `dev_candidates`, for a caller that measures again and again.
    Returns measure name to mean.
    """
    split = dev_candidates(dataset, model.config) if candidates is None else candidates
    documents = [candidate.document for candidate in split]
    return _measure(dataset, documents, _rank(model, dataset, split, depth), measures)


def _rank(model: TwoTower, dataset: TrainingData, split: Sequence[SplitDocument], depth: int) -> Ranking:
    embeddings = model.encode_documents(texts_to_encode(split))
    vectors = torch.from_numpy(passage_vectors(embeddings, split))
    starts = np.cumsum([0, *(len(document.spans) for document in split)])[:-1]
    queries = torch.from_numpy(model.encode_queries([dataset.queries[query_id] for query_id in dataset.dev]))
    ranking = empty_ranking(len(queries), min(depth, len(split)))
    at_once = max(1, _SCORES_AT_ONCE // len(vectors))
    for start in range(0, len(queries), at_once):
        cosines = (queries[start : start + at_once] @ vectors.t()).numpy()
        scores = torch.from_numpy(np.maximum.reduceat(cosines, starts, axis=1))
        top = torch.topk(scores, ranking.rows.shape[1])
        ranking.scores[start : start + at_once] = top.values.numpy()
        ranking.rows[start : start + at_once] = top.indices.numpy()
    return ranking


def _measure(
    dataset: TrainingData, documents: Sequence[Document], ranking: Ranking, measures: Sequence[str]
) -> dict[str, float]:
    run = {
        query_id: {documents[row].id: score for row, score in zip(rows, scores, strict=True) if row >= 0}
        for query_id, rows, scores in zip(
            dataset.dev, ranking.rows.tolist(), ranking.scores.tolist(), strict=True
        )
    }
    return evaluate_run(dataset.dev, run, measures).means()
