"""5,000 random filters on 5,000 random documents, against plain Python on the metadata.

The oracle makes a filter as a tuple, spells it, and evaluates the tuple on the metadata itself. It shares no
code with the product: numbers are fractions, times have their seconds written beside them.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from fractions import Fraction
from operator import eq, ge, gt, le, lt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.documents.filtering.parse import parse_field, parse_where
from index.documents.store import Document, DocumentReader
from index.documents.writer import DocumentWriter

INDEXES, DOCUMENTS, FILTERS = 25, 200, 200

# Times with their seconds from 1970, worked out here from days.
DAY = (date(2024, 5, 1) - date(1970, 1, 1)).days * 86400
SECONDS = {
    "2024-05-01": DAY,
    "2024-05-01T10:00:00Z": DAY + 36000,
    "2024-05-01T12:00:00+02:00": DAY + 36000,
    "2024-05-01T10:00": DAY + 36000,
    "2024-05-01 10:00:00.5Z": DAY + 36000.5,
    "2024-05-01T00:30:00+0200": DAY - 5400,
    "2024-04-30T22:30:00": DAY - 5400,
}
HUGE = [2**53 + 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64, 2**64 + 1, -(2**64) - 1, 10**30, 10**30 + 1]
TEXTS = [
    *("en", "de", "EN", "", "two words", "it's", 'say "x"', "`", "a\x00b", "a\x00c"),
    *("é", "中文", "\U0001f600", "\ufb00", "a=b", "(x)", "a,b", "%", "_", "en' OR 1=1 --"),
    *("true", "false", "null", "and", "or", "2024", "2024-05", "7", "007", "7.0", "+7", "1e1", ".5", "1e400"),
    *("0.1", "9007199254740993", f"{2**64}", f"{2**64 + 1}.0"),
    *SECONDS,
]
NUMBERS: list[Any] = [0, 1, -1, 7, 10, 0.5, 0.1, -0.0, 7.0, 1e30, 1.5, 2024, *HUGE]
KEYS = ["a", "b", "a.b", "author", "name", "é", 'q"t', "x y", "in", "not", "", "\x1f", "a\x1fb", "`", "or"]
SIGNS = {"=": eq, "!=": eq, "<": lt, "<=": le, ">": gt, ">=": ge}


def scalar(rng: random.Random) -> Any:
    return rng.choice([None, True, False, rng.choice(NUMBERS), rng.choice(TEXTS), rng.choice(TEXTS)])


def value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.random()
    if depth < 3 and kind < 0.15:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if depth < 3 and kind < 0.35:
        return {rng.choice(KEYS): value(rng, depth + 1) for _ in range(rng.randrange(3))}
    return scalar(rng)


def metadata(rng: random.Random) -> dict[str, Any]:
    return {rng.choice(KEYS): value(rng) for _ in range(rng.randrange(6))}


def inside(node: Any, keys: tuple[str, ...]) -> Iterator[Any]:
    """All nodes at a path; an array stands for its elements."""
    if isinstance(node, list):
        for part in node:
            yield from inside(part, keys)
    elif not keys:
        yield node
    elif isinstance(node, dict) and keys[0] in node:
        yield from inside(node[keys[0]], keys[1:])


def values_at(data: dict[str, Any], paths: list[tuple[str, ...]]) -> list[Any]:
    found = [node for path in paths for node in inside(data, path)]
    named = {True: "true", False: "false"}
    return [
        named[node] if isinstance(node, bool) else node
        for node in found
        if node is not None and not isinstance(node, dict)
    ]


def is_there(node: Any) -> bool:
    if isinstance(node, list | dict):
        return any(map(is_there, node.values() if isinstance(node, dict) else node))
    return node is not None


def number(given: Any) -> Fraction | None:
    if not isinstance(given, str):
        return Fraction(given)
    if not re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", given):
        return None
    fraction = Fraction(given)
    if abs(fraction) > Fraction(1.7976931348623157e308):
        return None
    return fraction if fraction.denominator == 1 else Fraction(float(given))


def compares(sign: str, given: Any, wanted: str) -> bool:
    compare = SIGNS[sign]
    if ("T" in wanted and wanted in SECONDS) or wanted == "2024-05-01 10:00:00.5Z":
        if given in SECONDS:
            return compare(SECONDS[given], SECONDS[wanted])
        return isinstance(given, str) and compare(given, wanted)
    left, right = number(given), number(wanted)
    if right is not None and left is not None and compare(left, right):
        return True
    if sign in ("=", "!="):
        return bool(given == wanted)
    return right is None and isinstance(given, str) and compare(given, wanted)


def holds(node: tuple, data: dict[str, Any]) -> bool:
    kind, *parts = node
    if kind == "and":
        return all(holds(part, data) for part in parts)
    if kind == "or":
        return any(holds(part, data) for part in parts)
    if kind == "not":
        return not holds(parts[0], data)
    paths = parts[0]
    if kind == "exists":
        return any(is_there(found) for path in paths for found in inside(data, path))
    values = values_at(data, paths)
    if kind == "prefix":
        return any(isinstance(one, str) and one.startswith(parts[1]) for one in values)
    if kind == "in":
        return any(compares("=", one, wanted) for one in values for wanted in parts[1])
    met = any(compares(kind, one, parts[1]) for one in values)
    return not met if kind == "!=" else met


def quoted(text: str, quote: str) -> str:
    return quote + text.replace(quote, quote * 2) + quote


def spelled_value(rng: random.Random, text: str) -> str:
    if (
        rng.random() < 0.5
        and re.fullmatch(r"[^\s'\"()<>=!,][^()<>=!,'\"]*(?<!\s)", text)
        and not re.search(r"\b(and|or)\b", text)
    ):
        return text
    return quoted(text, rng.choice("'\""))


def pairs(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every path of the metadata, with what is there."""
    if isinstance(node, list):
        for part in node:
            yield from pairs(part, path)
    elif isinstance(node, dict):
        for key, part in node.items():
            yield from pairs(part, (*path, key))
    elif node is not None:
        yield path, str(node).lower() if isinstance(node, bool) else str(node)


