"""A retrieval task that every Python installation carries with it: which docstring does a one-line summary
belong to.

In: the standard library and the packages of the running interpreter, read as source. Out: a BEIR folder. A
document is a docstring without its first sentence, under its object's name; its query is that sentence. So
the words of query and document were written by the same person about the same thing, but need not be the same
words.

* Documents with equal bodies (aliases, inherited text) are one document, under the shortest name.
* A sentence that up to three documents share is one query, to which each of them is relevant. A sentence that
  more of them share ("Return a string representation") asks for nothing, so it is no query; its documents
  stay.
* Queries go to train, dev and test, 80 : 10 : 10, by a hash of their words: a query keeps its split when
packages change.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple, TypeAlias

from index.errors import InputError, PeepholeError
from retrieval.docstrings import Docstring, builtin_docstrings, describe, source_docstrings

STANDARD_LIBRARY = "stdlib"
DEFAULT_LIMIT = 12_000
_MARK = "pydoc.json"

_LONGEST_BODY = 2_000
_FEWEST_BODY_WORDS = 8
_MOST_SHARING_A_SUMMARY = 3

# Tools that are installed beside libraries; their functions are not what anybody looks up.
_TOOLS = frozenset({"distutils", "mypy", "mypyc", "pip", "pkg_resources", "setuptools", "torchgen"})

# Tests, and copies of other packages.
_SKIPPED_FOLDERS = frozenset(
    {
        "__pycache__",
        "_vendor",
        "ensurepip",
        "extern",
        "externals",
        "idlelib",
        "lib2to3",
        "site-packages",
        "test",
    }
    | {"testing", "tests", "thirdparty", "turtledemo", "vendor", "vendored"}
)

Progress: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class PydocCounts:
    """What was written: documents, queries of each split, and the packages they come from."""

    documents: int
    train: int
    dev: int
    test: int
    packages: int


class _Entry(NamedTuple):
    id: str
    title: str
    summary: str
    body: str


def write_pydoc_corpus(
    output: Path,
    *,
    packages: Sequence[str] | None = None,
    limit: int = DEFAULT_LIMIT,
    force: bool = False,
    progress: Progress | None = None,
) -> PydocCounts:
    """Write the task as a BEIR folder, whole or not at all; the same environment gives the same bytes.

    packages: import names, "stdlib" for the standard library; by default that and everything installed.
    limit: most documents; the standard library comes first, then a file of each package in turn, in an order
        that mixes its folders.
    force: replace a folder that this function did not write. progress: called with documents found so far and
        `limit`.

    Raises InputError for an unknown package, a limit below 1, an output folder with something else in it, or
    if no docstring was found, and PeepholeError if the folder cannot be written.
    """
    if limit < 1:
        raise InputError(f"limit {limit} is below 1; ask for at least one document")
    output = Path(output)
    if output.exists() and not force and not _may_replace(output):
        raise InputError(
            "exists and was not written by this command; choose another folder or force it", path=output
        )
    roots = _roots(packages)
    entries = _collect(_docstrings(roots), limit, progress)
    if not entries:
        raise InputError(f"no docstrings in {', '.join(sorted(roots))}; name other packages")
    queries = _queries(entries)
    counts = _counts(entries, queries, len(roots))
    _publish(output, entries, queries, counts)
    return counts


def _may_replace(output: Path) -> bool:
    return output.is_dir() and ((output / _MARK).is_file() or not any(output.iterdir()))


def _roots(packages: Sequence[str] | None) -> dict[str, Path]:
    """Package name to its folder or single file; the standard library first."""
    paths = sysconfig.get_paths()
    standard = Path(paths["stdlib"])
    if packages is None:
        installed = {
            name: root for key in ("purelib", "platlib") for name, root in _installed(Path(paths[key]))
        }
        return {STANDARD_LIBRARY: standard, **dict(sorted(installed.items()))}
    roots = {}
    for name in packages:
        root = standard if name == STANDARD_LIBRARY else _root_of(name)
        if root is None:
            raise InputError(f"no package {name!r} with Python source; install it or leave it out")
        roots[name] = root
    return roots


def _installed(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in folder.iterdir():
        public = path.stem.isidentifier() and not path.stem.startswith("_") and path.stem not in _TOOLS
        if public and ((path / "__init__.py").is_file() or path.suffix == ".py"):
            yield path.stem, path


def _root_of(name: str) -> Path | None:
    """Where a top-level package or module lies, without importing it."""
    if not name.isidentifier():
        return None
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    origin = Path(spec.origin)
    return origin.parent if origin.name == "__init__.py" else origin


def _docstrings(roots: dict[str, Path]) -> Iterator[Docstring]:
    if STANDARD_LIBRARY in roots:
        yield from builtin_docstrings()
        for file, module in _sources(STANDARD_LIBRARY, roots[STANDARD_LIBRARY]):
            yield from _of_file(file, module)
    others = [_sources(name, root) for name, root in roots.items() if name != STANDARD_LIBRARY]
    for turn in zip_longest(*others):
        for source in turn:
            if source is not None:
                yield from _of_file(*source)


def _of_file(file: Path, module: str) -> Iterator[Docstring]:
    try:
        source = file.read_bytes()
    except OSError:
        return
    if b'"""' in source or b"'''" in source:
        yield from source_docstrings(source, module)


