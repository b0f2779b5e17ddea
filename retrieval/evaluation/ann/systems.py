"""Nearest-neighbour libraries behind one interface.

In: unit vectors and queries, float32 (n, d). Out: a `BuiltIndex`, which finds the rows of the k best by inner
product. A system that is not installed raises ImportError when it is built. No system is tuned more than
another: parameters of the build are the library's defaults or those of its documentation's first example; the
parameters of the search that trade recall for speed are swept.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]

_EFFORTS = (10, 20, 40, 80, 160, 320, 640, 1280, 2560)
_PROBES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
# Candidates a result that are scored again.
_FACTORS = (2, 4, 8, 16, 32, 64, 128)
_FACTORS_WITH_PROBES = (4, 16, 64)
# The target recalls that an index is built for, the default one first.
_TARGETS = (0.99, 0.9, 0.95, 0.999)
# Bytes of vectors that an index may keep in memory, as `serve` has it; it compiles its loops too.
_KEPT_BYTES = 64 << 20
_DOCUMENTS_AT_ONCE = 1 << 14


def _no_parameter(value: float | str) -> None:
    """Do nothing: the search has no parameter."""


@dataclass(frozen=True)
class BuiltIndex:
    """An index that is ready to search."""

    search: Callable[[Vectors, int], NDArray[Any]]  # queries (n, d) and k to rows (n, k), best first
    save: Callable[[Path], None]  # writes the index to a path
    parameter: str = ""  # the search parameter that trades recall for speed; empty for none
    set_parameter: Callable[[Any], None] = _no_parameter
    values: Sequence[float | str] = ("",)  # the values to measure; texts that name several parameters


Build: TypeAlias = Callable[[Vectors, int], BuiltIndex]  # from vectors and number of threads


def opened(folder: Path) -> BuiltIndex:
    """An index folder with its stored settings, searched as `peephole serve` does it."""
    from index.reader import Index

    index = Index.open(folder)
    index.keep_vectors(_KEPT_BYTES)
    live = index.vector_numbers()
    return BuiltIndex(
        search=lambda queries, k: np.searchsorted(live, index.search_vectors(queries, k).rows),
        save=lambda path: None,
    )


def peephole(vectors: Vectors, threads: int) -> BuiltIndex:
    """An index of this library, built again for each target recall.

    It takes as many threads as the process may use cores.
    """
    place = tempfile.TemporaryDirectory()  # removed with the last of the functions below

    def made(target: float) -> BuiltIndex:
        _build(Path(place.name) / "index", vectors, target)
        return opened(Path(place.name) / "index")

    now = made(_TARGETS[0])

    def set_parameter(target: float) -> None:
        nonlocal now
        now = made(target)

    def save(path: Path) -> None:
        path.mkdir()
        for file in Path(place.name).glob("index/*/*/*.faiss"):
            shutil.copy(file, path)

    def search(queries: Vectors, k: int) -> NDArray[Any]:
        return now.search(queries, k)

    return BuiltIndex(search, save, "target-recall", set_parameter, _TARGETS)


def _build(folder: Path, vectors: Vectors, target: float) -> None:
    """Publish an index of vectors, of documents without text."""
    from index.dense.tuning import Goal
    from index.documents.store import Document
    from index.writing.builder import IndexBuilder

    model = folder.with_name("model")
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text("{}", encoding="utf-8")
    dimension = vectors.shape[1]
    goal = Goal(target)
    with IndexBuilder.begin(folder, model=model, dimension=dimension, source="vectors", goal=goal) as builder:
        for start in range(0, len(vectors), _DOCUMENTS_AT_ONCE):
            block = vectors[start : start + _DOCUMENTS_AT_ONCE]
            builder.append([Document(str(start + number)) for number in range(len(block))], block)
        builder.publish()


def exact(vectors: Vectors, threads: int) -> BuiltIndex:
    """Exact search by FAISS."""
    faiss = _faiss(threads)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return _of_faiss(faiss, index)


def faiss_hnsw(vectors: Vectors, threads: int) -> BuiltIndex:
    """FAISS HNSW with 32 links and the default construction."""
    faiss = _faiss(threads)
    index = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.add(vectors)
    return _of_faiss(faiss, index, "efSearch", lambda v: setattr(index.hnsw, "efSearch", v), _EFFORTS)


def faiss_ivf(vectors: Vectors, threads: int) -> BuiltIndex:
    """FAISS IVF,Flat with 4 sqrt(n) lists, or fewer so that each has 39 vectors on average."""
    faiss = _faiss(threads)
    lists = _lists(len(vectors))
    index = faiss.index_factory(vectors.shape[1], f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    return _of_faiss(faiss, index, "nprobe", lambda v: setattr(index, "nprobe", v), _probes(lists))


def faiss_pq(vectors: Vectors, threads: int) -> BuiltIndex:
    """FAISS's fast scan of product-quantised vectors, two dimensions a part, the best ones scored again."""
    return _refined(vectors, threads, _pq(vectors.shape[1]))


