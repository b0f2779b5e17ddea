"""An open generation with its query tower: held by searches, closed when the last one is done.

In: an open index. Out: the same with its tower. Knows nothing of how a search ranks.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from index.errors import InputError
from index.locks import ProcessLock
from retrieval.search.tower import QueryTower

if TYPE_CHECKING:
    from index.protocol import OpenIndex
    from retrieval.search.spelling import Spelling


class OpenGeneration:
    """A generation and its query tower; it is closed once it is retired and no search holds it.

    rescoring: how hybrid search re-scores its candidates; None if the model or the index cannot re-score.
    """

    def __init__(self, index: OpenIndex, old_tower: QueryTower | None, kept_bytes: int) -> None:
        """Close the index if this fails.

        index: the generation.
        old_tower: used again if it is of the same model, because it has many words in its cache.
        kept_bytes: memory for converted vectors; see `OpenIndex.keep_vectors`.
        Raises what `QueryTower` raises.
        """
        self.index = index
        try:
            index.keep_vectors(kept_bytes)
            same = old_tower is not None and old_tower.fingerprint == index.manifest.model_fingerprint
            if old_tower is not None and same:
                self.tower = old_tower
            else:
                self.tower = QueryTower(index, compiled=kept_bytes > 0)
        except BaseException:
            index.close()
            raise
        rescoring = self.tower.rescoring
        self.rescoring = rescoring if rescoring is not None and rescoring.fits(index) else None
        self._lock = ProcessLock()
        self._searches = 0
        self._retired = False

    def corrected(self, query: str) -> str:
        """The query as it is searched, see `retrieval.search.spelling`."""
        unknown = self.index.unknown_terms(query)
        if not unknown:
            return query  # as nearly all; a search from the shell must not wait for an import
        return self._spelling.corrected(query, unknown)

    @cached_property
    def _spelling(self) -> Spelling:
        from retrieval.search.spelling import Spelling

        return Spelling(self.index, self.tower.vocabulary)

    def hold(self) -> None:
        """Keep it open until `release`. Raises InputError if it is closed."""
        with self._lock:
            if self._retired and not self._searches:
                raise InputError("the index is closed; open it again", path=self.index.folder)
            self._searches += 1

    def release(self) -> None:
        """End a `hold`."""
        with self._lock:
            self._searches -= 1
            self._close_if_done()

    def retire(self) -> None:
        """Close it as soon as nothing holds it; doing so twice is harmless."""
        if not self._lock.is_own():
            return  # a forked process ends with what it inherited
        with self._lock:
            self._retired = True
            self._close_if_done()

    def _close_if_done(self) -> None:
        if self._retired and not self._searches:
            self.index.close()
