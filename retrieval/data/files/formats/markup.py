"""Text of a tree of HTML elements, section by section.

In: elements of lxml or xml.etree. Out: headings and blocks in an `Outline`: words as a person reads them,
lists with dashes, tables row by row, code as it is. Link targets and images are left out. Knows nothing of
where the tree comes from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Protocol

from index.lexical.cjk import CJK, COMPATIBILITY
from retrieval.data.files.sections import Outline

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_SILENT_LIST = """
    audio button canvas colgroup datalist dialog embed head iframe img input map math-error meta link
    noscript object optgroup option script select style svg template textarea title video
"""
_SILENT = frozenset(_SILENT_LIST.split())
_INLINE_LIST = """
    a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark output q rp rt ruby s
    samp small span strike strong sub sup time tt u var wbr math
"""
_INLINE = frozenset(_INLINE_LIST.split())
_SPACE = re.compile(r"[ \t\n\r\f\v\u00a0\u200b]+")
# A line of the source that ends between two of these characters ends in the middle of a text without spaces.
# Korean, which `CJK` holds too, has spaces.
_UNSPACED = rf"(?![\uac00-\ud7af])[{CJK}{COMPATIBILITY}\u3000-\u303f\uff01-\uff60]"
_NO_SPACE = re.compile(rf"(?<={_UNSPACED})(?:[ \t\r]*\n[ \t\r\n]*|\u200b+)(?={_UNSPACED})")


class Element(Protocol):
    """What is used of an element of lxml or of xml.etree."""

    tag: Any  # a function for comments
    text: str | None
    tail: str | None

    def __iter__(self) -> Iterator[Element]: ...


def read_markup(root: Element, outline: Outline) -> None:
    """Add all headings and blocks below an element to an outline."""
    reader = _Reader(outline)
    reader.children(root)
    reader.flush()


class _Reader:
    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self._words: list[str] = []  # of the block that is being read
        self._prefix = ""
        self._tight = False
        self._after_item = False

    def children(self, element: Element) -> None:
        self._add(element.text)
        for child in element:
            self._element(child)
            self._add(child.tail)

    def flush(self) -> None:
        """End the block that is being read."""
        joined = _NO_SPACE.sub("", "".join(self._words))
        lines = (_SPACE.sub(" ", line).strip() for line in joined.split("\v"))
        text = "\n".join(line for line in lines if line)
        self._words = []
        if text:
            self._outline.block(self._prefix + text, tight=self._tight)
            self._after_item = bool(self._prefix)
            self._prefix, self._tight = "", False

    def _add(self, text: str | None) -> None:
        if text:
            self._words.append(text.replace("\v", " "))

    def _element(self, element: Element) -> None:
        tag = element.tag.rpartition("}")[2].lower() if isinstance(element.tag, str) else ""
        if not tag or tag in _SILENT:
            return
        if tag in _INLINE:
            self.children(element)
        elif tag == "br":
            self._words.append("\v")
        else:
            self.flush()
            self._block(tag, element)
            self.flush()

    def _block(self, tag: str, element: Element) -> None:
        if tag in _HEADINGS:
            self._outline.heading(_HEADINGS[tag], words(element))
        elif tag == "pre":
            self._outline.block(verbatim(element))
        elif tag == "table":
            self._outline.block("\n".join(_rows(element)))
        elif tag in ("li", "dd"):
            self._prefix = "- " if tag == "li" else ""
            self._tight = tag == "dd" or self._after_item
            self.children(element)
            self.flush()
            self._prefix, self._tight = "", False
            return
        else:
            self.children(element)
            return
        self._after_item = False


def words(element: Element) -> str:
    """The text of an element in one line."""
    return _SPACE.sub(" ", verbatim(element)).strip()


def verbatim(element: Element) -> str:
    """The text of an element with its own spaces and line ends."""
    return "".join(_texts(element))


def _texts(element: Element) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        tag = child.tag.rpartition("}")[2].lower() if isinstance(child.tag, str) else ""
        if tag and tag not in _SILENT:
            between = "\n" if tag == "br" else "" if tag in _INLINE else " "
            yield between
            yield from _texts(child)
            yield "" if tag == "br" else between
        yield child.tail or ""


def _rows(table: Element) -> Iterator[str]:
    """Rows of a table, its cells divided by bars. A table inside a cell becomes the cell's words."""
    for part in table:
        tag = part.tag.rpartition("}")[2].lower() if isinstance(part.tag, str) else ""
        if tag == "tr":
            cells = [words(cell) for cell in part if isinstance(cell.tag, str)]
            if any(cells):
                yield " | ".join(cells)
        elif tag == "caption":
            yield words(part)
        elif tag in ("thead", "tbody", "tfoot"):
            yield from _rows(part)
