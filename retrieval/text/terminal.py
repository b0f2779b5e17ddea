"""Text from outside made safe to print: a character that acts on a terminal is shown as its code.

In: any text, such as an id, a title, a query, a path, or an error that quotes one. Out: the same text, in
which the characters that move the cursor, change the direction of writing, end a line or start an escape
sequence are replaced. Knows nothing of where the text is printed.
"""

from __future__ import annotations

import re
from functools import cache

# C0 and C1 controls (line ends are among them), DEL, line and paragraph separators, the characters that set
# the direction (Unicode Bidirectional Algorithm, UAX 9), the byte-order mark, and lone surrogates.
_ACTIVE = "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"


def visible(text: str) -> str:
    r"""The text, with every character that acts on a terminal replaced by its code, such as \x1b or \u202e.

    >>> visible("a\x1b]52;c;\x07b\n") == r"a\x1b]52;c;\x07b\x0a"
    True
    """
    if text.isprintable():  # no active character is
        return text
    return _active().sub(lambda match: _code(ord(match[0])), text)


def json_visible(text: str) -> str:
    r"""JSON text, with every such character replaced by \uXXXX; line ends between values stay.

    >>> json_visible('"\x9b"\n') == '"\\u009b"\n'
    True
    """
    return _active().sub(lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text)


@cache
def _active() -> re.Pattern[str]:
    """Compiled on first use: a search whose hits have none of them must not wait for it."""
    return re.compile(_ACTIVE)


def _code(point: int) -> str:
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}"
