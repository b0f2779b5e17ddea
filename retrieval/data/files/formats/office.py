"""Word, PowerPoint and Excel files to sections, by mammoth, python-pptx and python-calamine.

In: bytes that `archive` has checked. Out: an `Extract`: a section for each heading, slide or sheet. Formulas
give their last value. Knows nothing of files.
"""

from __future__ import annotations

import datetime
import io
from collections.abc import Iterator
from typing import Any

from retrieval.data.files.formats.html import read_html
from retrieval.data.files.formats.workbook import open_workbook
from retrieval.data.files.sections import Extract, Section, clean

_MOST_ROWS = 100_000  # of a workbook
# The title of a document is above its headings.
_WORD_STYLES = "\n".join(
    [
        "p[style-name='Title'] => h1:fresh",
        "p.Title => h1:fresh",
        *(
            f"p[style-name='{word} {n}'] => h{n + 1}:fresh"
            for word in ("heading", "Heading")
            for n in range(1, 6)
        ),
        *(f"p.Heading{n} => h{n + 1}:fresh" for n in range(1, 6)),
    ]
)


def read_docx(content: bytes) -> Extract:
    """The sections of a Word document."""
    import mammoth

    result = mammoth.convert_to_html(
        io.BytesIO(content),
        style_map=_WORD_STYLES,
        convert_image=mammoth.images.img_element(lambda image: {}),
        include_embedded_style_map=False,
        external_file_access=False,
    )
    return read_html(f"<body>{result.value}</body>")


def read_pptx(content: bytes) -> Extract:
    """The slides of a presentation, each with its notes."""
    from pptx import Presentation

    sections = []
    for number, slide in enumerate(Presentation(io.BytesIO(content)).slides, 1):
        title = slide.shapes.title
        heading = " ".join(clean(title.text_frame.text).split()) if title is not None else ""
        blocks = [
            clean(text).strip() for shape in slide.shapes if shape != title for text in _shape_texts(shape)
        ]
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            blocks.append(clean(slide.notes_slide.notes_text_frame.text).strip())
        text = "\n\n".join(filter(None, blocks)) or heading
        if text:
            sections.append(Section((heading or f"slide {number}",), text, f"slide-{number}"))
    return Extract(sections)


def _shape_texts(shape: Any) -> Iterator[str]:
    if getattr(shape, "shapes", None) is not None:  # a group
        for inner in shape.shapes:
            yield from _shape_texts(inner)
    elif shape.has_text_frame:
        yield shape.text_frame.text
    elif getattr(shape, "has_table", False):
        rows = ([" ".join(cell.text.split()) for cell in row.cells] for row in shape.table.rows)
        yield "\n".join(" | ".join(row) for row in rows if any(row))


def read_xlsx(content: bytes) -> Extract:
    """The sheets of a workbook, row by row. Raises ValueError for too many rows."""
    sections, left = [], _MOST_ROWS
    book = open_workbook(content)
    for name in book.sheet_names:
        rows = book.get_sheet_by_name(name).to_python()
        left -= len(rows)
        if left < 0:
            raise ValueError(
                f"has more than {_MOST_ROWS:,} rows; give it to `peephole build` as a table, or leave it out"
            )
        lines = (" | ".join(filter(None, map(_cell, row))) for row in rows)
        text = "\n".join(line for line in lines if line)
        if text:
            sections.append(Section((" ".join(clean(name).split()),), text))
    return Extract(sections)


def _cell(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return str(value.date())
    return " ".join(clean(str(value)).split())
