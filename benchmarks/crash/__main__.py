"""Can an index lose a document? Kills, full disks, damaged files and several writers must do no harm.

    python -m benchmarks.crash [--kills 200] [--steps 1] [--full-disks 50] [--corruptions 1000]
                               [--seconds 120] [--seed 0]

Makes its own corpus and model. Kills build, build --resume, add, delete and compact at random moments, and
before each step that changes the disk; runs them on a disk without room; damages every kind of file of an
index; lets two processes write while four read. What an index must hold is known at every moment and compared
with what it holds. A number of 0 leaves a part out. Prints a table, writes benchmarks/results/crash.json
(parts left out stay as they were) and exits 1 if anything failed. A disk without room is a mounted one where
that is allowed, else a limit on file size.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, command_of, parser_of, write_result
from benchmarks.crash import damage, kills, steps, world, writers
from retrieval.evaluation.provenance import provenance

# Two shards of a build, so that one can resume after the first.
DOCUMENTS = 4200
# An index whose every byte is read a thousand times.
FEW = 300
WRITERS = 2
READERS = 4

Part = tuple[list[dict[str, object]], list[str]]


def killed(work: Path, model: Path, options: argparse.Namespace) -> Part:
    life = kills.begin(work / "index", model, work, options.documents, random.Random(options.seed))
    rows = kills.kills(life, options.kills, note)
    return rows, life.failures


def stepped(work: Path, model: Path, options: argparse.Namespace) -> Part:
    return steps.steps(model, options.steps)


def starved(work: Path, model: Path, options: argparse.Namespace) -> Part:
    with kills.small_disk(work / "disk") as mounted:
        note("a mounted disk" if mounted else "mounting is not allowed: a limit on file size instead")
        generator = random.Random(options.seed)
        life = kills.begin(work / "disk" / "index", model, work, options.documents, generator)
        rows = kills.full_disks(life, options.full_disks, note)
    return [{**row, "by": "full disk" if mounted else "file size limit"} for row in rows], life.failures


def damaged(work: Path, model: Path, options: argparse.Namespace) -> Part:
    index, state = lived_in(work, model, options.seed)
    copy = work / "damaged"
    return damage.damages(index, copy, state, options.corruptions, options.seed, note)


def lived_in(work: Path, model: Path, seed: int) -> tuple[Path, world.State]:
    """An index of several segments, with documents replaced and deleted; and what it holds."""
    index, generator = work / "index", random.Random(seed)
    change = world.build(index, model, work, {f"d{n}": 0 for n in range(FEW)}, 1)
    world.run([change.verb, *change.arguments], check=True)
    for verb in ("add", "delete"):
        if verb == "add":
            change = world.add(index, work, change.after, 2, generator)
        else:
            change = world.delete(index, change.after, generator)
        world.run([change.verb, *change.arguments], check=True)
    return index, change.after


def written(work: Path, model: Path, options: argparse.Namespace) -> Part:
    index = work / "index"
    base = dict.fromkeys((f"d{n}" for n in range(FEW)), 1)
    change = world.build(index, model, work, base, 1)
    world.run([change.verb, *change.arguments], check=True)
    told = writers.told_to_wait(index, work)
    found = writers.write_and_read(index, work, base, WRITERS, READERS, options.seconds, options.seed, note)
    return found.rows, told + found.failures


PARTS: dict[str, tuple[str, Callable[[Path, Path, argparse.Namespace], Part]]] = {
    "kills": ("killed at a random moment", killed),
    "steps": ("killed before each nth step on the disk", stepped),
    "full_disks": ("out of room", starved),
    "corruptions": ("damaged files", damaged),
    "seconds": ("several writers and readers", written),
}


def table(rows: Iterable[dict[str, object]]) -> str:
    """Rows of different keys under all keys, empty where a row has none."""
    listed = list(rows)
    names = list(dict.fromkeys(name for row in listed for name in row))
    cells = [names, *([str(row.get(name, "")) for name in names] for row in listed)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    )


def note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Every part that is asked for."""
    found: dict[str, Any] = {}
    for name, (title, part) in PARTS.items():
        amount = getattr(options, name)
        if not amount:
            continue
        with tempfile.TemporaryDirectory(prefix="crash-") as folder:
            start = time.perf_counter()
            rows, failures = part(Path(folder), world.make_model(Path(folder) / "made"), options)
        found[name] = {
            "amount": amount,
            "seed": options.seed,
            "took_s": round(time.perf_counter() - start),
            "rows": rows,
            "failures": failures,
        }
        print(f"{title}: {amount:g}, {len(failures)} failures\n{table(rows)}\n", flush=True)
        for failure in failures[:20]:
            print(f"  {failure}")
    return found


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--steps", type=int, default=1, help="Kill before every so manyth step on the disk.")
    parser.add_argument("--full-disks", type=int, default=50)
    parser.add_argument("--corruptions", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--documents", type=int, default=DOCUMENTS, help="In the index that is cut short.")
    parser.add_argument("--output", type=Path, default=RESULTS / "crash.json")
    options = parser.parse_args()
    found = measured(options)
    before = json.loads(options.output.read_text())["parts"] if options.output.is_file() else {}
    result = {**provenance(command_of("benchmarks.crash")), "parts": {**before, **found}}
    write_result(options.output, result)
    raise SystemExit(1 if any(part["failures"] for part in found.values()) else 0)


if __name__ == "__main__":
    main()
