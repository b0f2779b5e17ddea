"""Text of strangers made safe to print: what would act on a terminal is shown instead.

In: any text, such as an id, a title, a query, a path or an error about them. Out: the same text without
characters that move the cursor, change its direction, end a line or start an escape sequence.
"""

from __future__ import annotations

import re

# C0 and C1 controls with the line ends among them, DEL, line and paragraph separators, marks and embeddings
# of direction (Unicode Bidirectional Algorithm, UAX 9), the byte-order mark, and lone surrogates.
_ACTIVE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def visible(text: str) -> str:
    r"""The text with every character that acts on a terminal as its code, such as \x1b or \u202e.

    >>> visible("a\x1b]52;c;\x07b\n") == r"a\x1b]52;c;\x07b\x0a"
    True
    """
    return _ACTIVE.sub(lambda match: _code(ord(match[0])), text)


def json_visible(text: str) -> str:
    r"""JSON text with every such character inside its strings as \uXXXX; line ends between values stay.

    >>> json_visible('"\x9b"\n') == '"\\u009b"\n'
    True
    """
    return _ACTIVE.sub(lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text)


def _code(number: int) -> str:
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
