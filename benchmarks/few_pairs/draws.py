"""Data sets with few of the pairs of another one, and the models of them.

In: a BEIR folder and a number of pairs. Out: a BEIR folder with the whole corpus and a random sample of the
training pairs, and the model that `train` makes of it. There is no dev split: as for any team with so many
pairs, `train` holds out a tenth of the queries by a hash of their ids, and none of fewer than 50.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from retrieval.data.beir import Content, Mark, write_beir
from retrieval.data.dataset import Dataset
from retrieval.data.queries import Qrels
from retrieval.model.config import preset
from retrieval.model.folder import FILES
from retrieval.training.fitting import linear
from retrieval.training.recipe import Recipe
from retrieval.training.train import train


def drawn_pairs(qrels: Qrels, count: int, seed: int) -> Qrels:
    """Some of the relevant pairs; those of a smaller count are among those of a larger one."""
    pairs = [(query, document) for query, grades in qrels.items() for document in grades]
    pairs = [(query, document) for query, document in pairs if qrels[query][document] > 0]
    drawn: Qrels = {}
    for at in np.random.default_rng(seed).permutation(len(pairs))[:count].tolist():
        query, document = pairs[at]
        drawn.setdefault(query, {})[document] = qrels[query][document]
    return drawn


def few_pairs(data: Path, count: int, seed: int, work: Path) -> Path:
    """A data set with so many of the training pairs of another one, in the folder of models; made if need be.

    The parameters are those of `trained`.
    """
    folder = work / "data" / f"{data.name}-{count}-{seed}"
    if not folder.exists():
        dataset = Dataset(data)
        drawn = drawn_pairs(dataset.qrels("train"), count, seed)
        queries = {query: dataset.queries[query] for query in drawn}
        content = Content(dataset.documents(), queries, {"train": drawn} if drawn else {})
        write_beir(folder, content, Mark("few-pairs.json", "benchmarks.few_pairs"), {})
    return folder


def trained(data: Path, count: int, seed: int, work: Path, teacher: str | None = None) -> Path:
    """The model of so many pairs, which is trained unless it is there.

    Its re-scoring knows nothing of the data set but these pairs: the prior is that of the other sets.

    data: the whole data set, a BEIR folder.
    count: of pairs.
    seed: of the draw; that of the training stays.
    work: the folder of models.
    teacher: as for `train`.
    """
    name = f"{data.name}-{count}-{seed}"
    model = work / "models" / (name + "-taught" * (teacher is not None))
    if not (model / FILES.config).exists():
        few = few_pairs(data, count, seed, work)
        with prior_of([other for other in linear.PRIORS if other != data.name]):
            train(few, model, preset("lstm"), Recipe(), teacher=teacher)
    return model


@contextmanager
def prior_of(sets: Sequence[str]) -> Iterator[None]:
    """Let re-scoring start from the weights of some data sets."""
    before = linear.PRIOR
    linear.PRIOR = linear.mean_prior(sets)
    try:
        yield
    finally:
        linear.PRIOR = before
