"""Logs of what people, and others, clicked in a small index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retrieval.data.clicks.recorded import Clicked, Shown, encode

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
