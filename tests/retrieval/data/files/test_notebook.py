"""What notebooks give: the Markdown and code of their cells, and a line for what is no notebook."""

from __future__ import annotations

import json
from typing import Any

import pytest

from retrieval.data.files.convert import convert
from retrieval.data.files.sections import documents


def notebook(*cells: tuple[str, Any], **fields: Any) -> bytes:
    made = [{"cell_type": kind, "source": source, "outputs": ["seen by nobody"]} for kind, source in cells]
    return json.dumps({"nbformat": 4, "cells": made, "metadata": {}} | fields).encode()


def problem(content: bytes) -> str:
    with pytest.raises(ValueError) as caught:
        convert("ipynb", content)
    return str(caught.value)


def test_markdown_and_code_are_read_in_order_without_outputs():
    content = notebook(
        ("code", "import numpy"),
        ("markdown", ["# Fit a line\n", "Least *squares*.\n", "```\nnever closed"]),
        ("code", ["x = 1  # comment\n", "# no heading\n", "'```'"]),
        ("raw", "raw words"),
        ("markdown", "## Plot\n<!-- open"),
        ("code", "plot(x)"),
        ("code", ""),
    )
    found = list(documents("a/line.ipynb", convert("ipynb", content), "ipynb", "2025-01-01"))
    assert [(each.id, each.title, each.text) for each in found] == [
        ("a/line.ipynb", "line", "import numpy"),
        (
            "a/line.ipynb#fit-a-line",
            "Fit a line",
            "Least squares.\n\nnever closed\n\nx = 1  # comment\n# no heading\n'```'",
        ),
        ("a/line.ipynb#fit-a-line/plot", "Fit a line > Plot", "plot(x)"),
    ]
    assert found[0].metadata == {"type": "ipynb", "date": "2025-01-01", "path": "a/line.ipynb"}


def test_control_characters_and_halves_of_pairs_are_left_out():
    content = notebook(("markdown", "# T\x1b\n\na\x1b[31m\ud800b"), ("code", "c\x1b\udfffd"))
    (section,) = convert("ipynb", content).sections
    assert (section.headings, section.text) == (("T",), "a[31mb\n\ncd")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (notebook(("code", "x"))[:40], "is no notebook, for it is not JSON ("),
        (b"\xff{}", "not UTF-8 (line 1, byte 0); save it as UTF-8"),
        (b"[1, 2]", "is JSON but no notebook, for it has no nbformat; rename it or remove it"),
        (b'{"nbformat": "4"}', "is JSON but no notebook, for it has no nbformat; rename it or remove it"),
        (
            b'{"nbformat": 3, "worksheets": []}',
            "is a notebook of format 3; open it in Jupyter and save it again",
        ),
        (b'{"nbformat": 4, "cells": {}}', "is a notebook without a list of cells; save it again"),
        (notebook(("code", "x"), ("code", 7)), "cell 2 has no text as its source; save the notebook again"),
        (notebook(("code", ["x", None])), "cell 1 has no text as its source; save the notebook again"),
        (notebook(cells=["x"]), "cell 1 has no text as its source; save the notebook again"),
        (b'{"nbformat": ' + b"9" * 5000 + b"}", "is no notebook, for it is not JSON ("),
        (b"\x89PNG\r\n" + bytes(20), "is not what its name says but a PNG image; rename it or remove it"),
    ],
)
def test_what_is_no_notebook_is_told(content, told):
    assert problem(content).startswith(told)


def test_deep_nesting_is_told_by_the_worker():
    with pytest.raises(RecursionError):
        convert("ipynb", b'{"nbformat": 4, "cells": ' + b"[" * 100_000)
