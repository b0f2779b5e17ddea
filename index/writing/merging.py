"""What a new segment takes in of an index: a size-tiered merge policy, and the copies that it asks for.

In: the parts of an open generation, and the new documents in their staging folder. Out: more staged
documents, and the segments that stay as they are. Knows nothing of how a segment is written or published.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from index.dense.passages import passage_table
from index.segment import Segment
from index.values import Progress, Rows
from index.writing.publish import Kept
from index.writing.staging import Staging

if TYPE_CHECKING:
    from index.remote.reader import RemoteIndex

_NONE = np.empty(0, np.int64)
# Rows copied at once from an old segment into a new one.
_ROWS_AT_ONCE = 4096


def merge(
    staging: Staging,
    segments: Sequence[Segment],
    gone: Sequence[Rows],
    compact: bool,
    progress: Progress,
) -> list[Kept]:
    """Stage the live documents of the segments to merge; returns the segments that stay.

    staging: the new documents, which replace those with the same ids.
    segments: of the index.
    gone: for each segment, live rows to delete too; empty for none.
    compact: merge all segments.
    progress: called as documents are copied.
    Raises StorageError.
    """
    parts = [
        Kept(segment, np.unique(np.concatenate([segment.deleted(), replaced, deleted])))
        for segment, replaced, deleted in zip(
            segments, _replaced(staging, segments), gone or [_NONE] * len(segments), strict=True
        )
    ]
    merged = parts if compact else _to_merge(parts, staging.count)
    if merged:
        staging.seal()
    done, total = 0, sum(part.live for part in merged)
    for part in merged:
        rows = np.setdiff1d(np.arange(part.segment.count), part.deleted)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            block = rows[start : start + _ROWS_AT_ONCE]
            documents = part.segment.documents.documents(block.tolist())
            staging.append(documents, *part.segment.passages_of(block))
            done += len(block)
            progress("gathering", done, total)
    return [part for part in parts if part not in merged]


def gather(staging: Staging, base: RemoteIndex, but: set[int], progress: Progress) -> None:
    """Stage the live documents of an index in Milvus, with the vectors that they have there.

    but: rows of documents that are left out.
    Raises RemoteError, StorageError.
    """
    staging.seal()
    done = 0
    stored = (each for each in base.stored(["dense"]) if int(each[2][0]["row"]) not in but)
    while block := list(islice(stored, _ROWS_AT_ONCE)):
        vectors = np.array([part["dense"] for _, _, parts in block for part in parts], np.float32)
        table = passage_table([spans for _, spans, _ in block])
        staging.append([document for document, _, _ in block], vectors, table)
        done += len(block)
        progress("gathering", done, base.count)


def _replaced(staging: Staging, segments: Sequence[Segment]) -> list[NDArray[np.int64]]:
    """For each segment, the live rows whose document ids are staged."""
    replaced: list[list[int]] = [[] for _ in segments]
    for ids in staging.documents.ids():
        for rows, segment in zip(replaced, segments, strict=True):
            rows += segment.rows_of(ids).values()
    return [np.array(rows, np.int64) for rows in replaced]


def _to_merge(parts: Sequence[Kept], count: int) -> list[Kept]:
    """Size-tiered merge policy, ratio 2: the segments that join `count` new documents, in their order.

    Smallest first, a segment joins if it has at most twice the documents gathered before it.
    """
    merged = []
    for part in sorted(parts, key=lambda part: part.live):
        if part.live > 2 * count:
            break
        merged.append(part)
        count += part.live
    return [part for part in parts if part in merged]