def _sources(name: str, root: Path) -> list[tuple[Path, str]]:
    """Source files and their module names. First come those near the top, where what people call lies as a
    rule; at one depth the order is that of the names' hashes, which mixes the folders.
    """
    if root.is_file():
        return [(root, name)]
    found = []
    for parent, folders, files in os.walk(root):
        folders[:] = [
            folder for folder in folders if folder not in _SKIPPED_FOLDERS and folder.isidentifier()
        ]
        for file in files:
            if file.endswith(".py") and not file.startswith(("test_", "conftest")):
                parts = Path(parent, file).relative_to(root).with_suffix("").parts
                parts = parts[:-1] if parts[-1] == "__init__" else parts
                if name == STANDARD_LIBRARY and parts[0].startswith("_"):
                    continue  # private modules there are twins of C modules
                module = ".".join(parts if name == STANDARD_LIBRARY else (name, *parts))
                found.append((Path(parent, file), module))
    return sorted(found, key=lambda source: (source[1].count("."), _digest(source[1])))


def _collect(docstrings: Iterable[Docstring], limit: int, progress: Progress | None) -> list[_Entry]:
    """Documents with distinct bodies and distinct ids, sorted by id."""
    by_body: dict[str, _Entry] = {}
    ids: set[str] = set()
    for name, title, text in docstrings:
        described = describe(text, _LONGEST_BODY)
        if name in ids or described is None or len(described.body.split()) < _FEWEST_BODY_WORDS:
            continue
        key = _plain(described.body)
        known = by_body.get(key)
        if known is None and len(by_body) == limit:
            break
        if known is None or (len(title), name) < (len(known.title), known.id):
            by_body[key] = _Entry(name, title, described.summary, described.body)
            ids.add(name)
        if progress is not None and known is None:
            progress(len(by_body), limit)
    return sorted(by_body.values())


def _queries(entries: Iterable[_Entry]) -> dict[str, list[_Entry]]:
    """Query id, which is the hash of the summary's words, to the documents that the summary belongs to."""
    shared: dict[str, list[_Entry]] = {}
    for entry in entries:
        shared.setdefault(_digest(_plain(entry.summary)), []).append(entry)
    return {name: shared[name] for name in sorted(shared) if len(shared[name]) <= _MOST_SHARING_A_SUMMARY}


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:12]


def _split_of(query_id: str) -> str:
    """Split by the id, which is a hash already."""
    tenth = int(query_id, 16) % 10
    return {0: "test", 1: "dev"}.get(tenth, "train")


def _counts(entries: Sequence[_Entry], queries: Iterable[str], packages: int) -> PydocCounts:
    of = [_split_of(name) for name in queries]
    return PydocCounts(len(entries), of.count("train"), of.count("dev"), of.count("test"), packages)


def _publish(
    output: Path, entries: Iterable[_Entry], queries: dict[str, list[_Entry]], counts: PydocCounts
) -> None:
    """Write into a folder beside the output, then put it in its place."""
    draft = output.with_name(f".{output.name}.{os.getpid()}.draft")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        (draft / "qrels").mkdir(parents=True)
        _write_folder(draft, entries, queries, counts)
        _replace(output, draft)
    except OSError as error:
        raise PeepholeError(
            f"{output}: cannot be written ({error.strerror or error}); choose another folder or free space"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _replace(output: Path, draft: Path) -> None:
    """Rename the draft to the output; a folder that is not empty has to step aside first."""
    if output.is_dir() and any(output.iterdir()):
        aside = output.with_name(f".{output.name}.{os.getpid()}.old")
        output.rename(aside)
        draft.rename(output)
        shutil.rmtree(aside)
    else:
        if output.is_file():
            output.unlink()
        draft.replace(output)


def _write_folder(
    folder: Path, entries: Iterable[_Entry], queries: dict[str, list[_Entry]], counts: PydocCounts
) -> None:
    corpus = ({"_id": entry.id, "title": entry.title, "text": entry.body} for entry in entries)
    _write_lines(folder / "corpus.jsonl", (json.dumps(record, ensure_ascii=False) for record in corpus))
    asked = ({"_id": name, "text": found[0].summary} for name, found in queries.items())
    _write_lines(folder / "queries.jsonl", (json.dumps(record, ensure_ascii=False) for record in asked))
    for split in ("train", "dev", "test"):
        judged = [
            f"{name}\t{entry.id}\t1"
            for name, found in queries.items()
            if _split_of(name) == split
            for entry in found
        ]
        _write_lines(folder / "qrels" / f"{split}.tsv", ["query-id\tcorpus-id\tscore", *judged])
    made = {"made_by": "peephole corpus pydoc", "python": sys.version.split()[0], **asdict(counts)}
    _write_lines(folder / _MARK, [json.dumps(made)])


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
