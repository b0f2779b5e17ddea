"""Distillation: a teacher's vectors of the training texts, for the student to learn from.

In: texts, and a teacher: a `.npz` file of vectors, or the name or folder of a sentence-transformers model.
Out: `TeacherVectors`, of unit length. Knows nothing of the student or the loss. sentence-transformers, and
with it torch, is imported only if such a model has to encode. The arrays of the file:

    query_ids, document_ids            text (n,), each id once; further ids are ignored
    query_vectors, document_vectors    float16 or float32 (n, d), the same d for both
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.disk.files import list_files, storing, write_atomically
from index.disk.opening import make_folder, open_to_read
from index.errors import InputError
from index.values import Progress, no_progress
from retrieval.model.config import Side

# Texts encoded between two writes to the disk: seconds of work, and all that a kill can lose.
_TEXTS_PER_SHARD = 1000
# A shard on the disk, complete or cut short by a kill.
_SHARD_FILE = re.compile(r"[0-9a-f]{64}\.npy|\.[0-9a-f]{64}\.npy\.[0-9a-f]+\.tmp")
_ARRAYS = ("query_ids", "query_vectors", "document_ids", "document_vectors")
_STAGES: Mapping[Side, str] = {"query": "queries", "document": "documents"}
_LIBRARY = "sentence-transformers"
_LONGEST_MODULES = 1 << 20  # bytes of modules.json


@dataclass(frozen=True)
class TeacherVectors:
    """A teacher's embeddings of the training texts, rows of unit length."""

    documents: NDArray[np.float32]  # (documents, d)
    queries: NDArray[np.float32]  # (queries, d)


def read_teacher_vectors(
    teacher: str,
    documents: Mapping[str, str],
    queries: Mapping[str, str],
    cache: Path,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
) -> TeacherVectors:
    """The teacher's vectors of the texts, in the order of the texts.

    teacher: a path that ends in .npz, or a sentence-transformers model's name or folder.
    documents: document id to text.
    queries: query id to text; may be empty.
    cache: a folder for the vectors of a model, so that no text is encoded twice.
    progress: called after each shard of texts.
    stop: called after each shard of texts; KeyboardInterrupt is raised if it returns True.
    Raises InputError for a file that is broken or lacks a text, a model that cannot be loaded, or a missing
    library; StorageError if the cache cannot be written.
    """
    if Path(teacher).suffix == ".npz":
        return _from_file(Path(teacher), list(documents), list(queries))
    model = _Model(teacher, cache)
    document_vectors = _unit(model.encode("document", list(documents.values()), progress, stop))
    query_vectors = document_vectors[:0]
    if queries:
        query_vectors = _unit(model.encode("query", list(queries.values()), progress, stop))
    model.forget_others()
    return TeacherVectors(document_vectors, query_vectors)


