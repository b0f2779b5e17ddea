"""Files of documents to Parquet files of vectors, on local disks and in object stores, a file at a time.

In: a pattern of paths or of URLs (s3://, gs://), and a model. Out: for each file of documents one of vectors,
which appears when it is whole and says what it was made of, so that files are never encoded twice. Each
file stands for itself, so that any number of processes may work, each on its files. Knows nothing of how
these are started.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from index.disk.files import storing, sync_file, sync_folder
from index.documents.store import Document
from index.errors import InputError, StorageError, needing
from retrieval.data.documents import read_documents
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
_WILDCARDS = frozenset("*?[")
_TEXTS = pyarrow.schema([(name, pyarrow.string()) for name in ("id", "title", "text")])


class Location(NamedTuple):
    """A file below a folder, which may be in an object store."""

    root: str  # the folder: an absolute path, or a URL
    name: str  # relative to it, with "/"

    def __str__(self) -> str:
        """The path or URL, for messages."""
        return f"{self.root.partition('?')[0].rstrip('/')}/{self.name}"


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


def matching_files(pattern: str) -> list[Location]:
    """The files that a pattern matches, by name; hidden ones are left out.

    pattern: a path or a URL, in which `*` stands for any characters, `/` too, or a folder, for all its files.
    Raises InputError if there is none, StorageError if they cannot be listed.
    """
    url, question, options = pattern.partition("?") if "://" in pattern else (pattern, "", "")
    root, wanted = _split(url) if _WILDCARDS & set(url) or _is_file(pattern) else (url, "*")
    root = _absolute(root) + question + options
    with _reaching(pattern):
        system, folder = _file_system(root)
        selector = fs.FileSelector(folder, allow_not_found=True, recursive=True)
        paths = [info.path for info in system.get_file_info(selector) if info.type == fs.FileType.File]
    names = sorted(path[len(folder) :].strip("/") for path in paths)
    found = [
        Location(root, name) for name in names if fnmatchcase(name, wanted) and not f"/{name}".count("/.")
    ]
    if not found:
        raise InputError("no file matches; check the pattern, and quote it for the shell", path=pattern)
    return found


def target_of(source: Location, output: str) -> Location:
    """Where the vectors of a file go, in a folder or below a URL."""
    suffix = "" if source.name.endswith(".parquet") else ".parquet"
    return Location(_absolute(output), source.name + suffix)


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
    with _reaching(source):
        system, path = _opened(source)
        info = system.get_file_info(path)
    plan = asdict(settings) | {"bytes": info.size, "time": info.mtime_ns}
    if resume and (done := _done(target, plan)):
        return done
    with _local_copy(source) as copy, _replacing(target) as temporary:
        try:
            return _write(temporary, _batches(copy), model, settings, plan)
        except InputError as error:
            raise InputError(str(error).replace(str(copy), str(source))) from error


def remove_temporaries(output: str) -> None:
    """Remove what killed processes left in a folder of vectors. Raises StorageError."""
    with _reaching(output):
        system, folder = _file_system(_absolute(output))
        selector = fs.FileSelector(folder, allow_not_found=True, recursive=True)
        for info in system.get_file_info(selector):
            if info.base_name.startswith(".") and info.base_name.endswith(_TEMPORARY):
                system.delete_file(info.path)


def _split(url: str) -> tuple[str, str]:
    """The folder above the first wildcard, and the rest.

    >>> _split("s3://bucket/corpus/part-*.jsonl"), _split("*.jsonl"), _split("/a.jsonl")
    (('s3://bucket/corpus', 'part-*.jsonl'), ('.', '*.jsonl'), ('/', 'a.jsonl'))
    """
    start = min((url.index(sign) for sign in _WILDCARDS if sign in url), default=len(url))
    root = url[:start].rpartition("/")[0]
    return root or ("/" if url.startswith("/") else "."), url[len(root) :].lstrip("/")


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).absolute())


def _is_file(path: str) -> bool:
    with _reaching(path):
        system, inner = _file_system(_absolute(path))
        return bool(system.get_file_info(inner).type == fs.FileType.File)


def _file_system(root: str) -> tuple[Any, str]:
    """The file system of an absolute path or a URL, and the path there."""
    system, path = fs.FileSystem.from_uri(root)
    return system, path


def _opened(location: Location) -> tuple[Any, str]:
    """The file system of a location, and the path there."""
    system, folder = _file_system(location.root)
    return system, f"{folder.rstrip('/')}/{location.name}"


def _done(target: Location, plan: dict[str, Any]) -> EncodedFile | None:
    """What a file of vectors holds, if it is whole and of this plan."""
    with suppress(OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException):
        system, path = _opened(target)
        with system.open_input_file(path) as file:
            rows = parquet.ParquetFile(file)
            told = json.loads((rows.metadata.metadata or {})[_PLAN])
            if told["plan"] == plan:
                return EncodedFile(told["texts"], rows.metadata.num_rows, kept=True)
    return None


@contextmanager
def _local_copy(source: Location) -> Iterator[Path]:
    """A file on this machine with the content of the source, itself if it is here."""
    with _reaching(source):
        system, path = _opened(source)
    if isinstance(system, fs.LocalFileSystem):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="peephole-") as folder:
        copy = Path(folder) / Path(source.name).name
        with _reaching(source):
            fs.copy_files(path, str(copy), system, fs.LocalFileSystem())
        yield copy


@contextmanager
def _replacing(target: Location) -> Iterator[Path]:
    """A file on this machine to write, which then takes the place of the target in one step."""
    with _reaching(target):
        system, path = _opened(target)
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
        with _reaching(target):
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

    words = settings.passage_words if settings.side == "document" else 0
    schema = vector_schema(model.config.dimension, with_spans=passage_words_of(model.config, words) > 0)
    with (
        storing(path),
        parquet.ParquetWriter(path, schema, use_dictionary=False, compression="none") as writer,
    ):
        for batch in encode_batches(counted(), model, settings.side, passage_words=words):
            writer.write_batch(batch)
            vectors += batch.num_rows
        writer.add_key_value_metadata({_PLAN: json.dumps({"plan": plan, "texts": texts})})
    return EncodedFile(texts, vectors, kept=False)


@contextmanager
def _reaching(place: Location | str) -> Iterator[None]:
    """Turn what a file system raises into a StorageError that names the place."""
    try:
        yield
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StorageError(
            f"{place}: cannot be reached ({reason}); check the path, the network and the permissions"
        ) from error
