"""HTML pages to sections, by lxml: the main content without navigation, headers, footers and scripts.

In: text. Out: an `Extract`. Nothing is fetched. Knows nothing of files.
"""

from __future__ import annotations

import re
from typing import Any

from index.lexical.cjk import CJK
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
# Of Confluence: breadcrumb-section, page-metadata, and greybox, the list of attachments. Of MediaWiki:
# catlinks, mw-editsection and printfooter.
_FURNITURE_NAMES_LIST = """
    anchor anchor-link anchorjs-link backtotop bd-toc breadcrumb breadcrumb-section breadcrumbs catlinks
    cookie-banner doc-anchor edit-page footer greybox header-anchor headerlink mw-editsection nav navbar
    navigation next-prev page-metadata page-nav pagination prev-next prev-next-area printfooter related
    rst-breadcrumbs-buttons sidebar skip-link sphinxsidebar sr-only src-link srclink table-of-contents toc
    toc-backref-hidden toctree-wrapper viewcode-back viewcode-link visually-hidden
"""
_FURNITURE_NAMES = frozenset(_FURNITURE_NAMES_LIST.split())
# An aside of these is part of the text: the notes of Sphinx and docutils.
_KEPT_ASIDES = frozenset({"admonition", "footnote", "footnote-list", "topic", "note", "warning", "tip"})
_XML_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
_FEWEST_WORDS = 5
# Chinese writes no spaces; two characters count as a word.
_WORD = re.compile(rf"[{CJK}]{{1,2}}|[^\s{CJK}]+")


def read_html(text: str, apart: str = "") -> Extract:
    """The sections of a page. apart: an XPath of elements that are left out too."""
    from lxml import etree, html

    text = _XML_DECLARATION.sub("", clean(text))
    if not text.strip():
        return Extract([])
    parser = html.HTMLParser(no_network=True, remove_comments=True, remove_pis=True)
    try:
        page = html.document_fromstring(f"<!DOCTYPE html>{text}", parser=parser)
    except etree.ParserError:  # nothing but comments
        return Extract([])
    root = _main(page)
    for element in root.xpath(apart) if apart else ():
        if element is not root:
            element.drop_tree()
    most_words = _words(root) / 2
    for element in list(root.iter()):
        if element is not root and _is_furniture(element, root is page, most_words):
            element.drop_tree()
    outline = Outline()
    read_markup(root, outline)
    title = "" if root.xpath(".//h1[normalize-space()]") else page.findtext(".//title", "")
    return Extract(outline.sections(), " ".join(title.split()))


def _main(page: Any) -> Any:
    """The element of the main content; the page if none says so, or if several do."""
    for path in _MAIN:
        found = page.xpath(path)
        if len(found) == 1 and _words(found[0]) >= _FEWEST_WORDS:
            return found[0]
    return page


def _words(element: Any) -> int:
    return len(_WORD.findall(element.text_content()))


def _is_furniture(element: Any, whole_page: bool, most_words: float) -> bool:
    names = {*element.get("class", "").split(), element.get("id", "")}
    if element.tag == "aside" and names & _KEPT_ASIDES:
        return False
    if element.tag == "header":
        return whole_page and not element.xpath(".//h1")
    if element.tag == "a" and "src" in names:
        return True  # to the source, in rustdoc; a listing of Org has this class too
    if element.tag == "form" and _words(element) > most_words:
        return False  # ASP.NET puts whole pages into one
    return (
        element.tag in _FURNITURE
        or element.get("role") in _FURNITURE_ROLES
        or element.get("hidden") is not None
        or bool(names & _FURNITURE_NAMES and element.tag not in ("body", "h1", "h2", "h3"))
    )