def _unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return (wide / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _from_file(path: Path, document_ids: Sequence[str], query_ids: Sequence[str]) -> TeacherVectors:
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("one array, not an archive of them")
        with closing(file):
            arrays = {name: file[name] for name in _ARRAYS if name in file}
    except Exception as error:  # zip files and headers of arrays can be damaged in many ways
        raise InputError(
            f"not readable as arrays of text and float32 ({error}); write it with numpy.savez", path=path
        ) from error
    documents = _vectors_of("document", arrays, document_ids, path)
    # Without training queries their arrays may be missing.
    queries = _vectors_of("query", arrays, query_ids, path) if query_ids else documents[:0]
    if queries.shape[1] != documents.shape[1]:
        widths = f"{queries.shape[1]} and {documents.shape[1]}"
        raise InputError(f"vectors of queries and documents are {widths} wide; use one model", path=path)
    return TeacherVectors(documents, queries)


def _vectors_of(
    side: Side, arrays: Mapping[str, NDArray[Any]], wanted_ids: Sequence[str], path: Path
) -> NDArray[np.float32]:
    """The vectors of the wanted ids, of unit length. Raises InputError if the arrays are not valid."""
    names = (f"{side}_ids", f"{side}_vectors")
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
    for row, text_id in enumerate(ids.tolist()):
        if rows.setdefault(text_id, row) != row:
            raise InputError(f"{names[0]} holds {text_id!r} twice; give every {side} one vector", path=path)
    missing = [text_id for text_id in wanted_ids if text_id not in rows]
    if missing:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise InputError(f"no vector of {side} {missing[0]!r}{more}; encode them too", path=path)
    wanted = vectors[[rows[text_id] for text_id in wanted_ids]]
    broken = np.flatnonzero(~np.isfinite(wanted).all(1))
    if len(broken):
        raise InputError(
            f"the vector of {side} {wanted_ids[broken[0]]!r} is not finite; encode it again", path=path
        )
    return _unit(wanted)


class _Model:
    """A sentence-transformers model and the cache of its vectors.

    The cache is a folder of float16 arrays, one for each shard of texts. The name of a file is a digest of
    the model and the shard's texts.
    """

    def __init__(self, name: str, cache: Path) -> None:
        self._name = name
        self._cache = cache
        self._identity = _identity(name)
        self._loaded: Any = None
        self._used: set[str] = set()

    def encode(
        self, side: Side, texts: Sequence[str], progress: Progress, stop: Callable[[], bool]
    ) -> NDArray[np.float16]:
        """The vectors (n, d) of n > 0 texts; texts that are equal are encoded once."""
        distinct = list(dict.fromkeys(texts))
        shards = []
        for start in range(0, len(distinct), _TEXTS_PER_SHARD):
            shard = distinct[start : start + _TEXTS_PER_SHARD]
            shards.append(self._cached(side, shard))
            progress(f"{_STAGES[side]} by the teacher", start + len(shard), len(distinct))
            if stop():
                raise KeyboardInterrupt
        rows = {text: row for row, text in enumerate(distinct)}
        encoded: NDArray[np.float16] = np.concatenate(shards)[[rows[text] for text in texts]]
        return encoded

    def forget_others(self) -> None:
        """Delete what the cache holds of other models and texts."""
        self._make_cache()
        with storing(self._cache):
            for path in self._cache.iterdir():
                if _SHARD_FILE.fullmatch(path.name) and path.name not in self._used:
                    path.unlink()

    def _make_cache(self) -> None:
        """Make the folder if it is not there. Raises StorageError, also if it is a link."""
        with storing(self._cache):
            make_folder(self._cache)

    def _cached(self, side: Side, texts: Sequence[str]) -> NDArray[np.float16]:
        """The vectors of a shard, from the cache if it holds them."""
        key = json.dumps([self._identity, side, texts]).encode()
        path = self._cache / f"{hashlib.sha256(key).hexdigest()}.npy"
        self._used.add(path.name)
        with suppress(Exception), open_to_read(path) as file:
            stored: NDArray[np.float16] = np.load(file, allow_pickle=False)
            valid = stored.dtype == np.float16 and stored.shape[:-1] == (len(texts),)
            if valid and np.isfinite(stored).all():
                return stored
        encoded = self._encode(side, texts)
        buffer = io.BytesIO()
        np.save(buffer, encoded, allow_pickle=False)
        write_atomically(path, buffer.getvalue())
        return encoded

    def _encode(self, side: Side, texts: Sequence[str]) -> NDArray[np.float16]:
        if self._loaded is None:
            self._loaded = _load(self._name)
            self._make_cache()  # only now: a model that cannot be loaded must not leave a folder
        # A model that encodes queries and documents differently has prompts of these names.
        prompt = side if side in (getattr(self._loaded, "prompts", None) or {}) else None
        vectors = self._loaded.encode(
            list(texts), prompt_name=prompt, normalize_embeddings=True, show_progress_bar=False
        )
        encoded = np.asarray(vectors).astype(np.float16)
        if encoded.shape[:-1] != (len(texts),) or not np.isfinite(encoded).all():
            raise InputError(f"teacher {self._name}: its vectors are not finite rows; choose another model")
        return encoded


def _identity(name: str) -> list[Any]:
    """The name of a model; for a folder also the names, sizes and times of its files."""
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
    _check_modules(name)
    try:
        # Weights in safetensors only: the other format is a pickle, which can run any code.
        return SentenceTransformer(name, device="cpu", model_kwargs={"use_safetensors": True})
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise InputError(
            f"teacher {name!r} cannot be loaded ({reason}); give a .npz file, or a model's name or folder"
        ) from error


def _check_modules(name: str) -> None:
    """Refuse a model folder that asks for code from outside the library.

    modules.json names a Python class for each module of the model, and the library imports what it names.
    Raises InputError.
    """
    path = Path(name) / "modules.json"
    try:
        with open_to_read(path, links=True) as file:
            modules = json.loads(file.read(_LONGEST_MODULES))
        types = [str(module["type"]) for module in modules]
    except FileNotFoundError:
        return  # a name, or a folder of one transformer, which the library reads by itself
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"not a list of modules ({error}); restore the model", path=path) from error
    for kind in types:
        if not kind.startswith("sentence_transformers."):
            raise InputError(f"asks for {kind!r}, which is not of {_LIBRARY}; use another model", path=path)


def _hush() -> None:
    """Turn off the progress bars of the library: standard error belongs to the command."""
    with suppress(ImportError, AttributeError):
        from transformers.utils import logging

        logging.disable_progress_bar()
