"""Vectors of a model that knows the language already, for the texts that another model is to learn from.

In: a `.npz` file of vectors, or the name or folder of a sentence-transformers model, and texts. Out: their
vectors, of unit length. Knows nothing of what is done with them. sentence-transformers, and with it torch, is
imported only where such a model encodes.

    query_ids, document_ids            text (n,), each id once; others than those asked for may be there
    query_vectors, document_vectors    float16 or float32 (n, d), one d for both
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from index.disk.files import list_files, storing, write_atomically
from index.disk.opening import make_folder, open_to_read
from index.errors import InputError

Vectors = NDArray[np.float32]
Advance = Callable[[str, int, int | None], None]
Kind = Literal["query", "document"]

# Texts encoded between two writes to the disk: seconds of work, and all that a kill can lose.
_SHARD = 1000
# What is kept of a shard, whole or cut short by a kill.
_SHARD_FILE = re.compile(r"[0-9a-f]{64}\.npy|\.[0-9a-f]{64}\.npy\.[0-9a-f]+\.tmp")
_LIBRARY = "sentence-transformers"
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, MemoryError, NotImplementedError)


@dataclass(frozen=True)
class Lesson:
    """What a teacher says of the training texts: float32 (documents, d) and (queries, d), rows of unit
    length.
    """

    documents: Vectors
    queries: Vectors


def read_lesson(
    teacher: str,
    documents: Mapping[str, str],
    queries: Mapping[str, str],
    cache: Path,
    advance: Advance = lambda stage, done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> Lesson:
    """The teacher's vectors of the texts, given by id, in their order.

    cache: a folder for the vectors of a model; they are encoded at most once, whatever interrupts it.
    advance: told the stage and how many of its texts are done. stop: asked after each thousand texts; if it
    says so, KeyboardInterrupt is raised. Raises InputError for a file that is broken or lacks a text, a model
    that cannot be loaded, and a missing library; StorageError.
    """
    if Path(teacher).suffix == ".npz":
        return _from_file(Path(teacher), list(documents), list(queries))
    model = _Model(teacher, cache)
    known = _unit(model.encode("document", list(documents.values()), advance, stop))
    asked = _unit(model.encode("query", list(queries.values()), advance, stop)) if queries else known[:0]
    model.forget_others()
    return Lesson(known, asked)


def _unit(vectors: NDArray[Any]) -> Vectors:
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return (wide / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _from_file(path: Path, documents: Sequence[str], queries: Sequence[str]) -> Lesson:
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("one array, not an archive of them")
        with closing(file):
            arrays = {name: file[name] for name in _ARRAYS if name in file}
    except (*_UNREADABLE, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"not readable as arrays of text and float32 ({error}); write it with numpy.savez", path=path
        ) from error
    known = _rows_of("document", arrays, documents, path)
    # Where there are no training queries, their arrays may be missing.
    asked = _rows_of("query", arrays, queries, path) if queries else known[:0]
    if asked.shape[1] != known.shape[1]:
        widths = f"{asked.shape[1]} and {known.shape[1]}"
        raise InputError(f"vectors of queries and documents are {widths} wide; use one model", path=path)
    return Lesson(known, asked)


_ARRAYS = ("query_ids", "query_vectors", "document_ids", "document_vectors")


def _rows_of(kind: Kind, arrays: Mapping[str, NDArray[Any]], wanted: Sequence[str], path: Path) -> Vectors:
    """The vectors of the wanted ids, of unit length."""
    names = (f"{kind}_ids", f"{kind}_vectors")
    for name in names:
        if name not in arrays:
            raise InputError(f"no array {name}; add it with numpy.savez", path=path)
    ids, vectors = (arrays[name] for name in names)
    if ids.dtype.kind != "U" or ids.ndim != 1:
        raise InputError(
            f"{names[0]} is {ids.dtype} {ids.shape}; make it a list of text, numpy.array(ids)", path=path
        )
    if vectors.dtype not in (np.float16, np.float32) or vectors.shape[:-1] != ids.shape or not vectors.size:
        raise InputError(
            f"{names[1]} is {vectors.dtype} {vectors.shape}; "
            f"make it float16 or float32 ({len(ids)}, width), a row for each of {names[0]}",
            path=path,
        )
    rows: dict[str, int] = {}
    for row, name in enumerate(ids.tolist()):
        if rows.setdefault(name, row) != row:
            raise InputError(f"{names[0]} holds {name!r} twice; give every {kind} one vector", path=path)
    missing = [name for name in wanted if name not in rows]
    if missing:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise InputError(f"no vector of {kind} {missing[0]!r}{more}; encode them too", path=path)
    chosen = vectors[[rows[name] for name in wanted]]
    broken = np.flatnonzero(~np.isfinite(chosen).all(1))
    if len(broken):
        raise InputError(
            f"the vector of {kind} {wanted[broken[0]]!r} is not finite; encode it again", path=path
        )
    return _unit(chosen)


class _Model:
    """A sentence-transformers model and its vectors on the disk, shard by shard: raw float16 arrays under a
    digest of model and texts.
    """

    def __init__(self, name: str, cache: Path) -> None:
        self._name = name
        self._cache = cache
        self._identity = _identity(name)
        self._loaded: Any = None
        self._used: set[str] = set()
        with storing(cache):
            make_folder(cache)

    def encode(
        self, kind: Kind, texts: Sequence[str], advance: Advance, stop: Callable[[], bool]
    ) -> NDArray[np.float16]:
        """The vectors (n, d) of texts, n > 0, each distinct one encoded once."""
        distinct = list(dict.fromkeys(texts))
        shards = []
        for start in range(0, len(distinct), _SHARD):
            some = distinct[start : start + _SHARD]
            shards.append(self._shard(kind, some))
            advance(f"{_STAGES[kind]} by the teacher", start + len(some), len(distinct))
            if stop():
                raise KeyboardInterrupt
        rows = {text: row for row, text in enumerate(distinct)}
        encoded: NDArray[np.float16] = np.concatenate(shards)[[rows[text] for text in texts]]
        return encoded

    def forget_others(self) -> None:
        """Delete what the cache holds of other models and texts."""
        with storing(self._cache):
            for path in self._cache.iterdir():
                if _SHARD_FILE.fullmatch(path.name) and path.name not in self._used:
                    path.unlink()

    def _shard(self, kind: Kind, texts: Sequence[str]) -> NDArray[np.float16]:
        told = json.dumps([self._identity, kind, texts]).encode()
        path = self._cache / f"{hashlib.sha256(told).hexdigest()}.npy"
        self._used.add(path.name)
        with suppress(*_UNREADABLE), open_to_read(path) as file:
            kept: NDArray[np.float16] = np.load(file, allow_pickle=False)
            if kept.dtype == np.float16 and kept.shape[:-1] == (len(texts),) and np.isfinite(kept).all():
                return kept
        encoded = self._encode(kind, texts)
        buffer = io.BytesIO()
        np.save(buffer, encoded, allow_pickle=False)
        write_atomically(path, buffer.getvalue())
        return encoded

    def _encode(self, kind: Kind, texts: Sequence[str]) -> NDArray[np.float16]:
        if self._loaded is None:
            self._loaded = _load(self._name)
        # Models whose queries and documents differ say so in their prompts.
        prompt = kind if kind in (getattr(self._loaded, "prompts", None) or {}) else None
        vectors = self._loaded.encode(
            list(texts), prompt_name=prompt, normalize_embeddings=True, show_progress_bar=False
        )
        encoded = np.asarray(vectors).astype(np.float16)
        if encoded.shape[:-1] != (len(texts),) or not np.isfinite(encoded).all():
            raise InputError(f"teacher {self._name}: its vectors are not finite rows; choose another model")
        return encoded


_STAGES: Mapping[Kind, str] = {"query": "queries", "document": "documents"}


def _identity(name: str) -> list[Any]:
    """The name, and for a folder what tells it from one with other contents."""
    folder = Path(name)
    if not folder.is_dir():
        return [name]
    return [str(folder.resolve()), *_stamps(folder)]


def _stamps(folder: Path) -> Iterator[tuple[str, int, int]]:
    for file in list_files(folder):
        stat = (folder / file).stat()
        yield file, stat.st_size, stat.st_mtime_ns


def _load(name: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise InputError(
            f"a teacher that is no .npz file needs {_LIBRARY}; pip install 'peephole[teacher]'"
        ) from error
    _hush()
    try:
        # Weights in safetensors only: the other format runs whatever code its author put in.
        return SentenceTransformer(name, device="cpu", model_kwargs={"use_safetensors": True})
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise InputError(
            f"teacher {name!r} cannot be loaded ({reason}); give a .npz file, or a model's name or folder"
        ) from error


def _hush() -> None:
    """No bars of the library's own while it loads: standard error belongs to the command."""
    with suppress(ImportError, AttributeError):
        from transformers.utils import logging

        logging.disable_progress_bar()
