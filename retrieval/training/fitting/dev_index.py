"""An index of the documents of the dev queries, and what is fitted on it when training ends.

In: a trained TwoTower and the part of a `TrainingData` for dev. Out: a `Retriever` over the written model,
and the weight of the dense ranking in hybrid search. A fit sees what serving will see: tables as they are
stored, passages, BM25. Knows nothing of how the model is trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from index.dense.tuning import Goal
from index.disk.files import clear_away, remove, storing
from index.values import Progress, no_progress
from index.writing.builder import IndexBuilder
from retrieval.evaluation.assess import run_of
from retrieval.evaluation.measures import evaluate_run
from retrieval.evaluation.runs import condensed
from retrieval.indexing.build import encode_into
from retrieval.indexing.passages import passage_words_of
from retrieval.model.folder import read_model
from retrieval.search.fusion import fuse
from retrieval.search.ranking import FUSION_DEPTH
from retrieval.search.retriever import Retriever
from retrieval.towers.two_tower import TwoTower
from retrieval.training.examples.dataset import TrainingData
from retrieval.training.fitting.dev_rankings import DevRankings

_DENSE_SHARES = [round(0.1 + 0.05 * step, 2) for step in range(17)]
_MEASURE = "nDCG@10"


@contextmanager
def dev_index(
    model: TwoTower,
    dataset: TrainingData,
    folder: Path,
    *,
    known_queries: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    small: bool = True,
    progress: Progress = no_progress,
) -> Iterator[Retriever]:
    """An index with exact search over the documents that the dev queries are ranked against.

    model: the trained model.
    dataset: of `TrainingData.for_dev`; its dev split must not be empty.
    folder: where the model and the index are written; removed first, and at the end
        as far as its files are no longer mapped.
    known_queries: those that documents have, by document id. BM25 reads them.
    small: whether the tables of the model are stored in int8.
    progress: called as documents are encoded.
    Raises StorageError.
    """
    try:
        with storing(folder):
            remove(folder)
            folder.mkdir(parents=True)
        model.save(folder / "model", small=small)
        saved = read_model(folder / "model")
        documents = [
            document._replace(queries=known_queries.get(document.id, ())) for document in dataset.documents
        ]
        with IndexBuilder.begin(
            folder / "index",
            model=saved.folder,
            dimension=saved.config.dimension,
            source="dev",
            passage_words=passage_words_of(saved.config),
            goal=Goal(recall=1),
        ) as builder:
            encode_into(builder, saved, documents, len(documents), progress)
            builder.publish()
        with Retriever.open(folder / "index") as retriever:
            yield retriever
    finally:
        clear_away(folder)


def best_dense_share(retriever: Retriever, dataset: TrainingData, ranked: DevRankings) -> float:
    """The weight of the dense ranking, from .1 to .9, with the best nDCG@10 of hybrid search on dev.

    retriever: of `dev_index`.
    dataset: the data set whose dev queries are searched. For a query that has clicks, only documents that
        were shown count. They were found with an older share, which would win again otherwise.
    ranked: the dev queries.
    """
    values = []
    for share in _DENSE_SHARES:
        depth = 2 * FUSION_DEPTH if dataset.shown else 10
        run = run_of(retriever, list(dataset.dev), fuse(ranked.dense, ranked.lexical, depth, share))
        counted = condensed(run, dataset.shown)
        values.append(evaluate_run(dataset.dev, counted, [_MEASURE]).means()[_MEASURE])
    # Of equally good shares the middle one is taken: it is farthest from shares that are worse.
    best = [share for share, value in zip(_DENSE_SHARES, values, strict=True) if value >= max(values) - 1e-9]
    return best[len(best) // 2]
