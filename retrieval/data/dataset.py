"""A data set: documents, queries by id, and the qrels of each split, from a BEIR folder or a file of pairs.

In: a folder with corpus.jsonl and, if there are any, queries.jsonl and qrels/SPLIT.tsv; or a table of pairs.
Out: each part, read when it is needed. Knows nothing of what the parts are used for.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from index.disk.checksums import sha256_of
from index.documents.store import Document
from index.errors import InputError
from retrieval.data.documents import CORPUS_FILES, corpus_fingerprint, count_documents, read_documents
from retrieval.data.known_queries import known_queries
from retrieval.data.lines import STANDARD_INPUT, is_pattern, is_stream
from retrieval.data.pairs.columns import (
    USUAL,
    ColumnNames,
    NoDocumentsError,
    find_columns,
    missing_column,
    neither_pairs_nor_corpus,
    query_column,
)
from retrieval.data.pairs.dataset import PairsDataset
from retrieval.data.queries import (
    QUERY_FILES,
    Qrels,
    read_qrels,
    read_queries,
    read_query_lines,
    read_query_table,
    splits,
)
from retrieval.data.table_kinds import NOT_TEXT, WORKBOOKS, is_lock, table_kind
from retrieval.data.tables import header_of, table_records_of

# As many records of JSONL tell whether it holds pairs: a corpus may be too large to read for that.
_RECORDS_TO_LOOK_AT = 1000
_IDS, _TEXTS = frozenset({"_id", "id"}), frozenset({"text", "title"})


@dataclass(frozen=True)
class Dataset:
    """A BEIR folder, whose parts are read when they are needed; or a corpus alone, which has no queries.

    >>> dataset = Dataset(Path("data"))                                        # doctest: +SKIP
    >>> dataset.splits(), len(dataset.qrels("dev"))                            # doctest: +SKIP
    (['train', 'dev', 'test'], 2844)
    """

    folder: Path | str  # what `read_documents` reads

    def documents(self) -> Iterator[Document]:
        """The documents, one at a time. Raises what `read_documents` raises."""
        return read_documents(self.folder)

    def documents_with_queries(self) -> Iterator[Document]:
        """The documents, each with the training queries that it is known to answer.

        Raises what `read_documents`, `read_queries` and `read_qrels` raise.
        """
        documents = self.documents()
        if not self.training_files():
            return documents
        known = known_queries(read_qrels(self.folder, "train", query_ids=self.queries), self.queries)
        return (document._replace(queries=known.get(document.id, ())) for document in documents)

    def count_documents(self) -> int | None:
        """The number of documents, for showing progress; None if it is not known without reading them."""
        return count_documents(self.folder)

    def fingerprint(self, *, queries: bool = False) -> str | None:
        """What `corpus_fingerprint` returns and raises. queries: also of the training queries and qrels."""
        found = corpus_fingerprint(self.folder)
        if found is None or not (queries and self.training_files()):
            return found
        parts = (sha256_of(file, links=True) for file in self.training_files())
        return sha256("\n".join([found, *parts]).encode()).hexdigest()

    def training_files(self) -> list[Path]:
        """The files of the training queries and of their qrels; none for a corpus without these."""
        if is_stream(self.folder) or is_pattern(self.folder):
            return []
        qrels = Path(self.folder, "qrels", "train.tsv")
        queries = [file for name in QUERY_FILES if (file := Path(self.folder, name)).is_file()]
        return [*queries[:1], qrels] if queries and qrels.is_file() else []

    @cached_property
    def queries(self) -> dict[str, str]:
        """Query id to text, of all splits. Raises what `read_queries` raises."""
        return {query.id: query.text for query in read_queries(self.folder)}

    def splits(self) -> list[str]:
        """Names of the splits that have qrels: train, dev, test first, then others by name."""
        return splits(self.folder)

    def qrels(self, split: str, document_ids: Container[str] | None = None) -> Qrels:
        """The qrels of a split, in which only the data set's queries may occur.

        split: such as "test".
        document_ids: the document ids that may occur; None allows all.

        Raises what `read_qrels` raises.
        """
        return read_qrels(self.folder, split, query_ids=self.queries, document_ids=document_ids)

    def forget(self) -> None:
        """Free the memory that the queries take; they are read again when they are needed."""
        self.__dict__.pop("queries", None)


AnyDataset: TypeAlias = Dataset | PairsDataset


def open_dataset(path: Path | str, columns: ColumnNames = USUAL) -> AnyDataset:
    """The data set that a path leads to: a file of pairs if it is a table with a query column.

    path: a BEIR folder, a table, a pattern of tables or a folder of nothing but tables, which are one table,
        or anything else that `read_documents` reads.
    columns: role to the columns that the user names, see `retrieval.data.pairs.columns`.
    Raises InputError for an empty table, and one in which no column is recognised, or two fit equally well;
    for columns named for what is not a table; and what `table_records_of` raises.
    """
    path = _with_its_tables(path)
    is_table = is_pattern(path) or (Path(path).is_file() and table_kind(path))
    if not is_table:
        if not (is_pattern(path) or Path(path).exists() or str(path) == STANDARD_INPUT):
            raise InputError("no such file or folder; check the path", path=path)
        if columns:
            raise InputError("has no columns to name; leave --column out, or give a table", path=path)
        return Dataset(path)
    place = path if is_pattern(path) else Path(path)
    names = _column_names(place, _RECORDS_TO_LOOK_AT, given=columns)
    found = find_columns(place, names, columns)
    if found is not None:
        # A record far below may be the first with negatives.
        names = _column_names(place, needed=(found.query, found.document), given=columns)
        return PairsDataset(place, find_columns(place, names, columns) or found, columns)
    if names:
        _check_corpus(place, names)
    elif next(table_records_of(place, columns), None) is None:
        raise InputError(
            "holds no documents; give a table with a query and a document in each row, or a corpus with at "
            "least one document",
            path=place,
        )
    return Dataset(path)


def read_query_texts(path: Path | str, split: str) -> list[str]:
    """The texts of queries: those of a split of a data set, or all of a file of queries.

    path: a BEIR folder, a table of pairs, or what `read_all_queries` reads.
    split: of the data set; a file of queries has none.
    Raises InputError for a split without queries, and what the readers raise.
    """
    if not _holds_judgements(path):
        return list(read_all_queries(path).values())
    dataset = open_dataset(path)
    return [dataset.queries[query_id] for query_id in dataset.qrels(split)]


def read_all_queries(path: Path | str, columns: ColumnNames = USUAL) -> dict[str, str]:
    """Query id to text, of all splits of a data set, or of a file of queries.

    path: a BEIR folder, a table of pairs, a table with a column of queries and none of documents, or
        what `read_query_lines` reads.
    columns: as for `open_dataset`.
    Raises what the readers raise.
    """
    if columns or _holds_judgements(path):
        return dict(open_dataset(path, columns).queries)
    place = Path(path)
    is_table = place.is_file() and table_kind(place)
    names = _column_names(place, _RECORDS_TO_LOOK_AT) if is_table else []
    column = query_column(place, names)
    if column is None and is_table and table_kind(place) in NOT_TEXT:
        raise missing_column(place, names, "query")
    found = read_query_lines(path) if column is None else read_query_table(place, column)
    return {query.id: query.text for query in found}


def _holds_judgements(path: Path | str) -> bool:
    """Whether this is a BEIR folder or a table of pairs."""
    place = Path(path)
    if place.is_dir() or not (place.is_file() and table_kind(place)):
        return place.is_dir()
    try:
        return find_columns(place, _column_names(place, _RECORDS_TO_LOOK_AT), USUAL) is not None
    except NoDocumentsError:
        return False  # a list of queries with a header


def workbooks_of(path: Path | str) -> list[Path]:
    """The workbooks on this machine that a path, or a pattern of paths, leads to. Raises InputError."""
    path = _with_its_tables(path)
    if not is_pattern(path):
        return [Path(path)] if table_kind(path) in WORKBOOKS and Path(path).is_file() else []
    if "://" in str(path):
        return []
    from retrieval.data.locations import matching_files

    return [Path(str(file)) for file in matching_files(str(path)) if table_kind(file.name) in WORKBOOKS]


def _with_its_tables(path: Path | str) -> Path | str:
    """A folder of tables as a pattern of them; any other path as it is."""
    folder = Path(path)
    if is_stream(path) or not folder.is_dir() or any((folder / name).exists() for name in CORPUS_FILES):
        return path
    names = (file.name for file in folder.iterdir())
    files = [name for name in names if not name.startswith(".") and not is_lock(name)]
    return f"{folder}/*" if files and all(map(table_kind, files)) else path


def _check_corpus(path: Path | str, names: Sequence[str]) -> None:
    """Raise InputError if a table without queries lacks a column that every corpus has."""
    has_id, has_text = not _IDS.isdisjoint(names), not _TEXTS.isdisjoint(names)
    if not has_id and not has_text:
        raise missing_column(path, names, "query")
    if not has_id or not has_text:
        raise neither_pairs_nor_corpus(path, names, "_id" if has_text else "text")


def _column_names(
    path: Path | str,
    limit: int | None = None,
    needed: Collection[str] = (),
    given: ColumnNames = USUAL,
) -> list[str]:
    """The columns of a table, in their order; of JSONL those of its first records, or of all.

    path: the table.
    limit: how many of the first records; None for all.
    needed, given: as `header_of` takes them.
    """
    records = table_records_of(path, given)
    names: Mapping[str, None] = dict.fromkeys(header_of(path, needed, given))
    if not names:
        names = {name: None for record in islice(records, limit) for name in record.fields}
    return list(names)
