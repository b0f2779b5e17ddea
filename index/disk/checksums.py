"""SHA-256 of a file, and of bytes in memory.

In: a path or bytes. Out: hexadecimal digits. Knows nothing of what is checked.
"""

from __future__ import annotations

from pathlib import Path

from index.disk.opening import open_to_read

# For `hashlib` Python loads OpenSSL, 3 ms of a search from the shell, which checks one small file. These are
# Python's own modules for builds without OpenSSL; a build may lack them.
try:
    from _sha2 import sha256  # type: ignore[import-not-found]
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found]  # until Python 3.11
    except ImportError:
        from hashlib import sha256


def sha256_of(path: Path, *, links: bool = False) -> str:
    """Hexadecimal SHA-256 of a file's bytes. links: follow a link. Raises what `open_to_read` does."""
    from hashlib import file_digest

    with open_to_read(path, links=links) as file:
        return file_digest(file, "sha256").hexdigest()


def sha256_of_bytes(data: bytes) -> str:
    """Hexadecimal SHA-256 of a few bytes. For many bytes `hashlib` is faster."""
    return str(sha256(data).hexdigest())


def is_sha256(text: str) -> bool:
    """Whether a text is a SHA-256 as `sha256_of` writes it."""
    return len(text) == 64 and set("0123456789abcdef").issuperset(text)
