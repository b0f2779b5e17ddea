"""The text of a text file: by its byte-order mark, by what a page or a mail declares, or UTF-8.

In: bytes. Out: text, or a ValueError with problem and remedy. Knows nothing of formats.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from contextlib import suppress

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED = re.compile(
    rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([\w.:-]+)|<\?xml[^>]{0,100}encoding=["']([\w.:-]+)""", re.I
)
_DECLARED_WITHIN = 2048  # bytes; browsers look at 1024
# Programs declare the smaller encoding and write the larger one, which browsers therefore read. A declaration
# that can be read in single bytes does not stand in UTF-16.
_MEANT = {
    "ascii": "cp1252",
    "big5": "cp950",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "shift_jis": "cp932",
    "utf-16": "utf-8",
    "utf-16-be": "utf-8",
    "utf-16-le": "utf-8",
    "windows-31j": "cp932",
    "windows-949": "cp949",
    "x-gbk": "gb18030",
    "x-sjis": "cp932",
}


def decoded_text(content: bytes) -> str:
    """The text of a file without declarations: UTF-8, or UTF-16 with a byte-order mark."""
    return _decoded(content, _marked(content), "not UTF-8")


def decoded_page(content: bytes) -> str:
    """The text of an HTML page, by its byte-order mark or its declaration; UTF-8 without one."""
    marked = _marked(content)
    declared = () if marked else _declared(content)
    expected = "the encoding that it declares" if declared else "UTF-8, and declares no other encoding"
    return _decoded(content, (*marked, *declared), f"not {expected}")


def decoded_part(content: bytes, charset: str) -> str:
    """The text of a part of a mail, whatever its bytes are, for nobody can save a mail anew.

    charset: what the mail says; it may be empty or wrong.
    Where bytes fit neither that nor UTF-8, the replacement character stands for them.
    """
    said = _meant(charset.lower())
    if said and charset.lower().startswith("utf-16"):
        said = (charset,)  # unlike a page, a mail says so outside of the text
    encodings = ("utf-8", "cp1252") if said in ((), _meant("ascii")) else (*said, "utf-8")
    for errors in ("strict", "replace"):
        for encoding in encodings:
            with suppress(UnicodeError):
                return content.decode(encoding, errors).removeprefix("\ufeff")
    return content.decode("utf-8", "replace")


def _decoded(content: bytes, encodings: Sequence[str], problem: str) -> str:
    """The text in the first of some encodings in which it is one; without any in UTF-8."""
    *wider, last = encodings or ("utf-8",)
    for encoding in wider:
        with suppress(UnicodeDecodeError):
            return content.decode(encoding)
    try:
        return content.decode(last)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(f"{problem} (line {line}, byte {error.start}); save it as UTF-8") from error


def _marked(content: bytes) -> tuple[str, ...]:
    return tuple(encoding for mark, encoding in _MARKS if content.startswith(mark))


def _declared(content: bytes) -> tuple[str, ...]:
    """The encodings that a page may mean by the one that it declares; () if that is not known."""
    declared = _DECLARED.search(content[:_DECLARED_WITHIN])
    if declared is None:
        return ()
    return _meant((declared[1] or declared[2]).decode("ascii").lower())


def _meant(name: str) -> tuple[str, ...]:
    """The encodings that a name may mean, in lower case; () if it is not known."""
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):
        return (_MEANT[name],) if name in _MEANT else ()
    if not getattr(codec, "_is_text_encoding", True):
        return ()
    # ISO 8859-1 has five bytes that Windows-1252 lacks.
    return (_MEANT[codec.name], codec.name) if codec.name in _MEANT else (codec.name,)
