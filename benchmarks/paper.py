"""Palangi 2014's table beside ours: the same rows, their order and their relative gains.

    python -m benchmarks.paper DATA... [--rows DSSM CNN-DSSM LSTM-DSSM] [--seed 0] [--models FOLDER]

DATA are BEIR folders. Each row is trained as by `peephole train --tower ... --paper`: the forms of the papers
with our recipe. With --models the trained models stay in a folder, as in `benchmarks.towers`, and those that
are there already are measured and not trained. Prints both tables and writes
benchmarks/results/paper-SET.json.

What differs, so that only order and relative gain compare:
- theirs is NDCG of five human grades over about 65 judged web documents a query, from 200,000 Bing clicks;
  ours ranks the whole corpus, nearly always with one right document, so a value cannot be set beside theirs;
- theirs were trained with 4 random negatives and plain gradient steps, ours by `peephole train`'s recipe;
- theirs start from random weights and read trigrams; ours start as sums of word rows weighted by inverse
  document frequency, which both towers share;
- the RNN row is theirs only: this project has no such tower;
- PLSA is left out.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, parser_of, write_result
from benchmarks.towers import test_scores, train_tower
from retrieval.evaluation.measures import RunMeasures
from retrieval.evaluation.provenance import provenance
from retrieval.evaluation.significance import holm, paired_test
from retrieval.model.folder import FILES

MEASURES = ("nDCG@1", "nDCG@3", "nDCG@10")

# NDCG@1, @3, @10 of table 1 (arXiv 1412.6629), in percent.
PAPER: dict[str, tuple[float, float, float]] = {
    "BM25": (30.5, 32.8, 38.8),
    "DSSM": (31.0, 34.4, 41.7),
    "CNN-DSSM": (31.8, 35.1, 42.6),
    "RNN": (31.7, 35.0, 42.3),
    "LSTM-DSSM": (33.1, 36.5, 43.6),
}
TOWERS = {"DSSM": "dnn-paper", "CNN-DSSM": "cnn-paper", "LSTM-DSSM": "lstm-paper"}


def trained_rows(
    data: Path, rows: Sequence[str], seed: int, models: Path
) -> tuple[dict[str, Any], dict[str, RunMeasures]]:
    """Facts of each training and test scores of each row, BM25 first."""
    facts: dict[str, Any] = {}
    scores: dict[str, RunMeasures] = {}
    for row in rows:
        model = models / f"{data.name}-{TOWERS[row]}-{seed}"
        train_tower(TOWERS[row], data, seed, None, model)
        trained = json.loads((model / FILES.training).read_text())
        facts[row] = {key: trained[key] for key in ("parameters", "seconds", "best_epoch")}
        facts[row]["dev"] = trained["dev"][MEASURES[2]]
        found = test_scores(data, model, MEASURES)
        scores |= {"BM25": found["BM25"], row: found["dense"]}
        print(f"{data.name}: {row} {facts[row]}", file=sys.stderr, flush=True)
    return facts, scores


def gain(values: Mapping[str, Sequence[float]], row: str, column: int) -> float:
    """Relative gain over BM25 in percent."""
    return 100 * (values[row][column] / values["BM25"][column] - 1)


def print_table(name: str, ours: Mapping[str, Sequence[float]]) -> None:
    """Values, and under them what they gain over BM25: the paper's left, ours right."""
    print(f"\n{name}: NDCG in percent, and gain over BM25; the paper's | ours")
    cells = [*MEASURES, *MEASURES]
    print(f"{'':10}" + "".join(f"{cell:>16}" for cell in cells))
    for row, theirs in PAPER.items():
        parts = [f"{value:.1f} ({gain(PAPER, row, n):+.1f}%)" for n, value in enumerate(theirs)]
        if row in ours:
            parts += [f"{value:.1f} ({gain(ours, row, n):+.1f}%)" for n, value in enumerate(ours[row])]
        print(f"{row:10}" + "".join(f"{part:>16}" for part in parts))
    for title, table in (("paper", PAPER), ("ours", ours)):
        print(f"order at 10, {title}: " + " > ".join(order(table, only=ours)))


def order(values: Mapping[str, Sequence[float]], only: Mapping[str, object]) -> list[str]:
    """Rows that both tables have, best NDCG@10 first."""
    return sorted((row for row in values if row in only), key=lambda row: -values[row][2])


def tests(scores: Mapping[str, RunMeasures]) -> list[dict[str, Any]]:
    """Each row against the one before it in the paper's order, by NDCG@10, corrected."""
    rows = [row for row in ("BM25", "DSSM", "CNN-DSSM", "LSTM-DSSM") if row in scores]
    pairs = list(zip(rows[1:], rows[:-1], strict=True))
    found = [paired_test(scores[a], scores[b], MEASURES[2]) for a, b in pairs]
    corrected = holm([one.p_value for one in found])
    return [
        {"a": a, "b": b, "difference": round(one.difference, 4), "p_holm": round(p, 5)}
        for (a, b), one, p in zip(pairs, found, corrected, strict=True)
    ]


def main() -> None:
    """Train, score, print and keep."""
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--rows", nargs="+", choices=list(TOWERS), default=list(TOWERS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for data in options.data:
            compare(data, options.rows, options.seed, options.models or Path(temporary))


def compare(data: Path, rows: Sequence[str], seed: int, models: Path) -> None:
    """Both tables for one set; arguments as for `trained_rows`."""
    chosen = "" if list(rows) == list(TOWERS) else f" --rows {' '.join(rows)}"
    origin = provenance(f"python -m benchmarks.paper {data.name}{chosen} --seed {seed}")
    facts, scores = trained_rows(data, rows, seed, models)
    ours = {name: [100 * one.mean(measure) for measure in MEASURES] for name, one in scores.items()}
    print_table(data.name, ours)
    result = {
        **origin,
        "differences": (__doc__ or "").partition("What differs")[2].partition("\n")[2].strip(),
        "paper": PAPER,
        "ours": ours,
        "order": {"paper": order(PAPER, ours), "ours": order(ours, ours)},
        "training": facts,
        "tests": tests(scores),
    }
    write_result(RESULTS / f"paper-{data.name}.json", result)


if __name__ == "__main__":
    main()
