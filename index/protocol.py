"""What every open index can do, wherever its vectors live.

In: query vectors or texts; rows. Out: rankings of rows; documents. `index.reader.Index` implements it over
files, `index.remote.reader.RemoteIndex` over Milvus. The same tests run over both. Code that searches uses
this protocol only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from index.dense.passages import Span
from index.disk.folder import Pointer
from index.disk.manifest import Manifest
from index.documents.store import Document
from index.interaction.matches import Matches
from index.lexical.bm25 import WordMatch
from index.ranking import Ranking
from index.values import Mask, Rows, Vectors

if TYPE_CHECKING:
    from index.documents.columns import Column
    from index.documents.filtering.expression import Expression, Field
    from index.documents.numbers import Attribute
    from index.lexical.similar import SimilarTerms


class Part(Protocol):
    """Some documents of an open generation."""

    @property
    def count(self) -> int:
        """Its rows, deleted ones included."""

    @property
    def live(self) -> Mask | None:
        """The rows that are not deleted, bool (count,); None if all are live."""

    def rows_of(self, ids: list[str]) -> dict[str, int]:
        """The rows of live documents by document id; other ids are left out."""

    def read(self, rows: list[int]) -> list[Document]:
        """The documents of these rows, in this order."""


class OpenIndex(Protocol):
    """An open generation, read-only and safe for use by several threads; `Index` says what each method does.

    folder: of the index.
    pointer: what CURRENT said at opening.
    manifest: what was published.
    count: documents that a search can find.
    dimension: width of the vectors.
    generation: its name.
    model_folder: the model inside.
    waits: whether a search waits for another machine, so that it must not hold up a loop of events.
    Rows name documents: whole numbers from 0, with gaps where documents were deleted.
    """

    folder: Path
    pointer: Pointer
    manifest: Manifest
    count: int
    dimension: int
    generation: str
    model_folder: Path
    waits: bool

    def keep_vectors(self, most_bytes: int) -> None:
        """Prepare for many searches: keep vectors in memory and compile loops, where that makes it faster."""

    def search_dense(
        self, queries: Vectors, k: int, where: Sequence[Expression] = (), *, model: str | None = None
    ) -> Ranking:
        """The nearest documents of each query by inner product, from the tuned dense index."""

    def search_exact(self, queries: Vectors, k: int, where: Sequence[Expression] = ()) -> Ranking:
        """The nearest documents by comparing every stored vector."""

    def search_lexical(self, queries: Sequence[str], k: int, where: Sequence[Expression] = ()) -> Ranking:
        """The best documents by BM25; those without any term of the query are left out (row -1)."""

    def is_exact(self, where: Sequence[Expression]) -> bool:
        """Whether a dense search with these filters compares every vector, so that its order is exact."""

    def matching(self, where: Sequence[Expression], query: str | None = None) -> list[Mask]:
        """For each part the live documents that meet the filters and have a word of the query."""

    def columns(self, field: Field) -> list[Column]:
        """For each part of the index, as in `matching`, the values of a metadata field."""

    def fields_of_few_values(self, most: int) -> list[str]:
        """The metadata fields with at most `most` distinct values, as a filter spells them, in order."""

    def values_of(self, field: Field, rows: Sequence[int]) -> list[list[Attribute]]:
        """The values that the documents of these rows have in a field."""

    def documents(self, rows: Sequence[int]) -> list[Document]:
        """The documents of these rows, in this order. Raises IndexError for a row that does not exist."""

    def texts(self, rows: Sequence[int]) -> list[Document]:
        """`documents` without metadata, which is empty."""

    def live_documents(self) -> Iterator[Document]:
        """All documents that a search can find, by row."""

    def row_of(self, id: str) -> int | None:  # noqa: A002
        """The row of the live document with this id; None if there is none."""

    def rows_of(self, ids: Sequence[str]) -> dict[str, int]:
        """The rows of live documents by document id; ids that no document has are left out."""

    def rows(self, where: Sequence[Expression] = ()) -> Rows:
        """The rows of all documents that a search can find, ascending."""

    def spans(self, row: int) -> list[Span]:
        """The passages of a document, in order; none if it was not split."""

    def prepare(self, rows: Rows) -> None:
        """Read in one step what `cosines`, `match_words` and `compare_words` need, where that saves time."""

    def cosines(self, rows: Rows, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inner products of a query with documents, float32 (n,); of a split one the largest."""

    def match_words(self, query: str, rows: Rows) -> WordMatch:
        """How well documents match the words of a query."""

    def unknown_terms(self, query: str) -> tuple[str, ...]:
        """The terms of a query that no document has; on a server those of deleted ones may be known."""

    def documents_with(self, term: str) -> int:
        """How many documents have a term, deleted ones included."""

    def similar_terms(self, term: str) -> SimilarTerms:
        """The terms that are similar to one that no document has; of very many the most frequent."""

    def first_term_from(self, text: str) -> str | None:
        """The first term, by code points, that is not smaller than a text; None if all are."""

    def word_width(self) -> int:
        """The width of the vectors of words that all documents have; 0 if some have none."""

    def compare_words(self, rows: Rows, queries: Vectors) -> Iterator[tuple[Mask | slice, Matches]]:
        """The words of documents compared with words of a query, part by part."""

    def nearest_spans(self, rows: Rows, query: NDArray[np.float32]) -> list[Span | None]:
        """The passage of each document with the largest inner product; None for one that was not split."""

    def parts(self) -> Sequence[Part]:
        """The documents in the parts that `matching` speaks of, for writers to compare with."""

    def problems(self) -> list[str]:
        """What is wrong outside the folder, one line each: rows that a server lacks."""

    def close(self) -> None:
        """Release the generation. Calling it again does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...
