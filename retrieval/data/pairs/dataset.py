"""A data set from a file of pairs: documents, queries by id, and the qrels of each split.

In: a table whose rows hold a query and a document that answers it, and what its columns mean. Out: the same
parts as a BEIR folder has. Knows nothing of what the parts are used for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from index.documents.store import Document
from index.errors import InputError
from retrieval.data.columns.names import ColumnNames, said
from retrieval.data.columns.pairs import Columns
from retrieval.data.documents import corpus_fingerprint
from retrieval.data.pairs.joined import JoinedPairs, JoinedQrels, JoinedQueries
from retrieval.data.pairs.joining import join_pairs
from retrieval.data.pairs.rows import pair_row
from retrieval.data.queries import Judgements, Qrels
from retrieval.data.records import is_blank, read_each
from retrieval.data.splits import MIN_QUERIES_TO_SPLIT, SPLITS
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
    """A file of pairs, which is read once, when it is needed, and then kept on the disk until `forget`."""

    path: Path | str  # or a pattern of files, which are one table
    columns: Columns
    given: ColumnNames  # what the user said about the columns

    def documents(self) -> Iterator[Document]:
        """The documents in the order of the file, given negatives last. Raises InputError."""
        return self._pairs.documents()

    def documents_with_queries(self) -> Iterator[Document]:
        """The documents, each with the training queries that it is known to answer. Raises InputError."""
        return self._pairs.documents_with_queries()

    def joined_rows(self) -> int:
        """None: rows with equal texts are one document, which is what pairs are for."""
        return 0

    def count_documents(self) -> int:
        """The number of documents. Raises InputError."""
        return self._pairs.count("documents")

    @property
    def queries(self) -> Mapping[str, str]:
        """Query id, a hash of the text, to text. Raises InputError."""
        return JoinedQueries(self._pairs)

    def splits(self) -> list[str]:
        """Names of the splits that have queries. Raises InputError."""
        there = self._pairs.splits()
        return [split for split in SPLITS if split in there]

    def judgements(self, split: str) -> Judgements:
        """The qrels of a split, read when they are needed. Raises InputError for a split without queries."""
        if split not in self.splits():
            known = ", ".join(self.splits()) or "none"
            few = "" if self.columns.split else f"; from {MIN_QUERIES_TO_SPLIT} queries on some are held out"
            raise InputError(f"no query is in split {split!r}; choose one of: {known}{few}", path=self.path)
        return JoinedQrels(self._pairs, split)

    def qrels(self, split: str, document_ids: Container[str] | None = None) -> Qrels:
        """The qrels of a split; a judged document that is not relevant has the grade 0.

        split: train, dev or test.
        document_ids: the document ids that may occur; None allows all.

        Queries without a relevant document are left out. Raises InputError for a split without queries, and
        for a document that may not occur.
        """
        qrels = {query: dict(grades) for query, grades in self.judgements(split).items()}
        for document in (document for grades in qrels.values() for document in grades):
            if document_ids is not None and document not in document_ids:
                raise self._pairs.place_of(document).error(
                    f"document {document!r} is not in the index; build or add this file first, "
                    "or give --column as then (`peephole info` shows by which columns it was read)"
                )
        return qrels

    def fingerprint(self, *, queries: bool = False) -> str:
        """A digest of the file, its queries too, and of what the user said about its columns.

        queries: makes no difference. Raises InputError.
        """
        return hashlib.sha256(f"{corpus_fingerprint(self.path)}\0{said(self.given)}".encode()).hexdigest()

    def summary(self) -> PairsSummary:
        """What was understood of the file. Raises InputError."""
        pairs, splits = self._pairs, self._pairs.splits()
        return PairsSummary(
            columns=self.columns.named(),
            unused=list(self.columns.unused),
            rows=pairs.rows,
            pairs=pairs.count("judgements", "grade > 0"),
            negatives=pairs.count("judgements", "grade <= 0"),
            documents=pairs.count("documents"),
            queries=pairs.count("queries"),
            splits={split: splits[split] for split in self.splits()},
        )

    def forget(self) -> None:
        """Free what the file takes on the disk; it is read again when it is needed."""
        self.__dict__.pop("_pairs", None)

    @cached_property
    def _pairs(self) -> JoinedPairs:
        records = (record for record in table_records_of(self.path, self.given) if not is_blank(record))
        rows = read_each(records, lambda record: pair_row(record, self.columns))
        return join_pairs(rows, self.path)
