"""A process that encodes documents for `retrieval.indexing.parallel`: python -m retrieval.indexing.worker MODEL.

In, until the end of standard input: eight bytes with the length of a JSON list of texts, and the list. Out,
for each: the embeddings, float32. The end of its input, which comes even where the parent was killed, ends
it.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from retrieval.model.folder import read_model


def main() -> None:
    """Answer until the input ends."""
    # Ctrl-C reaches every process of the terminal; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    encoder = read_model(Path(sys.argv[1])).encoder("document")
    while header := sys.stdin.buffer.read(8):
        texts = json.loads(sys.stdin.buffer.read(int.from_bytes(header, "little")))
        sys.stdout.buffer.write(encoder.encode(texts).tobytes())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
