"""Mails to documents, by the standard library: one for a mail, or for each message of an mbox file.

In: bytes. Out: an `Extract`: the subject is the title, the text is what the sender wrote anew, and the date
is metadata. Quoted replies, signatures, attachments and all other headers, which name people, are left out.
Knows nothing of files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import NamedTuple, cast

from index.values import Json
from retrieval.data.files.encodings import decoded_page, decoded_part
from retrieval.data.files.formats.html import read_html
from retrieval.data.files.sections import Extract, Section, clean

# A message of an mbox file begins with such a line, which has a time, at the start or after a blank line. A
# line of a text that begins with the same word has a ">" before it.
_FROM = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\n\r\n))From [^\n]*\d:\d\d[^\n]*(?:\n|\Z)")
_FROM_OF_A_TEXT = re.compile(rb"^>(?=>*From )", re.MULTILINE)
_QUOTED = re.compile(r"^>.*\n?", re.MULTILINE)
_SIGNATURE = re.compile(r"^-- $.*", re.MULTILINE | re.DOTALL)
# The same in HTML, as Apple Mail, Gmail and Thunderbird write it.
_APART = " | ".join(
    (
        "//blockquote[@type='cite' or contains(@class, 'gmail_quote')]",
        "//*[contains(@class, 'gmail_attr') or contains(@class, 'gmail_signature')]",
        "//*[contains(@class, 'moz-cite-prefix') or contains(@class, 'moz-signature')]",
    )
)
_LONGEST_SUBJECT = 2_000  # characters as they stand in the file; encoded words take quadratic time
_BROKEN = (ValueError, LookupError, AttributeError, TypeError)  # what the parser raises for broken headers


class _Mail(NamedTuple):
    subject: str
    text: str
    fields: dict[str, Json]


def read_mail(content: bytes) -> Extract:
    """A mail as one section. Raises ValueError for what is no mail."""
    message = message_from_bytes(content.removeprefix(b"\xef\xbb\xbf"))
    if not message.keys():
        raise ValueError("is no mail, for it begins with no header; rename it or remove it")
    mail = _read(message)
    return Extract([Section((), mail.text)] if mail.text else [], mail.subject, mail.fields)


def read_mbox(content: bytes) -> Extract:
    """A section for each message of an mbox file.

    Raises ValueError for what is no such file, and for a message that cannot be read.
    """
    starts = [(found.start(), found.end()) for found in _FROM.finditer(content)]
    if not starts or starts[0][0]:
        raise ValueError(
            'does not begin with "From ", a name and a time, as an mbox file does; rename it or remove it'
        )
    stops = [start for start, _ in starts[1:]] + [len(content)]
    sections = []
    for number, ((_, start), stop) in enumerate(zip(starts, stops, strict=True), 1):
        try:
            mail = _read(message_from_bytes(_FROM_OF_A_TEXT.sub(b"", content[start:stop])))
        except _BROKEN as error:
            raise ValueError(
                f"message {number:,} cannot be read ({type(error).__name__}); remove it from the file"
            ) from error
        if mail.text:
            sections.append(Section((mail.subject,) if mail.subject else (), mail.text, fields=mail.fields))
    return Extract(sections)


def _read(message: Message) -> _Mail:
    return _Mail(
        " ".join(clean(_decoded_header(_raw_header(message, "subject"))).split()),
        "\n\n".join(filter(None, (_text(part) for part in _bodies(message)))),
        _date(_raw_header(message, "date")),
    )


def _raw_header(message: Message, name: str) -> str:
    """The first header of a name, as it stands in the file; empty if there is none."""
    return next((str(value) for key, value in message.raw_items() if key.lower() == name), "")


def _decoded_header(raw: str) -> str:
    """The beginning of a header with its encoded words decoded; as it is if they are damaged."""
    try:
        parts = decode_header(raw[:_LONGEST_SUBJECT])
    except HeaderParseError:
        return raw[:_LONGEST_SUBJECT]
    return "".join(
        decoded_part(part.encode(errors="surrogateescape") if isinstance(part, str) else part, charset or "")
        for part, charset in parts
    )


def _date(raw: str) -> dict[str, Json]:
    """The date as metadata; none if it is missing or no date."""
    with suppress(ValueError, TypeError, OverflowError, IndexError):
        date = parsedate_to_datetime(raw)
        return {"date": (date if date.tzinfo else date.replace(tzinfo=UTC)).isoformat()}
    return {}


def _bodies(part: Message) -> Iterator[Message]:
    """The texts that a mail program shows, in order: of alternatives the plain one, if it holds any text."""
    kind = part.get_content_type()
    if part.get_content_disposition() == "attachment" or part.get_filename():
        return
    if kind == "multipart/alternative":
        choices = [list(_bodies(choice)) for choice in _parts(part)]
        choices.sort(key=lambda bodies: any(each.get_content_type() != "text/plain" for each in bodies))
        yield from next((bodies for bodies in choices if any(map(_payload, bodies))), [])
    elif kind.startswith("multipart/"):
        for inner in _parts(part):
            yield from _bodies(inner)
    elif kind in ("text/plain", "text/html"):
        yield part


def _parts(part: Message) -> list[Message]:
    inner = part.get_payload()
    return cast(list[Message], inner) if isinstance(inner, list) else []


def _payload(part: Message) -> bytes:
    """The content of a text; nothing if it is only spaces."""
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) and content.strip() else b""


def _text(part: Message) -> str:
    """What the sender wrote in a part."""
    content, charset = _payload(part), part.get_content_charset("")
    if part.get_content_type() == "text/html":
        return _html(content, charset)
    text = clean(decoded_part(content, charset))
    return _QUOTED.sub("", _SIGNATURE.sub("", text)).strip()


def _html(content: bytes, charset: str) -> str:
    """The text of a page in a mail: its headings stand above their text."""
    page = ""
    if not charset:
        with suppress(ValueError):
            page = decoded_page(content)
    found = read_html(page or decoded_part(content, charset), apart=_APART)
    blocks = ((*section.headings[-1:], section.text) for section in found.sections)
    return "\n\n".join(block for pair in blocks for block in pair)