def field(rng: random.Random, path: tuple[str, ...]) -> tuple[list[tuple[str, ...]], str]:
    """The paths that a field means, and how it is spelled."""
    bare = ".".join(path)
    if (
        rng.random() < 0.5
        and re.fullmatch(r"[a-zé]+( [a-z]+)*(\.[a-zé]+( [a-z]+)*)*", bare)
        and bare not in ("not", "in", "or")
    ):
        return [(bare,), tuple(bare.split("."))], bare
    return [path], ".".join(quoted(key, rng.choice('"`')) for key in path)


def leaf(rng: random.Random, known: list[tuple[tuple[str, ...], str]]) -> tuple[tuple, str]:
    path, wanted = rng.choice(known)
    if rng.random() < 0.2:
        path = tuple(rng.choice(KEYS) for _ in range(rng.randrange(1, 4)))
    if rng.random() < 0.4:
        wanted = rng.choice([*TEXTS, *map(str, NUMBERS)])
    paths, name = field(rng, path)
    kind = rng.choice([*SIGNS, *SIGNS, "in", "exists", "prefix"])
    if kind == "exists":
        return ("exists", paths), f"exists {name}"
    if kind == "in":
        values = [rng.choice(TEXTS) for _ in range(rng.randrange(1, 4))] + [wanted]
        return ("in", paths, values), f"{name} in ({', '.join(spelled_value(rng, one) for one in values)})"
    if kind == "prefix":
        start = wanted[: rng.randrange(4)]
        return ("prefix", paths, start), f"{name} prefix {spelled_value(rng, start)}"
    return (kind, paths, wanted), f"{name}{rng.choice([' ', ''])}{kind} {spelled_value(rng, wanted)}"


def tree(rng: random.Random, known: list[tuple[tuple[str, ...], str]], depth: int = 0) -> tuple[tuple, str]:
    kind = rng.choice(["leaf", "leaf", "and", "or", "not"]) if depth < 4 else "leaf"
    if kind == "leaf":
        return leaf(rng, known)
    if kind == "not":
        part, text = tree(rng, known, depth + 1)
        return ("not", part), f"{rng.choice(['not', 'NOT'])} ({text})"
    parts = [tree(rng, known, depth + 1) for _ in range(rng.randrange(2, 4))]
    return (kind, *(part for part, _ in parts)), f" {kind} ".join(f"({text})" for _, text in parts)


def opened(folder: Path, every: list[dict[str, Any]]) -> DocumentReader:
    writer = DocumentWriter(folder / "staged.sqlite")
    writer.append([Document(f"d{row}", metadata=one) for row, one in enumerate(every)])
    writer.copy_to(folder / "documents.sqlite")
    writer.close()
    return DocumentReader(folder / "documents.sqlite")


@pytest.mark.parametrize("seed", range(INDEXES))
def test_filters_find_what_plain_python_finds(tmp_path: Path, seed: int):
    rng = random.Random(seed)
    every = [metadata(rng) for _ in range(DOCUMENTS)]
    reader = opened(tmp_path, every)
    assert [dict(one.metadata) for one in reader.documents(range(DOCUMENTS))] == every
    known, found = [pair for data in every for pair in pairs(data)], 0
    for _ in range(FILTERS):
        node, text = tree(rng, known)
        expected = [holds(node, data) for data in every]
        assert reader.matching(parse_where(text)).tolist() == expected, text
        found += 0 < sum(expected) < DOCUMENTS
    assert found > FILTERS / 3  # many filters tell documents apart
    reader.close()


def test_values_are_counted_as_equality_tells_them_apart(tmp_path: Path):
    rng = random.Random(99)
    plain = [text for text in TEXTS if text not in SECONDS]
    every = [{"a": rng.choices([*plain, *NUMBERS, None, True], k=rng.randrange(4))} for _ in range(500)]
    reader = opened(tmp_path, every)
    column = reader.column(parse_field("a"))
    counts = dict(column.counts(np.ones(500, bool)))
    expected = Counter(
        key
        for data in every
        for key in {one if number(one) is None else number(one) for one in values_at(data, [("a",)])}
    )
    assert {one if isinstance(one, str) else Fraction(one): n for one, n in counts.items()} == expected
    for one, count in counts.items():
        shown = str(one).replace("'", "''")
        assert reader.matching(parse_where(f"a = '{shown}'")).sum() == count, one
    half = np.arange(500) < 250
    assert sum(dict(column.counts(half)).values()) < sum(counts.values())
    for row in range(500):
        assert {one if isinstance(one, str) else Fraction(one) for one in column.values_of(row)} == {
            one if number(one) is None else number(one) for one in values_at(every[row], [("a",)])
        }
    reader.close()
