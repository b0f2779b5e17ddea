"""Recall@10 against queries/s of nearest-neighbour systems on the same vectors, threads and queries.

In: an index folder, or a .npy or .fvecs file of vectors. Out: JSON values, and a PNG. Every system runs in a
process of its own, one after another. The result of a system that is missing, fails or takes too long is the
reason.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.disk.output import write_output
from index.errors import InputError
from index.values import Progress, no_progress
from retrieval.evaluation.ann.systems import SYSTEMS, Vectors
from retrieval.evaluation.ann.worker import K
from retrieval.evaluation.provenance import provenance

OURS = "this index"
RECALLS = (0.9, 0.95, 0.99, 0.999)  # recalls@10 at which the rates of systems are compared
# Queries/s in one batch and one by one: by wall time, and by processor time, which other processes on the
# machine lengthen less.
RATES = ("batch_qps", "batch_processor_qps", "single_qps", "single_processor_qps")

_HELD_OUT = 500  # at most this many vectors, and at most a tenth of them
_SEED = 20140828
_TIMEOUT = 900  # seconds for one system


def bench_ann(
    place: Path,
    queries: Path | None = None,
    *,
    systems: Sequence[str] = tuple(SYSTEMS),
    threads: int = 1,
    command: str = "",
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Measure every system on the same vectors and queries.

    place: an index folder, or a .npy or .fvecs file of vectors.
    queries: a .npy or .fvecs file or, for an index, a BEIR folder, a table of pairs or a file of
        texts. None holds out 500 of the vectors, or a tenth if that is fewer; they are easier than the
        queries of a model.
    systems: names of `SYSTEMS`; an index is measured before them.
    threads: how many each system may use.
    command: for the result.
    progress: is called before each system.
    Raises InputError for vectors of different or unexpected shapes, and what opening an index raises.
    """
    folder = place if place.is_dir() else None
    vectors = index_vectors(place) if folder else read_vectors(place)
    query_vectors, vectors, source = _queries(place, vectors, queries)
    if query_vectors.shape[1] != vectors.shape[1]:
        raise InputError(
            f"queries have {query_vectors.shape[1]} dimensions and vectors {vectors.shape[1]}", path=queries
        )
    names = [*([OURS] if folder else []), *systems]
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        _save_vectors(Path(work), vectors, query_vectors)
        for done, name in enumerate(names):
            progress(name, done, len(names))
            results[name] = _run(Path(work), name, threads, folder if name == OURS else None)
    return {
        **provenance(command),
        "vectors": len(vectors),
        "dimension": vectors.shape[1],
        "queries": len(query_vectors),
        "queries_from": source,
        "threads": threads,
        "systems": results,
        "at_recall": {
            name: at_recall(system["points"]) for name, system in results.items() if "points" in system
        },
    }


def at_recall(points: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """The best rates of a system at each of `RECALLS`: of any point that reaches it.

    points: with "recall@10" and `RATES`.
    Returns, for each recall that some point reaches, as text, the best of each rate. The best rate in a batch
    and the best rate one by one may come from two different points.
    """
    reached = {str(recall): [p for p in points if p["recall@10"] >= recall] for recall in RECALLS}
    return {
        recall: {rate: max(point[rate] for point in enough) for rate in RATES}
        for recall, enough in reached.items()
        if enough
    }


def _save_vectors(work: Path, vectors: Vectors, queries: Vectors) -> None:
    """Write what `retrieval.evaluation.ann.worker` reads: vectors, queries, and their exact neighbours."""
    import faiss

    nearest = min(K + 20, len(vectors))  # more than K, for documents that score the same as the last one
    scores, rows = faiss.knn(queries, vectors, nearest, faiss.METRIC_INNER_PRODUCT)
    arrays: dict[str, NDArray[Any]] = {
        "vectors": vectors,
        "queries": queries,
        "exact_rows": rows,
        "exact_scores": scores,
    }
    for name, array in arrays.items():
        np.save(work / f"{name}.npy", array)


def _run(work: Path, name: str, threads: int, index: Path | None) -> dict[str, Any]:
    """The result of one system, or {"skipped": reason}."""
    saved = work / "saved"
    shutil.rmtree(saved, ignore_errors=True)
    for file in (saved, work / "saved.npy", work / "result.json"):
        file.unlink(missing_ok=True)
    limits = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    arguments = [str(work), name, str(threads), *([str(index.resolve())] if index else [])]
    try:
        process = subprocess.run(
            [sys.executable, "-P", "-m", "retrieval.evaluation.ann.worker", *arguments],
            env={**os.environ, **dict.fromkeys(limits, str(threads))},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"skipped": f"took longer than {_TIMEOUT} s"}
    if process.returncode or not (work / "result.json").is_file():
        last = (process.stderr.strip().splitlines() or ["nothing said"])[-1]
        return {"skipped": f"failed with exit status {process.returncode} ({last[:200]})"}
    result: dict[str, Any] = json.loads((work / "result.json").read_text(encoding="utf-8"))
    return result


def read_vectors(path: Path) -> Vectors:
    """Vectors of a .npy file, or of a .fvecs file in the TEXMEX format: float32 (n, d).

    Rows are scaled to unit length, so that the inner product is the cosine. Raises InputError for anything
    else, and for a row of zeros.
    """
    try:
        if path.suffix == ".fvecs":
            raw = np.fromfile(path, "<i4")
            width = int(raw[0]) + 1 if len(raw) else 0
            if width < 2 or len(raw) % width or (raw[::width] != width - 1).any():
                raise InputError("is not a whole .fvecs file of one dimension", path=path)
            rows = raw.reshape(-1, width)[:, 1:].copy().view("<f4")
        else:
            with path.open("rb") as file:
                rows = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror or 'cut short'}); check the path", path=path
        ) from error
    except (ValueError, EOFError) as error:
        raise InputError(
            "is no whole file of vectors; give a .npy array of floats, or .fvecs", path=path
        ) from error
    if rows.ndim != 2 or not rows.size or rows.dtype.kind != "f" or not np.isfinite(rows).all():
        raise InputError("must hold finite floats of shape (n, d)", path=path)
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if not norms.all():
        raise InputError("holds a vector of zeros, which has no direction; drop it", path=path)
    return np.ascontiguousarray(rows / norms, np.float32)


