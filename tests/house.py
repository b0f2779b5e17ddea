"""The packages of the product and the imports between them, read from the source and never run.

`python tests/house.py` prints the tree with its lines, the arrows between packages, and how long the
functions are; tests/test_imports.py holds the rules.
"""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent

# From top to bottom. A package imports only from packages on lower floors.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("cli",),
    ("retrieval.commands",),
    ("retrieval.serving", "retrieval.learning", "retrieval.adapters"),
    ("retrieval.training",),
    ("retrieval.evaluation",),
    ("retrieval.explain",),
    ("retrieval.search", "retrieval.indexing", "retrieval.towers"),
    ("retrieval.model",),
    ("retrieval.text", "retrieval.data", "retrieval.html", "retrieval.recurrence"),
    ("index.writing",),
    ("index.opened",),
    ("index.reader", "index.remote"),
    ("index.protocol", "index.held"),
    ("index.segment",),
    ("index.dense", "index.lexical", "index.interaction", "index.documents"),
    ("index.disk",),
    (
        "index.ranking",
        "index.heap",
        "index.prefetch",
        "index.beside",
        "index.values",
        "index.locks",
        "index.cores",
        "index.numbering",
        "index.phases",
    ),
    ("index.errors",),
)


def files() -> list[Path]:
    """Every Python file of the product."""
    return sorted([*ROOT.glob("index/**/*.py"), *ROOT.glob("retrieval/**/*.py"), ROOT / "cli.py"])


def module_of(path: Path) -> str:
    """The dotted name under which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST) -> set[str]:
    """Names of every module imported anywhere in a file, inside functions and for type checking too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import hides where it goes"
            names.add(str(node.module))
            names.update(f"{node.module}.{alias.name}" for alias in node.names)  # it may be a module
    return names


def imports() -> dict[str, set[str]]:
    """Modules of the product to those modules of the product that they import."""
    trees = {module_of(path): ast.parse(path.read_text("utf-8")) for path in files()}
    return {name: (imported(tree) & trees.keys()) - {name} for name, tree in trees.items()}


def room_of(module: str) -> str:
    """The package, two names deep, that a module belongs to.

    >>> room_of("retrieval.towers.peephole.layer"), room_of("index.reader"), room_of("cli")
    ('retrieval.towers', 'index.reader', 'cli')
    """
    return ".".join(module.split(".")[:2])


def arrows(graph: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """Rooms to the rooms they import from. Package doors such as `retrieval/__init__.py` are left out."""
    found: dict[str, set[str]] = {}
    for module, others in graph.items():
        if module in ("retrieval", "index"):
            continue
        room = room_of(module)
        rooms = {room_of(other) for other in others if other not in ("retrieval", "index")}
        found.setdefault(room, set()).update(rooms - {room})
    return found


def upward(found: Mapping[str, Iterable[str]]) -> list[str]:
    """Arrows that do not go down, and rooms that are on no floor."""
    height = {room: -floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    lost = [f"{room} is on no floor" for room in found if room not in height]
    return lost + [
        f"{room} -> {other}"
        for room, others in sorted(found.items())
        for other in sorted(others)
        if height.get(other, 0) >= height.get(room, 0)
    ]


def function_lengths() -> list[int]:
    """Lines of each function without its docstring, in ascending order."""
    lengths = []
    for path in files():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0]
                documented = ast.get_docstring(node, clean=False) is not None
                told = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
                lengths.append((node.end_lineno or 0) - node.lineno + 1 - told)
    return sorted(lengths)


def _report() -> Iterator[str]:
    found = arrows(imports())
    rooms: dict[str, list[Path]] = {}
    for path in files():
        rooms.setdefault(room_of(module_of(path)), []).append(path)
    total = 0
    for floor in FLOORS:
        for room in (room for room in floor if room in rooms):
            sizes = {path: len(path.read_text("utf-8").splitlines()) for path in rooms[room]}
            total += sum(sizes.values())
            below = ", ".join(sorted(found.get(room, ()))) or "nothing of ours"
            yield f"{room}  ({len(sizes)} files, {sum(sizes.values()):,} lines)  imports {below}"
            shown = (f"{path.relative_to(ROOT).as_posix()} {lines}" for path, lines in sizes.items())
            yield from (f"    {line}" for line in shown if not line.split()[0].endswith("__init__.py"))
    lengths = function_lengths()
    highest = lengths[int(0.95 * len(lengths))]
    median = statistics.median(lengths)
    yield f"{len(files())} files, {total:,} lines, {len(lengths):,} functions"
    yield f"lines of a function: median {median:g}, 95th percentile {highest}, longest {lengths[-1]}"
    yield from (f"not downward: {arrow}" for arrow in upward(found))


if __name__ == "__main__":
    print("\n".join(_report()))
