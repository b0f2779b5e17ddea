"""Vectors in Arrow's form: record batches of texts to record batches of vectors, and Parquet files.

In: record batches with the columns `id`, `title` (may be missing) and `text`. Out: record batches with

    id        string
    start     int32, first character of the passage in the text      only with passages
    end       int32, behind its last character                       only with passages
    vector    float32, a list of `dimension`, unit length

`encode_batches` turns batches into batches and keeps no state. So Spark's mapInArrow, Ray's map_batches or
any other program that has Arrow can run it in as many processes as it likes. Knows nothing of files of texts.
pyarrow is imported here, in `retrieval.indexing.arrow_files` and in `retrieval.data.parquet` alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from index.disk.files import storing
from index.documents.store import Document
from index.errors import InputError, needing
from index.values import Vectors
from retrieval.indexing.passages import (
    passage_vectors,
    passage_words_of,
    split_document,
    texts_to_encode,
    vector_names,
)
from retrieval.model.config import Side
from retrieval.model.folder import TrainedModel, read_model

with needing("parquet"):
    import pyarrow
    from pyarrow import parquet


def encode_batches(
    batches: Iterable[Any],
    model: TrainedModel | Path | str,
    side: Side = "document",
    *,
    passage_words: int = 0,
    fixed_size: bool = True,
) -> Iterator[Any]:
    """The vectors of record batches, a batch for each.

    batches: `pyarrow.RecordBatch`es; a text or title that is null is empty.
    model: a model or its folder.
    side: which tower encodes.
    passage_words: most words of a passage, a vector for each passage; 0 for a vector a document. Queries have
        no passages.
    fixed_size: whether vectors are lists of fixed size; Spark reads the others only.
    Raises InputError for another side, for passages of fewer than 8 words or of queries, for a batch without
    `id` and `text` or with an id that is null, and what `read_model` raises.

    >>> frame.mapInArrow(                                                      # doctest: +SKIP
    ...     partial(encode_batches, model="my.model", fixed_size=False), "id string, vector array<float>"
    ... )
    """
    trained = model if isinstance(model, TrainedModel) else read_model(Path(model))
    encoder = trained.encoder(side)
    encoder.expect_many()
    words = passage_words_of(trained.config, passage_words, side)
    for batch in batches:
        documents = [
            split_document(document, trained.config.document_words, words) for document in _documents(batch)
        ]
        embeddings = encoder.encode(texts_to_encode(documents))
        vectors = passage_vectors(embeddings, documents) if documents else embeddings
        names = vector_names(documents)
        yield vector_batch(names, vectors, with_spans=words > 0, fixed_size=fixed_size)


def _documents(batch: Any) -> Iterator[Document]:
    missing = [name for name in ("id", "text") if name not in batch.schema.names]
    if missing:
        raise InputError(f"a batch has no column {missing[0]!r}; its columns are id, title and text")
    count = batch.num_rows
    titles = batch.column("title").to_pylist() if "title" in batch.schema.names else [None] * count
    ids, texts = (batch.column(name).to_pylist() for name in ("id", "text"))
    for document_id, title, text in zip(ids, titles, texts, strict=True):
        if document_id is None:
            raise InputError("an id is null; give every text one")
        yield Document(str(document_id), title or "", text or "")


def vector_batch(
    names: Sequence[Mapping[str, Any]], vectors: Vectors, *, with_spans: bool, fixed_size: bool = True
) -> Any:
    """The record batch of vectors.

    names: id, and with spans start and end, of each.
    vectors: float32 (n, dimension).
    with_spans: whether the vectors are those of passages.
    fixed_size: whether vectors are lists of fixed size.
    """
    fields = vector_schema(vectors.shape[1], with_spans=with_spans, fixed_size=fixed_size)
    columns = [pyarrow.array([name[field.name] for name in names], field.type) for field in list(fields)[:-1]]
    flat = pyarrow.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    if fixed_size:
        lists = pyarrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    else:
        offsets = np.arange(len(vectors) + 1, dtype=np.int32) * np.int32(vectors.shape[1])
        lists = pyarrow.ListArray.from_arrays(pyarrow.array(offsets), flat)
    return pyarrow.record_batch([*columns, lists], fields)


def vector_schema(dimension: int, *, with_spans: bool, fixed_size: bool = True) -> Any:
    """The schema of a batch of vectors; parameters as for `vector_batch`."""
    spans = [("start", pyarrow.int32()), ("end", pyarrow.int32())] if with_spans else []
    vector = pyarrow.list_(pyarrow.field("element", pyarrow.float32()), dimension if fixed_size else -1)
    return pyarrow.schema([("id", pyarrow.string()), *spans, ("vector", vector)])


def write_vectors(
    path: Path,
    batches: Iterable[tuple[Sequence[Mapping[str, Any]], Vectors]],
    dimension: int,
    *,
    with_spans: bool,
) -> None:
    """Write a Parquet file of vectors, durably, a row group for each batch.

    path: the file.
    batches: names and vectors, as for `vector_batch`.
    dimension: of the vectors.
    with_spans: whether the vectors are those of passages.
    Raises StorageError.
    """
    schema = vector_schema(dimension, with_spans=with_spans)
    with (
        storing(path),
        # Vectors do not repeat, so a dictionary of them, or compression, costs time and saves nothing.
        parquet.ParquetWriter(path, schema, use_dictionary=False, compression="none") as writer,
    ):
        for names, vectors in batches:
            writer.write_batch(vector_batch(names, vectors, with_spans=with_spans))
