"""Make an index hold exactly what a corpus holds, in one published generation.

In: a corpus as for `build`, and an index folder. Out: the new generation, or none if nothing changed.
Only new and changed documents are encoded. A synchronisation that is cut short can be resumed. Imports no
torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from index.documents.store import Document
from index.errors import InputError
from index.values import Progress, no_progress
from index.writing.builder import IndexBuilder
from index.writing.comparison import Comparison
from retrieval.data.columns.names import USUAL, ColumnNames
from retrieval.data.dataset import AnyDataset, column_roles, open_dataset
from retrieval.indexing.build import AddResult, documents_of, encode_into, fingerprint, model_of
from retrieval.indexing.publish import publish
from retrieval.model.folder import read_model

# Documents compared at once.
_DOCUMENTS_AT_ONCE = 1024


def sync(
    corpus: Path | str | AnyDataset,
    index: Path,
    *,
    columns: ColumnNames = USUAL,
    resume: bool = False,
    wait: float = 0.0,
    known_queries: bool = True,
    most_deleted: float = 100.0,
    progress: Progress = no_progress,
) -> AddResult:
    """Add new documents, replace changed ones, keep those that are the same, and delete all others.

    corpus: as for `build`; "-" is standard input.
    index: the index folder. If the corpus changes nothing, its generation stays.
    columns: role to the columns that the user names, for a file of pairs.
    resume: keep what an interrupted synchronisation with the same corpus has encoded.
    wait: seconds to wait for another writer.
    known_queries: as for `add`.
    most_deleted: per cent of the documents of the index. If the corpus lacks more, nothing is changed.
    progress: called as documents are compared and encoded and segments are written.
    Raises what `build` raises, and InputError for a corpus that has no document of the index, or lacks
    more of them than `most_deleted`, or for a share that is not from 0 to 100.
    """
    if not 0 <= most_deleted <= 100:  # NaN is none of these
        raise InputError(f"--most-deleted is a share from 0 to 100 per cent, not {most_deleted:g}")
    dataset = open_dataset(corpus, columns)
    known_queries = known_queries and model_of(index).reads_queries()
    source = f"sync {fingerprint(dataset, resume, known_queries)}"
    documents = documents_of(dataset, known_queries)
    roles = column_roles(dataset)
    with IndexBuilder.begin_adding(index, source=source, resume=resume, wait=wait, columns=roles) as builder:
        comparison = encode_changes(builder, documents, dataset.count_documents(), progress)
        gone = comparison.gone()
        deleted = sum(map(len, gone))
        path = None if str(dataset.path) == "-" else dataset.path
        if deleted and not comparison.found:
            or_columns = " and the columns (`peephole info` shows by which it was read)" if roles else ""
            raise InputError(
                f"has no document of the index, such as {comparison.first_gone()!r}, so all {deleted:,} "
                f"would be deleted; check the path, the ids{or_columns}, or make the index with "
                "`peephole build`",
                path=path,
            )
        held = comparison.found + deleted
        if 100 * deleted > most_deleted * held:
            raise InputError(
                f"lacks {deleted:,} of the {held:,} documents of the index, such as "
                f"{comparison.first_gone()!r}, more than the {most_deleted:g} % that --most-deleted allows; "
                "nothing was changed; check that it is whole, or allow more",
                path=path,
            )
        count, replaced = builder.count, builder.replaced()
        counts = (count - replaced, replaced, deleted, comparison.unchanged)
        changes = count or deleted
        manifest = publish(builder, progress, gone=gone) if changes else builder.leave()
        return AddResult(manifest.generation, manifest.documents, *counts)


def encode_changes(
    builder: IndexBuilder, documents: Iterable[Document], total: int | None, progress: Progress
) -> Comparison:
    """Append to a build the documents that the index lacks or holds otherwise, encoded by its model.

    builder: of an index that documents are added to.
    documents: all that the index is to hold.
    total: their number, for progress; None if it is not known.
    progress: called as documents are compared and encoded.
    Returns the comparison, which knows the rows that are to be deleted.
    """
    comparison = builder.compare()
    changed = _changed(comparison, documents, total, progress)
    encode_into(builder, read_model(builder.model), changed, None, progress)
    return comparison


def _changed(
    comparison: Comparison, documents: Iterable[Document], total: int | None, progress: Progress
) -> Iterator[Document]:
    stream, done = iter(documents), 0
    while block := list(islice(stream, _DOCUMENTS_AT_ONCE)):
        yield from comparison.changed(block)
        done += len(block)
        progress("comparing", done, total)
