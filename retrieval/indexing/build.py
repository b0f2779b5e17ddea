"""Build an index from a corpus, or add documents to one: read, encode with the document tower, publish.

In: what `open_dataset` opens, and a model folder. Out: a published generation. A build that is cut short
can be resumed. Imports no torch. Knows nothing of files inside an index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal, TypeAlias

from index.dense.tuning import Goal
from index.disk.folder import is_index
from index.disk.manifest import Manifest
from index.documents.store import Document
from index.errors import ExistingError, InputError
from index.opened import open_index
from index.values import Progress, no_progress
from index.writing.builder import IndexBuilder
from retrieval.data.columns.names import USUAL, ColumnNames
from retrieval.data.dataset import AnyDataset, Dataset, column_roles, open_dataset
from retrieval.data.queries import Judgements, read_qrels
from retrieval.indexing.parallel import Workers, encode_shards
from retrieval.indexing.passages import (
    passage_vectors,
    passage_words_of,
    shards_of,
    texts_to_encode,
)
from retrieval.indexing.publish import publish
from retrieval.indexing.tuning_queries import MAX_TUNING_QUERIES
from retrieval.model.folder import TrainedModel, read_model, read_model_of

# What becomes of an added document whose id the index has: it takes the other's place, is left out, or the
# addition is refused as a whole.
Existing: TypeAlias = Literal["replace", "keep", "refuse"]


@dataclass(frozen=True)
class AddResult:
    """What `add` did. The names of the fields are keys of the JSON that `peephole add` prints."""

    generation: str  # the new one
    documents: int  # in the index now
    added: int  # documents with a new id
    replaced: int  # documents that replaced one with the same id
    deleted: int = 0  # documents that the corpus does not hold; only `sync` deletes
    unchanged: int = 0  # documents that are the same as before; only `sync` compares


def build(
    corpus: Path | str | AnyDataset,
    model: Path,
    output: Path,
    *,
    goal: Goal | None = None,
    queries: Sequence[str] | None = None,
    passage_words: int | None = None,
    columns: ColumnNames = USUAL,
    resume: bool = False,
    wait: float = 0.0,
    store: str | None = None,
    cluster: str | None = None,
    known_queries: bool = True,
    progress: Progress = no_progress,
) -> Manifest:
    """Encode a corpus and publish it as the next generation of an index folder, in place of the last one.

    corpus: what `open_dataset` opens: documents, or a data set with documents; "-" is standard input.
    model: the model folder; it is copied into the index.
    output: the index folder. If the build fails, its last published generation stays.
    goal: how to choose the FAISS index; recall .99 by default.
    passage_words: most words of a passage; 0 to leave documents whole. By default what the tower reads.
    queries: real queries to tune by. By default the training queries of the data set; for a corpus without
        queries pieces of its documents.
    columns: role to the columns that the user names, for a file of pairs.
    resume: keep the documents that an interrupted build of the same corpus and model has encoded.
    wait: seconds to wait for another writer.
    store: milvus://HOST:PORT/COLLECTION for an index whose vectors and documents live there.
    cluster: the address of a Ray cluster that encodes, or "local"; None for the cores of this machine.
    known_queries: store with each document the training queries that it answers, if the model reads them.
    progress: called as documents are encoded and segments are written.
    Raises InputError, FormatVersionError, CorruptError, BusyError, StorageError, PeerError for a cluster that
    cannot be reached or fails.
    """
    saved = read_model(model)
    saved.encoder("document")  # refuse a broken model here, under the name that the caller knows
    started = _starter(cluster)  # what is missing is said before there is a folder
    dataset = open_dataset(corpus, columns)
    known_queries = known_queries and saved.reads_queries()
    source = fingerprint(dataset, resume, known_queries)
    documents = documents_of(dataset, known_queries)
    builder = IndexBuilder.begin(
        output,
        model=model,
        dimension=saved.config.dimension,
        source=source,
        passage_words=passage_words_of(saved.config, passage_words),
        goal=goal or Goal(),
        resume=resume,
        wait=wait,
        store=store,
        columns=column_roles(dataset),
    )
    with builder:
        total = dataset.count_documents()
        with started(builder.model) as workers:
            encode_into(builder, read_model(builder.model), documents, total, progress, workers)
        real = queries if queries is not None else _training_queries(dataset)
        return publish(builder, progress, queries=real)


def _starter(cluster: str | None) -> Callable[[Path], AbstractContextManager[Workers | None]]:
    """What starts workers with a model on a cluster. Raises MissingExtraError."""
    if cluster is None:
        return lambda model: nullcontext()
    from retrieval.indexing.distributed import ray_workers  # not everyone has Ray

    return partial(ray_workers, cluster)


def add(
    corpus: Path | str | AnyDataset,
    index: Path,
    *,
    columns: ColumnNames = USUAL,
    resume: bool = False,
    wait: float = 0.0,
    known_queries: bool = True,
    progress: Progress = no_progress,
) -> AddResult:
    """Encode a corpus with the model inside an index and publish it as part of the index's next generation.

    A document replaces the one with the same id. It keeps the known queries of the replaced one, unless the
    corpus has others for it.

    corpus: what `open_dataset` opens: documents, or a data set with documents; "-" is standard input.
    index: the index folder.
    columns: role to the columns that the user names, for a file of pairs.
    resume: keep what an interrupted addition has encoded, unless the index has changed since.
    wait: seconds to wait for another writer.
    known_queries: as for `build`.
    progress: called as documents are encoded and segments are written.
    Raises what `build` raises.
    """
    dataset = open_dataset(corpus, columns)
    known_queries = known_queries and model_of(index).reads_queries()
    source = fingerprint(dataset, resume, known_queries)
    documents = documents_of(dataset, known_queries)
    with IndexBuilder.begin_adding(index, source=source, resume=resume, wait=wait) as builder:
        return _publish_added(builder, documents, dataset.count_documents(), progress)


def create(model: Path, output: Path, *, passage_words: int | None = None, wait: float = 0.0) -> None:
    """Make an index without documents, to add to. If there is an index already, it stays as it is.

    model: the model folder; it is copied into the index.
    output: the index folder.
    passage_words: as for `build`.
    wait: seconds to wait for another writer.
    Raises what `build` raises.
    """
    if is_index(output):
        return
    saved = read_model(model)
    saved.encoder("document")
    words = passage_words_of(saved.config, passage_words)
    with IndexBuilder.begin(
        output,
        model=model,
        dimension=saved.config.dimension,
        source="empty",
        passage_words=words,
        goal=Goal(),
        wait=wait,
    ) as builder:
        if not is_index(output):  # another process may have made it while this one waited
            builder.publish(empty=True)


def add_documents(
    documents: Sequence[Document],
    index: Path,
    *,
    existing: Existing = "replace",
    wait: float = 0.0,
) -> AddResult:
    """`add` for documents in memory; it cannot be resumed.

    documents: at least one, each with its own id.
    index: the index folder.
    existing: what becomes of documents whose id the index has.
    wait: seconds to wait for another writer.
    Raises what `build` raises, and ExistingError if existing documents are refused.
    """
    with IndexBuilder.begin_adding(index, source="memory", wait=wait) as builder:
        held = builder.held([document.id for document in documents]) if existing != "replace" else set()
        if held and existing == "refuse":
            raise ExistingError(f"has a document with the id {min(held)!r}; nothing was added", path=index)
        fresh = [document for document in documents if document.id not in held]
        if documents and not fresh:
            live = builder.leave()
            return AddResult(live.generation, live.documents, 0, 0)
        return _publish_added(builder, fresh, len(fresh), no_progress)


def _publish_added(
    builder: IndexBuilder,
    documents: Iterable[Document],
    total: int | None,
    progress: Progress,
) -> AddResult:
    model = read_model(builder.model)
    encode_into(builder, model, documents, total, progress)
    count, replaced = builder.count, builder.replaced()
    manifest = publish(builder, progress)
    return AddResult(manifest.generation, manifest.documents, count - replaced, replaced)


def model_of(index: Path) -> TrainedModel:
    """The model inside an index. Raises what `open_index` and `read_model_of` raise."""
    with open_index(index) as opened:
        return read_model_of(opened)


def documents_of(dataset: AnyDataset, known_queries: bool) -> Iterator[Document]:
    """The documents of a data set. known_queries: with the training queries that they are known to answer."""
    return dataset.documents_with_queries() if known_queries else dataset.documents()


def fingerprint(dataset: AnyDataset, resume: bool, known_queries: bool = False) -> str:
    """The fingerprint of a corpus, with its training queries if they are stored.

    Raises InputError if it is to be resumed and can be read only once.
    """
    source = dataset.fingerprint(queries=known_queries)
    if source is not None and known_queries:
        source += " with queries"
    if source is None and resume:
        raise InputError("a pipe or standard input cannot be resumed; give a file, or leave --resume out")
    return source or "standard input"


def _training_queries(dataset: AnyDataset) -> list[str]:
    """Queries of the training split, as many as tuning takes; none without that split."""
    judged: Judgements = {}
    if isinstance(dataset, Dataset):
        if dataset.training_files():
            # `dataset.judgements` would refuse a corpus that holds only some of the judged documents.
            judged = read_qrels(dataset.folder, "train")
    elif "train" in dataset.splits():
        judged = dataset.judgements("train")
    known = (query_id for query_id in judged if query_id in dataset.queries)
    return [dataset.queries[query_id] for query_id in islice(known, MAX_TUNING_QUERIES)]


def encode_into(
    builder: IndexBuilder,
    model: TrainedModel,
    documents: Iterable[Document],
    total: int | None,
    progress: Progress,
    workers: Workers | None = None,
) -> None:
    """Encode documents and append them to a build, after those that it has from before an interruption.

    builder: the build.
    model: whose document tower encodes.
    documents: all of them, also those that the build has.
    total: their number, for progress; None if it is not known.
    progress: called after every shard.
    workers: as for `encode_shards`.
    """
    new = islice(documents, builder.count, None)
    shards = shards_of(new, model.config.document_words, builder.passage_words)
    with closing(encode_shards(model, shards, texts_to_encode, workers=workers)) as encoded:
        for shard, vectors in encoded:
            spans = [split.spans for split in shard]
            builder.append([split.document for split in shard], passage_vectors(vectors, shard), spans)
            progress("encoding", builder.count, total)
