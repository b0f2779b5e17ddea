"""Building an index on Ray beside building it alone, and Ray runs that are killed half way.

    python -m benchmarks.building CORPUS MODEL [--documents 669357] [--files 40] [--staged]

CORPUS is written as FILES Parquet files.

    alone     `peephole build` of their pattern
    ray       the same with `--ray local`, at the same time as `alone`, so that both meet the same load of the
              machine; it is killed with SIGKILL when half of the documents are staged, and resumed
    files     after these, `peephole encode --ray local`, killed when half of the files are there, and resumed

Seconds are counted until all documents are encoded and staged. They include the start of the processes and of
Ray. The rest of a build is the same with Ray and without. All files of the two indexes are compared. With
--staged, a build ends when all documents are staged, and the staged files are compared, also with the vectors
of `files`, rounded to halves. It is also measured how many documents a second the one process of a build
could read and store if vectors cost nothing, because that limits the number of cores that it can keep busy.
On a machine that others use too, only ratios mean anything; the load is recorded. Prints a table and writes
benchmarks/results/building.json, again after each part.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, ROOT, command_of, parser_of, write_result
from benchmarks.encoding import kill_and_resume, vectors, write_corpus
from index.disk.folder import STAGING
from index.reader import Index
from index.writing.builder import IndexBuilder
from retrieval.data.documents import read_documents
from retrieval.evaluation.provenance import provenance
from retrieval.indexing.build import encode_into
from retrieval.model.folder import read_model

COMMAND = (sys.executable, str(ROOT / "cli.py"), "build")
# Documents that are stored to measure how fast that is.
STORED = 100_000


def build(
    pattern: str,
    model: Path,
    output: Path,
    *options: str,
    staged_only: bool,
    until: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Run `peephole build`. Returns how long it took.

    staged_only: end it when all documents are staged.
    until: kill it as soon as this holds.
    """
    start = time.perf_counter()
    command = [*COMMAND, pattern, "-m", str(model), "-o", str(output), *options, "--json"]
    encoded_s = None
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as running:
        while running.poll() is None:
            time.sleep(0.1)
            if encoded_s is None and (output / STAGING / "generation").exists():
                encoded_s = round(time.perf_counter() - start, 1)
                if staged_only:
                    running.kill()
                    running.wait()
                    return {"encoded_s": encoded_s}
            if until():
                running.kill()
                running.wait()
                return {"killed_after_s": round(time.perf_counter() - start, 1), "staged": staged(output)}
    assert running.returncode == 0, command
    return {"s": round(time.perf_counter() - start, 1), "encoded_s": encoded_s}


def staged(index: Path) -> int:
    """How many documents a build has stored with their vectors; 0 before it began."""
    path = index / STAGING / "documents.sqlite"
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT coalesce(max(row) + 1, 0) FROM documents").fetchone()[0])
    return 0


def digests(index: Path) -> dict[str, str]:
    """The digest of each file of a generation but its manifest, which has a date; or of what is staged."""
    if not (index / "CURRENT").exists():
        found = {
            name: hashlib.sha256((index / STAGING / name).read_bytes())
            for name in ("vectors.f16", "passages.i32", "model/weights.safetensors")
        }
        found["documents"] = hashlib.sha256()
        with closing(sqlite3.connect(index / STAGING / "documents.sqlite")) as database:
            for row in database.execute("SELECT * FROM documents ORDER BY row"):
                found["documents"].update(json.dumps(row).encode())
        return {name: digest.hexdigest() for name, digest in found.items()}
    with Index.open(index) as opened:
        folder = index / opened.generation
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


