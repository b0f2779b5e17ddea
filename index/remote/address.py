"""Where a collection is, as milvus://HOST:PORT/COLLECTION.

In: the text that a user gives. Out: its parts, checked. Knows nothing of connections.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from index.errors import InputError

_ADDRESS = re.compile(r"milvus://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})/([A-Za-z_][A-Za-z0-9_]*)")
# Milvus's limit is 255; the collections behind the name have a longer one.
_LONGEST_NAME = 200
_LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """A server, and the name under which it has the live collection of an index.

    >>> str(Address.parse("milvus://db.example.org:19530/faq"))
    'milvus://db.example.org:19530/faq'
    """

    host: str
    port: int
    name: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address. Raises InputError."""
        match = _ADDRESS.fullmatch(text)
        if match is None or len(match[3]) > _LONGEST_NAME or not 0 < int(match[2]) <= _LAST_PORT:
            raise InputError(
                f"{text[:80]!r} is no address of a collection; write milvus://HOST:PORT/COLLECTION, "
                f"where COLLECTION has at most {_LONGEST_NAME} letters, digits and _"
            )
        return cls(match[1], int(match[2]), match[3])

    def __str__(self) -> str:
        return f"milvus://{self.host}:{self.port}/{self.name}"
