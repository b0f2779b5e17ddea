"""Which column of a table holds the query, which the document, and so on: by usual names, or as told.

In: the names of the columns, and what the user said about them. Out: `Columns`. No column that fits, or two
that fit equally well, is an InputError. Knows nothing of the rows.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from index.errors import InputError
from retrieval.data.columns.names import (
    METADATA,
    ColumnNames,
    check_given,
    groups,
    listed,
    or_separate,
    plain,
    usual_column,
)

# For each role its usual names, in groups as `usual_column` takes them: in FlagEmbedding's files "prompt"
# stands beside "query", and is no query there.
_USUAL_NAMES: dict[str, tuple[str, ...]] = {
    "query": (
        "query question anchor 问题 查询 提问 问句",
        "frage anfrage pregunta consulta domanda pergunta",
        "querytext questiontext searchquery userquery searchterm 搜索词 检索词",
        "标准问题 标准问",
        "prompt sentence1 问",
    ),
    "document": (
        "document doc answer positive pos passage 答案 回答 文档",
        "antwort dokument reponse respuesta documento risposta resposta 标准答案 标准回答",
        "documenttext answertext passagetext text response reply body content context 正文 内容 段落 文本",
        "sentence2 答",
    ),
    "id": ("docid documentid passageid answerid corpusid 文档编号", "id 编号"),
    "title": ("title documenttitle doctitle passagetitle 标题", "titel titre titulo titolo"),
    "score": ("score label relevance grade relevancescore 分数 标签 相关性 相关度 等级",),
    "split": ("split 划分",),
}
_GROUPS = {role: groups(*names) for role, names in _USUAL_NAMES.items()}
IDS, TITLES = _GROUPS["id"], _GROUPS["title"]
_NEGATIVE = re.compile(r"(hard)?neg(ative)?(passage|document|doc)?s?\d*|(负例|负样本)\d*")


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
    """The columns of a file of pairs; None if no column holds a query and none is named for it, and for a
    table of which the user names the texts, which is a corpus.

    path: the file, for errors.
    names: its columns.
    given: what the user said, which goes before the usual names.
    Raises NoDocumentsError for a query without a document; InputError for a named column that is not there or
    is two of query, document and negative, and for two columns that fit a role equally well.
    """
    check_given(path, names, given)
    _check_texts(path, given)
    # A column of metadata keeps its role, so that metadata never changes ids and judgements.
    taken = {name for role, columns in given.items() for name in columns if role != "metadata"}
    free = [name for name in names if name not in taken]
    query = _column(path, free, "query", given)
    if query is None or given.get("text"):
        return None
    found = {role: _column(path, free, role, given) for role in _GROUPS if role != "query"}
    document = found.pop("document")
    if document is None:
        raise missing_column(path, names, "document")
    negatives = given.get("negative")
    if negatives is None:
        negatives = [name for name in free if _NEGATIVE.fullmatch(plain(name))]
    metadata = tuple(given.get("metadata", [name for name in free if name == METADATA]))
    used = {query, document, *found.values(), *negatives, *metadata}
    unused = tuple(name for name in names if name not in used)
    return Columns(query, document, **found, negatives=tuple(negatives), unused=unused, metadata=metadata)


def query_column(path: Path | str, names: Sequence[str]) -> str | None:
    """The column of queries of a table that has no documents; None if none is recognised."""
    return usual_column(path, names, "query", _GROUPS["query"])


def missing_column(path: Path | str, names: Sequence[str], role: str) -> InputError:
    """The error that no column is recognised as that of a role."""
    error = NoDocumentsError if role == "document" else InputError
    return click_log(path, names) or error(
        f"no column is recognised as the {role}; the columns are {listed(names)}: name one with "
        f"--column {role}=NAME{or_separate(path, names)}",
        path=path,
    )


def click_log(path: Path | str, names: Sequence[str]) -> InputError | None:
    """The error for a click log; None for others."""
    from retrieval.data.clicks.columns import looks_like_a_click_log  # its arrays take long to import

    if looks_like_a_click_log(names):
        return InputError(
            f"looks like a click log, which has ids of documents and not their texts (the columns are "
            f"{listed(names)}); make a data set of it and a corpus: "
            f"peephole corpus clicks {shlex.quote(str(path))} --corpus CORPUS -o DATA",
            path=path,
        )
    return None


def _column(path: Path | str, free: Sequence[str], role: str, given: ColumnNames) -> str | None:
    if role in given:
        return next(iter(given[role]), None)
    return usual_column(path, free, role, _GROUPS[role])


def _check_texts(path: Path | str, given: ColumnNames) -> None:
    """Raise InputError if a column is named for two roles of which it can have one."""
    # A text that answers itself, or that is told not to answer it, teaches nothing. Other roles may share a
    # column, as a name that is the id and the title.
    for one, other in (("query", "document"), ("query", "negative"), ("document", "negative")):
        for name in given.get(one, ()):
            if name in given.get(other, ()):
                raise InputError(
                    f"column {name!r} is named as the {one} and as the {other}; it can be one of them",
                    path=path,
                )
