"""From a corpus to an index folder, or into one that is there: read, encode with the document tower, store;
resumable at any point.

In: whatever `read_documents` reads, and a model folder. Out: a published index generation. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from index.dense.tuning import Goal
from index.disk.manifest import Manifest
from index.documents.store import Document
from index.errors import InputError
from index.values import Progress, no_progress
from index.writing.builder import IndexBuilder
from retrieval.data.dataset import Dataset
from retrieval.data.documents import corpus_fingerprint, count_documents, read_documents
from retrieval.data.queries import read_qrels
from retrieval.indexing.parallel import encode_shards
from retrieval.model.folder import TrainedModel, read_model
from retrieval.text.words import document_text

# Documents between two checkpoints: a few seconds of work at most, and enough that syncing the disk costs
# little beside it.
_SHARD = 4096

# Enough for tuning to choose from, and encoded in a blink.
_TUNING_QUERIES = 2000


@dataclass(frozen=True)
class Added:
    """What `add` did. added: documents that were new; replaced: those that took the place of one with the
    same id; documents: how many the index holds now.
    """

    generation: str
    documents: int
    added: int
    replaced: int


def build(
    corpus: Path | str,
    model: Path,
    output: Path,
    *,
    goal: Goal | None = None,
    queries: Sequence[str] | None = None,
    resume: bool = False,
    wait: float = 0.0,
    report: Progress = no_progress,
) -> Manifest:
    """Encode a corpus and publish it as the index folder's next generation, in place of what it held.

    goal: what FAISS index to choose (recall .99 by default). queries: real ones to measure it by; without,
    the training queries of a BEIR folder are taken, or else documents ask for their like.
    With resume=True, documents that an interrupted build of the same corpus with the same model has stored
    are not encoded again. wait: seconds to wait for another writer.
    Raises InputError, FormatVersionError, CorruptError, BusyError; whatever happens, the last published
    generation stays.
    """
    saved = read_model(model)
    saved.encoder("document")  # a model that will not do is refused here, by the name it was given
    source = _fingerprint(corpus, resume)
    documents = read_documents(corpus)
    builder = IndexBuilder.begin(
        output,
        model=model,
        dimension=saved.config.dimension,
        source=source,
        goal=goal or Goal(),
        resume=resume,
        wait=wait,
    )
    with builder:
        _encode(builder, read_model(builder.model), documents, count_documents(corpus), report)
        asked = queries if queries is not None else _training_queries(corpus)
        vectors = saved.encoder("query").encode(asked[:_TUNING_QUERIES]) if asked else None
        return builder.publish(queries=vectors, progress=report)


def add(
    corpus: Path | str,
    index: Path,
    *,
    resume: bool = False,
    wait: float = 0.0,
    report: Progress = no_progress,
) -> Added:
    """Encode a corpus with the model inside an index and add it, in one step for whoever searches.

    A document takes the place of one with the same id. Otherwise as `build`; a resume starts over if the
    index has changed since.
    """
    source = _fingerprint(corpus, resume)
    documents = read_documents(corpus)
    with IndexBuilder.begin_adding(index, source=source, resume=resume, wait=wait) as builder:
        _encode(builder, read_model(builder.model), documents, count_documents(corpus), report)
        given, replaced = builder.count, builder.replaced()
        manifest = builder.publish(progress=report)
        return Added(manifest.generation, manifest.documents, given - replaced, replaced)


def _fingerprint(corpus: Path | str, resume: bool) -> str:
    source = corpus_fingerprint(corpus)
    if source is None and resume:
        raise InputError("a pipe or standard input cannot be resumed; give a file, or leave --resume out")
    return source or "standard input"


def _training_queries(corpus: Path | str) -> list[str]:
    """Queries of a BEIR folder's training split; none for other kinds, or if they cannot be read."""
    if not (Path(corpus, "queries.jsonl").is_file() and Path(corpus, "qrels", "train.tsv").is_file()):
        return []
    queries = Dataset(Path(corpus)).queries
    return [queries[query] for query in read_qrels(corpus, "train") if query in queries]


def _encode(
    builder: IndexBuilder,
    model: TrainedModel,
    documents: Iterable[Document],
    total: int | None,
    report: Progress,
) -> None:
    shards = _shards(islice(documents, builder.count, None))
    with closing(encode_shards(model, shards, _texts)) as encoded:
        for shard, vectors in encoded:
            builder.append(shard, vectors)
            report("encoding", builder.count, total)


def _texts(documents: Sequence[Document]) -> list[str]:
    return [document_text(document.title, document.text) for document in documents]


def _shards(documents: Iterable[Document]) -> Iterator[list[Document]]:
    stream = iter(documents)
    while shard := list(islice(stream, _SHARD)):
        yield shard
