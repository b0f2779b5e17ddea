"""Markdown to sections, by markdown-it-py (CommonMark with tables), which `rich` brings.

In: text. Out: an `Extract`, with the simple fields of the front matter. Raw HTML loses its tags. Knows
nothing of files.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from index.values import Scalar
from retrieval.data.files.formats.markup import read_markup
from retrieval.data.files.sections import Extract, Outline, clean

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FIELD = re.compile(r"([A-Za-z][\w-]*):[ \t]+(\S.*)")
_TAG = re.compile(r"<!--.*?(?:-->|\Z)|<[^>]*>", re.DOTALL)
_SCRIPT = re.compile(r"<(script|style)\b.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)


def read_markdown(text: str) -> Extract:
    """The sections of a Markdown text, and the fields of its front matter."""
    fields, body = _front_matter(clean(text).lstrip("\ufeff"))
    parser = MarkdownIt("commonmark", {"xhtmlOut": True}).enable("table")
    parser.add_render_rule("html_block", _html_block)
    parser.add_render_rule("html_inline", _html_inline)
    outline = Outline()
    # It is our own parser's output, in which all text is escaped: it holds no document type and no entities.
    read_markup(ET.fromstring(f"<body>{parser.render(body)}</body>"), outline)  # noqa: S314
    return Extract(outline.sections(), str(fields.pop("title", "")), fields)


def _front_matter(text: str) -> tuple[dict[str, Scalar], str]:
    """Fields with a value on their own line, and the text below; lists and nested fields are left out."""
    found = _FRONT_MATTER.match(text)
    if not found:
        return {}, text
    fields: dict[str, Scalar] = {}
    for line in found[1].splitlines():
        pair = _FIELD.fullmatch(line.rstrip())
        if pair and pair[2][0] not in "[{|>&*!#":
            fields[pair[1]] = pair[2].strip("\"'")
    return fields, text[found.end() :]


def _html_block(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    text = _TAG.sub(" ", _SCRIPT.sub(" ", tokens[index].content))
    return f"<p>{html.escape(clean(html.unescape(text)))}</p>"


def _html_inline(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    return "<br />" if tokens[index].content.lower().startswith("<br") else ""
