"""A data set from a file of pairs: documents, queries by id, and the qrels of each split.

In: a table whose rows hold a query and a document that answers it, and what its columns mean. Out: the same
parts as a BEIR folder has. Knows nothing of what the parts are used for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from index.documents.store import Document
from index.errors import InputError
from retrieval.data.documents import corpus_fingerprint
from retrieval.data.pairs.columns import ColumnNames, Columns
from retrieval.data.pairs.joining import MIN_QUERIES_TO_SPLIT, SPLITS, JoinedPairs, join_pairs, query_id
from retrieval.data.pairs.rows import is_blank, pair_row
from retrieval.data.queries import Qrels
from retrieval.data.tables import table_records_of


@dataclass(frozen=True)
class PairsSummary:
    """What was understood of a file of pairs. The names of the fields are keys of `train --json`."""

    columns: dict[str, str]  # role to column
    unused: list[str]  # columns without a role
    rows: int
    pairs: int  # of a query and a relevant document
    negatives: int  # judged pairs of a query and a document that is not relevant
    documents: int
    queries: int
    splits: dict[str, int]  # split to its queries


@dataclass(frozen=True)
class PairsDataset:
    """A file of pairs, which is read once, when it is needed, and then held in memory until `forget`."""

    path: Path | str  # or a pattern of files, which are one table
    columns: Columns
    given: ColumnNames  # what the user said about the columns

    def documents(self) -> Iterator[Document]:
        """The documents in the order of the file, given negatives last. Raises InputError."""
        return iter(self._pairs.documents)

    def count_documents(self) -> int:
        """The number of documents. Raises InputError."""
        return len(self._pairs.documents)

    @cached_property
    def queries(self) -> dict[str, str]:
        """Query id, a hash of the text, to text. Raises InputError."""
        return {query_id(text): text for text in self._pairs.judged}

    def splits(self) -> list[str]:
        """Names of the splits that have queries. Raises InputError."""
        return [split for split in SPLITS if split in self._pairs.splits.values()]

    def qrels(self, split: str, document_ids: Container[str] | None = None) -> Qrels:
        """The qrels of a split; a judged document that is not relevant has the grade 0.

        split: train, dev or test.
        document_ids: the document ids that may occur; None allows all.

        Queries without a relevant document are left out. Raises InputError for a split without queries, and
        for a document that may not occur.
        """
        if split not in self.splits():
            known = ", ".join(self.splits()) or "none"
            few = "" if self.columns.split else f"; from {MIN_QUERIES_TO_SPLIT} queries on some are held out"
            raise InputError(f"no query is in split {split!r}; choose one of: {known}{few}", path=self.path)
        pairs = self._pairs
        qrels = {query_id(text): pairs.judged[text] for text, name in pairs.splits.items() if name == split}
        for document in (document for grades in qrels.values() for document in grades):
            if document_ids is not None and document not in document_ids:
                raise pairs.places[document].error(
                    f"document {document!r} is not in the index; build or add this file first"
                )
        return qrels

    def fingerprint(self) -> str:
        """A digest of the file and of what the user said about its columns. Raises InputError."""
        said = json.dumps({role: list(names) for role, names in self.given.items()}, sort_keys=True)
        return hashlib.sha256(f"{corpus_fingerprint(self.path)}\0{said}".encode()).hexdigest()

    def summary(self) -> PairsSummary:
        """What was understood of the file. Raises InputError."""
        grades = [grade for judged in self._pairs.judged.values() for grade in judged.values()]
        splits = list(self._pairs.splits.values())
        return PairsSummary(
            columns=self.columns.named(),
            unused=list(self.columns.unused),
            rows=self._pairs.rows,
            pairs=sum(grade > 0 for grade in grades),
            negatives=sum(grade <= 0 for grade in grades),
            documents=len(self._pairs.documents),
            queries=len(self._pairs.judged),
            splits={split: splits.count(split) for split in self.splits()},
        )

    def forget(self) -> None:
        """Free the memory that the file takes; it is read again when it is needed."""
        for name in ("_pairs", "queries"):
            self.__dict__.pop(name, None)

    @cached_property
    def _pairs(self) -> JoinedPairs:
        records = table_records_of(self.path)
        rows = (pair_row(record, self.columns) for record in records if not is_blank(record))
        return join_pairs(rows, self.path)
