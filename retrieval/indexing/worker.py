"""A worker process of `retrieval.indexing.parallel`: python -m retrieval.indexing.worker MODEL SIDE.

In, again and again: eight bytes, little-endian, with the length of a JSON list of texts; then the list. Out,
for each list: the embeddings, float32 (n, dimension). The worker ends with its input, which ends even if the
parent is killed. Knows nothing of documents or indexes.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import cast

from retrieval.model.config import Side
from retrieval.model.folder import read_model


def main() -> None:
    """Encode lists of texts until the input ends."""
    # Ctrl-C reaches every process of the terminal; the parent alone handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    encoder = read_model(Path(sys.argv[1])).encoder(cast(Side, sys.argv[2]))
    encoder.expect_many()
    while header := sys.stdin.buffer.read(8):
        texts = json.loads(sys.stdin.buffer.read(int.from_bytes(header, "little")))
        sys.stdout.buffer.write(encoder.encode(texts).tobytes())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
