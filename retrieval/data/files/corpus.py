"""A BEIR folder from a folder of files, which a later run brings up to date.

In: a folder of documents. Out: a folder with `corpus.jsonl` and `files.json`. Files that have not changed
since the last run are not read again; the result is the same, byte for byte, as if all were. A run that is
cut short leaves the old corpus. Knows nothing of formats.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from index.disk.writer_lock import WriterLock
from index.errors import InputError
from index.values import Progress, no_progress
from retrieval.data.files.draft import Draft
from retrieval.data.files.find import Broken, Found, find_files
from retrieval.data.files.kinds import KINDS
from retrieval.data.files.pool import Converted, ConverterPool
from retrieval.data.files.state import CORPUS, is_ours, last_run

DEFAULT_SECONDS = 60.0
_GOES_ON = "(--skip-broken goes on without it)"


@dataclass(slots=True)
class FilesResult:
    """What a run did. The names of the fields are keys of the JSON that `peephole corpus files` prints."""

    documents: int = 0
    files: int = 0  # that the documents come from
    read: int = 0  # of these, new or changed since the last run
    unchanged: int = 0
    left_out: dict[str, int] = field(default_factory=dict)  # files that are not read, by suffix or reason
    empty: list[str] = field(default_factory=list)  # the paths of those without text
    broken: list[Broken] = field(default_factory=list)


def write_files_corpus(
    folder: Path,
    output: Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    skip_broken: bool = False,
    seconds: float = DEFAULT_SECONDS,
    progress: Progress = no_progress,
) -> FilesResult:
    """Write the sections of all files of a folder as a corpus.

    folder: the files.
    output: the folder to write. Other files in it stay, so that queries.jsonl and qrels can be added.
    include: patterns; if there are any, only files that match one are read.
    exclude: patterns of files and folders that are left out.
    skip_broken: leave out files that cannot be read, and name them in the result.
    seconds: the longest time for a file.
    progress: called with the number of files.

    Raises InputError for a folder or patterns without files that are read, for a file that cannot be read,
    and an output with a corpus of another origin; MissingExtraError; BusyError; StorageError. The old corpus
    then stays.
    """
    if not folder.is_dir():
        problem = "is a file; give a folder" if folder.exists() else "no such folder; check the path"
        raise InputError(problem, path=folder)
    _check_output(output)
    apart = Path(os.path.realpath(output))
    findings = find_files(folder, include, exclude, apart)
    found = findings.files
    if findings.broken and (not skip_broken or not found):
        raise _unreadable(folder, findings.broken[0])
    if not found:
        raise _no_files(folder, apart, include, exclude)
    result = FilesResult(broken=findings.broken)
    with WriterLock(output, make=True):
        last = last_run(output)
        with Draft(output, last) as draft, ConverterPool(seconds) as pool:
            work = ((file, file.path, None if last.unchanged(file) else file.kind) for file in found)
            for done, (file, future) in enumerate(pool.convert(work), 1):
                _add(file, future, draft, result, skip_broken)
                progress("files", done, len(found))
            if not result.documents:
                raise _no_text(result, folder)
            draft.publish()
    result.left_out = dict(sorted((findings.left_out + Counter(result.left_out)).items()))
    return result


def _add(
    file: Found, future: Future[Converted] | None, draft: Draft, result: FilesResult, skip_broken: bool
) -> None:
    """Add a file's documents to the draft, and to the counts. future: None for a file that is unchanged."""
    try:
        count = draft.reuse(file) if future is None else draft.add(file, future.result())
    except InputError as error:
        if not skip_broken:
            raise InputError(f"{error} {_GOES_ON}") from error
        result.broken.append(Broken(file.name, str(error).removeprefix(f"{file.path}: ")))
        return
    if not count:
        result.left_out["empty"] = result.left_out.get("empty", 0) + 1
        result.empty.append(file.name)
        return
    result.documents += count
    result.files += 1
    if future is None:
        result.unchanged += 1
    else:
        result.read += 1


def _unreadable(folder: Path, broken: Broken) -> InputError:
    """The error of what `find_files` could not read; the folder itself is nothing to go on without."""
    if broken.path == ".":
        return InputError(broken.problem, path=folder)
    return InputError(f"{broken.problem} {_GOES_ON}", path=folder / broken.path)


def _no_files(folder: Path, apart: Path, include: Sequence[str], exclude: Sequence[str]) -> InputError:
    """Why `find_files` found nothing: the patterns, or the folder."""
    kinds = f"files that are read ({' '.join(KINDS)})"
    if (include or exclude) and find_files(folder, apart=apart).files:
        options = " and ".join(
            name for name, given in (("--include", include), ("--exclude", exclude)) if given
        )
        return InputError(f"none of the {kinds} is left by {options}; change the patterns", path=folder)
    return InputError(f"holds no {kinds}; give another folder", path=folder)


def _no_text(result: FilesResult, folder: Path) -> InputError:
    if result.broken:
        first = result.broken[0]
        return InputError(f"{first.problem}; no other file holds text", path=folder / first.path)
    return InputError("no file holds any text; nothing was written", path=folder)


def _check_output(output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise InputError("is a file; name a folder to write", path=output)
    if any(os.path.lexists(output / name) for name in (CORPUS, f"{CORPUS}.gz")) and not is_ours(output):
        raise InputError("holds a corpus that this command did not write; choose another folder", path=output)
