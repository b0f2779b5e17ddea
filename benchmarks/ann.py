"""Which nearest-neighbour index, at which recall and speed? The command `peephole bench ann`, results kept.

    python benchmarks/ann.py INDEX|FILE.npy|FILE.fvecs [--queries FILE] [--threads 1] [--name NAME]

Prints a table and writes benchmarks/results/ann-NAME.json and .png. Rivals that are not installed are
skipped with a line: pip install 'peephole[bench]'.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cli import verbs

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Hand the arguments to the command, with the place of the results."""
    arguments = sys.argv[1:]
    name = Path(arguments[0]).stem if arguments else ""
    if "--name" in arguments:
        at = arguments.index("--name")
        name = arguments[at + 1]
        del arguments[at : at + 2]
    RESULTS.mkdir(exist_ok=True)
    verbs(["bench", "ann", *arguments, "-o", str(RESULTS / f"ann-{name}")], prog_name="peephole")


if __name__ == "__main__":
    main()
