"""Which row of a table is its header, and whether an object of JSON may be a record.

In: the cells of a row, or the names of members, and what the user said about columns. Out: how well they name
columns that are recognised. Knows nothing of files.

Best are the columns of pairs, then those of a corpus or a click log, then those of a corpus with titles
alone, then a column of queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from index.errors import InputError
from retrieval.data.clicks.columns import columns_by_use, looks_like_a_click_log
from retrieval.data.columns.corpus import find_corpus_columns
from retrieval.data.columns.names import ColumnNames
from retrieval.data.columns.pairs import NoDocumentsError, find_columns, query_column

_PAIRS, _DOCUMENTS, _TITLES, _QUERIES, _NAMED = range(5)  # _TITLES: documents without a text


class Fit(NamedTuple):
    """How well a row is a header, the best first, and the columns that make it one."""

    rank: int
    columns: frozenset[str]


def names_of(cells: Sequence[str]) -> list[str]:
    """The cells of a row that are not blank, as names of columns."""
    return [name for cell in cells if (name := cell.strip())]


def is_header(cells: Sequence[str], given: ColumnNames) -> bool:
    """Whether a row of any table is a header. A single usual name makes none, for it may be a cell as well.

    given: what the user said about columns.
    """
    fit = fit_of(names_of(cells), given)
    return fit is not None and (len(fit.columns) > 1 or any(given.values()))


def is_record(names: Sequence[str], given: ColumnNames) -> bool:
    """Whether an object with members of these names may be a record. given: what the user said about them."""
    return fit_of(names, given) is not None


def fit_of(names: Sequence[str], given: ColumnNames) -> Fit | None:
    """How well names are those of a header; None if nothing is recognised, or a named one is missing."""
    named = frozenset(name for columns in given.values() for name in columns)
    if not named <= set(names):
        return None
    if looks_like_a_click_log(names):
        return Fit(_DOCUMENTS, frozenset(columns_by_use(names).values()) or frozenset(names))
    try:
        columns = find_columns("", names, given)
    except NoDocumentsError:
        return Fit(_QUERIES, named or frozenset({str(query_column("", names))}))
    except InputError:  # two fit a role equally well, which is told with the place
        return Fit(_PAIRS, frozenset(names))
    if columns is not None:
        return Fit(_PAIRS, named | {columns.query, columns.document})
    try:
        corpus = find_corpus_columns("", names, given)
    except InputError:
        return Fit(_DOCUMENTS, frozenset(names))
    if corpus is not None:
        own = named | (frozenset(names) & {corpus.id, *corpus.texts()})
        return Fit(_DOCUMENTS if corpus.text else _TITLES, own)
    queries = columns_by_use(names).keys() >= {"query", "document"} or named
    return Fit(_NAMED, named or frozenset(names)) if queries else None
