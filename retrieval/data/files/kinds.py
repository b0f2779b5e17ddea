"""Kinds of files, by name and by content.

In: a name and the first bytes. Out: the kind, or an error in words if the content is not what the name says.
Knows nothing of how a kind is read.
"""

from __future__ import annotations

import re
from pathlib import PurePath

KINDS = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".rst": "rst",
    ".rest": "rst",
    ".txt": "text",
    ".text": "text",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "docx",
    ".pptx": "pptx",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
    ".odt": "odt",
    ".odp": "odp",
    ".eml": "eml",
    ".mbox": "mbox",
    ".ipynb": "ipynb",
}
_TEXTS = frozenset({"markdown", "rst", "text", "html", "eml", "mbox", "ipynb"})
# What a file begins with, and what it then is.
_MAGIC = (
    (b"%PDF-", "a PDF"),
    (b"\x89PNG\r\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\xd0\xcf\x11\xe0", "an old Office file, or one with a password"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x7fELF", "a program"),
)
_HEAD = 1024  # bytes; readers of PDF look for its mark in as many

# A directive, a target, or a role of reStructuredText.
_MARKS = re.compile(r"^\s*\.\. (?:[\w:+-]+::|_[^:\n]+:)|(?<!\w):[\w:+-]+:`[^`\n]+`", re.MULTILINE)
_FEWEST_MARKS = 2


def kind_of(name: str) -> str | None:
    """The kind of a file by its suffix; None for a kind that is not read."""
    return KINDS.get(PurePath(name).suffix.lower())


def looks_like_rst(text: str) -> bool:
    """Whether a text has at least two directives, targets or roles: many projects name their reST .txt."""
    return len(_MARKS.findall(text)) >= _FEWEST_MARKS


def mismatch(kind: str, content: bytes) -> str | None:
    """What is wrong with a file whose content is of another kind than its name; None if it fits."""
    head = content[:_HEAD]
    found = next((name for magic, name in _MAGIC if head.startswith(magic)), None)
    if kind == "pdf":
        fits = b"%PDF-" in head
    elif kind in _TEXTS:
        fits = found is None and (b"\0" not in head or head[:2] in (b"\xff\xfe", b"\xfe\xff"))
    else:
        fits = found == "a ZIP archive"
    if fits:
        return None
    if found == "an old Office file, or one with a password" and kind not in _TEXTS:
        return f"is {found}; save it as .{kind} without a password"
    return f"is not what its name says but {found or _guess(head)}; rename it or remove it"


def _guess(head: bytes) -> str:
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "HTML"
    return "binary data" if b"\0" in head else "another kind of file" if head else "an empty file"
