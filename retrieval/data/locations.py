"""Files on local disks and in object stores: which ones a pattern matches, and a copy of one on this machine.

In: a pattern of paths or of URLs (s3://, gs://). Out: `Location`s, and paths that every reader can open.
pyarrow, whose file systems these are, is imported here, in `retrieval.data.parquet` and in
`retrieval.indexing` (arrow, arrow_files) alone. Knows nothing of what the files hold.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from index.errors import InputError, StorageError, needing
from retrieval.data.lines import WILDCARDS
from retrieval.data.table_kinds import is_lock

with needing("parquet"):
    import pyarrow
    from pyarrow import fs


class Location(NamedTuple):
    """A file below a folder, which may be in an object store."""

    root: str  # the folder: an absolute path, or a URL
    name: str  # relative to it, with "/"

    def __str__(self) -> str:
        """The path or URL, for messages."""
        return f"{self.root.partition('?')[0].rstrip('/')}/{self.name}"


def matching_files(pattern: str) -> list[Location]:
    """The files that a pattern matches, by name; hidden ones and locks of Excel are left out.

    pattern: a path or a URL, in which `*` stands for any characters, `/` too, or a folder, for all its files.
    Raises InputError if there is none, StorageError if they cannot be listed.
    """
    url, question, options = pattern.partition("?") if "://" in pattern else (pattern, "", "")
    root, wanted = _split(url) if WILDCARDS & set(url) or _is_file(pattern) else (url, "*")
    root = absolute(root) + question + options
    with reaching(pattern):
        system, folder = file_system(root)
        selector = fs.FileSelector(folder, allow_not_found=True, recursive=True)
        paths = [info.path for info in system.get_file_info(selector) if info.type == fs.FileType.File]
    names = sorted(path[len(folder) :].strip("/") for path in paths)
    found = [
        Location(root, name)
        for name in names
        if fnmatchcase(name, wanted) and "/." not in f"/{name}" and not is_lock(Path(name).name)
    ]
    if not found:
        raise InputError("no file matches; check the pattern, and quote it for the shell", path=pattern)
    return found


def stamp(location: Location) -> dict[str, int]:
    """The size of a file, `bytes`, and when it was written, `time` in nanoseconds. Raises StorageError."""
    with reaching(location):
        system, path = opened(location)
        info = system.get_file_info(path)
    return {"bytes": info.size, "time": info.mtime_ns}


def files_fingerprint(locations: Sequence[Location]) -> str:
    """A digest of the names and stamps of files, of which none is read. Raises StorageError."""
    digest = hashlib.sha256()
    for location in locations:
        digest.update(f"{location.name}\0{stamp(location)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


@contextmanager
def local_copy(location: Location) -> Iterator[Path]:
    """A file on this machine with the content of another, itself if it is here.

    An InputError within the block names the file and not its copy. Raises StorageError.
    """
    with reaching(location):
        system, path = opened(location)
    if isinstance(system, fs.LocalFileSystem):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="peephole-") as folder:
        copy = Path(folder) / Path(location.name).name
        with reaching(location):
            fs.copy_files(path, str(copy), system, fs.LocalFileSystem())
        try:
            yield copy
        except InputError as error:
            raise InputError(str(error).replace(str(copy), str(location))) from error


def absolute(path: str) -> str:
    """An absolute path, or the URL as it is."""
    return path if "://" in path else str(Path(path).absolute())


def opened(location: Location) -> tuple[Any, str]:
    """The file system of a location, and the path there. Raises what `reaching` turns into StorageError."""
    system, folder = file_system(location.root)
    return system, f"{folder.rstrip('/')}/{location.name}"


def file_system(root: str) -> tuple[Any, str]:
    """The file system of an absolute path or a URL, and the path there."""
    system, path = fs.FileSystem.from_uri(root)
    return system, path


@contextmanager
def reaching(place: Location | str) -> Iterator[None]:
    """Turn what a file system raises into a StorageError that names the place."""
    try:
        yield
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StorageError(
            f"{place}: cannot be reached ({reason}); check the path, the network and the permissions"
        ) from error


def _split(url: str) -> tuple[str, str]:
    """The folder above the first wildcard, and the rest.

    >>> _split("s3://bucket/corpus/part-*.jsonl"), _split("*.jsonl"), _split("/a.jsonl")
    (('s3://bucket/corpus', 'part-*.jsonl'), ('.', '*.jsonl'), ('/', 'a.jsonl'))
    """
    start = min((url.index(sign) for sign in WILDCARDS if sign in url), default=len(url))
    root = url[:start].rpartition("/")[0]
    return root or ("/" if url.startswith("/") else "."), url[len(root) :].lstrip("/")


def _is_file(path: str) -> bool:
    with reaching(path):
        system, inner = file_system(absolute(path))
        return bool(system.get_file_info(inner).type == fs.FileType.File)
