"""A retrieval task from the docstrings of a Python installation: find the docstring by its summary line.

In: the standard library and the packages of the running interpreter, read as source. Out: a BEIR folder. A
document is a docstring without its first sentence; its title is the name of the object. Its query is that
first sentence. So one person wrote query and document about the same thing, often in different words.

* Documents with equal bodies (aliases, inherited text) become one document, under the shortest name.
* A sentence that two or three documents share is one query, and all of them are relevant to it. A sentence
  that more documents share ("Return a string representation") is too general to be a query; its documents
  stay in the corpus.
* A hash of its words puts a query into train, dev or test, 80 : 10 : 10. So a query keeps its split when
  packages change.

Knows nothing of models or indexes.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from index.disk.opening import read_file
from index.documents.store import Document
from index.errors import InputError
from index.values import Progress, no_progress
from retrieval.data.beir import Content, Mark, check_beir_output, write_beir
from retrieval.data.pydoc.docstrings import Docstring, builtin_docstrings, describe, source_docstrings
from retrieval.data.pydoc.packages import STANDARD_LIBRARY, package_roots, sources
from retrieval.data.queries import Qrels
from retrieval.data.splits import SPLITS, split_of_id

DEFAULT_LIMIT = 12_000
_MARK = Mark("pydoc.json", "peephole corpus pydoc")

_LONGEST_BODY = 2_000  # characters
_FEWEST_BODY_WORDS = 8
_MOST_SHARING_A_SUMMARY = 3


@dataclass(frozen=True, slots=True)
class PydocCounts:
    """What a corpus consists of."""

    documents: int
    train: int  # queries of the split
    dev: int
    test: int
    packages: int  # that the documents come from


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
    progress: Progress = no_progress,
) -> PydocCounts:
    """Write the task as a BEIR folder, whole or not at all. The same environment gives the same bytes.

    output: the folder to write; one that this function wrote before is replaced.
    packages: import names, with "stdlib" for the standard library; None for that and everything installed.
    limit: the largest number of documents. The standard library comes first, then one file of each package in
        turn.
    progress: called with the documents found so far and `limit`.

    Raises InputError for an unknown package, a limit below 1, an output folder that holds something else, and
    if no docstring was found. Raises StorageError if the folder cannot be written.
    """
    if limit < 1:
        raise InputError(f"limit {limit} is below 1; ask for at least one document")
    output = Path(output)
    check_beir_output(output, _MARK)
    roots = package_roots(packages)
    entries = _collect(_docstrings(roots), limit, progress)
    if not entries:
        raise InputError(f"no docstrings in {', '.join(sorted(roots))}; name other packages")
    queries = _queries(entries)
    counts = _counts(entries, queries, len(roots))
    facts = {"python": sys.version.split()[0], **asdict(counts)}
    write_beir(output, _content(entries, queries), _MARK, facts)
    return counts


def _docstrings(roots: dict[str, Path]) -> Iterator[Docstring]:
    if STANDARD_LIBRARY in roots:
        yield from builtin_docstrings()
        for file, module in sources(STANDARD_LIBRARY, roots[STANDARD_LIBRARY]):
            yield from _of_file(file, module)
    others = [sources(name, root) for name, root in roots.items() if name != STANDARD_LIBRARY]
    for turn in zip_longest(*others):
        for source in turn:
            if source is not None:
                yield from _of_file(*source)


def _of_file(file: Path, module: str) -> Iterator[Docstring]:
    try:
        source = read_file(file, links=True)
    except OSError:
        return
    if b'"""' in source or b"'''" in source:
        yield from source_docstrings(source, module)


def _collect(docstrings: Iterable[Docstring], limit: int, progress: Progress) -> list[_Entry]:
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
        if known is None:
            progress("documents", len(by_body), limit)
    return sorted(by_body.values())


def _queries(entries: Iterable[_Entry]) -> dict[str, list[_Entry]]:
    """Query id, a hash of the summary's words, to the documents that have this summary."""
    shared: dict[str, list[_Entry]] = {}
    for entry in entries:
        shared.setdefault(_digest(_plain(entry.summary)), []).append(entry)
    return {
        query_id: relevant
        for query_id, relevant in sorted(shared.items())
        if len(relevant) <= _MOST_SHARING_A_SUMMARY
    }


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:12]


def _counts(entries: Sequence[_Entry], queries: Iterable[str], packages: int) -> PydocCounts:
    sizes = Counter(split_of_id(query_id) for query_id in queries)
    return PydocCounts(len(entries), sizes["train"], sizes["dev"], sizes["test"], packages)


def _content(entries: Sequence[_Entry], queries: dict[str, list[_Entry]]) -> Content:
    qrels: dict[str, Qrels] = {split: {} for split in SPLITS}
    for query_id, relevant in queries.items():
        qrels[split_of_id(query_id)][query_id] = {entry.id: 1 for entry in relevant}
    return Content(
        documents=(Document(entry.id, entry.title, entry.body) for entry in entries),
        queries={query_id: relevant[0].summary for query_id, relevant in queries.items()},
        qrels=qrels,
    )
