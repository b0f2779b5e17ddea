"""Ids of texts that have none: a hash, so that equal texts have one id wherever they are read.

In: texts. Out: keys, and the ids that they stand for. Knows nothing of files.
"""

from __future__ import annotations

import hashlib

_KEY_BYTES = 16
ID_BYTES = 8


def query_id(text: str) -> str:
    """The id of a query: a hash of its text."""
    return id_of(key_of(text))


def document_id(title: str, text: str) -> str:
    """The id of a document that has none: a hash of its title and text."""
    return id_of(document_key(title, text))


def id_of(key: bytes) -> str:
    """The id of a text that has none of its own."""
    return key[:ID_BYTES].hex()


def key_of(text: str) -> bytes:
    """The key of a text."""
    return hashlib.sha256(text.encode()).digest()[:_KEY_BYTES]


def document_key(title: str, text: str) -> bytes:
    """The key of a document; the length of the title, for a title or a text may hold a zero character too."""
    return key_of(f"{title}\0{text}") + len(title).to_bytes(4)
