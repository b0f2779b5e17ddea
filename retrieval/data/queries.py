"""Readers of queries and of qrels, the judgements of which documents are relevant to which query.

In: the folder of a BEIR data set, or a file of queries. Out: lists of `Query`, and `Qrels`. Knows nothing of
documents except their ids.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from index.errors import InputError
from retrieval.data.lines import Place, numbered_lines
from retrieval.data.records import Record, id_field, json_record, json_records, text_field
from retrieval.data.splits import SPLITS
from retrieval.data.table_kinds import JSON_KINDS, table_kind
from retrieval.data.tables import table_records_of

# Query id -> document id -> grade; a grade above 0 means relevant, a higher one more so.
Qrels: TypeAlias = dict[str, dict[str, int]]
# The same, perhaps too large to hold in memory and read each time.
Judgements: TypeAlias = Mapping[str, Mapping[str, int]]

QUERY_FILES = ("queries.jsonl", "queries.jsonl.gz")


@dataclass(frozen=True, slots=True)
class Query:
    """The text of a query, and an id that no other query of its file has."""

    id: str
    text: str


def read_queries(folder: Path | str) -> list[Query]:
    """The queries of a BEIR folder, in the order of its file.

    Raises InputError if there is no `queries.jsonl` (or `.gz`) or it is empty, and for a line that is broken,
    has no `_id` or no `text`, or repeats an id.
    """
    folder = Path(folder)
    path = next((folder / name for name in QUERY_FILES if (folder / name).is_file()), None)
    if path is None:
        raise InputError(
            "holds no judged queries; give a table with a query and its document in each row, or a BEIR "
            'folder with queries.jsonl ({"_id": ..., "text": ...} a line) and qrels/SPLIT.tsv (the ids of a '
            "query and of a document, and a grade, between tabs)",
            path=folder,
        )
    return _unique(((record.place, _query(record)) for record in json_records(path, kept=True)), path)


def read_query_lines(path: Path | str) -> list[Query]:
    """Queries of a file, or of standard input for "-".

    The first line that is not blank decides the format of all: a JSON object means JSONL with `text` (and
    `_id`), as does the name .jsonl. A line with one tab means TSV `id<TAB>text`, anything else means one
    query a line. A query without an id has the number of its line as its id.

    Raises InputError for a file that cannot be read, holds no query, has a broken line or repeats an id.
    """
    lines = numbered_lines(path, kept=True)
    first = next(lines, None)
    if first is None:
        raise Place(path).error("holds no queries; give one a line")
    is_object = first[1].lstrip().startswith("{") and first[1].rstrip().endswith("}")
    if is_object or table_kind(path) in JSON_KINDS:
        parse = _json_query
    elif first[1].count("\t") == 1:
        parse = _tsv_query
    else:
        parse = _plain_query
    return _unique(((place, parse(place, line)) for place, line in chain([first], lines)), path)


def read_query_table(path: Path, column: str) -> list[Query]:
    """The queries in a column of a table; blank ones are passed over.

    Without a column `_id` or `id` a query has the number of its line or row as its id; from the second sheet
    of a workbook on, the number of the sheet and a point stand before it.
    Raises InputError for a broken table, a text or an id of another type, and an id that occurs twice.
    """
    units: dict[str, int] = {}
    placed = ((record.place, _table_query(record, column, units)) for record in table_records_of(path))
    return _unique(((place, query) for place, query in placed if query.text), path)


def _table_query(record: Record, column: str, units: dict[str, int]) -> Query:
    """The query of a row. units: the sheets so far with their numbers."""
    numbered = "_id" not in record.fields and "id" not in record.fields
    sheet = units.setdefault(record.place.unit, len(units) + 1)
    number = str(record.place.line) if sheet == 1 else f"{sheet}.{record.place.line}"
    return Query(number if numbered else id_field(record), text_field(record, column).strip())


def _query(record: Record) -> Query:
    if record.fields.get("text") is None:
        raise record.place.error('no "text"; every query needs it')
    return Query(id_field(record), text_field(record, "text"))


def _json_query(place: Place, line: str) -> Query:
    record = json_record(place, line)
    if "_id" not in record.fields and "id" not in record.fields:
        record.fields["_id"] = str(place.line)
    return _query(record)


def _tsv_query(place: Place, line: str) -> Query:
    query_id, tab, text = line.partition("\t")
    if not tab or not query_id.strip():
        raise place.error("not an id, a tab and a query; write every line so")
    return Query(query_id, text)


def _plain_query(place: Place, line: str) -> Query:
    return Query(str(place.line), line.strip())


def _unique(placed: Iterable[tuple[Place, Query]], path: Path | str) -> list[Query]:
    """The queries as a list. Raises InputError for an id that occurs twice, and if there is no query."""
    places: dict[str, Place] = {}
    queries = []
    for place, query in placed:
        first = places.setdefault(query.id, place)
        if first is not place:
            raise place.error(f'"_id" {query.id!r} was already used on {first}; give every query its own')
        queries.append(query)
    if not queries:
        raise Place(path).error("holds no queries; give at least one")
    return queries


def splits(folder: Path | str) -> list[str]:
    """Names of the splits of a BEIR folder that have qrels: train, dev, test first, then others by name."""
    names = {file.stem for file in Path(folder, "qrels").glob("*.tsv")}
    usual = [name for name in SPLITS if name in names]
    return usual + sorted(names.difference(usual))


def read_qrels(
    folder: Path | str,
    split: str,
    *,
    query_ids: Container[str] | None = None,
    document_ids: Container[str] | None = None,
) -> Qrels:
    """The qrels of one split of a BEIR folder, from its file `qrels/SPLIT.tsv`.

    Each line holds a query id, a document id and a grade, which is a whole number. A header is optional. A
    line that occurs twice counts once.

    folder: the BEIR folder.
    split: such as "test".
    query_ids: the query ids that may occur; None allows all.
    document_ids: the document ids that may occur; None allows all.

    Raises InputError if the file is missing or empty, and for a line with another number of columns, a grade
    that is not a whole number, an unknown id, or a grade that contradicts an earlier line.
    """
    path = Path(folder, "qrels", f"{split}.tsv")
    if not path.is_file():
        known = ", ".join(splits(folder)) or "none"
        raise InputError(f"no such split; choose one of those there: {known}", path=path)
    qrels: Qrels = {}
    for place, line in numbered_lines(path, kept=True):
        cells = line.split("\t")
        if len(cells) != 3:
            raise place.error(f"{len(cells)} columns; write query id, document id and grade between tabs")
        query_id, document_id = cells[:2]
        if place.line == 1 and not any(character.isdigit() for character in cells[2]):
            continue  # the header
        grade = _grade(place, cells[2].strip())
        if query_ids is not None and query_id not in query_ids:
            raise place.error(
                f"unknown query {query_id!r}; it is not in queries.jsonl, add it or drop the line"
            )
        if document_ids is not None and document_id not in document_ids:
            raise place.error(
                f"unknown document {document_id!r}; it is not in the corpus, add it or drop the line"
            )
        if qrels.setdefault(query_id, {}).setdefault(document_id, grade) != grade:
            raise place.error(
                f"grades {document_id!r} for query {query_id!r} differently from an earlier line; keep one"
            )
    if not qrels:
        raise Place(path).error("holds no judgements; give at least one")
    return qrels


def _grade(place: Place, text: str) -> int:
    if not text.removeprefix("-").isdecimal() or not text.isascii() or len(text) > 9:
        raise place.error(f"grade {text[:40]!r} is not a whole number; write 0, 1, 2, ...")
    return int(text)
