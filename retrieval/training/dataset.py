"""What training reads of a data set: documents, queries, and the qrels of train and dev.

In: a BEIR folder or a file of pairs. Out: `TrainingData`. Without a dev split, a tenth of the training
queries is held out. Knows nothing of models.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from index.documents.store import Document
from retrieval.data.dataset import AnyDataset, open_dataset
from retrieval.data.queries import Qrels

# With fewer training queries a tenth is too small to measure by, and training needs them all.
_MIN_QUERIES_TO_HOLD_OUT = 50


@dataclass(frozen=True)
class TrainingData:
    """A data set in memory."""

    documents: list[Document]
    queries: dict[str, str]  # query id to text; empty without qrels
    train: Qrels  # empty if there are none
    dev: Qrels  # likewise
    # Of dev queries whose judgements are clicks, what was shown: nobody could click on anything else.
    shown: Mapping[str, Collection[str]] = field(default_factory=dict)

    def judged_by_people(self) -> TrainingData:
        """The same without dev queries whose judgements are clicks.

        What was not shown for them has no clicks, however good it is, and a query without a good answer has
        none at all.
        """
        dev = {query: grades for query, grades in self.dev.items() if query not in self.shown}
        return replace(self, dev=dev, shown={})


def read_training_data(source: AnyDataset | Path) -> TrainingData:
    """Read a data set, or what `open_dataset` opens. Raises InputError if its content is not valid."""
    dataset = open_dataset(source) if isinstance(source, Path) else source
    documents = list(dataset.documents())
    ids = {document.id for document in documents}
    judged = [split for split in ("dev", "train") if split in dataset.splits()]
    qrels = {split: dataset.qrels(split, document_ids=ids) for split in judged}
    train, dev = qrels.get("train", {}), qrels.get("dev", {})
    if "dev" not in judged:
        train, dev = hold_out(train)
    return TrainingData(documents, dataset.queries if judged else {}, train, dev)


def hold_out(train: Qrels) -> tuple[Qrels, Qrels]:
    """Training and dev qrels from training qrels: a tenth of the queries, by a hash of their ids, is dev."""
    if len(train) < _MIN_QUERIES_TO_HOLD_OUT:
        return train, {}
    dev = {query: grades for query, grades in train.items() if zlib.crc32(query.encode()) % 10 == 0}
    return {query: grades for query, grades in train.items() if query not in dev}, dev
