"""Readers of documents; `retrieval.data.queries` reads queries and qrels.

In: a BEIR folder, a table, a folder of text files, or standard input.
Out: a stream of `Document`. A broken file is an InputError with file, line and remedy; nothing is guessed.
What a folder of text files has beside them is left out, and counted. Knows nothing of words, vectors or
indexes.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index.disk.checksums import sha256_of
from index.documents.first_uses import SOMEWHERE, FirstUses
from index.documents.metadata import problem_of
from index.documents.store import Document
from index.errors import InputError
from index.values import Json
from retrieval.data.columns.corpus import BEIR, CorpusColumns, find_corpus_columns, no_corpus
from retrieval.data.columns.names import USUAL, ColumnNames
from retrieval.data.hashed_ids import document_id
from retrieval.data.lines import STANDARD_INPUT, Place, holds_text, is_pattern, is_stream, read_text
from retrieval.data.records import (
    IncompleteError,
    Record,
    RepeatedError,
    id_field,
    is_blank,
    json_records,
    read_each,
    text_field,
)
from retrieval.data.table_kinds import JSON_KINDS, how_to_give, table_kind
from retrieval.data.tables import RECORDS_TO_LOOK_AT, column_names, table_records_of

if TYPE_CHECKING:
    from retrieval.data.locations import Location

CORPUS_FILES = ("corpus.jsonl", "corpus.jsonl.gz")
_TEXT_SUFFIXES = frozenset({".md", ".rst", ".txt"})
_MOST_LINES = 1 << 44  # of a file
_MOST_JOINED = 1000  # rows without a text that belong to one document


class UnknownKindError(InputError):
    """A file is of no kind that is read as a corpus."""


def read_documents(
    path: Path | str,
    given: ColumnNames = USUAL,
    joined: Counter[str] | None = None,
) -> Iterator[Document]:
    """Documents in the order of the file, one at a time. Of their ids 12 to 24 bytes each stay in memory.

    path: one of these, where files of text may be gzipped:
        - a BEIR folder, which holds `corpus.jsonl` or `corpus.jsonl.gz`;
        - a table, see `retrieval.data.tables`, with columns for the id and the title or the text of a
          document, see `retrieval.data.columns.corpus`; other columns become metadata, and rows that say
          nothing in those are passed over;
        - a folder of `.txt`, `.md` and `.rst` files, whose relative paths become the ids; others and empty
          ones are left out, see `left_out_files`;
        - a pattern or a URL of such tables, see `retrieval.data.locations`, which are read in turn;
        - "-" for JSONL on standard input, or a pipe of JSONL.
    given: what the user said about the columns of a table.
    joined: counts by file the rows of tables that belong to the document of a row above.

    Raises InputError at once if there is no such path or a table lacks a column, and UnknownKindError if its
    kind is unknown;
    InputError during reading for a broken line, an id that occurs twice and a document whose title and text
    are both empty; at the end if there was no document. A BEIR folder may have such empty documents, for
    public ones have, and judge them.
    """
    if str(path) == STANDARD_INPUT:
        return _from_records(json_records(path), path)
    if is_pattern(path):
        from retrieval.data.locations import matching_files  # not everyone has pyarrow

        return _from_files(matching_files(str(path)), given, joined)
    path = Path(path)
    if not path.exists():
        raise InputError("no such file or folder; check the path", path=path)
    if path.is_dir():
        corpus = _corpus_file(path)
        if corpus is None:
            return _from_text_files(path)
        return _from_records(json_records(corpus), corpus, document_of)
    if table_kind(path):
        return _from_table(path, given, Counter() if joined is None else joined)
    if is_stream(path):  # a process substitution, whose name has no suffix
        return _from_records(json_records(path), path)
    remedy = how_to_give(path, or_else=" or a folder")
    raise UnknownKindError(f"not a kind of corpus that is read; {remedy}", path=path)


def corpus_fingerprint(path: Path | str) -> str | None:
    """A digest of the names and contents of the files that `read_documents` would read.

    Equal fingerprints mean equal documents in equal order, so that a build may resume. It costs one pass over
    the bytes. The files of a pattern are not read but told by size and time. Returns None for standard input
    and pipes, which can be read only once. Raises InputError for a file that cannot be read.
    """
    if is_stream(path):
        return None
    if is_pattern(path):
        from retrieval.data.locations import files_fingerprint, matching_files

        return files_fingerprint(matching_files(str(path)))
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
    """The number of lines of a JSONL corpus, for showing progress; None for other kinds of corpus."""
    path = Path(corpus)
    if path.is_dir():
        path = path / "corpus.jsonl"
    if path.suffix != ".jsonl" or not path.is_file():
        return None
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def _corpus_file(folder: Path) -> Path | None:
    files = (folder / name for name in CORPUS_FILES)
    return next((_regular(file) for file in files if os.path.lexists(file) and not file.is_dir()), None)


def _regular(file: Path) -> Path:
    """The file itself. Raises InputError for a pipe or device: its reader named only the folder."""
    if not file.is_file():
        raise InputError("a pipe, a device or a broken link inside a folder; remove it", path=file)
    return file


def _from_records(
    records: Iterable[Record],
    path: Path | str,
    read: Callable[[Record], Document] | None = None,
    columns: CorpusColumns = BEIR,
) -> Iterator[Document]:
    """The documents. Raises RepeatedError for an id that occurs twice, InputError if there is no document."""
    read = read or document_with_text

    def document_of_its_own(record: Record) -> Document:
        document = read(record)
        ids.check(record.place, document.id)
        return document

    with closing(FirstUses()) as uses:
        ids = _Ids(uses, columns)
        yield from read_each(records, document_of_its_own)
        if not len(uses):
            raise Place(path).error("holds no documents; give a corpus with at least one")


@dataclass
class _Ids:
    """The ids of a corpus, each of which one document may have."""

    uses: FirstUses
    columns: CorpusColumns
    units: list[str] = field(default_factory=list)  # of places; one, but for a table of several sheets
    repeated: bool = False  # whether one was

    def check(self, place: Place, own: str) -> None:
        """Note the id of a document. Raises RepeatedError if another has it, once with its place."""
        if place.unit not in self.units[-1:]:
            self.units.append(place.unit)
        at = (len(self.units) - 1) * _MOST_LINES + (place.line or 0)
        first = self.uses.add(own, at, exact=not self.repeated)  # to find the place of each takes too long
        if first == SOMEWHERE:
            raise place.error("repeats an id", RepeatedError)
        if first is not None:
            self.repeated = True
            raise place.error(self._told(own, first), RepeatedError)

    def _told(self, own: str, first: int) -> str:
        unit, line = divmod(first, _MOST_LINES)
        where = f"{self.units[unit]} {line}"
        if self.columns.id is None:
            return f"holds the same texts as {where}, and ids are made of them; drop one"
        remedy = f"give every document its own{_or_hashed(self.columns)}"
        return f'"{self.columns.id}" {own!r} was already used on {where}; {remedy}'


def _or_hashed(columns: CorpusColumns) -> str:
    """What to do with a table whose column is no id."""
    return "" if columns is BEIR else ", or have ids made of the texts with --column id="


def _from_table(path: Path, given: ColumnNames, joined: Counter[str]) -> Iterator[Document]:
    columns = corpus_columns(path, given)
    records = table_records_of(path, given)
    if table_kind(path) not in JSON_KINDS:
        # Spreadsheets have rows of sums below a table, and of headings between its parts.
        said = {name for name in (columns.id, *columns.texts()) if name is not None}
        records = (record for record in records if not is_blank(record, said))
        # Where nothing has a title, a row without a text may be a thing of its own with a mistaken id.
        if columns.title is not None and table_kind(path) != "parquet":
            records = _joined(records, columns, joined)
    return _from_records(records, path, lambda record: document_with_text(record, columns), columns)


def _joined(records: Iterable[Record], columns: CorpusColumns, count: Counter[str]) -> Iterator[Record]:
    """The rows of a table, those without title and text joined to the row above if that has the same id.

    Shops export variants and images of a product so. A field with several values becomes a list of them.
    count: of the joined rows, by file.
    """
    above: Record | None = None
    joined = 0
    for record in records:
        own = record.fields.get(columns.id) if columns.id else None
        goes_on = above is not None and own and own == above.fields.get(columns.id or "")
        if above and goes_on and joined < _MOST_JOINED and is_blank(record, columns.texts()):
            above, joined = _with_values(above, record.fields), joined + 1
            count[str(record.place.path)] += 1
            continue
        if above:
            yield above
        above, joined = record, 0
    if above:
        yield above


def _with_values(record: Record, fields: Mapping[str, object]) -> Record:
    """A record with further values of its fields."""
    joined = dict(record.fields)
    for name, value in fields.items():
        known = joined.get(name)
        values = list(known) if isinstance(known, list) else [known] if known else []
        values += [
            more for more in (value if isinstance(value, list) else [value]) if more and more not in values
        ]
        joined[name] = values if len(values) > 1 or isinstance(known, list) else next(iter(values), known)
    return Record(record.place, joined)


def corpus_columns(path: Path, given: ColumnNames = USUAL) -> CorpusColumns:
    """The columns of a table of documents, which is no stream.

    Raises InputError if one is missing, and what `column_names` and `find_corpus_columns` raise.
    """
    if is_stream(path):
        return BEIR
    names = column_names(path, given, RECORDS_TO_LOOK_AT)
    found = find_corpus_columns(path, names, given)
    if found is None and names:
        raise no_corpus(path, names, given)
    found = found or BEIR
    if table_kind(path) in JSON_KINDS and found.title is None and "title" not in given:
        return replace(found, title=BEIR.title)  # a record far below may be the first with a title
    return found


def _from_files(
    locations: Sequence[Location], given: ColumnNames, joined: Counter[str] | None
) -> Iterator[Document]:
    """The documents of several files, one file after the other.

    Raises InputError for an id that two files have.
    """
    from retrieval.data.locations import local_copy

    with closing(FirstUses()) as uses:
        for number, location in enumerate(locations):
            with local_copy(location) as copy:
                for document in read_documents(copy, given, joined):
                    first = uses.add(document.id, number)
                    if first is not None:
                        raise InputError(
                            f"a document has the id {document.id!r}, which one of {locations[first]} has; "
                            "give every document its own",
                            path=str(location),
                        )
                    yield document


def document_with_text(record: Record, columns: CorpusColumns = BEIR) -> Document:
    """The document of a record. Raises what `document_of` raises, and IncompleteError if it has no text."""
    document = document_of(record, columns)
    if not document.title.strip() and not document.text.strip():
        names = [f'"{name}"' for name in columns.texts() if columns is BEIR or name in record.fields]
        hold = "hold no text; fill one of them" if len(names) > 1 else "holds no text; fill it"
        raise record.place.error(f"{' and '.join(names)} {hold} or drop the document", IncompleteError)
    return document


def document_of(record: Record, columns: CorpusColumns = BEIR) -> Document:
    """The document of a record.

    Raises IncompleteError for an empty or missing id, InputError without a title and a text, and for values
    of a wrong type.
    """
    own = None if columns.id is None else id_field(record, columns.id, _or_hashed(columns))
    if record.fields.keys().isdisjoint(columns.texts()):
        names = " nor ".join(f'"{name}"' for name in columns.texts())
        raise record.place.error(f"neither {names}; name a field so")
    title = "" if columns.title is None else text_field(record, columns.title)
    texts = [text_field(record, name) for name in columns.text]
    text = texts[0] if len(texts) == 1 else "\n".join(filter(str.strip, texts))
    if own is None:
        own = document_id(title.strip(), text.strip())
    elif not columns.has_beir_id():
        own = own.strip()  # programs pad the cells of a table
    return Document(own, title, text, metadata_field(record, columns.metadata_of(record.fields)))


def metadata_field(record: Record, names: Iterable[str]) -> dict[str, Json]:
    """The values of some fields as metadata; of an object in the field `metadata` the values inside it.

    Raises InputError for a value that cannot be stored.
    """
    values: dict[str, Any] = {}
    for name in names:
        value = record.fields.get(name)
        if name == "metadata" and isinstance(value, dict):
            values |= value
        elif name in record.fields and not (name == "metadata" and value is None):
            values[name] = value
    problem = problem_of(values)
    if problem:
        raise record.place.error(problem)
    metadata: dict[str, Json] = values
    return metadata


def left_out_files(corpus: Path | str) -> Counter[str]:
    """How many files of a folder of text files `read_documents` leaves out, by suffix, or as "empty".

    Hidden files do not count. Nothing is left out of a corpus of another kind, nor of a folder without text
    files, which is refused. Raises InputError for a folder or a text file that cannot be read.
    """
    folder = Path(corpus)
    if not folder.is_dir() or _corpus_file(folder):
        return Counter()
    left_out = Counter(reason for _, reason in _files(folder))
    return left_out if left_out.pop("", 0) else Counter()


def _text_files(folder: Path) -> Iterator[Path]:
    """Files with text below a folder, sorted by path, without hidden ones and linked folders."""
    return (file for file, reason in _files(folder) if not reason)


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """The files below a folder, each with the reason why it is left out; "" for those that are read."""

    def refuse(error: OSError) -> None:
        raise InputError(f"cannot be listed ({error.strerror}); check its permissions", path=error.filename)

    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in (Path(parent, name) for name in sorted(files) if not name.startswith(".")):
            suffix = file.suffix.lower()
            if suffix not in _TEXT_SUFFIXES:
                yield file, suffix or "no suffix"
            else:
                yield file, "" if holds_text(_regular(file)) else "empty"


def _from_text_files(folder: Path) -> Iterator[Document]:
    file = None
    for file in _text_files(folder):
        document_id = file.relative_to(folder).as_posix()
        try:
            document_id.encode()
        except UnicodeEncodeError as error:
            raise InputError("the file's name is not UTF-8; rename it", path=ascii(str(file))) from error
        title, text = _heading(read_text(file), file)
        yield Document(document_id, title, text)
    if file is None:
        raise InputError(
            "holds neither corpus.jsonl nor text files (.txt, .md, .rst) with text; give a folder with one "
            "of these, or make a corpus of other files with `peephole corpus files`",
            path=folder,
        )


def _heading(text: str, file: Path) -> tuple[str, str]:
    """Title and rest of a text; without a heading in Markdown or reST the title is the file's name."""
    first, _, rest = text.lstrip().partition("\n")
    second, _, body = rest.partition("\n")
    if first.startswith("#") and first.lstrip("#").startswith(" "):
        return first.strip("# ") or file.stem, rest.strip()
    if second and len(second) >= len(first.rstrip()) > 0 and set(second.rstrip()) <= {"=", "-"}:
        return first.strip(), body.strip()
    return file.stem, text.strip()
