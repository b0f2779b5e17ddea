"""Learning from clicks, measured: rounds of use, poisoned logs, a night under load, kills.

    python -m benchmarks.learning rounds DATA [--rounds 10] [--parts 4] [--sessions 10] [--supervised INDEX]
    python -m benchmarks.learning poison DATA
    python -m benchmarks.learning night DATA [--clients 10]
    python -m benchmarks.learning kills [--kills 50] [--seed 0]
    python -m benchmarks.learning steps [--seed 0]

DATA is a BEIR folder. Each part writes its result into benchmarks/results/learning.json, where the other
parts stay as they were; `rounds` also draws docs/images/learning.svg.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, parser_of, write_result
from retrieval.data.dataset import Dataset
from retrieval.evaluation.provenance import provenance

RESULT = RESULTS / "learning.json"


def note(row: object) -> None:
    """Print a row as it is measured."""
    print(json.dumps(row), flush=True)


def keep(name: str, command: str, found: Any) -> None:
    """Put the result of a part into the file, in which the other parts stay."""
    parts = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    write_result(RESULT, parts | {name: {**provenance(command), **found}})


def run_rounds(options: argparse.Namespace, work: Path) -> None:
    from benchmarks.learning.picture import draw
    from benchmarks.learning.rounds import Row, begin, rounds, scores

    dataset, name = Dataset(options.data), options.data.name
    index = options.index or begin(dataset, work)
    found: dict[str, Any] = {"rounds": []}
    if options.supervised:
        found["supervised"] = scores(dataset, options.supervised)
        note(found["supervised"])
    command = (
        f"python -m benchmarks.learning rounds {name} --rounds {options.rounds} --parts {options.parts} "
        f"--sessions {options.sessions:g}{' --supervised INDEX' if options.supervised else ''}"
    )

    def keep_row(row: Row) -> None:
        note(row)
        found["rounds"].append(row)
        keep(f"rounds {name}", command, found)

    rounds(dataset, index, work / "clicks.jsonl", options.rounds, options.parts, options.sessions, keep_row)
    draw(json.loads(RESULT.read_text()))


def run_poison(options: argparse.Namespace, work: Path) -> None:
    from benchmarks.learning.poison import poisoned

    rows = poisoned(Dataset(options.data), options.index, work, note)
    keep("poison", f"python -m benchmarks.learning poison {options.data.name}", {"rows": rows})


def run_night(options: argparse.Namespace, work: Path) -> None:
    from benchmarks.learning.night import night

    found = night(Dataset(options.data), options.index, work, options.clients)
    note(found)
    keep("night", f"python -m benchmarks.learning night {options.data.name}", found)


def run_kills(options: argparse.Namespace, work: Path) -> None:
    from benchmarks.learning.kills import kills

    found = kills(work, options.kills, options.seed, note)
    keep("kills", f"python -m benchmarks.learning kills --kills {options.kills}", found)
    raise SystemExit(1 if found["failures"] else 0)


def run_steps(options: argparse.Namespace, work: Path) -> None:
    from benchmarks.learning.steps import steps

    rows = []
    for row in steps(work, options.seed):
        note(row)
        rows.append(row)
        keep("steps", "python -m benchmarks.learning steps", {"rows": rows})
    raise SystemExit(1 if any(row["failures"] for row in rows) else 0)


PARTS: dict[str, Callable[[argparse.Namespace, Path], None]] = {
    "rounds": run_rounds,
    "poison": run_poison,
    "night": run_night,
    "kills": run_kills,
    "steps": run_steps,
}


def main() -> None:
    """Measure one part."""
    parser = parser_of(__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--index", type=Path, help="An index of DATA to begin with, which is changed.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--sessions", type=float, default=10)
    parser.add_argument("--supervised", type=Path, help="An index by a model of all pairs, to compare.")
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.data is None and options.part not in ("kills", "steps"):
        parser.error(f"{options.part} needs DATA")
    with tempfile.TemporaryDirectory(prefix="learning-") as work:
        PARTS[options.part](options, Path(work))


if __name__ == "__main__":
    main()
