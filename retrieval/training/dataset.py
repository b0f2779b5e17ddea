"""What training reads of a data set: documents, queries, and the qrels to train on and to choose by.

In: a BEIR folder. Out: `TrainingData`. Without a dev split, a tenth of the training queries is held out.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from index.documents.store import Document
from retrieval.data.dataset import Dataset
from retrieval.data.queries import Qrels

# Below this many training queries a held-out tenth would say nothing, and training needs them all.
_FEWEST_TO_HOLD_OUT = 50


@dataclass(frozen=True)
class TrainingData:
    """A data set in memory. train and dev are empty where it has none, queries where it has neither."""

    documents: list[Document]
    queries: dict[str, str]  # query id to text
    train: Qrels
    dev: Qrels


def read_training_data(folder: Path) -> TrainingData:
    """Read a BEIR folder. Raises InputError for whatever is wrong in it."""
    dataset = Dataset(folder)
    documents = list(dataset.documents())
    ids = {document.id for document in documents}
    judged = [split for split in ("dev", "train") if split in dataset.splits()]
    qrels = {split: dataset.qrels(split, document_ids=ids) for split in judged}
    train, dev = qrels.get("train", {}), qrels.get("dev", {})
    if "dev" not in judged:
        train, dev = _hold_out(train)
    return TrainingData(documents, dataset.queries if judged else {}, train, dev)


def _hold_out(train: Qrels) -> tuple[Qrels, Qrels]:
    """Training and dev qrels from training qrels: a tenth of the queries, by a hash of their ids, is dev."""
    if len(train) < _FEWEST_TO_HOLD_OUT:
        return train, {}
    dev = {query: grades for query, grades in train.items() if zlib.crc32(query.encode()) % 10 == 0}
    return {query: grades for query, grades in train.items() if query not in dev}, dev