def faiss_ivf_pq(vectors: Vectors, threads: int) -> BuiltIndex:
    """`faiss_pq` in the lists of `faiss_ivf`."""
    lists = _lists(len(vectors))
    return _refined(vectors, threads, f"IVF{lists},{_pq(vectors.shape[1])}", lists)


def faiss_rabitq(vectors: Vectors, threads: int) -> BuiltIndex:
    """FAISS's fast scan of RaBitQ codes (Gao and Long 2024), a bit a dimension; the best are scored again."""
    return _refined(vectors, threads, "RR,RaBitQfs")


def faiss_ivf_rabitq(vectors: Vectors, threads: int) -> BuiltIndex:
    """`faiss_rabitq` in the lists of `faiss_ivf`."""
    lists = _lists(len(vectors))
    return _refined(vectors, threads, f"RR,IVF{lists},RaBitQfs", lists)


def _refined(vectors: Vectors, threads: int, codes: str, lists: int = 0) -> BuiltIndex:
    """An index of codes whose candidates are scored again in half precision.

    vectors: what it holds.
    threads: how many it may use.
    codes: as `faiss.index_factory` names them; a FAISS that does not know them is one without them.
    lists: of which a search reads some; 0 for none.
    """
    faiss = _faiss(threads)
    try:
        index = faiss.index_factory(vectors.shape[1], f"{codes},Refine(SQfp16)", faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise ImportError(f"FAISS {faiss.__version__} has no {codes}") from error
    index.train(vectors)
    index.add(vectors)
    values = [f"k_factor_rf={factor}" for factor in _FACTORS]
    if lists:
        values = [
            f"nprobe={probes},k_factor_rf={factor}"
            for probes in _probes(lists)
            for factor in _FACTORS_WITH_PROBES
        ]
    space = faiss.ParameterSpace()
    return _of_faiss(faiss, index, "", lambda value: space.set_index_parameters(index, value), values)


def _lists(count: int) -> int:
    return max(1, min(int(4 * math.sqrt(count)), count // 39))


def _probes(lists: int) -> list[int]:
    """How many of the lists to search. The last number is all of them, for a recall near 1."""
    return [*(value for value in _PROBES if value < lists), lists]


def _pq(dimension: int) -> str:
    return f"PQ{dimension // 2 if dimension % 2 == 0 else dimension}x4fs"


def _faiss(threads: int) -> Any:
    faiss: Any = import_module("faiss")
    faiss.omp_set_num_threads(threads)
    return faiss


def _of_faiss(
    faiss: Any,
    index: Any,
    parameter: str = "",
    set_parameter: Callable[[Any], None] = _no_parameter,
    values: Sequence[float | str] = ("",),
) -> BuiltIndex:
    return BuiltIndex(
        lambda queries, k: np.asarray(index.search(queries, k)[1]),
        lambda path: faiss.write_index(index, str(path)),
        parameter,
        set_parameter,
        values,
    )


def hnswlib(vectors: Vectors, threads: int) -> BuiltIndex:
    """Hnswlib with M 16 and ef_construction 200, as in its README."""
    library: Any = import_module("hnswlib")
    index = library.Index(space="ip", dim=vectors.shape[1])
    index.init_index(max_elements=len(vectors), ef_construction=200, M=16)
    index.set_num_threads(threads)
    index.add_items(vectors, np.arange(len(vectors)))
    return BuiltIndex(
        lambda queries, k: np.asarray(index.knn_query(queries, k=k)[0]),
        lambda path: index.save_index(str(path)),
        "ef",
        index.set_ef,
        _EFFORTS,
    )


def usearch(vectors: Vectors, threads: int) -> BuiltIndex:
    """USearch with float32 vectors and its defaults."""
    library: Any = import_module("usearch.index")
    index = library.Index(ndim=vectors.shape[1], metric="ip", dtype="f32")
    index.add(np.arange(len(vectors)), vectors, threads=threads)

    def search(queries: Vectors, k: int) -> NDArray[Any]:
        keys = np.asarray(index.search(queries, k, threads=threads).keys).astype(np.int64)
        return keys.reshape(len(queries), -1)

    def set_parameter(value: int) -> None:
        index.expansion_search = value

    return BuiltIndex(search, lambda path: index.save(str(path)), "expansion_search", set_parameter, _EFFORTS)


def voyager(vectors: Vectors, threads: int) -> BuiltIndex:
    """Voyager with its defaults."""
    library: Any = import_module("voyager")
    index = library.Index(library.Space.InnerProduct, num_dimensions=vectors.shape[1])
    index.add_items(vectors, num_threads=threads)
    effort = _EFFORTS[0]

    def search(queries: Vectors, k: int) -> NDArray[Any]:
        return np.asarray(index.query(queries, k, num_threads=threads, query_ef=effort)[0])

    def set_parameter(value: int) -> None:
        nonlocal effort
        effort = value

    return BuiltIndex(search, lambda path: index.save(str(path)), "query_ef", set_parameter, _EFFORTS)


def scann(vectors: Vectors, threads: int) -> BuiltIndex:
    """ScaNN as in its example: sqrt(n) leaves, asymmetric hashing, 100 candidates reordered."""
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
    searched = 1

    def search(queries: Vectors, k: int) -> NDArray[Any]:
        if len(queries) == 1:
            rows = searcher.search(queries[0], final_num_neighbors=k, leaves_to_search=searched)[0]
            return np.asarray(rows)[None]
        call = searcher.search_batched if threads == 1 else searcher.search_batched_parallel
        return np.asarray(call(queries, final_num_neighbors=k, leaves_to_search=searched)[0])

    def set_parameter(value: int) -> None:
        nonlocal searched
        searched = value

    def save(path: Path) -> None:
        path.mkdir()
        searcher.serialize(str(path))

    return BuiltIndex(search, save, "leaves_to_search", set_parameter, _probes(leaves))


def autofaiss(vectors: Vectors, threads: int) -> BuiltIndex:
    """The FAISS index that autofaiss chooses, with the search parameter that it chooses."""
    library: Any = import_module("autofaiss")
    faiss = _faiss(threads)
    index, _ = library.build_index(
        vectors, metric_type="ip", save_on_disk=False, nb_cores=threads, verbose=40
    )
    return _of_faiss(faiss, index)


SYSTEMS: dict[str, Build] = {
    "peephole": peephole,
    "exact": exact,
    "faiss HNSW": faiss_hnsw,
    "faiss IVF": faiss_ivf,
    "faiss PQ": faiss_pq,
    "faiss IVF PQ": faiss_ivf_pq,
    "faiss RaBitQ": faiss_rabitq,
    "faiss IVF RaBitQ": faiss_ivf_rabitq,
    "hnswlib": hnswlib,
    "usearch": usearch,
    "voyager": voyager,
    "scann": scann,
    "autofaiss": autofaiss,
}
