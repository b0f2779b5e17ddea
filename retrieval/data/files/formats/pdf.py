"""PDF to sections, one a page, by pypdfium2.

In: bytes. Out: an `Extract`, whose headings are the bookmarks that a page lies under. Knows nothing of files.
"""

from __future__ import annotations

import re
from typing import Any

from retrieval.data.files.sections import Extract, Section, clean

_MOST_PAGES = 5000
_PASSWORD = 4  # PDFium's number of this error, FPDF_ERR_PASSWORD
# A hyphen at the end of a line, which PDFium marks so.
_HYPHEN = re.compile("\ufffe\n?|\x02\n?")
_PRINTED_FROM = re.compile(r"Microsoft (?:Word|Excel|PowerPoint) - (.+?)(?:\.\w{1,5})?", re.IGNORECASE)
_NO_TITLES = frozenset({"anonymous", "untitled"})


def read_pdf(content: bytes) -> Extract:
    """The pages of a PDF. Raises ValueError with problem and remedy."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == _PASSWORD:
            raise ValueError("has a password; save it without one") from error
        raise ValueError(f"broken PDF ({str(error).rstrip('.')}); make or fetch it again") from error
    if len(document) > _MOST_PAGES:
        raise ValueError(f"has {len(document)} pages, {_MOST_PAGES} are read; split it")
    texts = [_text(page) for page in document]
    if not any(texts):
        raise ValueError("has no text, only images; run OCR on it first")
    title = _title(document.get_metadata_dict().get("Title", ""))
    headings = _headings(document)
    sections = [
        Section((*headings[number], f"page {number + 1}"), text, f"page-{number + 1}")
        for number, text in enumerate(texts)
        if text
    ]
    return Extract(sections, title)


def _title(written: str) -> str:
    """The title without what programs put in: "Microsoft Word - a.doc" is the name of a file."""
    title = " ".join(clean(written).split())
    if printed := _PRINTED_FROM.fullmatch(title):
        title = printed[1]
    return "" if title.casefold().strip("()") in _NO_TITLES else title


def _text(page: Any) -> str:
    text = page.get_textpage().get_text_range().replace("\r\n", "\n")
    lines = clean(_HYPHEN.sub("", text)).split("\n")
    return "\n".join(line.rstrip() for line in lines).strip()


def _headings(document: Any) -> list[tuple[str, ...]]:
    """For each page the first bookmark that begins on it, else the last one before, outermost first."""
    starts: dict[int, tuple[str, ...]] = {}
    path: list[str] = []
    for bookmark in document.get_toc(max_depth=4):
        target = bookmark.get_dest()
        page = target.get_index() if target else None
        path = [*path[: bookmark.level], " ".join(clean(bookmark.get_title()).split())]
        if page is not None:
            starts.setdefault(page, tuple(filter(None, path)))
    headings: list[tuple[str, ...]] = []
    for number in range(len(document)):
        headings.append(starts.get(number, headings[-1] if headings else ()))
    return headings
