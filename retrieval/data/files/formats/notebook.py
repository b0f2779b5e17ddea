"""Jupyter notebooks to sections: the Markdown and the code of the cells, in order.

In: text. Out: an `Extract`, with a section for each heading of the Markdown. Outputs, raw cells and metadata
are left out. Knows nothing of files.
"""

from __future__ import annotations

import json

from retrieval.data.files.formats.markdown import add_markdown
from retrieval.data.files.sections import Extract, Outline

_FORMAT = 4  # the only one since 2015


def read_notebook(text: str) -> Extract:
    """The sections of a notebook. Raises ValueError for what is none."""
    outline = Outline()
    for number, cell in enumerate(_cells(text), 1):
        kind, source = (cell.get("cell_type"), cell.get("source")) if isinstance(cell, dict) else (None, None)
        if isinstance(source, list) and all(isinstance(line, str) for line in source):
            source = "".join(source)
        if not isinstance(source, str):
            raise ValueError(f"cell {number:,} has no text as its source; save the notebook again")
        if kind == "markdown":
            add_markdown(source, outline)
        elif kind == "code":
            outline.block(source)
    return Extract(outline.sections())


def _cells(text: str) -> list[object]:
    try:
        notebook = json.loads(text)
    except ValueError as error:
        reason = str(error).partition(";")[0]
        raise ValueError(f"is no notebook, for it is not JSON ({reason}); save it again") from error
    if not isinstance(notebook, dict) or not isinstance(notebook.get("nbformat"), int):
        raise ValueError("is JSON but no notebook, for it has no nbformat; rename it or remove it")
    if notebook["nbformat"] < _FORMAT:
        raise ValueError(
            f"is a notebook of format {notebook['nbformat']}; open it in Jupyter and save it again"
        )
    cells = notebook.get("cells")
    if not isinstance(cells, list):
        raise ValueError("is a notebook without a list of cells; save it again")
    return cells
