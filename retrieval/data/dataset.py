"""A data set: documents, queries by id, and the qrels of each split, from a BEIR folder or a file of pairs.

In: a folder with corpus.jsonl and, if there are any, queries.jsonl and qrels/SPLIT.tsv; or a table of pairs.
Out: each part, read when it is needed. Knows nothing of what the parts are used for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

from index.disk.checksums import sha256_of
from index.documents.store import Document
from index.errors import InputError
from retrieval.data.columns.corpus import CorpusColumns
from retrieval.data.columns.names import USUAL, ColumnNames, said
from retrieval.data.columns.pairs import NoDocumentsError, find_columns, missing_column, query_column
from retrieval.data.documents import (
    CORPUS_FILES,
    corpus_columns,
    corpus_fingerprint,
    count_documents,
    read_documents,
)
from retrieval.data.known_queries import known_queries
from retrieval.data.lines import STANDARD_INPUT, is_pattern, is_stream
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
from retrieval.data.table_kinds import NOT_LINES, WORKBOOKS, is_lock, table_kind
from retrieval.data.tables import RECORDS_TO_LOOK_AT, column_names, table_records_of


@dataclass(frozen=True)
class Dataset:
    """A BEIR folder, whose parts are read when they are needed; or a corpus alone, which has no queries.

    >>> dataset = Dataset(Path("data"))                                        # doctest: +SKIP
    >>> dataset.splits(), len(dataset.qrels("dev"))                            # doctest: +SKIP
    (['train', 'dev', 'test'], 2844)
    """

    folder: Path | str  # what `read_documents` reads
    given: ColumnNames = field(default_factory=lambda: USUAL)  # what the user said about columns
    joined: Counter[str] = field(default_factory=Counter, compare=False)  # as `read_documents` counts

    @property
    def path(self) -> Path | str:
        """What is read; a `PairsDataset` calls it so too."""
        return self.folder

    def documents(self) -> Iterator[Document]:
        """The documents, one at a time. Raises what `read_documents` raises."""
        self.joined.clear()
        return read_documents(self.folder, self.given, self.joined)

    def joined_rows(self) -> int:
        """How many rows, when the documents were read last, belonged to the document of a row above."""
        return self.joined.total()

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
        if found is not None and self.given:
            found = sha256(f"{found}\0{said(self.given)}".encode()).hexdigest()
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

_OF_DOCUMENTS = ("document", "id", "title", "metadata")  # roles of columns of pairs


def open_dataset(path: Path | str | AnyDataset, columns: ColumnNames = USUAL) -> AnyDataset:
    """The data set that a path leads to: a file of pairs if it is a table with a query column.

    path: a BEIR folder, a table, a pattern of tables or a folder of nothing but tables, which are one table,
        or anything else that `read_documents` reads. A data set that is open already is returned.
    columns: role to the columns that the user names, see `retrieval.data.columns`.
    Raises InputError for an empty table, and one in which no column is recognised, or two fit equally well;
    for columns named for what is not a table; and what `table_records_of` raises.
    """
    if isinstance(path, Dataset | PairsDataset):
        return path
    path = _with_its_tables(path)
    is_table = is_pattern(path) or (Path(path).is_file() and table_kind(path))
    if not is_table:
        if not (is_pattern(path) or Path(path).exists() or str(path) == STANDARD_INPUT):
            raise InputError("no such file or folder; check the path", path=path)
        if columns:
            raise InputError("has no columns to name; leave --column out, or give a table", path=path)
        return Dataset(path)
    place = path if is_pattern(path) else Path(path)
    names = column_names(place, columns, RECORDS_TO_LOOK_AT)
    found = find_columns(place, names, columns)
    if found is not None:
        # A record far below may be the first with negatives.
        names = column_names(place, columns, needed=(found.query, found.document))
        return PairsDataset(place, find_columns(place, names, columns) or found, columns)
    if isinstance(place, Path):
        corpus_columns(place, columns)
    if not names and next(table_records_of(place, columns), None) is None:
        raise InputError(
            "holds no documents; give a table with a query and a document in each row, or a corpus with at "
            "least one document",
            path=place,
        )
    return Dataset(path, columns)


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
    names = column_names(place, limit=RECORDS_TO_LOOK_AT) if is_table else []
    column = query_column(place, names)
    if column is None and is_table and table_kind(place) in NOT_LINES:
        raise missing_column(place, names, "query")
    found = read_query_lines(path) if column is None else read_query_table(place, column)
    return {query.id: query.text for query in found}


def _holds_judgements(path: Path | str) -> bool:
    """Whether this is a BEIR folder or a table of pairs."""
    place = Path(path)
    if place.is_dir() or not (place.is_file() and table_kind(place)):
        return place.is_dir()
    try:
        return find_columns(place, column_names(place, limit=RECORDS_TO_LOOK_AT), USUAL) is not None
    except NoDocumentsError:
        return False  # a list of queries with a header


def columns_of(path: Path | str, columns: ColumnNames = USUAL) -> CorpusColumns | None:
    """The columns of a table of documents; None for anything else that `open_dataset` opens.

    columns, and what is raised: as for `open_dataset`.
    """
    dataset = open_dataset(path, columns)
    return _corpus_columns(dataset) if isinstance(dataset, Dataset) else None


def column_roles(dataset: AnyDataset) -> dict[str, str]:
    """By which columns the documents of a table are read, role to what it is, in words for people.

    Empty for what is no table, and for a pattern of tables of documents, whose columns may differ.
    """
    if isinstance(dataset, Dataset):
        found = _corpus_columns(dataset)
        return found.named() if found else {}
    return {role: repr(name) for role, name in dataset.columns.named().items() if role in _OF_DOCUMENTS}


def _corpus_columns(dataset: Dataset) -> CorpusColumns | None:
    if is_pattern(dataset.folder):
        return None
    place = Path(dataset.folder)
    return corpus_columns(place, dataset.given) if place.is_file() and table_kind(place) else None


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
