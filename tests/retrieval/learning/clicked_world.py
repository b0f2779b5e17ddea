"""Logs of what people, and others, clicked in a small index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from index.dense.tuning import Goal
from retrieval.data.clicks.recorded import Clicked, Shown, encode
from retrieval.indexing.build import build
from retrieval.model.config import ModelConfig

TOPICS = 16
QUERIES_A_TOPIC = 20
SESSIONS = 6
SHOWN = 8

# From the ranks of the results, from 1, and whether each is relevant, to chances of a click.
Behaviour = Callable[[np.ndarray, np.ndarray], np.ndarray]


def people(ranks: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    return np.where(relevant, 1.0, 0.05) * ranks**-0.5


def at_random(ranks: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    return np.full(len(ranks), 0.2)


def at_random_from_above(ranks: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    return 0.8 / ranks


def the_last(ranks: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    return (ranks == len(ranks)).astype(float)


@dataclass(frozen=True)
class World:
    """An index of a document a topic, and queries that share no word with them: query text to document id."""

    index: Path
    corpus: Path
    relevant: dict[str, str]

    def record(self, log: Path, behaviour: Behaviour, seed: int = 0) -> Path:
        """Show documents in random order for every query, and write down what was shown and clicked."""
        random = np.random.default_rng(seed)
        with log.open("ab") as file:
            for query, wanted in self.relevant.items():
                for _ in range(SESSIONS):
                    others = [f"d{n}" for n in range(TOPICS) if f"d{n}" != wanted]
                    shown = [wanted, *random.permutation(others)[: SHOWN - 1].tolist()]
                    shown = random.permutation(shown).tolist()
                    relevant = np.array([document == wanted for document in shown])
                    chances = behaviour(np.arange(1, SHOWN + 1), relevant)
                    clicked = np.flatnonzero(random.random(SHOWN) < chances).tolist()
                    time, search = "2026-11-28T12:00:00Z", random.bytes(8).hex()
                    file.write(encode(Shown(time, search, query, "hybrid", 0, tuple(shown))))
                    for place in clicked:
                        file.write(encode(Clicked(time, search, shown[place], place + 1)))
        return log


def make_world(folder: Path, random_model: Callable[..., Any], write_beir: Callable[..., Path]) -> World:
    """An index with exact search by a model of random weights. The arguments are fixtures."""
    documents = {f"d{n}": f"answer{n} answers{n}" for n in range(TOPICS)}
    relevant = {f"question{n} detail{m}": f"d{n}" for n in range(TOPICS) for m in range(QUERIES_A_TOPIC)}
    config = ModelConfig("bag", 16, 4, 16, query_words=8, document_words=8)
    random_model(config, texts=[*documents.values(), *relevant]).save(folder / "model")
    corpus = write_beir(folder / "data", documents, {}, {}) / "corpus.jsonl"
    build(corpus, folder / "model", folder / "index", goal=Goal(recall=1))
    return World(folder / "index", corpus, relevant)
