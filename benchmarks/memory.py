"""The memory that pairs take while the first process of a training numbers them, and while it trains.

    python -m benchmarks.memory [--pairs 1000000]

A table of PAIRS rows of made-up words is written. Queries have 6 words and documents 20, and word frequencies
follow Zipf's law. A separate process reads and numbers the table as the first process of a training does,
frees the texts, and reports its memory. The other processes of a training never have more than that. Another
process does the same with the first quarter of the table. The difference shows what grows with the pairs.
Prints a table and writes benchmarks/results/memory.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, ROOT, command_of, parser_of, write_result
from retrieval.data.dataset import open_dataset
from retrieval.evaluation.provenance import provenance
from retrieval.model.config import preset
from retrieval.training.distributed import ALONE
from retrieval.training.examples.dataset import NOTHING, TrainingData, read_training_data
from retrieval.training.examples.numbered import Numbered, shared
from retrieval.training.examples.numbering import vocabulary_and_training_set

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
    """Read and number a table of pairs, free its texts, and report the memory that this takes."""
    floor, start = anonymous_bytes(), time.process_time()
    peaks = {"read": 0, "number": 0}
    forget_peak()
    source = open_dataset(table)
    dataset = read_training_data(source)
    peaks["read"], read_s = resident_peak(), time.process_time() - start
    forget_peak()
    vocabulary, training = vocabulary_and_training_set(dataset, preset("lstm"))
    peaks["number"], whole_s = resident_peak(), time.process_time() - start
    own = Numbered(vocabulary, training, None, bool(dataset.dev), "")
    packed = dataset.for_dev().packed()
    dataset = NOTHING
    source.forget()
    dataset = TrainingData.unpacked(packed)
    with tempfile.TemporaryDirectory(dir=table.parent) as folder:
        data = shared(own, ALONE, Path(folder)).data
        del own, training, packed
        gc.collect()
        kept = anonymous_bytes()
    texts = [
        part for one in (data.documents, data.queries, data.features) for part in (one.values, one.offsets)
    ]
    files = sum(part.nbytes for part in (data.pairs, data.grades, data.removed_words, data.owners, *texts))
    return {
        "judged_pairs": data.judged_pairs,
        "dev_queries": len(dataset.dev),
        "bytes": {"floor": floor, **peaks, "kept": kept, "files": files},
        "processor_s": {"read": read_s, "number": whole_s - read_s},
    }


def forget_peak() -> None:
    """Let the peak of this process begin at what it has now."""
    Path("/proc/self/clear_refs").write_text("5")


def resident_peak() -> int:
    """The most memory that this process had, pages of files too."""
    return status("VmHWM")


def anonymous_bytes() -> int:
    """Memory of this process without pages of files, which the system takes back when it needs them."""
    return status("RssAnon")


def status(field: str) -> int:
    """Bytes of a field of this process's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(f"{field}:")))


def held(table: Path) -> dict[str, Any]:
    """What `hold` says in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", "--hold", str(table)]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, env=os.environ)
    facts: dict[str, Any] = json.loads(said.stdout)
    return facts


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--hold", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hold:
        sys.stdout.write(json.dumps(hold(options.hold)))
        return
    sizes = (options.pairs // 4, options.pairs)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "pairs.jsonl"
        told = []
        for size in sizes:
            write_table(table, size)
            told.append(held(table))
    few, many = told
    grown = sizes[1] - sizes[0]
    facts = {
        **{name: many[name] for name in ("judged_pairs", "dev_queries")},
        "mb": {name: round(value / 1e6) for name, value in many["bytes"].items()},
        "mb_of_a_quarter": {name: round(value / 1e6) for name, value in few["bytes"].items()},
        "bytes_a_pair": {
            name: round((value - few["bytes"][name]) / grown)
            for name, value in many["bytes"].items()
            if name != "floor"
        },
        "processor_s_a_million": {
            name: round(seconds * 1e6 / options.pairs) for name, seconds in many["processor_s"].items()
        },
    }
    write_result(RESULTS / "memory.json", {**provenance(command_of("benchmarks.memory")), **facts})
    for name, value in facts.items():
        print(f"{name:24} {value}")


if __name__ == "__main__":
    main()
