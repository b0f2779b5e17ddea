"""Readers of documents; queries and judgements are read by `retrieval.data.queries`.

In: a BEIR folder, a JSONL, TSV or CSV file, a folder of text files, or standard input. Out: a stream of
`Document`. A file that is wrong is an InputError with file, line and remedy; nothing is guessed or dropped.
Knows nothing of words, vectors or where documents go.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from index.disk.files import sha256_of
from index.documents.store import Document
from index.errors import InputError
from index.values import Scalar
from retrieval.data.lines import STANDARD_INPUT, is_stream, place, read_text
from retrieval.data.records import (
    csv_rows,
    id_field,
    json_records,
    scalar,
    table_records,
    text_field,
    tsv_rows,
)

_CORPUS_FILES = ("corpus.jsonl", "corpus.jsonl.gz")
_TEXT_SUFFIXES = frozenset({".md", ".rst", ".txt"})
_OWN_FIELDS = frozenset({"_id", "id", "title", "text", "metadata"})


def read_documents(path: Path | str) -> Iterator[Document]:
    """Documents in the order of the file, one at a time; of what is read only the ids stay in memory.

    path: a BEIR folder (`corpus.jsonl`, also `.gz`); `.jsonl`; `.tsv` or `.csv` whose header names `_id` (or
        `id`) and `title` or `text`, other columns becoming metadata; a folder of `.txt`, `.md`, `.rst` files,
        whose ids are their relative paths; "-" for JSONL on standard input, or a pipe. Every file may be
        gzipped.

    Raises InputError at once if there is no such path or its kind is unknown; while reading, for a line that
    is broken, an id that occurs twice, and at the end if there was no document.
    """
    if str(path) == STANDARD_INPUT:
        return _unique(_from_records(json_records(path), path), path)
    path = Path(path)
    if not path.exists():
        raise InputError("no such file or folder; check the path", path=path)
    if path.is_dir():
        corpus = _corpus_file(path)
        if corpus is None:
            return _from_text_files(path)
        return _unique(_from_records(json_records(corpus), corpus), corpus)
    kind = path.name.removesuffix(".gz").rpartition(".")[2].lower()
    if kind in ("jsonl", "ndjson"):
        records = json_records(path)
    elif kind == "tsv":
        records = table_records(tsv_rows(path), path)
    elif kind == "csv":
        records = table_records(csv_rows(path), path)
    elif is_stream(path):  # of a process substitution, whose path says nothing
        records = json_records(path)
    else:
        raise InputError("not a kind of corpus that is read; give .jsonl, .tsv, .csv or a folder", path=path)
    return _unique(_from_records(records, path), path)


def corpus_fingerprint(path: Path | str) -> str | None:
    """A digest of names, sizes and contents of the files that `read_documents` would read; None for standard
    input and pipes, which can be read but once.

    Equal fingerprints mean equal documents in equal order, so that a build may resume. Costs one pass over
    the bytes.
    """
    if is_stream(path):
        return None
    path = Path(path)
    files = [path]
    if path.is_dir():
        corpus = _corpus_file(path)
        files = [corpus] if corpus else list(_text_files(path))
    digest = hashlib.sha256()
    for file in files:
        name = file.relative_to(path).as_posix() if file != path else file.name
        try:
            content = sha256_of(file, links=True)
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror}); check the path", path=file) from error
        digest.update(f"{name}\0{content}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def count_documents(corpus: Path | str) -> int | None:
    """How many lines a JSONL corpus has, for showing progress; None for other kinds."""
    path = Path(corpus)
    if path.is_dir():
        path = path / "corpus.jsonl"
    if path.suffix != ".jsonl" or not path.is_file():
        return None
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def _corpus_file(folder: Path) -> Path | None:
    found = (folder / name for name in _CORPUS_FILES)
    return next((_regular(file) for file in found if os.path.lexists(file) and not file.is_dir()), None)


def _regular(file: Path) -> Path:
    """The file, unless it is a pipe or the like, which nobody wants read that only named its folder."""
    if not file.is_file():
        raise InputError("a pipe, a device or a broken link inside a folder; remove it", path=file)
    return file


def _unique(documents: Iterable[tuple[int, Document]], path: Path | str) -> Iterator[Document]:
    lines: dict[str, int] = {}
    for number, document in documents:
        first = lines.setdefault(document.id, number)
        if first != number:
            raise InputError(
                f'"_id" {document.id!r} was already used on line {first}; give every document its own',
                path=place(path),
                line=number,
            )
        yield document
    if not lines:
        raise InputError("holds no documents; give a corpus with at least one", path=place(path))


def _from_records(
    records: Iterable[tuple[int, dict[str, object]]], path: Path | str
) -> Iterator[tuple[int, Document]]:
    for number, record in records:
        name = id_field(record, path, number)
        if "title" not in record and "text" not in record:
            raise InputError('neither "title" nor "text"; name a field so', path=place(path), line=number)
        title = text_field(record, "title", path, number)
        text = text_field(record, "text", path, number)
        yield number, Document(name, title, text, _metadata(record, path, number))


def _metadata(record: Mapping[str, object], path: Path | str, number: int) -> dict[str, Scalar]:
    """What BEIR puts under `metadata`, and every field that is not the document's own."""
    given = record.get("metadata")
    found = (
        {}
        if given is None or isinstance(given, dict)
        else {"metadata": scalar(given, "metadata", path, number)}
    )
    if isinstance(given, dict):
        found = {name: scalar(value, name, path, number) for name, value in given.items()}
    for name, value in record.items():
        if name not in _OWN_FIELDS:
            found[name] = scalar(value, name, path, number)
    return found


def _text_files(folder: Path) -> Iterator[Path]:
    """Text files below a folder in the order of their paths, hidden ones and links to folders left out."""

    def refuse(error: OSError) -> None:
        raise InputError(f"cannot be listed ({error.strerror}); check its permissions", path=error.filename)

    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in _TEXT_SUFFIXES:
                yield _regular(Path(parent, name))


def _from_text_files(folder: Path) -> Iterator[Document]:
    file = None
    for file in _text_files(folder):
        name = file.relative_to(folder).as_posix()
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InputError("the file's name is not UTF-8; rename it", path=ascii(str(file))) from error
        title, text = _heading(read_text(file), file)
        yield Document(name, title, text)
    if file is None:
        raise InputError(
            "holds neither corpus.jsonl nor text files (.txt, .md, .rst); give a folder with one of them",
            path=folder,
        )


def _heading(text: str, file: Path) -> tuple[str, str]:
    """Title and rest of a text: a first line marked as heading by Markdown or reST, else the file's name."""
    first, _, rest = text.lstrip().partition("\n")
    second, _, body = rest.partition("\n")
    if first.startswith("#") and first.lstrip("#").startswith(" "):
        return first.strip("# "), rest.strip()
    if second and len(second) >= len(first.rstrip()) > 0 and set(second.rstrip()) <= {"=", "-"}:
        return first.strip(), body.strip()
    return file.stem, text.strip()