def same_as_staged(index: Path, files: Sequence[Path]) -> dict[str, Any]:
    """Files of vectors beside the first vectors of documents that are staged, rounded to halves."""
    ids, given = vectors(list(files))
    with closing(sqlite3.connect(index / STAGING / "documents.sqlite")) as database:
        assert [one for (one,) in database.execute("SELECT id FROM documents ORDER BY row")] == ids
    split = np.fromfile(index / STAGING / "passages.i32", "<i4").reshape(-1, 3)[:, 0]
    counts = np.maximum(np.bincount(split, minlength=len(ids)), 1)
    stored = np.fromfile(index / STAGING / "vectors.f16", np.float16).reshape(-1, given.shape[1])
    whole = counts == 1  # a document that is split has no vector of its own in an index
    own = stored[(np.cumsum(counts) - counts)[whole]].astype(np.float32)
    halves = given[whole].astype(np.float16).astype(np.float32)
    return {
        "documents": int(whole.sum()),
        "components": int(own.size),
        "differing_as_halves": int((halves != own).sum()),
        "largest_difference": float(np.abs(halves - own).max()),
    }


class Nothing:
    """Workers whose vectors cost nothing."""

    count = 1

    def submit(self, texts: Sequence[str]) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(np.ones((len(texts), self.dimension), np.float32))
        return done

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension


def storing_rate(pattern: str, model: Path, output: Path) -> dict[str, Any]:
    """Documents that a build reads, splits and stores in a second of a processor, without encoding them."""
    saved = read_model(model)
    dimension = saved.config.dimension
    with IndexBuilder.begin(
        output, model=model, dimension=dimension, source="", passage_words=128
    ) as builder:
        documents = islice(read_documents(pattern), STORED)
        start = time.process_time()
        encode_into(builder, saved, documents, None, lambda *report: None, Nothing(dimension))
        busy = time.process_time() - start
        return {"documents": builder.count, "documents_a_processor_second": round(builder.count / busy)}


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--documents", type=int, default=669_357)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--staged", action="store_true")
    options = parser.parse_args()
    model = options.model.resolve()
    facts: dict[str, Any] = {}
    loads = [os.getloadavg()[0]]

    def note(name: str, value: Any) -> None:
        facts[name] = value
        loads.append(os.getloadavg()[0])
        print(f"{name:24} {json.dumps(value)}", flush=True)
        head = provenance(command_of("benchmarks.building"))
        write_result(
            RESULTS / "building.json", {**head, **facts, "load_averages": [round(load, 1) for load in loads]}
        )

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        count = write_corpus(options.corpus, options.documents, options.files, work)
        pattern = str(work / "many" / "*.parquet")
        note("documents", count)
        note("files", options.files)
        ray_local, staged_only = ("--ray", "local"), options.staged
        killed = work / "ray"
        half = options.documents // 2
        with ThreadPoolExecutor() as pool:
            started = pool.submit(build, pattern, model, work / "alone", staged_only=staged_only)
            first = build(
                *(pattern, model, killed, *ray_local), staged_only=False, until=lambda: staged(killed) >= half
            )
            note("ray_killed", first)
            time.sleep(2)  # Ray ends by itself when it has seen that the driver is gone
            second = build(pattern, model, killed, *ray_local, "--resume", staged_only=staged_only)
            note("ray_resumed", second | {"left_to_encode": count - first["staged"]})
            note("alone", alone := started.result())
        ray_s = first["killed_after_s"] + second["encoded_s"]
        rates = {"alone": round(count / alone["encoded_s"]), "ray": round(count / ray_s)}
        note("documents_encoded_a_second", rates)
        note("ray_to_alone", round(alone["encoded_s"] / ray_s, 2))
        expected, found = digests(work / "alone"), digests(killed)
        assert found.keys() == expected.keys()
        note("compared", sorted(expected))
        note("differing", [name for name in expected if found[name] != expected[name]])
        note("reading_and_storing", storing_rate(pattern, model, work / "stored"))
        note("by_file", kill_and_resume(model, work, options.files))
        parquets = sorted((work / "killed-files").glob("*.parquet"))
        if staged_only:
            note("by_file_vectors", same_as_staged(work / "alone", parquets))


if __name__ == "__main__":
    main()
