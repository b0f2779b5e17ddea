"""Readers of queries and of judgements: which documents answer which query, and how well.

In: the folder of a BEIR data set, or a file of queries. Out: lists of `Query`, and `Qrels`. Knows nothing of
documents but their ids.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from index.errors import InputError
from retrieval.data.lines import numbered_lines, place
from retrieval.data.records import id_field, json_record, json_records, text_field

# Query id -> document id -> grade; a grade above 0 means relevant, a higher one more so.
Qrels: TypeAlias = dict[str, dict[str, int]]

_QUERY_FILES = ("queries.jsonl", "queries.jsonl.gz")
_USUAL_SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class Query:
    """What a person asked, under an id that is unique among its fellows."""

    id: str
    text: str


def read_queries(folder: Path | str) -> list[Query]:
    """The queries of a BEIR folder, in the order of its file.

    Raises InputError if there is no `queries.jsonl` (or `.gz`) or it is empty, and for a line that is broken,
    has no `_id` or no `text`, or an id that occurs twice.
    """
    folder = Path(folder)
    path = next((folder / name for name in _QUERY_FILES if (folder / name).is_file()), None)
    if path is None:
        raise InputError("holds no queries.jsonl; give a BEIR folder", path=folder)
    return _unique(((n, _query(record, path, n)) for n, record in json_records(path, kept=True)), path)


def read_query_lines(path: Path | str) -> list[Query]:
    """Queries of a file, or of standard input for "-": JSONL with `text` (and `_id`), TSV `id<TAB>text`, or
    one a line.

    The first line that is not blank decides which: a JSON object, a line with one tab, or anything else.
    Queries without an id of their own are known by the number of their line. Raises InputError as
    `read_queries` does.
    """
    lines = numbered_lines(path, kept=True)
    first = next(lines, None)
    if first is None:
        raise InputError("holds no queries; give one a line", path=place(path))
    if first[1].lstrip().startswith("{") and first[1].rstrip().endswith("}"):
        parse = _json_query
    elif first[1].count("\t") == 1:
        parse = _tsv_query
    else:
        parse = _plain_query
    return _unique(((n, parse(line, path, n)) for n, line in chain([first], lines)), path)


def _query(record: dict[str, object], path: Path | str, number: int) -> Query:
    if record.get("text") is None:
        raise InputError('no "text"; every query needs it', path=place(path), line=number)
    return Query(id_field(record, path, number), text_field(record, "text", path, number))


def _json_query(line: str, path: Path | str, number: int) -> Query:
    record = json_record(line, path, number)
    if "_id" not in record and "id" not in record:
        record["_id"] = str(number)
    return _query(record, path, number)


def _tsv_query(line: str, path: Path | str, number: int) -> Query:
    name, tab, text = line.partition("\t")
    if not tab or not name.strip():
        raise InputError("not an id, a tab and a query; write every line so", path=place(path), line=number)
    return Query(name, text)


def _plain_query(line: str, path: Path | str, number: int) -> Query:
    return Query(str(number), line.strip())


def _unique(queries: Iterable[tuple[int, Query]], path: Path | str) -> list[Query]:
    lines: dict[str, int] = {}
    found = []
    for number, query in queries:
        first = lines.setdefault(query.id, number)
        if first != number:
            raise InputError(
                f'"_id" {query.id!r} was already used on line {first}; give every query its own',
                path=place(path),
                line=number,
            )
        found.append(query)
    if not found:
        raise InputError("holds no queries; give at least one", path=place(path))
    return found


def splits(folder: Path | str) -> list[str]:
    """Names of the judged splits of a BEIR folder: train, dev, test first, then others by name."""
    names = {file.stem for file in Path(folder, "qrels").glob("*.tsv")}
    usual = [name for name in _USUAL_SPLITS if name in names]
    return usual + sorted(names.difference(usual))


def read_qrels(
    folder: Path | str,
    split: str,
    *,
    query_ids: Container[str] | None = None,
    document_ids: Container[str] | None = None,
) -> Qrels:
    """The judgements `qrels/SPLIT.tsv` of a BEIR folder: query id, document id and a whole-number grade on
    each line.

    query_ids, document_ids: what a judgement may name; None leaves them unchecked. A header is optional, and
    a judgement that is repeated word for word counts once. Raises InputError if the file is missing or empty,
    and for a line with another number of columns, a grade that is no whole number, an unknown id, or a grade
    that contradicts an earlier line.
    """
    path = Path(folder, "qrels", f"{split}.tsv")
    if not path.is_file():
        known = ", ".join(splits(folder)) or "none"
        raise InputError(f"no such split; choose one of those there: {known}", path=path)
    qrels: Qrels = {}
    for number, line in numbered_lines(path, kept=True):
        cells = line.split("\t")
        if len(cells) != 3:
            raise InputError(
                f"{len(cells)} columns; write query id, document id and grade between tabs",
                path=path,
                line=number,
            )
        query, document, grade = cells[0], cells[1], cells[2].strip()
        if number == 1 and not any(character.isdigit() for character in grade):
            continue  # the header
        _check_judgement(query, document, grade, query_ids, document_ids, path, number)
        if qrels.setdefault(query, {}).setdefault(document, int(grade)) != int(grade):
            raise InputError(
                f"grades {document!r} for query {query!r} differently from an earlier line; keep one",
                path=path,
                line=number,
            )
    if not qrels:
        raise InputError("holds no judgements; give at least one", path=path)
    return qrels


def _is_whole(grade: str) -> bool:
    return grade.removeprefix("-").isdecimal() and grade.isascii()


def _check_judgement(
    query: str,
    document: str,
    grade: str,
    query_ids: Container[str] | None,
    document_ids: Container[str] | None,
    path: Path,
    number: int,
) -> None:
    if not _is_whole(grade) or len(grade) > 9:
        raise InputError(
            f"grade {grade[:40]!r} is not a whole number; write 0, 1, 2, ...", path=path, line=number
        )
    if query_ids is not None and query not in query_ids:
        raise InputError(
            f"unknown query {query!r}; it is not in queries.jsonl, add it or drop the line",
            path=path,
            line=number,
        )
    if document_ids is not None and document not in document_ids:
        raise InputError(
            f"unknown document {document!r}; it is not in the corpus, add it or drop the line",
            path=path,
            line=number,
        )
