"""What the verbs that read documents say of a corpus before they read it.

In: the corpus that a user names. Out: lines on standard error, or none.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from retrieval.commands.printing import print_line
from retrieval.data.documents import left_out_files
from retrieval.data.files.kinds import KINDS


def warn_of_corpus(corpus: Path | str) -> None:
    """Say what a folder of text files leaves out. Raises InputError for what cannot be read."""
    left_out = left_out_files(corpus)
    if not left_out:
        return
    count = left_out.total()
    listed = ", ".join(f"{number:,} {reason}" for reason, number in sorted(left_out.items()))
    readable = ", ".join(sorted(left_out.keys() & KINDS))
    remedy = f"; `peephole corpus files {shlex.quote(str(corpus))} -o DATA` reads {readable}"
    print_line(
        f"Warning: {corpus}: {count:,} {'file' if count == 1 else 'files'} left out ({listed})"
        f"{remedy if readable else ''}",
        err=True,
    )
