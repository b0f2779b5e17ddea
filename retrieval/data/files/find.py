"""The files below a folder that are read, and how many are left out and why.

In: a folder and patterns. Out: `Found` files sorted by path, counts, and what cannot be read. Knows nothing
of contents.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from retrieval.data.files.kinds import kind_of


@dataclass(frozen=True, slots=True)
class Found:
    """A file to read, as it was when it was found."""

    name: str  # path relative to the folder, with "/"
    path: Path
    kind: str
    size: int  # bytes
    modified: int  # nanoseconds since 1970
    changed: int  # the same of its entry in the file system, which nobody can set back


@dataclass(frozen=True, slots=True)
class Broken:
    """A file or folder that cannot be read."""

    path: str
    problem: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What `find_files` found."""

    files: list[Found]
    left_out: Counter[str]  # how many files, by suffix or reason
    broken: list[Broken]  # folders that cannot be listed, and files whose names are no text


def find_files(
    folder: Path,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    apart: Path | None = None,
) -> Findings:
    """Files of kinds that are read, and counts of the others by suffix or reason.

    folder: where to look, below it too. Hidden files, links out of it and linked folders are left out.
    include: patterns of paths or names; if there are any, a file must match one.
    exclude: patterns of paths, names or folders that are left out.
    apart: a folder that is not looked into: the output.
    """
    root = Path(os.path.realpath(folder))
    left_out: Counter[str] = Counter()
    found: list[Found] = []
    broken: list[Broken] = []
    for path in _walk(root, exclude, apart, left_out, broken):
        name = path.relative_to(root).as_posix()
        reason = _reason(path, name, root, include, exclude)
        if reason:
            left_out[reason] += 1
        elif (shown := _shown(name)) != name:
            broken.append(Broken(shown, "its name is not UTF-8; rename it"))
        else:
            status = path.stat()
            times = (status.st_mtime_ns, status.st_ctime_ns)
            found.append(Found(name, folder / name, kind_of(name) or "", status.st_size, *times))
    return Findings(sorted(found, key=lambda file: file.name), left_out, sorted(broken, key=lambda b: b.path))


def _shown(name: str) -> str:
    """The name, with the bytes that are not UTF-8 as codes."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _walk(
    root: Path, exclude: Sequence[str], apart: Path | None, left_out: Counter[str], broken: list[Broken]
) -> Iterator[Path]:
    """All files, without those in hidden, linked and excluded folders, which count once each."""

    def refuse(error: OSError) -> None:
        name = _shown(os.path.relpath(error.filename, root))
        broken.append(Broken(name, f"cannot be listed ({error.strerror}); check its permissions"))

    for parent, folders, files in os.walk(root, onerror=refuse):
        kept = []
        for name in folders:
            path = Path(parent, name)
            if name.startswith("."):
                left_out["hidden"] += 1
            elif path.is_symlink():
                left_out["linked folder"] += 1
            elif _matches(path.relative_to(root).as_posix(), exclude):
                left_out["excluded"] += 1
            elif apart is None or path != apart:
                kept.append(name)
        folders[:] = kept
        yield from (Path(parent, name) for name in files)


def _reason(path: Path, name: str, root: Path, include: Sequence[str], exclude: Sequence[str]) -> str | None:
    """Why a file is left out; None if it is read."""
    if path.name.startswith("."):
        return "hidden"
    if path.name.startswith("~$"):
        return "Office lock file"
    if _matches(name, exclude) or (include and not _matches(name, include)):
        return "excluded"
    if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
        return "link out of the folder"
    if not path.exists():
        return "broken link"
    if not stat.S_ISREG(path.stat().st_mode):
        return "no regular file"
    if kind_of(name) is None:
        return path.suffix.lower() or "no suffix"
    return None


def _matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a path or its last part matches a pattern; `*` stands for "/" too."""
    last = PurePosixPath(name).name
    return any(fnmatchcase(name, pattern) or fnmatchcase(last, pattern) for pattern in patterns)
