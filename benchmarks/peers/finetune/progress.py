"""Lines of progress."""

from __future__ import annotations

import sys


def say(line: str, lasting: bool) -> None:
    """A line that the next one overwrites on a terminal; elsewhere only the lasting ones are printed."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="\n" if lasting else "", file=sys.stderr, flush=True)
    elif lasting:
        print(line, file=sys.stderr, flush=True)
