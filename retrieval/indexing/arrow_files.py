"""Files of documents to Parquet files of vectors, on local disks and in object stores, a file at a time.

In: a pattern of paths or of URLs (s3://, gs://), and a model. Out: a file of vectors for each file of
    documents. It appears when it is whole, and says what it was made of, so that no file is encoded twice.
    Files do not depend on each other, so any number of processes can work, each on its own files. Knows
    nothing of how these processes are started.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

from index.disk.files import storing, sync_file, sync_folder
from index.documents.store import Document
from index.errors import needing
from retrieval.data.documents import read_documents
from retrieval.data.locations import Location, absolute, file_system, local_copy, opened, reaching, stamp
from retrieval.indexing.arrow import encode_batches, vector_schema
from retrieval.indexing.passages import passage_words_of
from retrieval.model.config import Side
from retrieval.model.folder import TrainedModel

with needing("parquet"):
    import pyarrow
    from pyarrow import fs, parquet

_DOCUMENTS_PER_BATCH = 4096
_PLAN = b"peephole"  # the key of the plan in the metadata of a file of vectors
_TEMPORARY = ".vectors.tmp"
_TEXTS = pyarrow.schema([(name, pyarrow.string()) for name in ("id", "title", "text")])


@dataclass(frozen=True)
class Settings:
    """What is encoded how. The names of the fields are keys of a plan."""

    model: str  # its fingerprint
    side: Side = "document"
    passage_words: int = 0  # as for `encode_batches`


@dataclass(frozen=True)
class EncodedFile:
    """What became of a file."""

    texts: int
    vectors: int
    kept: bool  # there from an earlier run


def target_of(source: Location, output: str) -> Location:
    """Where the vectors of a file go, in a folder or below a URL."""
    suffix = "" if source.name.endswith(".parquet") else ".parquet"
    return Location(absolute(output), source.name + suffix)


def encode_file(
    source: Location, target: Location, model: TrainedModel, settings: Settings, *, resume: bool
) -> EncodedFile:
    """Write the vectors of a file of documents.

    source: what `read_documents` reads.
    target: the Parquet file, see `retrieval.indexing.arrow`. It is replaced when the new one is complete.
    model: the model.
    settings: how to encode.
    resume: leave a file that was made by the same model and settings from the same source, judged by its
        size and time.
    Raises InputError for a broken source, StorageError.
    """
    plan = asdict(settings) | stamp(source)
    if resume and (done := _done(target, plan)):
        return done
    with local_copy(source) as copy, _replacing(target) as temporary:
        return _write(temporary, _batches(copy), model, settings, plan)


def remove_temporaries(output: str) -> None:
    """Remove what killed processes left in a folder of vectors. Raises StorageError."""
    with reaching(output):
        system, folder = file_system(absolute(output))
        selector = fs.FileSelector(folder, allow_not_found=True, recursive=True)
        for info in system.get_file_info(selector):
            if info.base_name.startswith(".") and info.base_name.endswith(_TEMPORARY):
                system.delete_file(info.path)


def _done(target: Location, plan: dict[str, Any]) -> EncodedFile | None:
    """What a file of vectors holds, if it is whole and of this plan."""
    with suppress(OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException):
        system, path = opened(target)
        with system.open_input_file(path) as file:
            rows = parquet.ParquetFile(file)
            told = json.loads((rows.metadata.metadata or {})[_PLAN])
            if told["plan"] == plan:
                return EncodedFile(told["texts"], rows.metadata.num_rows, kept=True)
    return None


@contextmanager
def _replacing(target: Location) -> Iterator[Path]:
    """A file on this machine to write, which then takes the place of the target in one step."""
    with reaching(target):
        system, path = opened(target)
        folder, _, name = path.rpartition("/")
        system.create_dir(folder, recursive=True)
    hidden = f".{name}.{uuid4().hex}{_TEMPORARY}"
    if isinstance(system, fs.LocalFileSystem):
        temporary = Path(folder) / hidden
        try:
            yield temporary
            with storing(temporary):
                sync_file(temporary)
                temporary.replace(path)
                sync_folder(temporary.parent)
        finally:
            temporary.unlink(missing_ok=True)
        return
    with tempfile.TemporaryDirectory(prefix="peephole-") as here:
        temporary = Path(here) / name
        yield temporary
        with reaching(target):
            # What is sent may be cut short; a name that appears by a move is whole.
            fs.copy_files(str(temporary), f"{folder}/{hidden}", fs.LocalFileSystem(), system)
            system.move(f"{folder}/{hidden}", path)


def _batches(path: Path) -> Iterator[Any]:
    documents = read_documents(path)
    while batch := list(islice(documents, _DOCUMENTS_PER_BATCH)):
        yield _batch(batch)


def _batch(documents: list[Document]) -> Any:
    columns = zip(*((one.id, one.title, one.text) for one in documents), strict=True)
    return pyarrow.record_batch([pyarrow.array(column, pyarrow.string()) for column in columns], _TEXTS)


def _write(
    path: Path, batches: Iterator[Any], model: TrainedModel, settings: Settings, plan: dict[str, Any]
) -> EncodedFile:
    texts = vectors = 0

    def counted() -> Iterator[Any]:
        nonlocal texts
        for batch in batches:
            texts += batch.num_rows
            yield batch

    words = passage_words_of(model.config, settings.passage_words, settings.side)
    schema = vector_schema(model.config.dimension, with_spans=words > 0)
    with (
        storing(path),
        parquet.ParquetWriter(path, schema, use_dictionary=False, compression="none") as writer,
    ):
        for batch in encode_batches(counted(), model, settings.side, passage_words=words):
            writer.write_batch(batch)
            vectors += batch.num_rows
        writer.add_key_value_metadata({_PLAN: json.dumps({"plan": plan, "texts": texts})})
    return EncodedFile(texts, vectors, kept=False)
