"""Texts and presentations of LibreOffice (.odt, .odp) to sections, by the standard library.

In: bytes that `archive` has checked. Out: an `Extract`: a section for each heading or slide. Tables of
contents, indexes, comments and deleted text are left out. Knows nothing of files.
"""

from __future__ import annotations

import io
import zipfile
from xml.etree import ElementTree as ET

from retrieval.data.files.formats.markup import read_markup, words
from retrieval.data.files.sections import Extract, Outline, Section, clean

CONTENT = "content.xml"
_MANIFEST = "META-INF/manifest.xml"
_URN = "urn:oasis:names:tc:opendocument:xmlns"
_OFFICE, _STYLE, _TEXT, _TABLE, _DRAW, _PRESENTATION, _SVG = (
    f"{{{_URN}:{name}:1.0}}"
    for name in ("office", "style", "text", "table", "drawing", "presentation", "svg-compatible")
)
# The elements of HTML that say the same; what is not named here is part of a line.
_BLOCKS = {
    f"{_TEXT}p": "p",
    f"{_TEXT}line-break": "br",
    f"{_TEXT}list-item": "li",
    f"{_TABLE}table": "table",
    f"{_TABLE}table-header-rows": "thead",
    f"{_TABLE}table-rows": "tbody",
    f"{_TABLE}table-row": "tr",
    f"{_TABLE}table-cell": "td",
    **dict.fromkeys((f"{_TEXT}list", f"{_TEXT}list-header", f"{_TEXT}section", f"{_DRAW}text-box"), "div"),
    **dict.fromkeys((f"{_DRAW}page", f"{_DRAW}custom-shape", f"{_PRESENTATION}notes"), "div"),
}
_LEFT_OUT = {
    *(f"{_TEXT}{name}" for name in ("table-of-content", "alphabetical-index", "illustration-index")),
    *(f"{_TEXT}{name}" for name in ("table-index", "object-index", "user-index", "bibliography")),
    *(f"{_TEXT}{name}" for name in ("tracked-changes", "note-citation", "sequence-decls", "page-number")),
    *(f"{_OFFICE}{name}" for name in ("annotation", "forms", "event-listeners", "binary-data")),
    *(f"{_DRAW}{name}" for name in ("image", "object", "object-ole", "page-thumbnail")),
    f"{_SVG}title",
    f"{_SVG}desc",
    f"{_PRESENTATION}date-time",
}
_LEFT_OUT_TAG = "script"  # which readers of markup leave out
_DEEPEST_HEADING = 6


def read_odt(content: bytes) -> Extract:
    """The sections of a text document. Its title, if a paragraph has that style, is above all headings."""
    root = _content(content)
    titles = {"Title", *_styles_below(root, "Title")}
    for element in root.iter():
        if element.tag == f"{_TEXT}h":
            level = element.get(f"{_TEXT}outline-level", "1")
            element.tag = f"h{min(int(level) + 1 if level.isdecimal() else 2, _DEEPEST_HEADING)}"
        elif element.tag == f"{_TEXT}p" and element.get(f"{_TEXT}style-name") in titles:
            element.tag = "h1"
    outline = Outline()
    for body in root.findall(f"{_OFFICE}body/{_OFFICE}text"):
        read_markup(_as_html(body), outline)
    return Extract(outline.sections())


def read_odp(content: bytes) -> Extract:
    """The slides of a presentation, each with its notes."""
    sections = []
    for number, page in enumerate(_content(content).iter(f"{_DRAW}page"), 1):
        frame = page.find(f"{_DRAW}frame[@{_PRESENTATION}class='title']")
        heading = ""
        if frame is not None:
            heading = clean(words(_as_html(frame))).strip()
            page.remove(frame)
        outline = Outline()
        read_markup(_as_html(page), outline)
        text = "\n\n".join(section.text for section in outline.sections()) or heading
        if text:
            sections.append(Section((heading or f"slide {number}",), text, f"slide-{number}"))
    return Extract(sections)


class _Strict(ET.TreeBuilder):
    """Builds no tree of XML with a document type, which may declare entities."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise ValueError("holds XML with a document type, which no Office program writes; remove the file")


def _content(content: bytes) -> ET.Element:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if _MANIFEST in archive.namelist() and b"encryption-data" in archive.read(_MANIFEST):
            raise ValueError("has a password; save it without one")
        parser = ET.XMLParser(target=_Strict())  # noqa: S314 (it refuses declarations)
        parser.feed(archive.read(CONTENT))
    root: ET.Element = parser.close()
    return root


def _styles_below(root: ET.Element, parent: str) -> set[str]:
    """Names of the styles of a document that another one is the parent of."""
    return {
        style.get(f"{_STYLE}name", "")
        for style in root.iter(f"{_STYLE}style")
        if style.get(f"{_STYLE}parent-style-name") == parent
    }


def _as_html(root: ET.Element) -> ET.Element:
    """The tree with the names of HTML's elements, which stand for the same."""
    for note in list(root.iter(f"{_TEXT}note-body")):  # a footnote stands in the line, in brackets
        note.text, note.tail = " (", ")"
        for paragraph in note.iter(f"{_TEXT}p"):
            paragraph.tag = "span"
    for row in root.iter(f"{_TABLE}table-row"):
        for cell in row.findall(f"{_TABLE}covered-table-cell"):
            row.remove(cell)
    for element in root.iter():
        if element.tag in (f"{_TEXT}s", f"{_TEXT}tab"):
            element.text = " "
        if element.tag in _LEFT_OUT:
            element.tag = _LEFT_OUT_TAG
        elif "{" in element.tag:
            element.tag = _BLOCKS.get(element.tag, "span")
    root.tag = "div"
    return root
