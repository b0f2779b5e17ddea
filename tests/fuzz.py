"""Random and mutated input against everything that reads what strangers wrote, for a given time.

    python tests/fuzz.py [--seconds 60] [--seed N]

Each target may refuse its input with a PeepholeError and nothing else, and may not return what it forbids.
Prints how many inputs each target took; a failure prints the smallest input found, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

sys.path.insert(0, str(Path(__file__).parents[1]))  # this tree, whatever is installed

from made_files import ods, xlsb, xlsx, zipped

from index.disk.manifest import Manifest
from index.documents.filtering.parse import parse_where
from index.documents.filtering.selection import Selection
from index.errors import PeepholeError
from index.lexical.tokens import lexical_tokens
from retrieval.data.dataset import open_dataset
from retrieval.data.documents import read_documents
from retrieval.data.queries import read_query_lines
from retrieval.model.config import read_config
from retrieval.model.vocabulary_table import load_vocabulary
from retrieval.model.weights import read_weights
from retrieval.text.snippet import snippet
from retrieval.text.terminal import visible
from retrieval.text.words import trigrams, words

EXAMPLES = 100
FEWER = {"workbooks": 15}  # each takes a process
GOLDEN = Path(__file__).parent / "golden"

# Characters of every kind that a tokeniser treats apart, beside any others.
_TEXTS = st.text(
    st.one_of(
        st.characters(), st.sampled_from("aZ9 -_'\u2019.#+&|<>=!\n\t\u0301\u0316\u4e2d\u30a2\x1b\u202e")
    )
)
_MANIFEST = next((GOLDEN / "index-2").glob("generation-*/manifest.json")).read_bytes()
_CONFIG = (GOLDEN / "model-1-lstm" / "config.json").read_bytes()
_VOCABULARY = (GOLDEN / "model-1-lstm" / "vocabulary.json").read_bytes()
_WEIGHTS = (GOLDEN / "model-1-lstm" / "weights.safetensors").read_bytes()


def mutated(data: bytes, head: int) -> SearchStrategy[bytes]:
    """The data with some bytes of its first `head` replaced, removed or repeated."""
    change = st.tuples(st.integers(0, min(head, len(data)) - 1), st.integers(0, 8), st.binary(max_size=12))

    def apply(changes: list[tuple[int, int, bytes]]) -> bytes:
        changed = data
        for start, length, new in changes:
            changed = changed[:start] + new + changed[start + length :]
        return changed

    return st.lists(change, min_size=1, max_size=4).map(apply)


def tokenise(text: str) -> None:
    """Both tokenisers, trigrams, snippet and what a terminal shows."""
    found = words(text, 32)
    assert 1 <= len(found) <= 32
    assert all(trigrams(word) for word in found)
    assert all(lexical_tokens(text)) or not lexical_tokens(text)
    assert "".join(piece.text for piece in snippet(text[:20], text)) is not None
    assert "\x1b" not in visible(text)


def filter_documents(text: str) -> None:
    """A filter, and the rows that it selects."""
    expression = parse_where(text)
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE attributes (name TEXT NOT NULL, value NOT NULL, row INTEGER NOT NULL)")
    database.execute("CREATE TABLE documents (row INTEGER PRIMARY KEY, metadata TEXT NOT NULL)")
    database.executemany(
        "INSERT INTO attributes VALUES (?, ?, ?)", [("a", "1", 0), ("a", 1, 0), ("b", 2.5, 1)]
    )
    assert len(Selection(database, 2, 3).rows(expression)) == 2
    database.close()


def in_file(name: str, read: Callable[[Path], Any]) -> Callable[[bytes], None]:
    """A target that reads bytes from a file of this name."""

    def target(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            read(path)

    return target


def open_weights(path: Path) -> None:
    """Map the arrays and touch each: nothing may lie outside the file."""
    for array in read_weights(path).values():
        assert array.size == 0 or np.asarray(array).reshape(-1)[-1] is not None


def join_pairs(path: Path) -> None:
    """A file of pairs, to the qrels of its splits: every judged document is there."""
    dataset = open_dataset(path)
    ids = {document.id for document in dataset.documents()}
    for split in dataset.splits():
        assert all(ids.issuperset(grades) for grades in dataset.qrels(split).values())


def _parquet() -> bytes:
    """A small file of pairs."""
    import pyarrow
    from pyarrow import parquet

    rows = [{"query": f"q{n}", "pos": [f"a{n}", "b"], "id": n, "score": n / 2} for n in range(9)]
    out = BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), out)
    return out.getvalue()


_PARQUET = _parquet()


def _workbooks() -> SearchStrategy[tuple[str, bytes]]:
    """Workbooks in which one part is mutated, or the archive itself, each with its suffix."""
    rows = [["Part No.", "Description", "Stock"], ["00815", "red bolt", "12"]]
    files = {
        "xlsx": (xlsx({"S": rows}), "xl/worksheets/sheet1.xml"),
        "xlsb": (xlsb({"S": rows}), "xl/worksheets/sheet1.bin"),
        "ods": (ods(rows), "content.xml"),
    }
    return st.one_of(
        *(mutated(content, len(content)).map(partial(_named, kind)) for kind, (content, _) in files.items()),
        *(_with_part(kind, content, part) for kind, (content, part) in files.items()),
        _with_part("xlsb", files["xlsb"][0], "xl/workbook.bin"),
        _with_part("xlsx", files["xlsx"][0], "xl/workbook.xml"),
    )


def _named(kind: str, content: bytes) -> tuple[str, bytes]:
    return kind, content


def _with_part(kind: str, content: bytes, part: str) -> SearchStrategy[tuple[str, bytes]]:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    changed = mutated(parts[part], len(parts[part]))
    return changed.map(lambda new: (kind, zipped({**parts, part: new})))


def read_workbook(file: tuple[str, bytes]) -> None:
    """The documents of a workbook, by the process that reads it."""
    kind, content = file
    in_file(f"parts.{kind}", lambda path: list(open_dataset(path).documents()))(content)


TARGETS: dict[str, tuple[SearchStrategy[Any], Callable[[Any], object]]] = {
    "text": (_TEXTS, tokenise),
    "filters": (_TEXTS, filter_documents),
    "manifest": (mutated(_MANIFEST, len(_MANIFEST)), Manifest.from_json),
    "weights": (mutated(_WEIGHTS, 2000), in_file("weights.safetensors", open_weights)),
    "config": (mutated(_CONFIG, len(_CONFIG)), in_file("config.json", read_config)),
    "vocabulary": (
        mutated(_VOCABULARY, 4000),
        in_file("vocabulary.json", lambda path: load_vocabulary(path, path.with_suffix(".none"))),
    ),
    "jsonl": (
        mutated(b'{"_id": "1", "title": "a", "text": "b", "year": 2021}\n{"_id": "2", "text": "c"}\n', 90),
        in_file("corpus.jsonl", lambda path: list(read_documents(path))),
    ),
    "json": (
        mutated(b'[{"id": 1, "title": "a", "text": "b"},\n {"id": "2", "text": "c", "x": [1.5]}]\n', 75),
        in_file("corpus.json", lambda path: list(read_documents(path))),
    ),
    "csv": (
        mutated(b'_id,title,text\n1,a,"b\n""c"""\n2,d,e\n', 60),
        in_file("corpus.csv", lambda path: list(read_documents(path))),
    ),
    "pairs": (
        mutated(
            b'{"query": "a", "pos": ["b"], "neg": "c", "id": 1, "score": 0.5, "split": "dev"}\n'
            b'{"query": "A", "pos": "b", "title": "t"}\n',
            120,
        ),
        in_file("faq.jsonl", join_pairs),
    ),
    "parquet": (mutated(_PARQUET, len(_PARQUET)), in_file("faq.parquet", join_pairs)),
    "workbooks": (_workbooks(), read_workbook),
    "queries": (mutated(b'{"_id": "q", "text": "a"}\nq2\tb\n', 40), in_file("queries.txt", read_query_lines)),
}


def batch(
    number: int, inputs: SearchStrategy[Any], target: Callable[[Any], object], examples: int = EXAMPLES
) -> int:
    """Give a target so many inputs drawn from a seed; how many it took."""
    taken = 0

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def run(data: Any) -> None:
        nonlocal taken
        taken += 1
        with suppress(PeepholeError):
            target(data)

    run()
    return taken


def fuzz(seconds: float, number: int) -> dict[str, int]:
    """Run the targets in turn until the time is over, from seed `number` on; inputs taken by each."""
    counts = dict.fromkeys(TARGETS, 0)
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        for name, (inputs, target) in TARGETS.items():
            counts[name] += batch(number, inputs, target, FEWER.get(name, EXAMPLES))
        number += 1
    return counts


def main() -> None:
    """Fuzz for as long as the arguments say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    print(json.dumps(fuzz(options.seconds, options.seed), indent=1))


if __name__ == "__main__":
    main()
