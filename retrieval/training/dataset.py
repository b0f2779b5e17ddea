"""A BEIR folder in memory, as training needs it: documents, queries, training pairs, dev pairs.

In: `corpus.jsonl` and, where there are any, `queries.jsonl`, `qrels/train.tsv` and `qrels/dev.tsv`. Out:
`Source`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from index.documents.store import Document
from retrieval.data.documents import Qrels, read_documents, read_qrels, read_queries, splits

# Below this many training queries a held-out tenth would say nothing, and learning needs them all.
_FEWEST_TO_HOLD_OUT = 50


@dataclass(frozen=True)
class Source:
    """A data folder in memory. train and dev are empty where the folder has none, queries where it has
    neither.
    """

    documents: list[Document]
    queries: dict[str, str]
    train: Qrels
    dev: Qrels


def read_source(folder: Path) -> Source:
    """Read a BEIR folder. Raises InputError for whatever is wrong in it."""
    documents = list(read_documents(folder))
    judged = {"train", "dev"}.intersection(splits(folder))
    queries = {query.id: query.text for query in read_queries(folder)} if judged else {}
    ids = {document.id for document in documents}
    found = {
        split: read_qrels(folder, split, query_ids=queries, document_ids=ids) for split in sorted(judged)
    }
    train, dev = found.get("train", {}), found.get("dev", {})
    if "dev" not in judged:
        train, dev = _hold_out(train)
    return Source(documents, queries, train, dev)


def _hold_out(train: Qrels) -> tuple[Qrels, Qrels]:
    if len(train) < _FEWEST_TO_HOLD_OUT:
        return train, {}
    dev = {query: grades for query, grades in train.items() if zlib.crc32(query.encode()) % 10 == 0}
    return {query: grades for query, grades in train.items() if query not in dev}, dev
