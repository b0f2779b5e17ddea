"""Chooses the documents of the dev index that have known queries, so that re-scoring learns their worth.

In: the training and dev judgements, and the documents that the dev queries are ranked against. Out: for some
documents the queries that an index would store with them.

Re-scoring must not learn two things from dev. First, that a document is better, or worse, because it has
known queries: in a data set that is split by subject, no document of dev has any. Second, that every document
has some: a served index gets new documents without any, and re-scoring ranked these too low. So the queries
of some documents are hidden at random, until relevant and other documents show them equally often, and at
most a share of `MOST_SHOWN` does.
"""

from __future__ import annotations

import numpy as np

from retrieval.data.known_queries import known_queries
from retrieval.training.examples.dataset import TrainingData

# Share of the documents that show their queries.
MOST_SHOWN = 0.5
# Dev shows what known queries are worth if this share of its relevant documents have some. It is also enough
# if `FEWEST_KNOWN` of them have some, and this share of how often other documents have some. In a data set
# that is split by subject, other documents have them far more often.
LEAST_KNOWN = 0.5
FEWEST_KNOWN = 20


def shown_queries(dataset: TrainingData, seed: int) -> dict[str, tuple[str, ...]]:
    """Known queries by document id; none at all if the dev queries cannot tell what they are worth.

    dataset: of `TrainingData.for_dev`.
    seed: decides which documents hide their queries.
    """
    known = known_queries(dataset.train, dataset.queries)
    graded = (pair for grades in dataset.dev.values() for pair in grades.items())
    relevant = {document for document, grade in graded if grade > 0}
    others = {document.id for document in dataset.documents} - relevant
    of_relevant, of_others = (len(known.keys() & part) / max(1, len(part)) for part in (relevant, others))
    least = LEAST_KNOWN * (of_others if len(known.keys() & relevant) >= FEWEST_KNOWN else 1)
    if of_relevant < least:
        return {}
    share = min(MOST_SHOWN, of_relevant, of_others or 1)
    drawn = np.random.default_rng(seed).random(len(known))
    return {
        document: known[document]
        for document, number in zip(sorted(known), drawn.tolist(), strict=True)
        if number * (of_relevant if document in relevant else of_others) < share
    }
