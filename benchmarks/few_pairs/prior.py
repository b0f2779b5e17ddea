"""The weights of features that re-scoring starts from: one fit on the dev queries of each data set.

    python -m benchmarks.few_pairs.prior DATA... [--work FOLDER]

DATA are BEIR folders. Of each a model is trained on 500 pairs, unless FOLDER has it, and a weighted sum of
the features is fitted to the whole dev split, drawn towards 0. Printed are the weights, as `PRIORS` of
`retrieval.training.fitting.linear` has them. Test queries are not looked at.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.common import parser_of
from benchmarks.few_pairs.draws import trained
from retrieval.data.dataset import Dataset
from retrieval.search.features import NAMES, OF_TITLE_AND_TEXT
from retrieval.towers.two_tower import TwoTower
from retrieval.training.examples.dataset import TrainingData, read_training_data
from retrieval.training.fitting.candidates import candidates_of
from retrieval.training.fitting.dev_index import dev_index
from retrieval.training.fitting.dev_rankings import rank_dev
from retrieval.training.fitting.linear import fit_linear

PAIRS = 500
# How strongly the weights are drawn towards 0, for each dev query. Weights that are drawn less rank their own
# set better and the others worse.
_PULL_A_QUERY = 0.3


def weights(data: Path, work: Path) -> dict[str, float]:
    """The weight of each feature, for features measured in their spread."""
    model = TwoTower.load(trained(data, PAIRS, 0, work))
    few = read_training_data(work / "data" / f"{data.name}-{PAIRS}-0")
    whole = Dataset(data)
    dataset = TrainingData(list(few.documents), whole.queries, few.train, whole.qrels("dev")).for_dev()
    with dev_index(model, dataset, work / "dev") as retriever:
        found = candidates_of(
            retriever, dataset, rank_dev(retriever, dataset), work / "dev" / "words", seed=0
        )
    queries = np.ones(len(dataset.dev), bool)
    pull = _PULL_A_QUERY * len(queries)
    names = np.array(NAMES)[OF_TITLE_AND_TEXT].tolist()
    fitted = fit_linear(found.judged, queries, found.spread, np.zeros(len(names)), pull) * found.spread
    return {name: round(float(weight), 3) for name, weight in zip(names, fitted, strict=True)}


def main() -> None:
    """Fit and print."""
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for data in options.data:
            found = weights(data, options.work or Path(temporary))
            shown = {name: weight for name, weight in found.items() if weight}
            print(f'"{data.name}": {shown},', flush=True)


if __name__ == "__main__":
    main()
