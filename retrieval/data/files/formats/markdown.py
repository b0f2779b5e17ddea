"""Markdown to sections, by markdown-it-py (CommonMark with tables), which `rich` brings.

In: text. Out: an `Extract`, with the texts and lists of the front matter. Raw HTML loses its tags.
Knows nothing of files.
"""

from __future__ import annotations

import html
import re
import tomllib
from collections.abc import Sequence
from datetime import datetime
from xml.etree import ElementTree as ET

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from index.values import Json
from retrieval.data.files.formats.markup import read_markup
from retrieval.data.files.sections import Extract, Outline, clean

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_TOML_FRONT_MATTER = re.compile(r"\A\+\+\+[ \t]*\n(.*?)\n\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL)
_FIELD = re.compile(r"([^\W\d_][\w-]*):(?:[ \t]+(\S.*))?")
_LIST = re.compile(r"\[(.*)\](?:[ \t]+#.*)?")
_LIST_ITEM = re.compile(r"""[ \t]*("[^"]*"[ \t]*|'[^']*'[ \t]*|[^\s"',\[\]{}][^,\[\]{}]*)(?:,|\Z)""")
_LINE_ITEM = re.compile(r"[ \t]*-[ \t]+(\S.*)")
_TAG = re.compile(r"<!--.*?(?:-->|\Z)|<[^>]*>", re.DOTALL)
_SCRIPT = re.compile(r"<(script|style)\b.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)


def read_markdown(text: str) -> Extract:
    """The sections of a Markdown text, and the fields of its front matter."""
    fields, body = _front_matter(clean(text).lstrip("\ufeff"))
    outline = Outline()
    add_markdown(body, outline)
    title = fields.pop("title", "")
    return Extract(outline.sections(), title if isinstance(title, str) else "", fields)


def add_markdown(text: str, outline: Outline) -> None:
    """Add the headings and blocks of a Markdown text without front matter to an outline."""
    parser = MarkdownIt("commonmark", {"xhtmlOut": True}).enable("table")
    parser.add_render_rule("html_block", _html_block)
    parser.add_render_rule("html_inline", _html_inline)
    # It is our own parser's output, in which all text is escaped: it holds no document type and no entities.
    read_markup(ET.fromstring(f"<body>{parser.render(clean(text))}</body>"), outline)  # noqa: S314


def _front_matter(text: str) -> tuple[dict[str, Json], str]:
    """Fields that are a text or a list of texts, and the text below; what is nested is left out."""
    found = _FRONT_MATTER.match(text)
    if not found:
        return _toml_front_matter(text)
    entries: list[tuple[str, str, list[str]]] = []  # name, what stands beside it, and the lines below
    for line in map(str.rstrip, found[1].splitlines()):
        if field := _FIELD.fullmatch(line):
            entries.append((field[1], field[2] or "", []))
        elif entries and line and not line.lstrip().startswith("#"):
            entries[-1][2].append(line)
    values = ((name, _value(beside, below)) for name, beside, below in entries)
    return {name: value for name, value in values if value is not None}, text[found.end() :]


def _toml_front_matter(text: str) -> tuple[dict[str, Json], str]:
    """The same of front matter in TOML, which Hugo writes; what is no TOML is text."""
    found = _TOML_FRONT_MATTER.match(text)
    try:
        fields = tomllib.loads(found[1]) if found else {}
    except tomllib.TOMLDecodeError:
        return {}, text
    values = ((name, _toml_value(value)) for name, value in fields.items())
    return {name: value for name, value in values if value}, text[found.end() :] if found else text


def _toml_value(value: object) -> Json:
    """A text, or a list of texts; None for what is empty or nested."""
    if isinstance(value, list):
        texts = [item for item in value if isinstance(item, str) and item]
        return texts if len(texts) == len(value) else None
    if isinstance(value, dict):
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(beside: str, below: Sequence[str]) -> Json:
    """The value of a field; None if it has none, or one that is nested."""
    if not beside or beside.startswith("#"):
        matches = map(_LINE_ITEM.fullmatch, below)
        items = [match[1] if match else "" for match in matches]
    elif found := _LIST.fullmatch(beside):
        items = _split(found[1].strip())
    else:
        return _text(beside)
    texts = ["" if re.match(r"-\s|[^\"'].*:\s", item) else _text(item) for item in items]
    return texts if texts and all(texts) else None


def _split(text: str) -> list[str]:
    """The items of a list on one line; [] if it is nested."""
    items, position = [], 0
    while position < len(text):
        found = _LIST_ITEM.match(text, position)
        if not found:
            return []
        items.append(found[1].strip())
        position = found.end()
    return items


def _text(value: str) -> str | None:
    return value.strip("\"'") or None if value and value[0] not in "[{|>&*!#" else None


def _html_block(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    text = _TAG.sub(" ", _SCRIPT.sub(" ", tokens[index].content))
    return f"<p>{html.escape(clean(html.unescape(text)))}</p>"


def _html_inline(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    return "<br />" if tokens[index].content.lower().startswith("<br") else ""
