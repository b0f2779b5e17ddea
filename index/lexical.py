"""BM25: the tokeniser, the scores computed ahead of time by bm25s, and the search over them.

In: texts by row. Out: rankings of rows. Knows nothing of vectors.

The scores are Lucene's variant (Robertson's tf part, idf that is never negative) as bm25s computes them:
eagerly, one float per pair of term and document, so that a search only adds up. A search needs no bm25s: the
arrays are memory-mapped and added here, which saves its import (85 ms, most of it scipy). The vocabulary is
sorted and searched by bisection in the map: opening takes the same time for a hundred terms as for a million.

    weights.f32      (pairs,)      scores, term by term
    rows.i32         (pairs,)      their documents, ascending within a term
    starts.i64       (terms + 1,)  where the pairs of a term begin
    terms.utf8       (bytes,)      all terms, sorted
    term_starts.i64  (terms + 1,)  where a term begins in it

The files are the bare numbers, little-endian: a header would only be something more to be damaged.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.documents import Scalar
from index.errors import CorruptError
from index.files import storing
from index.ranking import Ranking, best, empty_ranking
from index.tokens import TOKENS_VERSION, lexical_tokens

__all__ = ["BM25_SETTINGS", "Bm25", "lexical_tokens", "write_bm25"]

# How soon repetition of a term stops counting, and how much long documents are held back: the best of six
# pairs on the dev splits of tldr, tldr-zh and medquad (nDCG@10 .547, .501, .567; 1.2 and .75 give .537, .487,
# .559).
K1 = 0.9
B = 0.4

# What the manifest says of a segment's scores.
BM25_SETTINGS: Mapping[str, Scalar] = {"k1": K1, "b": B, "tokens": TOKENS_VERSION}

_ARRAYS = {
    "weights.f32": "<f4",
    "rows.i32": "<i4",
    "starts.i64": "<i8",
    "terms.utf8": "|u1",
    "term_starts.i64": "<i8",
}


def write_bm25(folder: Path, texts: Iterable[str]) -> None:
    """Index texts, row by row from 0, into a new folder; durable but for the folder's own entry.

    Raises StorageError.
    """
    ids, documents = _numbered(texts)
    terms = sorted(ids)
    rank = np.empty(len(terms), np.int32)
    rank[[ids[term] for term in terms]] = np.arange(len(terms), dtype=np.int32)
    documents = [array("i", rank[document].tolist()) for document in documents]
    arrays = _scores(documents, len(terms)) | _packed(terms)
    with storing(folder):
        folder.mkdir()
        for name, kind in _ARRAYS.items():
            with (folder / name).open("wb") as file:
                file.write(np.ascontiguousarray(arrays[name], kind).data)
                file.flush()
                os.fsync(file.fileno())


def _numbered(texts: Iterable[str]) -> tuple[dict[str, int], list[array[int]]]:
    """Terms numbered as they appear, and every text as numbers; in arrays, for a list takes twice as much."""
    ids: dict[str, int] = {}
    return ids, [
        array("i", (ids.setdefault(token, len(ids)) for token in lexical_tokens(text))) for text in texts
    ]


def _scores(documents: list[array[int]], terms: int) -> dict[str, NDArray[Any]]:
    if not terms:
        return {"weights.f32": np.empty(0), "rows.i32": np.empty(0), "starts.i64": np.zeros(1)}
    import bm25s

    model = bm25s.BM25(k1=K1, b=B, method="lucene")
    vocabulary = {number: number for number in range(terms)}
    model.index((documents, vocabulary), create_empty_token=False, show_progress=False)
    found = model.scores
    return {"weights.f32": found["data"], "rows.i32": found["indices"], "starts.i64": found["indptr"]}


def _packed(terms: Sequence[str]) -> dict[str, NDArray[Any]]:
    encoded = [term.encode() for term in terms]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return {"terms.utf8": np.frombuffer(b"".join(encoded), np.uint8), "term_starts.i64": starts}


class Bm25:
    """The BM25 scores of a published segment; safe for use by several threads.

    Raises CorruptError, on opening or while searching, if the files are not what was written.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._count = count
        arrays = [_read(folder / name, kind) for name, kind in _ARRAYS.items()]
        self._weights, self._rows, self._starts, self._terms, self._term_starts = arrays
        if not (
            len(self._starts) == len(self._term_starts) > 0
            and self._starts[-1] == len(self._weights) == len(self._rows)
            and self._term_starts[-1] == len(self._terms)
        ):
            raise CorruptError(
                f"{folder}: its files do not fit together; restore them or build the index again"
            )

    def search(self, queries: Sequence[str], k: int) -> Ranking:
        """The k best documents for each query, k from 1 to count; none without any of its terms."""
        ranking = empty_ranking(len(queries), k)
        for query, text in enumerate(queries):
            scores = self.scores(text)
            found = np.flatnonzero(scores)
            chosen = found[best(scores[found], k)]
            ranking.scores[query, : len(chosen)] = scores[chosen]
            ranking.rows[query, : len(chosen)] = chosen
        return ranking

    def scores(self, query: str) -> NDArray[np.float32]:
        """Every document's score, float32 (count,); 0 where no term of the query occurs."""
        scores = np.zeros(self._count, np.float32)
        try:
            for term, times in Counter(lexical_tokens(query)).items():
                number = self._number(term)
                if number is None:
                    continue
                part = slice(int(self._starts[number]), int(self._starts[number + 1]))
                scores[self._rows[part]] += self._weights[part] * np.float32(times)
        except (IndexError, ValueError) as error:
            raise CorruptError(
                f"{self._folder}: damaged; restore its files or build the index again"
            ) from error
        return scores

    def _number(self, term: str) -> int | None:
        """Bisection: UTF-8 sorts as its code points do."""
        wanted = term.encode("utf-8", "surrogatepass")
        low, high = 0, len(self._term_starts) - 1
        while low < high:
            middle = (low + high) // 2
            found = self._terms[self._term_starts[middle] : self._term_starts[middle + 1]].tobytes()
            if found == wanted:
                return middle
            low, high = (middle + 1, high) if found < wanted else (low, middle)
        return None


def _read(path: Path, kind: str) -> NDArray[Any]:
    """All of a file, memory-mapped, as an array of one dimension."""
    try:
        if not path.stat().st_size:  # which cannot be mapped
            return np.empty(0, kind)
        return np.asarray(np.memmap(path, kind, "r"))
    except (OSError, ValueError) as error:
        raise CorruptError(
            f"{path}: cannot be read ({error}); restore it or build the index again"
        ) from error
