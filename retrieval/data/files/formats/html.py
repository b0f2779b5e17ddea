"""HTML pages to sections, by lxml: the main content without navigation, headers, footers and scripts.

In: bytes. Out: an `Extract`. Nothing is fetched. Knows nothing of files.
"""

from __future__ import annotations

import codecs
import re
from typing import Any

from retrieval.data.files.formats.markup import read_markup
from retrieval.data.files.sections import Extract, Outline, clean

# Where a page says what is its content, best first.
_MAIN = (
    "//*[@role='main']",
    "//main",
    "//article",
    "//*[@itemprop='articleBody']",
    "//*[@id='content' or @id='main-content' or @id='main']",
)
_FURNITURE = frozenset({"nav", "footer", "aside", "form", "dialog"})
_FURNITURE_ROLES = frozenset(
    {"navigation", "banner", "search", "contentinfo", "complementary", "menu", "tablist"}
)
_FURNITURE_NAMES_LIST = """
    anchor anchor-link anchorjs-link backtotop bd-toc breadcrumb breadcrumbs cookie-banner doc-anchor edit-
    page footer header-anchor headerlink nav navbar navigation next-prev page-nav pagination prev-next prev-
    next-area related rst-breadcrumbs-buttons sidebar skip-link sphinxsidebar sr-only src srclink src-link
    table-of-contents toc toc-backref-hidden toctree-wrapper viewcode-back viewcode-link visually-hidden
"""
_FURNITURE_NAMES = frozenset(_FURNITURE_NAMES_LIST.split())
# An aside of these is part of the text: the notes of Sphinx and docutils.
_KEPT_ASIDES = frozenset({"admonition", "footnote", "footnote-list", "topic", "note", "warning", "tip"})
_DECLARED = re.compile(
    rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([\w.:-]+)|<\?xml[^>]{0,100}encoding=["']([\w.:-]+)""", re.I
)
_DECLARED_WITHIN = 2048  # bytes; browsers look at 1024
_FEWEST_WORDS = 5


def read_html(content: bytes) -> Extract:
    """The sections of a page. Raises UnicodeDecodeError if it is not in the encoding that it declares."""
    text = re.sub(r"\A\s*<\?xml[^>]*\?>", "", clean(_decoded(content)))
    return read_html_text(text)


def read_html_text(text: str) -> Extract:
    """The sections of a page that is text already."""
    from lxml import html

    if not text.strip():
        return Extract([])
    parser = html.HTMLParser(no_network=True, remove_comments=True, remove_pis=True)
    page = html.document_fromstring(f"<!DOCTYPE html>{text}", parser=parser)
    root = _main(page)
    for element in list(root.iter()):
        if element is not root and _is_furniture(element, root is page):
            element.drop_tree()
    outline = Outline()
    read_markup(root, outline)
    title = " ".join(page.findtext(".//title", "").split())
    sections = outline.sections()
    return Extract(sections, "" if any(section.headings for section in sections) else title)


def _decoded(content: bytes) -> str:
    """The text, by its byte-order mark or its declaration; UTF-8 without one."""
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if content.startswith(mark):
            return content.decode(encoding)
    declared = _DECLARED.search(content[:_DECLARED_WITHIN])
    name = (declared[1] or declared[2]).decode("ascii") if declared else "utf-8"
    try:
        codec = codecs.lookup(name)
    except LookupError:
        codec = codecs.lookup("utf-8")
    return content.decode(codec.name if getattr(codec, "_is_text_encoding", True) else "utf-8")


def _main(page: Any) -> Any:
    """The element of the main content; the page if none says so, or if several do."""
    for path in _MAIN:
        found = page.xpath(path)
        if len(found) == 1 and len(found[0].text_content().split()) >= _FEWEST_WORDS:
            return found[0]
    return page


def _is_furniture(element: Any, whole_page: bool) -> bool:
    names = {*element.get("class", "").split(), element.get("id", "")}
    if element.tag == "aside" and names & _KEPT_ASIDES:
        return False
    if element.tag == "header":
        return whole_page and not element.xpath(".//h1")
    return (
        element.tag in _FURNITURE
        or element.get("role") in _FURNITURE_ROLES
        or element.get("hidden") is not None
        or bool(names & _FURNITURE_NAMES and element.tag not in ("body", "h1", "h2", "h3"))
    )
