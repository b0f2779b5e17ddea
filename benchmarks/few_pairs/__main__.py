"""How good is search with few training pairs? nDCG@10 on test over the number of pairs.

    python -m benchmarks.few_pairs DATA... [--pairs 0 100 500 2000] [--draws 3] [--all FOLDER] [--work FOLDER]

DATA are BEIR folders. For every number of pairs so many of the training pairs are drawn at random, `--draws`
times (one number, or one for each number of pairs), and a model is trained on them by the defaults of
`peephole train`, which holds a tenth of their queries out as dev queries. With `--all` FOLDER/SET.model is
the model of all pairs of a set. Measured are BM25 alone, dense search, both fused, and the final ranking,
which is re-scored, on the test queries. Re-scoring starts from weights that other sets taught
(`benchmarks.few_pairs.prior`); those of the set at hand are left out. In `--work` data sets and models are
kept, and those that are there are used again. Writes benchmarks/results/few-pairs.json, where sets that are
not measured stay as they are, and docs/images/few-pairs.svg.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, aligned, parser_of, write_result
from benchmarks.few_pairs.draws import few_pairs, trained
from benchmarks.few_pairs.picture import draw
from benchmarks.towers import MEASURE, test_scores
from retrieval.evaluation.provenance import machine
from retrieval.model.folder import read_model

RANKINGS = ("dense", "fused", "final")


def measured(data: Path, model: Path, few: Path | None = None) -> dict[str, Any]:
    """Mean nDCG@10 of each ranking, and how the final one scores. few: the data set that was trained on."""
    rescorer = read_model(model).rescorer()
    kind = "fusion" if rescorer is None else "weighted sum" if rescorer.is_linear else "network"
    scores = {
        name: round(run.mean(MEASURE), 4) for name, run in test_scores(data, model, trained_on=few).items()
    }
    return {"final ranking by": kind, **scores}


def curve(data: Path, pairs: Mapping[int, int], everything: Path | None, work: Path) -> list[dict[str, Any]]:
    """A row for each number of pairs.

    data: the data set.
    pairs: how many draws there are of each number of pairs; without pairs there is nothing to draw.
    everything: the folder of the models of all pairs, or None.
    work: the folder of data sets and models.
    """
    rows = []
    for count, draws in pairs.items():
        found = []
        for seed in range(draws if count else 1):
            model = trained(data, count, seed, work)
            found.append(measured(data, model, few_pairs(data, count, seed, work)))
            print(f"  {data.name}, {count} pairs, draw {seed}: {found[-1]}", flush=True)
        rows.append({"pairs": count, "draws": found, **means(found)})
    if everything is not None:
        found = [measured(data, everything / f"{data.name}.model")]
        rows.append({"pairs": "all", "draws": found, **means(found)})
    return rows


def means(draws: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The mean of each ranking over the draws."""
    return {name: round(statistics.mean(each[name] for each in draws), 4) for name in ("BM25", *RANKINGS)}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as lines: the mean, and the lowest and highest draw."""

    def cell(row: Mapping[str, Any], name: str) -> str:
        values = [each[name] for each in row["draws"]]
        spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
        return f"{row[name]:.3f}{spread}"

    names = ("BM25", *RANKINGS)
    return aligned([("pairs", *names), *((str(r["pairs"]), *(cell(r, n) for n in names)) for r in rows)])


def about(data: Path, pairs: Mapping[int, int], everything: bool) -> dict[str, str]:
    """Where, when and by which command a set was measured."""
    counts, draws = (" ".join(map(str, numbers)) for numbers in (pairs, pairs.values()))
    command = f"python -m benchmarks.few_pairs {data.name} --pairs {counts} --draws {draws}"
    return {
        "machine": machine(),
        "date": datetime.now(UTC).date().isoformat(),
        "command": command + " --all FOLDER" * everything,
    }


def main() -> None:
    """Measure, print, draw and write the result."""
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--pairs", type=int, nargs="+", default=[0, 100, 500, 2000])
    parser.add_argument("--draws", type=int, nargs="+", default=[3])
    parser.add_argument("--all", type=Path)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    draws = options.draws * (len(options.pairs) if len(options.draws) == 1 else 1)
    pairs = dict(zip(options.pairs, draws, strict=True))
    result = RESULTS / "few-pairs.json"
    sets = json.loads(result.read_bytes())["sets"] if result.exists() else {}
    with tempfile.TemporaryDirectory() as temporary:
        for data in options.data:
            work = options.work or Path(temporary)
            rows = curve(data, pairs, options.all, work)
            print(f"{data.name}\n{table(rows)}", flush=True)
            sets[data.name] = about(data, pairs, options.all is not None) | {"rows": rows}
    write_result(result, {"measure": MEASURE, "split": "test", "sets": sets})
    draw(sets)


if __name__ == "__main__":
    main()
