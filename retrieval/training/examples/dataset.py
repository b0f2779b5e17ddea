"""What training reads of a data set: documents, queries, and the qrels of train and dev.

In: a BEIR folder or a file of pairs. Out: `TrainingData`. Without a dev split, a tenth of the training
queries is held out. Once the texts are numbered, training needs only the documents that dev queries are
ranked against. Knows nothing of models.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from index.documents.store import Document
from retrieval.data.dataset import AnyDataset, open_dataset
from retrieval.data.lines import is_stream
from retrieval.data.pairs.dataset import PairsDataset
from retrieval.data.queries import Judgements, Qrels
from retrieval.data.splits import MIN_QUERIES_TO_SPLIT
from retrieval.data.streamed import Without

# About this many documents are candidates of the dev queries besides the relevant ones: enough to rank
# epochs, and few enough to bound the time.
_DEV_DOCUMENTS = 20_000


@dataclass(frozen=True)
class TrainingData:
    """A data set. The documents are read each time, unless they are given as a list."""

    documents: Collection[Document]
    queries: Mapping[str, str]  # query id to text; empty without qrels
    train: Judgements  # empty if there are none
    dev: Qrels  # likewise
    # For dev queries whose judgements are clicks, the documents that were shown: nobody could click on
    # others.
    shown: Mapping[str, Collection[str]] = field(default_factory=dict)

    def for_dev(self) -> TrainingData:
        """The part that is needed once the texts are numbered.

        The documents, in memory, are those that the dev queries are ranked against: the relevant ones and a
        sample of the others. The queries are the dev queries, and the training queries that one of these
        documents answers. Without dev queries, the sample serves to measure how features vary.
        """
        documents = self._dev_documents()
        ids = {document.id for document in documents}
        train = {
            query: {document: grade for document, grade in grades.items() if document in ids}
            for query, grades in self.train.items()
            if not ids.isdisjoint(grades)
        }
        queries = {query: self.queries[query] for query in (*train, *self.dev)}
        return replace(self, documents=documents, queries=queries, train=train)

    def packed(self) -> bytes:
        """The same as JSON.

        Objects that are unpacked after the data set is gone lie together in memory. Objects that survived
        among those of the data set would keep almost all of its memory from being freed.
        """
        documents = [[d.id, d.title, d.text, dict(d.metadata)] for d in self.documents]
        shown = {query: list(ids) for query, ids in self.shown.items()}
        return json.dumps([documents, self.queries, self.train, self.dev, shown]).encode()

    @classmethod
    def unpacked(cls, data: bytes) -> TrainingData:
        """What `packed` packed."""
        documents, queries, train, dev, shown = json.loads(data)
        return cls(
            [Document(*each) for each in documents],
            queries,
            train,
            dev,
            {query: set(ids) for query, ids in shown.items()},
        )

    def _dev_documents(self) -> list[Document]:
        if len(self.documents) <= _DEV_DOCUMENTS:
            return list(self.documents)
        relevant = {document for grades in self.dev.values() for document in grades}
        share = _DEV_DOCUMENTS / len(self.documents) * 2**32
        return [d for d in self.documents if d.id in relevant or zlib.crc32(d.id.encode()) < share]

    def judged_by_people(self) -> TrainingData:
        """The same without dev queries whose judgements are clicks.

        Documents that were not shown for such a query have no clicks, however good they are. A query without
        a good answer has no judgements at all.
        """
        dev = {query: grades for query, grades in self.dev.items() if query not in self.shown}
        return replace(self, dev=dev, shown={})


NOTHING = TrainingData((), {}, {}, {})


@dataclass(frozen=True)
class _Documents(Collection[Document]):
    """The documents of a data set, which is read each time."""

    dataset: AnyDataset
    count: int

    def __iter__(self) -> Iterator[Document]:
        return self.dataset.documents()

    def __len__(self) -> int:
        return self.count

    def __contains__(self, document: object) -> bool:
        return any(each == document for each in self)


def read_training_data(source: AnyDataset | Path) -> TrainingData:
    """Read a data set, or what `open_dataset` opens. Raises InputError if its content is not valid."""
    dataset = open_dataset(source) if isinstance(source, Path) else source
    documents: Collection[Document]
    if isinstance(dataset, PairsDataset):
        documents = _Documents(dataset, dataset.count_documents())
        judgements: Callable[[str], Judgements] = dataset.judgements
    else:
        if is_stream(dataset.folder):
            documents = list(dataset.documents())  # it can be read once only
            ids = {document.id for document in documents}
        else:
            ids = {document.id for document in dataset.documents()}
            documents = _Documents(dataset, len(ids))
        judgements = partial(dataset.qrels, document_ids=ids)
    judged = [split for split in ("dev", "train") if split in dataset.splits()]
    qrels = {split: judgements(split) for split in judged}
    train = qrels.get("train", {})
    if "dev" in qrels:
        dev = {query: dict(grades) for query, grades in qrels["dev"].items()}
    else:
        train, dev = hold_out(train)
    return TrainingData(documents, dataset.queries if judged else {}, train, dev)


def hold_out(train: Judgements) -> tuple[Judgements, Qrels]:
    """Training and dev qrels from training qrels: a tenth of the queries, by a hash of their ids, is dev."""
    if len(train) < MIN_QUERIES_TO_SPLIT:
        return train, {}
    dev = {query: dict(train[query]) for query in train if zlib.crc32(query.encode()) % 10 == 0}
    return Without(train, dev), dev
