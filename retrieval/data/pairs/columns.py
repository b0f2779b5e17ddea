"""Which column of a table holds the query, which the document, and so on: by usual names, or as told.

In: the names of the columns, and what the user said about them. Out: `Columns`. No column that fits, or two
that fit equally well, is an InputError. Knows nothing of the rows.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from index.errors import InputError
from retrieval.data.table_kinds import table_kind

# Role -> the columns that the user names for it; no columns means that the table has none for it.
ColumnNames: TypeAlias = Mapping[str, Sequence[str]]
USUAL: ColumnNames = MappingProxyType({})  # the user names none

# For each role its usual names, written as `_plain` writes them, in groups. A name of an earlier group is
# preferred: in FlagEmbedding's files "prompt" stands beside "query", and is no query there.
_USUAL_NAMES: dict[str, tuple[str, ...]] = {
    "query": (
        "query question anchor 问题 查询 提问 问句",
        "frage anfrage pregunta consulta domanda pergunta",
        "querytext questiontext searchquery userquery searchterm 搜索词 检索词",
        "prompt sentence1 问",
    ),
    "document": (
        "document doc answer positive pos passage 答案 回答 文档",
        "antwort dokument reponse respuesta documento risposta resposta",
        "documenttext answertext passagetext text response reply body content context 正文 内容 段落 文本",
        "sentence2 答",
    ),
    "id": ("docid documentid passageid answerid corpusid 文档编号", "id 编号"),
    "title": ("title documenttitle doctitle passagetitle 标题", "titel titre titulo titolo"),
    "score": ("score label relevance grade relevancescore 分数 标签 相关性 相关度 等级",),
    "split": ("split 划分",),
}
_METADATA = "metadata"  # the column that BEIR has for it
_NEGATIVE = re.compile(r"(hard)?neg(ative)?(passage|document|doc)?s?\d*|(负例|负样本)\d*")

ROLES = (*_USUAL_NAMES, "negative", "metadata")
SEVERAL = frozenset({"negative", "metadata"})  # the roles that several columns may have


class NoDocumentsError(InputError):
    """A table has queries, and no column of documents."""


@dataclass(frozen=True)
class Columns:
    """The column of each role; None if the table has none. unused: the columns without a role."""

    query: str
    document: str
    id: str | None
    title: str | None
    score: str | None
    split: str | None
    negatives: tuple[str, ...]
    unused: tuple[str, ...]
    metadata: tuple[str, ...] = ()

    def named(self) -> dict[str, str]:
        """Role to column, of the roles that have one; several columns of one role stand side by side."""
        roles = {role: getattr(self, role) for role in _USUAL_NAMES}
        roles |= {"negative": ", ".join(self.negatives), "metadata": ", ".join(self.metadata)}
        return {role: column for role, column in roles.items() if column}


def find_columns(path: Path | str, names: Sequence[str], given: ColumnNames) -> Columns | None:
    """The columns of a file of pairs; None if no column holds a query and none is named for it.

    path: the file, for errors.
    names: its columns.
    given: what the user said, which goes before the usual names.
    Raises NoDocumentsError for a query without a document; InputError for a named column that is not there or
    is two of query, document and negative, and for two columns that fit a role equally well.
    """
    _check_given(path, names, given)
    # A column of metadata keeps its role, so that metadata never changes ids and judgements.
    taken = {name for role, columns in given.items() for name in columns if role != "metadata"}
    free = {name: _plain(name) for name in names if name not in taken}
    found = {
        role: (given[role][0] if given[role] else None) if role in given else _usual(path, free, role)
        for role in _USUAL_NAMES
    }
    negatives = given.get("negative")
    if negatives is None:
        negatives = [name for name, plain in free.items() if _NEGATIVE.fullmatch(plain)]
    query, document = found.pop("query"), found.pop("document")
    if query is None:
        return None
    if document is None:
        raise missing_column(path, names, "document")
    metadata = tuple(given.get("metadata", [name for name in free if name == _METADATA]))
    used = {query, document, *found.values(), *negatives, *metadata}
    unused = tuple(name for name in names if name not in used)
    return Columns(query, document, **found, negatives=tuple(negatives), unused=unused, metadata=metadata)


def query_column(path: Path | str, names: Sequence[str]) -> str | None:
    """The column of queries of a table that has no documents; None if none is recognised."""
    return _usual(path, {name: _plain(name) for name in names}, "query")


def missing_column(path: Path | str, names: Sequence[str], role: str) -> InputError:
    """The error that no column is recognised as that of a role."""
    error = NoDocumentsError if role == "document" else InputError
    return _other_table(path, names) or error(
        f"no column is recognised as the {role}; the columns are {_listed(names)}: name one with "
        f"--column {role}=NAME{_or_separate(path, names)}",
        path=path,
    )


def neither_pairs_nor_corpus(path: Path | str, names: Sequence[str], missing: str) -> InputError:
    """The error that no column holds a query, and that a corpus would need a column that is missing."""
    return _other_table(path, names) or InputError(
        f"no column is recognised as the query, which pairs need, or is {missing}, which a corpus needs; "
        f"the columns are {_listed(names)}: name one with --column query=NAME, or add {missing}"
        f"{_or_separate(path, names)}",
        path=path,
    )


def _other_table(path: Path | str, names: Sequence[str]) -> InputError | None:
    """The error for a click log; None for others."""
    from retrieval.data.clicks.columns import looks_like_a_click_log  # its arrays take long to import

    if looks_like_a_click_log(names):
        return InputError(
            f"looks like a click log, which has ids of documents and not their texts (the columns are "
            f"{_listed(names)}); make a data set of it and a corpus: "
            f"peephole corpus clicks {shlex.quote(str(path))} --corpus CORPUS -o DATA",
            path=path,
        )
    return None


def _check_given(path: Path | str, names: Sequence[str], given: ColumnNames) -> None:
    absent = next((name for columns in given.values() for name in columns if name not in names), None)
    if absent is not None:
        raise InputError(
            f"has no column {absent!r}; the columns are {_listed(names)}{_or_separate(path, names)}",
            path=path,
        )
    # A text that answers itself, or that is told not to answer it, teaches nothing. Other roles may share a
    # column, as a name that is the id and the title.
    for one, other in (("query", "document"), ("query", "negative"), ("document", "negative")):
        for name in given.get(one, ()):
            if name in given.get(other, ()):
                raise InputError(
                    f"column {name!r} is named as the {one} and as the {other}; it can be one of them",
                    path=path,
                )


def _or_separate(path: Path | str, names: Sequence[str]) -> str:
    """The remedy for a table whose cells may be separated by something else than was taken; "" for others."""
    kind = table_kind(path)
    if kind == "csv" and any(mark in name for name in names for mark in ";\t"):
        return "; or say what separates the cells in a first line, such as sep=;"
    if kind == "tsv" and len(names) == 1 and any(mark in names[0] for mark in ",;"):
        return "; or separate the cells by tabs, or name the file .csv"
    return ""


def _usual(path: Path | str, free: Mapping[str, str], role: str) -> str | None:
    for group in _USUAL_NAMES[role]:
        fitting = [name for name, plain in free.items() if plain in group.split()]
        if len(fitting) > 1:
            raise InputError(
                f"{_listed(fitting)} all fit the {role}; choose one with --column {role}=NAME", path=path
            )
        if fitting:
            return fitting[0]
    return None


def _plain(name: str) -> str:
    """A name without case, accents, spaces and separators.

    >>> _plain("Hard Negative_1"), _plain("Réponse")
    ('hardnegative1', 'reponse')
    """
    return "".join(c for c in unicodedata.normalize("NFKD", name).casefold() if c.isalnum())


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:20])
    return f"{shown}, ..." if len(names) > 20 else shown
