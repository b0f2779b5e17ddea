"""Numbers for texts.

In: texts. Out: their numbers. Knows nothing of what the texts are.
"""

from __future__ import annotations

from itertools import islice


class Numbering(dict[str, int]):
    """The number of each text, given on first use of `[]`: 0, 1, 2 and so on, in the order of the texts.

    Faster than `setdefault`, which needs a number before it knows whether the text is new.
    """

    def __missing__(self, text: str) -> int:
        number = self[text] = len(self)
        return number

    def since(self, start: int) -> list[str]:
        """The texts by their numbers, from the one with the number `start` on."""
        return list(islice(reversed(self), len(self) - start))[::-1]
