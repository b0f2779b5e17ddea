"""Memory that pairs take: while the first process of a training reads and numbers them, and while it trains.

    python -m benchmarks.memory [--pairs 1000000]

A table of PAIRS rows of made-up words is written, queries of 6 and documents of 20, their frequencies as
Zipf's law has them. A process of its own reads and numbers it as the first process of a training does, lets
the texts go, and says what it has then. The other processes of a training have never more than that.
Prints a table and writes benchmarks/results/memory.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, ROOT, write_result
from retrieval.data.dataset import open_dataset
from retrieval.evaluation.provenance import provenance
from retrieval.model.config import preset
from retrieval.training.dataset import NOTHING, TrainingData, read_training_data
from retrieval.training.distributed import ALONE
from retrieval.training.numbered import Numbered, shared
from retrieval.training.train import vocabulary_and_training_set

WORDS, QUERY_WORDS, DOCUMENT_WORDS = 60_000, 6, 20
ROWS_AT_ONCE = 10_000


def write_table(path: Path, count: int) -> None:
    """Write a table of pairs of made-up words."""
    rng = np.random.default_rng(0)
    letters = rng.integers(97, 123, (WORDS, 9), dtype=np.uint8).tobytes().decode()
    lengths = rng.integers(3, 10, WORDS)
    words = np.array([letters[9 * n : 9 * n + length] for n, length in enumerate(lengths)])
    shares = 1 / np.arange(1, WORDS + 1) ** 0.9
    with path.open("w") as file:
        for start in range(0, count, ROWS_AT_ONCE):
            rows = min(ROWS_AT_ONCE, count - start)
            drawn = words[rng.choice(WORDS, (rows, QUERY_WORDS + DOCUMENT_WORDS), p=shares / shares.sum())]
            for row in drawn.tolist():
                query, text = " ".join(row[:QUERY_WORDS]), " ".join(row[QUERY_WORDS:])
                file.write(json.dumps({"query": query, "text": text, "split": "train"}) + "\n")


def hold(table: Path) -> dict[str, Any]:
    """Read and number a table of pairs, let its texts go, and say what that takes."""
    before, start = anonymous_bytes(), time.process_time()
    source = open_dataset(table)
    dataset = read_training_data(source)
    read, read_s = anonymous_bytes(), time.process_time() - start
    vocabulary, training = vocabulary_and_training_set(dataset, preset("lstm"))
    whole, whole_s = anonymous_bytes(), time.process_time() - start
    own = Numbered(vocabulary, training, None, bool(dataset.dev), "")
    packed = dataset.for_dev().packed()
    dataset = NOTHING
    source.forget()
    dataset = TrainingData.unpacked(packed)
    with tempfile.TemporaryDirectory(dir=table.parent) as folder:
        data = shared(own, ALONE, Path(folder)).data
        del own, training
        gc.collect()
        kept = anonymous_bytes()
    texts = [
        part for one in (data.documents, data.queries, data.features) for part in (one.values, one.offsets)
    ]
    files = sum(part.nbytes for part in (data.pairs, data.grades, data.removed_words, data.owners, *texts))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    million = 1e6 / data.judged_pairs
    return {
        "judged_pairs": data.judged_pairs,
        "dev_queries": len(dataset.dev),
        "mb_a_million": {
            "texts_while_read": round((read - before) * million / 1e6),
            "numbered_beside_them": round((whole - read) * million / 1e6),
            "peak": round((peak - before) * million / 1e6),
            "kept": round((kept - before) * million / 1e6),
            "files": round(files * million / 1e6),
        },
        "processor_s_a_million": {
            "read": round(read_s * million),
            "number": round((whole_s - read_s) * million),
        },
    }


def anonymous_bytes() -> int:
    """Memory of this process without pages of files, which the system takes back when it needs them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("RssAnon")))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--hold", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hold:
        sys.stdout.write(json.dumps(hold(options.hold)))
        return
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "pairs.jsonl"
        write_table(table, options.pairs)
        command = [sys.executable, "-m", "benchmarks.memory", "--hold", str(table)]
        said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, env=os.environ)
    facts = json.loads(said.stdout)
    given = " ".join(sys.argv[1:])
    write_result(
        RESULTS / "memory.json", {**provenance(f"python -m benchmarks.memory {given}".strip()), **facts}
    )
    for name, value in facts.items():
        print(f"{name:24} {value}")


if __name__ == "__main__":
    main()
