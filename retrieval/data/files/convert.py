"""The content of a file to its sections, whatever its kind.

In: a kind and bytes. Out: an `Extract`, or a ValueError with problem and remedy. It is called in a process of
its own, `worker`, because these are files of strangers. Knows nothing of folders.
"""

from __future__ import annotations

from index.errors import needing
from retrieval.data.files.encodings import decoded_page, decoded_text
from retrieval.data.files.formats.archive import check_archive
from retrieval.data.files.kinds import mismatch
from retrieval.data.files.sections import Extract, Outline


def convert(kind: str, content: bytes) -> Extract:
    """The sections of a file.

    kind: as `kinds` names it.
    content: all bytes of the file.
    Raises ValueError for a file that cannot be read, in words for the user; MissingExtraError; and what a
    library raises for a broken file.
    """
    problem = mismatch(kind, content) if content else None
    if problem:
        raise ValueError(problem)
    if not content:
        return Extract([])
    with needing("files"):
        if kind in ("markdown", "rst", "text"):
            return _text(kind, decoded_text(content))
        if kind == "html":
            from retrieval.data.files.formats.html import read_html

            return read_html(decoded_page(content))
        if kind == "pdf":
            from retrieval.data.files.formats.pdf import read_pdf

            return read_pdf(content)
        if kind in ("eml", "mbox"):
            from retrieval.data.files.formats.mail import read_mail, read_mbox

            return read_mail(content) if kind == "eml" else read_mbox(content)
        if kind == "ipynb":
            from retrieval.data.files.formats.notebook import read_notebook

            return read_notebook(decoded_text(content))
        if kind in ("odt", "odp"):
            return _open_document(kind, content)
        return _office(kind, content)


def _text(kind: str, text: str) -> Extract:
    if kind == "markdown":
        from retrieval.data.files.formats.markdown import read_markdown

        return read_markdown(text)
    from retrieval.data.files.kinds import looks_like_rst

    if kind == "rst" or looks_like_rst(text):
        from retrieval.data.files.formats.rst import read_rst

        return read_rst(text)
    outline = Outline()
    outline.block(text)
    return Extract(outline.sections())


def _open_document(kind: str, content: bytes) -> Extract:
    from retrieval.data.files.formats.opendocument import read_odp, read_odt

    check_archive(content, kind)
    return read_odt(content) if kind == "odt" else read_odp(content)


def _office(kind: str, content: bytes) -> Extract:
    from retrieval.data.files.formats.office import read_docx, read_pptx, read_xlsx

    check_archive(content, kind)
    return {"docx": read_docx, "pptx": read_pptx, "xlsx": read_xlsx}[kind](content)
