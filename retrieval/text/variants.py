"""Chinese characters that are the same one, simplified and traditional.

In: a character. Out: how else it is written. Knows nothing of words or queries.

variants.txt has a line for each simplified character that others are written as: itself, then those. It holds
the first simplified form of each character of the table TSCharacters of OpenCC 1 (Apache License 2.0), of the
basic plane.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from importlib.resources import files


def variants(character: str) -> str:
    """The other forms of a character; none for one that is written in one way.

    >>> variants("发"), variants("髮")
    ('發髮', '发發')
    """
    return _by_character().get(character, "")


@cache
def _by_character() -> dict[str, str]:
    found: defaultdict[str, str] = defaultdict(str)
    for forms in files(__package__).joinpath("variants.txt").read_text(encoding="utf-8").split():
        for character in forms:
            found[character] += forms.replace(character, "")
    return dict(found)
