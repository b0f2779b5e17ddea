"""A small index with clicks that tell the answers to its questions, and what is wrong with it, if anything.

Knows nothing of kills.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from benchmarks.crash.world import make_model, record, run, strays
from index.disk.folder import read_current, read_manifest
from index.disk.previous import used_generations
from index.disk.verify import verify
from index.documents.store import Document
from index.reader import Index
from index.writing.delete import delete
from retrieval.data.clicks.recorded import Clicked, Shown, encode
from retrieval.indexing.build import add_documents
from retrieval.learning.learn import Settings
from retrieval.search.modes import MODES
from retrieval.search.retriever import Retriever
from retrieval.training.recipe import Recipe

DOCUMENTS = 450
TOPICS = 15
SETTINGS = Settings(Recipe(epochs=8, batch=64, learning_rate=0.03, warmup=2))
_SESSIONS = 8
_SHOWN = 6
_HITS = 5

Answers = list[list[str]]


def make(index: Path, log: Path, work: Path, generator: random.Random) -> None:
    """An index whose model knows nothing of the questions, and clicks that tell their answers."""
    topics = {f"d{n}": n % TOPICS for n in range(DOCUMENTS)}
    records = (record(name, 1, f"answer{topic}") for name, topic in topics.items())
    (work / "corpus.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    model = make_model(work / "made")
    run(["build", str(work / "corpus.jsonl"), "-m", str(model), "-o", str(index)], check=True)
    names = list(topics)
    with log.open("wb") as file:
        for name, topic in topics.items():
            for _ in range(_SESSIONS):
                others = [other for other in names if topics[other] != topic]
                shown = [name, *generator.sample(others, _SHOWN - 1)]
                generator.shuffle(shown)
                rank, search = shown.index(name) + 1, f"{generator.getrandbits(64):016x}"
                time_, query = "2026-11-28T12:00:00Z", f"question{topic} of {name[::-1]}"
                file.write(encode(Shown(time_, search, query, "hybrid", 0, tuple(shown))))
                if generator.random() < 1 / rank**0.5:
                    file.write(encode(Clicked(time_, search, name, rank)))


def change(index: Path) -> None:
    """Add and delete documents, so that there is something to encode."""
    new = (record(f"n{n}", 1) for n in range(20))
    add_documents([Document(each["_id"], each["title"], each["text"], {}) for each in new], index)
    delete(index, ["d1", "d2"])


def documents(index: Path) -> dict[str, str]:
    """The text of each document by its id, of files that are compared with their checksums."""
    with Index.open(index, checksums=True) as opened:
        return {document.id: document.text for document in opened.live_documents()}


def answers(index: Path) -> Answers:
    """The ids that dense search finds for a question of each topic; the other modes must find something."""
    questions = [f"question{topic} of {topic}d" for topic in range(TOPICS)]
    with Retriever.open(index) as retriever:
        found = {mode: retriever.search_all(questions, _HITS, mode) for mode in MODES if mode != "lexical"}
        found["lexical"] = retriever.search_all(
            [f"answer{topic}" for topic in range(TOPICS)], _HITS, "lexical"
        )
    for mode, hits in found.items():
        require(all(map(len, hits)), f"{mode} search finds nothing")
    return [[hit.id for hit in hits] for hits in found["dense"]]


def model_of(index: Path) -> str:
    """The fingerprint of the live model."""
    return read_manifest(index, read_current(index)).model_fingerprint


def left_behind(index: Path) -> list[str]:
    """What `verify` reports, and files that belong to no live or kept generation and to no refused model."""
    used = used_generations(index, read_manifest(index, read_current(index)))
    known = [f"stray: {name}" for name in (*used, ".learning/refused")]
    return verify(index) + [
        name
        for name in strays(index)
        if name not in ("stray: .learning", "stray: .learning/.lock") and not name.startswith(tuple(known))
    ]


def require(holds: bool, problem: str) -> None:
    """Exit with the problem unless it holds."""
    if not holds:
        raise SystemExit(problem)
