"""Sections of a file, and the documents made of them.

In: headings and blocks of text in the order of the file. Out: `Section`s, then documents with unique ids.
Knows nothing of file formats.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from index.documents.store import Document
from index.values import Json

_LONGEST_SLUG = 60  # characters of one heading
# Kinds whose headings are pages, slides and sheets, which say little without the file's name.
_PARTED = frozenset({"odp", "pdf", "pptx", "xlsx"})
# Characters that no text needs, and that terminals and XML do not bear.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Section:
    """A piece of a file that becomes a document."""

    headings: tuple[str, ...]  # from the outermost to its own; none for what stands before the first heading
    text: str
    anchor: str = ""  # what its id ends with; empty for a slug of the headings
    fields: Mapping[str, Json] = field(default_factory=dict)  # metadata of its own, as of a mail among many


@dataclass(frozen=True, slots=True)
class Extract:
    """What a file holds."""

    sections: list[Section]
    title: str = ""  # of the file, where it has one apart from its headings
    fields: Mapping[str, Json] = field(default_factory=dict)  # what its author wrote as metadata


class Outline:
    """Collects headings and blocks into sections. A section without text is left out."""

    def __init__(self) -> None:
        self._sections: list[Section] = []
        self._path: list[tuple[int, str]] = []
        self._blocks: list[str] = []

    def heading(self, level: int, text: str) -> None:
        """Begin a section below the last heading of a lower level. level: 1 is the highest."""
        title = " ".join(clean(text).split())
        if title:
            self._close()
            self._path = [(above, name) for above, name in self._path if above < level]
            self._path.append((level, title))

    def block(self, text: str, *, tight: bool = False) -> None:
        """Add a paragraph. tight: without a blank line before it, as between the items of a list."""
        text = clean(text).rstrip().lstrip("\n")
        if text:
            separator = "" if not self._blocks else "\n" if tight else "\n\n"
            self._blocks.append(separator + text)

    def sections(self) -> list[Section]:
        """All sections so far."""
        self._close()
        return self._sections

    def _close(self) -> None:
        text = "".join(self._blocks).strip()
        if text:
            self._sections.append(Section(tuple(name for _, name in self._path), text))
        self._blocks = []


def clean(text: str) -> str:
    """The text without control characters and halves of surrogate pairs; a form feed ends a line."""
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n"))


def documents(path: str, extract: Extract, kind: str, date: str) -> Iterator[Document]:
    """The documents of a file, with unique ids: the path, then the slug of the heading path.

    path: of the file, relative to the folder; its stem is the title of what has no heading.
    extract: what the file holds.
    kind: of the file, as `kinds` names it.
    date: of its last change; where the fields of the file or a section have a type or a date, these count.
    """
    stem = PurePosixPath(path).stem
    top = extract.title or (stem if kind in _PARTED else "")
    metadata: dict[str, Json] = {"type": kind, "date": date, **extract.fields, "path": path}
    used: set[str] = set()
    for section in extract.sections:
        anchor = _unused(section.anchor or "/".join(map(slug, section.headings)), used)
        headings = section.headings
        if top and headings[:1] != (top,):
            headings = (top, *headings)
        document_id = f"{path}#{anchor}" if anchor else path
        own = {**metadata, **section.fields, "path": path}
        yield Document(document_id, " > ".join(headings) or stem, section.text, own)


def slug(heading: str) -> str:
    """A heading as part of an id: letters and digits of any script, in lower case.

    >>> slug("Install: on Linux!"), slug("安装 nginx"), slug("?")
    ('install-on-linux', '安装-nginx', 'section')
    """
    words = re.findall(r"\w+", heading.casefold())
    return "-".join(words)[:_LONGEST_SLUG].strip("-_") or "section"


def _unused(anchor: str, used: set[str]) -> str:
    """The anchor, with a number if an earlier section of the file has it."""
    candidate, number = anchor, 1
    while candidate in used:
        number += 1
        candidate = f"{anchor}-{number}" if anchor else f"section-{number}"
    used.add(candidate)
    return candidate
