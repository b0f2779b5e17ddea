"""Which columns of a corpus hold the id, the title and the text of a document: by usual names, or as told.

In: the names of the columns, and what the user said about them. Out: `CorpusColumns`, or an InputError. The
names that BEIR has, `_id` (or `id`), `title` and `text`, go before all other usual ones. Knows nothing of the
rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from index.errors import InputError
from retrieval.data.columns.names import (
    METADATA,
    USUAL,
    ColumnNames,
    check_given,
    groups,
    listed,
    or_separate,
    plain,
    usual_column,
)
from retrieval.data.columns.pairs import IDS, TITLES, click_log

_IDS = ("_id", "id")

# Usual names beside those of pairs, in groups as `usual_column` takes them. A database has its own id beside
# the number by which people call a part, and lists have a mere number of the row.
_USUAL_IDS = (
    *IDS,
    *groups(
        "partid partno partnr partnum partnumber itemid itemno itemnr itemnumber itemcode articleid "
        "articleno articlenumber productid productno productnumber productcode materialid materialno "
        "materialnumber sku ticketid ticketno ticketnumber caseid caseno casenumber "
        "artikelid artikelnr artikelno artnr artikelnummer teilenr teilenummer sachnr sachnummer "
        "materialnr materialnummer produktnr produktnummer ticketnr ticketnummer codearticle codigo "
        "codice 物料编码 物料编号 物料号 料号 产品编号 商品编号 货号 工单号",
        "no nr number num nummer numero key code reference 编码 代码 序号",
        "issuekey recordid handle",
        "material",
    ),
)
_SUMMARY = "summary"  # a title as trackers call it, or a text made shorter
_USUAL_TITLES = (
    *TITLES,
    *groups(
        "name subject headline partname itemname articlename productname betreff bezeichnung "
        "artikelbezeichnung artikelname produktname kurztext materialkurztext nom nombre nome designation "
        "objet asunto oggetto denominazione 名称 品名 产品名称 商品名称 物料名称 主题",
        "materialbezeichnung",
        _SUMMARY,
    ),
)
_USUAL_TEXTS = groups(
    "text fulltext volltext texte texto testo 文本",
    "document body content passage dokument inhalt contenu contenido contenuto 正文 内容",
    "longtext langtext longdescription langbeschreibung 详细描述",
    "description descr desc partdescription itemdescription articledescription productdescription "
    "beschreibung artikelbeschreibung produktbeschreibung descripcion descrizione descricao "
    "描述 说明 产品描述 商品描述 物料描述",
    "answer solution resolution antwort losung loesung 答案 解决方案",
    "bodyhtml",
    "materialdescription",
    "notes",
)
_WHOLE_TEXTS = _USUAL_TEXTS[0] | _USUAL_TEXTS[1]  # what may be made shorter; trackers have descriptions


@dataclass(frozen=True)
class CorpusColumns:
    """The columns of a corpus."""

    id: str | None  # None: a hash of the texts is the id. "_id": a record may have "id" in its place
    title: str | None
    text: tuple[str, ...]  # joined by line ends
    metadata: tuple[str, ...] | None = None  # None: all that are not one of those above

    def texts(self) -> tuple[str, ...]:
        """The columns that may hold what is searched."""
        return self.text if self.title is None else (self.title, *self.text)

    def metadata_of(self, names: Iterable[str]) -> list[str]:
        """Those of some columns that are metadata; the one whose object holds metadata comes first."""
        if self.metadata is not None:
            return list(self.metadata)
        return [METADATA, *(name for name in names if name not in self._used)]

    @cached_property
    def _used(self) -> frozenset[str | None]:
        ids = _IDS if self.id in _IDS else (self.id,)
        return frozenset({*ids, *self.texts(), METADATA})

    def has_beir_id(self) -> bool:
        """Whether the id is that of BEIR, which is taken to the letter."""
        return self.id in _IDS

    def is_beir(self) -> bool:
        """Whether the columns are named as BEIR names them."""
        return self.has_beir_id() and {*self.texts()} <= {*BEIR.texts()} and self.metadata is None

    def named(self) -> dict[str, str]:
        """Role to what it is, in words for people."""
        return {
            "id": "a hash of the texts" if self.id is None else repr(self.id),
            **({} if self.title is None else {"title": repr(self.title)}),
            **({"text": " and ".join(map(repr, self.text))} if self.text else {}),
            "metadata": self._metadata_named(),
        }

    def _metadata_named(self) -> str:
        if self.metadata is None:
            return "all others"
        return ", ".join(map(repr, self.metadata)) or "none"


BEIR = CorpusColumns("_id", "title", ("text",))


def find_corpus_columns(
    path: Path | str, names: Sequence[str], given: ColumnNames = USUAL
) -> CorpusColumns | None:
    """The columns of a corpus; None if no column is recognised as the id, or none as the title or text.

    path: the table, for errors.
    names: its columns.
    given: what the user said, which goes before the usual names.
    Raises InputError for a named column that is not there, one with a role that only pairs have, and two
    columns that fit a role equally well.
    """
    check_given(path, names, given)
    for role, columns in given.items():
        if columns and role not in ("id", "title", "text", "metadata"):
            raise InputError(
                f"column {columns[0]!r} is named as the {role}, which only a table of pairs has, and this is "
                "none without a query; name that with --column query=NAME, or the texts of a corpus with "
                "--column text=NAME",
                path=path,
            )
    # A column of metadata keeps its role, as in pairs.
    taken = {name for role, columns in given.items() for name in columns if role != "metadata"}
    free = [name for name in names if name not in taken]
    own = next(iter(given["id"]), None) if "id" in given else _id(path, free)
    if own is None and "id" not in given:
        return None
    free = [name for name in free if name != own]
    text = tuple(given["text"]) if "text" in given else _text(path, free)
    free = [name for name in free if name not in text]
    title = next(iter(given["title"]), None) if "title" in given else _title(path, names, free, own, text)
    if title is None and not text:
        return None
    metadata = tuple(given["metadata"]) if "metadata" in given else None
    return CorpusColumns(own, title, text, metadata)


def no_corpus(path: Path | str, names: Sequence[str], given: ColumnNames = USUAL) -> InputError:
    """The error that a table is neither one of pairs nor, for want of a column, a corpus."""
    log = click_log(path, names)
    if log is not None:
        return log
    if find_corpus_columns(path, names, {"id": (), **given}) is not None:
        problem = "no column is recognised as the id"
        remedy = "name one with --column id=NAME, or have ids made of the texts with --column id="
    elif "id" in given or _id(path, names) is not None:
        problem = "no column is recognised as the title or text"
        remedy = "name one with --column text=NAME"
    else:
        problem = "no column is recognised"
        remedy = "name those of documents with --column id=NAME --column text=NAME"
    return InputError(
        f"{problem}; the columns are {listed(names)}: {remedy}, or those of pairs with --column query=NAME "
        f"--column document=NAME{or_separate(path, names)}",
        path=path,
    )


def _id(path: Path | str, free: Sequence[str]) -> str | None:
    return next((name for name in _IDS if name in free), None) or usual_column(path, free, "id", _USUAL_IDS)


def _text(path: Path | str, free: Sequence[str]) -> tuple[str, ...]:
    found = "text" if "text" in free else usual_column(path, free, "text", _USUAL_TEXTS)
    return () if found is None else (found,)


def _title(
    path: Path | str,
    names: Sequence[str],
    free: Sequence[str],
    own: str | None,
    text: Sequence[str],
) -> str | None:
    """The column of titles. Beside BEIR's own names a `name` is metadata, as it was for BEIR."""
    if "title" in free:
        return "title"
    if own in _IDS and "text" in text:
        return None
    found = usual_column(path, free, "title", _USUAL_TITLES)
    return None if found is not None and _shortens(found, names, text) else found


def _shortens(title: str, names: Sequence[str], text: Sequence[str]) -> bool:
    """Whether what may be a title is a summary behind its text, as data sets of summaries have it.

    A headline called so, as those of reviews, stands before the text.
    """
    before = [plain(name) for name in text if names.index(name) < names.index(title)]
    return plain(title) == _SUMMARY and not _WHOLE_TEXTS.isdisjoint(before)