def index_vectors(folder: Path) -> Vectors:
    """All vectors of an index, float32 (n, d), in the order of their numbers."""
    from index.reader import Index

    with Index.open(folder) as index:
        return index.vectors(index.vector_numbers())


def _queries(place: Path, vectors: Vectors, queries: Path | None) -> tuple[Vectors, Vectors, str]:
    """Query vectors, the vectors to search, and the source of the queries in words."""
    if queries is None:
        if len(vectors) < 20:
            raise InputError("holds too few vectors to hold some out; give --queries", path=place)
        order = np.random.default_rng(_SEED).permutation(len(vectors))
        held_out = min(_HELD_OUT, len(vectors) // 10)
        # An index cannot leave documents out, so there a query finds its own document.
        searched = vectors if place.is_dir() else vectors[np.sort(order[held_out:])]
        return vectors[order[:held_out]], searched, f"{held_out} of the vectors themselves"
    if queries.suffix in (".npy", ".fvecs"):
        return read_vectors(queries), vectors, queries.name
    if not place.is_dir():
        raise InputError("queries in words need an index with its model; give .npy or .fvecs", path=queries)
    return _encoded(place, queries), vectors, f"{queries.name}, encoded by the index's model"


def _encoded(index: Path, queries: Path) -> Vectors:
    from retrieval.data.dataset import read_query_texts
    from retrieval.search.retriever import Retriever

    texts = read_query_texts(queries, "test")
    with Retriever.open(index) as retriever:
        return retriever.encode(texts)


def write_bench(output: Path, result: Mapping[str, Any]) -> None:
    """Write the result as OUTPUT.json and as a picture, OUTPUT.png.

    Raises InputError for an output without a name, StorageError.
    """
    check_bench_output(output)
    write_output(output.with_name(f"{output.name}.json"), f"{json.dumps(result, indent=1)}\n".encode())
    write_curves(output.with_name(f"{output.name}.png"), result)


def check_bench_output(output: Path) -> None:
    """Check, before minutes of measuring, what writing takes.

    Raises InputError for an output that has no name to put .json behind, and ModuleNotFoundError without
    matplotlib.
    """
    if output.name in ("", ".."):
        raise InputError("has no name to put .json and .png behind; name a file", path=output)
    import matplotlib  # noqa: F401


def best_points(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (recall, rate) that no other one beats, by recall."""
    return [
        (recall, rate)
        for recall, rate in sorted(set(points))
        if not any(r >= recall and q >= rate and (r, q) != (recall, rate) for r, q in points)
    ]


def write_curves(path: Path, result: Mapping[str, Any]) -> None:
    """Draw recall@10 against queries/s, in a batch and one by one, as PNG. Raises StorageError.

    A point that another point of the same system beats in both is left out. With one thread the rate is
    measured in processor time, so that other work on the machine hardly changes it.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    clock = "processor_qps" if result["threads"] == 1 else "qps"
    unit = "queries / processor second" if result["threads"] == 1 else "queries/s"
    for column, (how, title) in enumerate((("batch", "one batch"), ("single", "one by one")), 1):
        axes = figure.add_subplot(1, 2, column)
        axes.set_prop_cycle(color=[colormaps["tab20"](color) for color in range(20)])  # more than ten systems
        for (name, system), marker in zip(result["systems"].items(), "osv^D<>pP*XhdH8", strict=False):
            points = best_points([(p["recall@10"], p[f"{how}_{clock}"]) for p in system.get("points", [])])
            if points:
                axes.plot(
                    *zip(*points, strict=True), marker=marker, markersize=8 if name == OURS else 4, label=name
                )
        axes.set(yscale="log", xlabel="recall@10", ylabel=unit, title=title)
        axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    figure.suptitle(
        f"{result['vectors']:,} vectors of {result['dimension']} dimensions, {result['threads']} thread(s)"
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_output(path, buffer.getvalue())
