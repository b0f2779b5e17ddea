"""reStructuredText to sections, by docutils, with every directive and role of Sphinx and its extensions.

In: text. Out: an `Extract`. A directive that docutils does not know gives its arguments and its content, a
role its text. Nothing is included from files or the network. Knows nothing of files.
"""

from __future__ import annotations

import io
import re
from typing import Any
from xml.etree import ElementTree as ET

from docutils import nodes
from docutils.core import publish_parts
from docutils.parsers.rst import Directive, directives, roles
from docutils.writers.html5_polyglot import Writer

from retrieval.data.files.formats.markup import read_markup
from retrieval.data.files.sections import Extract, Outline, clean

# They say how a page is made, or repeat what stands elsewhere.
_DROPPED_LIST = """
    contents currentmodule date default-domain default-role highlight include index meta module
    py:currentmodule py:module raw role sectnum sidebar-toc tabularcolumns toctree
"""
_DROPPED = frozenset(_DROPPED_LIST.split())
_CODE_LIST = """
    code code-block console doctest ipython jupyter-execute parsed-literal productionlist prompt snippet
    sourcecode testcode testoutput
"""
_CODE = frozenset(_CODE_LIST.split())
_VERSIONS = {
    "versionadded": "New in version",
    "versionchanged": "Changed in version",
    "deprecated": "Deprecated since version",
    "versionremoved": "Removed in version",
}
# Sphinx means a Python class; docutils means a class of the style sheet.
_NOT_DOCUTILS = frozenset({"class"})
# A directive that has only arguments; docutils writes this name into the element's class.
_BARE = "bare-directive"
_NOISE = frozenset({"system-message", "contents"})
_SETTINGS = {
    "_disable_config": True,
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "report_level": 5,
    "halt_level": 5,
    "doctitle_xform": False,
    "smart_quotes": False,
    "syntax_highlight": "none",
    "math_output": "LaTeX",
    "embed_stylesheet": False,
    "line_length_limit": 1_000_000,
}


def read_rst(text: str) -> Extract:
    """The sections of a reStructuredText."""
    directives.directive, roles.role = _directive, _role
    settings = _SETTINGS | {"warning_stream": io.StringIO()}
    parts = publish_parts(clean(text).lstrip("\ufeff"), writer=Writer(), settings_overrides=settings)
    outline = Outline()
    # It is docutils' own output, in which all text is escaped: it holds no document type and no entities.
    body = ET.fromstring(f"<body>{clean(parts['body'])}</body>")  # noqa: S314
    _drop_noise(body)
    read_markup(body, outline)
    return Extract(outline.sections())


class _Options(dict[str, Any]):
    """Takes every option of a directive."""

    def __missing__(self, name: str) -> Any:
        return directives.unchanged


class _AnyDirective(Directive):  # type: ignore[misc]
    """A directive of Sphinx or of an extension."""

    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True
    option_spec = _Options(name=directives.unchanged)

    def run(self) -> list[nodes.Node]:
        if self.name in _DROPPED:
            return []
        if self.name in _CODE:
            code = "\n".join(self.content)
            return [nodes.literal_block(code, code)]
        argument = " ".join(self.arguments)
        if self.name in _VERSIONS:
            argument = f"{_VERSIONS[self.name]} {argument}"
        found: list[nodes.Node] = []
        if argument:
            parsed, _ = self.state.inline_text(argument, self.lineno)
            classes = [] if self.content else [_BARE]
            found.append(nodes.paragraph(argument, "", *parsed, classes=classes))
        body = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, body)
        return [*found, *body.children]


_known_directive, _known_role = directives.directive, roles.role


def _directive(name: str, language: Any, document: Any) -> tuple[Any, list[Any]]:
    if name.lower() in _DROPPED | _CODE | _NOT_DOCUTILS:
        return _AnyDirective, []
    known, _ = _known_directive(name, language, document)
    return known or _AnyDirective, []


def _role(name: str, language: Any, line: int, reporter: Any) -> tuple[Any, list[Any]]:
    known, _ = _known_role(name, language, line, reporter) if name != "raw" else (None, [])
    return known or _any_role, []


def _any_role(
    name: str,
    source: str,
    text: str,
    line: int,
    inliner: Any,
    options: Any = None,
    content: Any = None,
) -> tuple[list[nodes.Node], list[nodes.Node]]:
    """The title of `title <target>`, the last name of `~package.name`, else the text."""
    shown = nodes.unescape(text)
    titled = re.fullmatch(r"(.+?)\s*<[^<>]*>", shown, re.DOTALL)
    if titled:
        shown = titled[1]
    elif shown.startswith("~"):
        shown = shown[1:].rpartition(".")[2]
    return [nodes.inline(source, shown.lstrip("!."))], []


def _drop_noise(element: ET.Element) -> None:
    """Remove what docutils says about mistakes in the text, lists of contents, and marks of the next heading.

    A mark is a directive without content right before a heading, such as `.. setting:: DEBUG`.
    """
    children = list(element)
    for child, following in zip(children, [*children[1:], None], strict=False):
        classes = child.get("class", "").split()
        is_mark = _BARE in classes and (following is None or following.tag == "section")
        if is_mark or not _NOISE.isdisjoint(classes):
            child.clear()
            child.tag = "template"
        else:
            _drop_noise(child)
