"""Checks of an Office file before a library reads it: its unpacked size, and no declarations in its XML.

In: bytes. Out: nothing, or a ValueError with problem and remedy. Knows nothing of what the parts mean.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib

MAX_UNPACKED_BYTES = 256 << 20
_MOST_PARTS = 20_000
_CHUNK = 1 << 20
_MAIN_PARTS = {"docx": "word/", "pptx": "ppt/", "xlsx": "xl/", "xlsm": "xl/", "xlsb": "xl/"}
# What the first part of an OpenDocument file says; macros among the others may have a document type.
_MEDIA_TYPES = {
    "odt": b"application/vnd.oasis.opendocument.text",
    "odp": b"application/vnd.oasis.opendocument.presentation",
    "ods": b"application/vnd.oasis.opendocument.spreadsheet",
}
_CONTENT_OF_OPEN_DOCUMENTS = "content.xml"
_DECLARATION = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
# What zipfile raises for a damaged archive.
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError),
    *(RuntimeError, NotImplementedError, ValueError),
)


def check_archive(content: bytes, kind: str, or_else: str = "leave it out") -> None:
    """Raise ValueError for a broken archive, one of another kind, a zip bomb, and XML with declarations.

    content: all bytes of the file.
    kind: the suffix of its name.
    or_else: the remedy for one that unpacks to too much.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = archive.infolist()
            if not _is_of_kind(archive, kind):
                raise ValueError(f"is a ZIP archive but no .{kind}; rename it or remove it")
            if len(parts) > _MOST_PARTS or sum(part.file_size for part in parts) > MAX_UNPACKED_BYTES:
                raise _too_large(or_else)
            left = MAX_UNPACKED_BYTES
            for part in parts:
                name = part.filename
                is_xml = name.endswith((".xml", ".rels"))
                if kind in _MEDIA_TYPES:
                    is_xml = name == _CONTENT_OF_OPEN_DOCUMENTS
                left -= _check_part(archive, part, left, is_xml, or_else)
    except _BROKEN as error:
        if type(error) is ValueError and "; " in str(error):  # our own, with a remedy
            raise
        raise ValueError(f"broken .{kind} ({str(error).rstrip('.')}); save it again") from error


def _is_of_kind(archive: zipfile.ZipFile, kind: str) -> bool:
    names = archive.namelist()
    if kind in _MAIN_PARTS:
        return any(name.startswith(_MAIN_PARTS[kind]) for name in names)
    if not {"mimetype", _CONTENT_OF_OPEN_DOCUMENTS} <= {*names}:
        return False
    with archive.open("mimetype") as stream:
        return stream.read(_CHUNK).strip().removesuffix(b"-template") == _MEDIA_TYPES[kind]


def _check_part(
    archive: zipfile.ZipFile,
    part: zipfile.ZipInfo,
    left: int,
    is_xml: bool,
    or_else: str,
) -> int:
    """Read a part as its own header says; returns its size."""
    size, head = 0, b""
    with archive.open(part) as stream:
        while chunk := stream.read(_CHUNK):
            size += len(chunk)
            if size > left:
                raise _too_large(or_else)
            # An XML declaration stands before the first element; UTF-16 has a zero byte at every letter.
            head = head or chunk
    if is_xml and _DECLARATION.search(head.replace(b"\0", b"")):
        raise ValueError("holds XML with a document type, which no Office program writes; remove the file")
    return size


def _too_large(or_else: str) -> ValueError:
    return ValueError(f"unpacks to more than {MAX_UNPACKED_BYTES >> 20} MiB; split it, or {or_else}")
