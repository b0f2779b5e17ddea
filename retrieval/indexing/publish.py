"""Publication of what was encoded, with all that the model inside the index gives it beside vectors.

In: a builder with documents. Out: a published generation. Knows nothing of corpora.
"""

from __future__ import annotations

from collections.abc import Sequence

from index.disk.manifest import Manifest
from index.values import Progress, Rows
from index.writing.builder import IndexBuilder
from retrieval.indexing.tuning_queries import tuning_queries
from retrieval.model.folder import read_model


def publish(
    builder: IndexBuilder,
    progress: Progress,
    *,
    queries: Sequence[str] = (),
    gone: Sequence[Rows] = (),
    unchanged: bool = False,
) -> Manifest:
    """`IndexBuilder.publish` with words as vectors, if the model re-scores, and with queries to tune by.

    builder: with its documents.
    progress, gone, unchanged: as for `IndexBuilder.publish`, which also says what is raised.
    queries: real ones, if there are any; see `tuning_queries`.
    """
    model = read_model(builder.model)
    return builder.publish(
        gone=gone,
        unchanged=unchanged,
        queries=tuning_queries(model, queries),
        words=model.word_vectors(),
        progress=progress,
    )
