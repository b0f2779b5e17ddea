"""Encode a corpus or queries with a tower, on all cores, into a file of vectors for any other system.

In: what `open_dataset` opens, or queries, and a model folder. Out: NAME.npy with NAME.ids.jsonl beside it, or
NAME.parquet. What was encoded before a crash is kept for `resume`. Imports no torch.

A document has one vector unless passages are asked for. Other systems name a row by its id, so rows with the
same id would replace each other there. `build` does split documents, because its index knows which passages
belong to one document.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from index.disk.carried_model import fingerprint as model_fingerprint
from index.documents.store import Document
from index.errors import InputError
from index.values import Progress, no_progress
from retrieval.data.columns.names import USUAL, ColumnNames
from retrieval.data.dataset import open_dataset, read_all_queries
from retrieval.data.documents import UnknownKindError
from retrieval.data.lines import is_stream
from retrieval.indexing.build import fingerprint
from retrieval.indexing.parallel import encode_shards
from retrieval.indexing.passages import (
    SplitDocument,
    passage_vectors,
    passage_words_of,
    shards_of,
    texts_to_encode,
    vector_names,
)
from retrieval.indexing.vector_draft import VectorDraft
from retrieval.model.config import ModelConfig, Side
from retrieval.model.folder import read_model
from retrieval.text.passages import is_short


@dataclass(frozen=True)
class Encoded:
    """What `encode` did. The names of the fields are keys of the JSON that `peephole encode` prints."""

    side: Side
    texts: int  # documents or queries
    vectors: int
    dimension: int
    cut: int  # texts of which the model read the beginning only
    word_limit: int  # how many words of a text the model reads


@dataclass(frozen=True)
class _Source:
    texts: Iterable[Document]
    count: int | None  # for progress; None if it is not known
    fingerprint: str


def encode(
    source: Path | str,
    model: Path,
    output: Path,
    side: Side = "document",
    *,
    passage_words: int = 0,
    columns: ColumnNames = USUAL,
    resume: bool = False,
    progress: Progress = no_progress,
) -> Encoded:
    """Write the vectors of a corpus or of queries.

    source: for documents what `open_dataset` opens. For queries a BEIR folder or a table of pairs, whose
        queries of all splits are taken, or what `read_all_queries` reads. "-" is standard input.
    model: the model folder.
    output: the file to write, .npy or .parquet. It is replaced when the new one is complete.
    side: "document" or "query".
    passage_words: most words of a passage; a document that is longer than the model reads then has a vector
        for each passage, as in an index. 0 for a vector a document.
    columns: role to the columns that the user names, for a table of pairs.
    resume: keep what an interrupted run with the same source, model and settings has encoded.
    progress: called as texts are encoded.
    Raises InputError, FormatVersionError, CorruptError, BusyError, StorageError, MissingExtraError.
    """
    saved = read_model(model)
    words = passage_words_of(saved.config, passage_words, side)
    texts = _documents(source, columns, resume) if side == "document" else _queries(source, columns, resume)
    plan = {
        "source": texts.fingerprint,
        "model": model_fingerprint(model),
        "side": side,
        "passage_words": words,
    }
    dimension = saved.config.dimension
    with VectorDraft(output, plan, dimension, with_spans=words > 0, resume=resume) as draft:
        shards = shards_of(islice(texts.texts, draft.done.texts, None), saved.config.document_words, words)
        with closing(encode_shards(saved, shards, texts_to_encode, side)) as encoded:
            for shard, embeddings in encoded:
                vectors = passage_vectors(embeddings, shard)
                draft.append(vectors, vector_names(shard), len(shard), _cut(shard, saved.config, side, words))
                progress("encoding", draft.done.texts, texts.count)
        draft.publish()
        done = draft.done
    return Encoded(side, done.texts, done.vectors, dimension, done.cut, saved.config.word_limit(side))


def _documents(source: Path | str, columns: ColumnNames, resume: bool) -> _Source:
    dataset = open_dataset(source, columns)
    try:
        return _Source(dataset.documents(), dataset.count_documents(), fingerprint(dataset, resume))
    except UnknownKindError as error:
        raise InputError(f"{error}, or --side query for a file of queries") from error


def _queries(source: Path | str, columns: ColumnNames, resume: bool) -> _Source:
    if is_stream(source) and resume:
        raise InputError("a pipe or standard input cannot be resumed; give a file, or leave --resume out")
    queries = read_all_queries(source, columns)
    digest = hashlib.sha256()
    for query_id, text in queries.items():
        digest.update(f"{query_id}\0{text}\0".encode(errors="surrogatepass"))
    texts = [Document(query_id, "", text) for query_id, text in queries.items()]
    return _Source(texts, len(texts), digest.hexdigest())


def _cut(shard: Iterable[SplitDocument], config: ModelConfig, side: Side, words: int) -> int:
    """How many texts are longer than the model reads. Texts that are split are read to the end."""
    if words:
        return 0
    limit = config.word_limit(side)
    return sum(not is_short(split.document.title, split.document.text, limit) for split in shard)
