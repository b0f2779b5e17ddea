"""A BEIR data set: documents, queries by id, and the qrels of each split.

In: a folder with corpus.jsonl and, if there are any, queries.jsonl and qrels/SPLIT.tsv. Out: each part, read
when it is needed. Knows nothing of what the parts are used for.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from index.documents.store import Document
from retrieval.data.documents import read_documents
from retrieval.data.queries import Qrels, read_qrels, read_queries, splits


@dataclass(frozen=True)
class Dataset:
    """A BEIR folder, whose parts are read when they are needed.

    >>> dataset = Dataset(Path("data"))                                        # doctest: +SKIP
    >>> dataset.splits(), len(dataset.qrels("dev"))                            # doctest: +SKIP
    (['train', 'dev', 'test'], 2844)
    """

    folder: Path

    def documents(self) -> Iterator[Document]:
        """The documents, one at a time. Raises what `read_documents` raises."""
        return read_documents(self.folder)

    @cached_property
    def queries(self) -> dict[str, str]:
        """Query id to text, of all splits. Raises what `read_queries` raises."""
        return {query.id: query.text for query in read_queries(self.folder)}

    def splits(self) -> list[str]:
        """Names of the splits that have qrels: train, dev, test first, then others by name."""
        return splits(self.folder)

    def qrels(self, split: str, document_ids: Container[str] | None = None) -> Qrels:
        """The qrels of a split, in which only the data set's queries may occur.

        split: such as "test".
        document_ids: the document ids that may occur; None allows all.

        Raises what `read_qrels` raises.
        """
        return read_qrels(self.folder, split, query_ids=self.queries, document_ids=document_ids)
