"""Nearest-neighbour systems behind one face, each with the settings its makers give and one dial to turn.

In: unit vectors and queries, float32 (n, d). Out: rows of the k best by inner product. A system that is not
installed raises ImportError where it is built. Nothing here is tuned for one system but not another: index
parameters are the library's defaults or those its documentation starts with, and the dial is swept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Rows = NDArray[Any]

_EFFORTS = (10, 20, 40, 80, 160, 320, 640)
_PROBES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Built:
    """A built index. search: (queries, k) to rows (n, k); dial: name of the setting that trades recall for
    speed; turn: sets it; values: what to sweep; save: writes the index to a path.
    """

    search: Callable[[Vectors, int], Rows]
    dial: str
    turn: Callable[[int], None]
    values: Sequence[int]
    save: Callable[[Path], None]


Build = Callable[[Vectors, int], Built]  # vectors, threads


def exact(vectors: Vectors, threads: int) -> Built:
    """Every vector compared, by FAISS."""
    faiss = _faiss(threads)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return _of_faiss(faiss, index, "", lambda value: None, (0,))


def faiss_hnsw(vectors: Vectors, threads: int) -> Built:
    """FAISS HNSW with 32 links and default construction."""
    faiss = _faiss(threads)
    index = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.add(vectors)
    return _of_faiss(faiss, index, "efSearch", lambda v: setattr(index.hnsw, "efSearch", v), _EFFORTS)


def faiss_ivf(vectors: Vectors, threads: int) -> Built:
    """FAISS IVF,Flat with 4 sqrt(n) lists, or fewer where they would hold fewer than 39 vectors each."""
    faiss = _faiss(threads)
    lists = max(1, min(int(4 * math.sqrt(len(vectors))), len(vectors) // 39))
    index = faiss.index_factory(vectors.shape[1], f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    probes = [value for value in _PROBES if value <= lists]
    return _of_faiss(faiss, index, "nprobe", lambda v: setattr(index, "nprobe", v), probes)


def _faiss(threads: int) -> Any:
    faiss: Any = import_module("faiss")
    faiss.omp_set_num_threads(threads)
    return faiss


def _of_faiss(faiss: Any, index: Any, dial: str, turn: Callable[[int], None], values: Sequence[int]) -> Built:
    return Built(
        lambda queries, k: np.asarray(index.search(queries, k)[1]),
        dial,
        turn,
        values,
        lambda path: faiss.write_index(index, str(path)),
    )


def hnswlib(vectors: Vectors, threads: int) -> Built:
    """Hnswlib with M 16 and ef_construction 200, as its README has them."""
    library: Any = import_module("hnswlib")
    index = library.Index(space="ip", dim=vectors.shape[1])
    index.init_index(max_elements=len(vectors), ef_construction=200, M=16)
    index.set_num_threads(threads)
    index.add_items(vectors, np.arange(len(vectors)))
    return Built(
        lambda queries, k: np.asarray(index.knn_query(queries, k=k)[0]),
        "ef",
        index.set_ef,
        _EFFORTS,
        lambda path: index.save_index(str(path)),
    )


def usearch(vectors: Vectors, threads: int) -> Built:
    """USearch with float32 vectors and its defaults."""
    library: Any = import_module("usearch.index")
    index = library.Index(ndim=vectors.shape[1], metric="ip", dtype="f32")
    index.add(np.arange(len(vectors)), vectors, threads=threads)

    def search(queries: Vectors, k: int) -> Rows:
        keys = np.asarray(index.search(queries, k, threads=threads).keys).astype(np.int64)
        return keys.reshape(len(queries), -1)

    def turn(value: int) -> None:
        index.expansion_search = value

    return Built(search, "expansion_search", turn, _EFFORTS, lambda path: index.save(str(path)))


def voyager(vectors: Vectors, threads: int) -> Built:
    """Voyager with its defaults."""
    library: Any = import_module("voyager")
    index = library.Index(library.Space.InnerProduct, num_dimensions=vectors.shape[1])
    index.add_items(vectors, num_threads=threads)
    effort = [_EFFORTS[0]]

    def search(queries: Vectors, k: int) -> Rows:
        return np.asarray(index.query(queries, k, num_threads=threads, query_ef=effort[0])[0])

    def turn(value: int) -> None:
        effort[0] = value

    return Built(search, "query_ef", turn, _EFFORTS, lambda path: index.save(str(path)))


def scann(vectors: Vectors, threads: int) -> Built:
    """ScaNN as its example starts: sqrt(n) leaves, asymmetric hashing, 100 reordered."""
    library: Any = import_module("scann")
    leaves = max(1, int(math.sqrt(len(vectors))))
    searcher = (
        library.scann_ops_pybind.builder(vectors, 10, "dot_product")
        .set_n_training_threads(threads)
        .tree(num_leaves=leaves, num_leaves_to_search=max(1, leaves // 10), training_sample_size=250_000)
        .score_ah(2, anisotropic_quantization_threshold=0.2)
        .reorder(100)
        .build()
    )
    searcher.set_num_threads(threads)
    searched = [1]

    def search(queries: Vectors, k: int) -> Rows:
        if len(queries) == 1:
            rows = searcher.search(queries[0], final_num_neighbors=k, leaves_to_search=searched[0])[0]
            return np.asarray(rows)[None]
        call = searcher.search_batched if threads == 1 else searcher.search_batched_parallel
        return np.asarray(call(queries, final_num_neighbors=k, leaves_to_search=searched[0])[0])

    def turn(value: int) -> None:
        searched[0] = value

    def save(path: Path) -> None:
        path.mkdir()
        searcher.serialize(str(path))

    values = [value for value in _PROBES if value <= leaves]
    return Built(search, "leaves_to_search", turn, values, save)


def autofaiss(vectors: Vectors, threads: int) -> Built:
    """The index and the one setting that autofaiss chooses."""
    library: Any = import_module("autofaiss")
    faiss = _faiss(threads)
    index, _ = library.build_index(
        vectors, metric_type="ip", save_on_disk=False, nb_cores=threads, verbose=40
    )
    return _of_faiss(faiss, index, "", lambda value: None, (0,))


SYSTEMS: dict[str, Build] = {
    "exact": exact,
    "faiss HNSW": faiss_hnsw,
    "faiss IVF": faiss_ivf,
    "hnswlib": hnswlib,
    "usearch": usearch,
    "voyager": voyager,
    "scann": scann,
    "autofaiss": autofaiss,
}
