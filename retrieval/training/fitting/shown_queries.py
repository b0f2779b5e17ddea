"""Which documents of the dev index have known queries, so that re-scoring learns what these are worth.

In: the training and dev judgements, and the documents that the dev queries are ranked against. Out: for some
documents the queries that an index would store with them.

Two things must not be learned from dev. The first is that having known queries speaks for a document, or
against it: in a data set that is split by subject, no document of dev has any. The second is that every
document has some: a served index gets new ones, and re-scoring ranked these too low. So the queries of some
documents are hidden, by chance, until relevant and other documents show theirs equally often, and at most
`MOST_SHOWN` of either.
"""

from __future__ import annotations

import numpy as np

from retrieval.data.known_queries import known_queries
from retrieval.training.dataset import TrainingData

# Share of the documents that show their queries.
MOST_SHOWN = 0.5
# Dev can tell what known queries are worth where so many of the documents that are relevant for its queries
# have some, or at least so many documents and this share of how often others have some. In a data set that is
# split by subject others have them far more often.
LEAST_KNOWN = 0.5
FEWEST_KNOWN = 20


def shown_queries(dataset: TrainingData, seed: int) -> dict[str, tuple[str, ...]]:
    """Known queries by document id; none at all if the dev queries cannot tell what they are worth.

    dataset: of `TrainingData.for_dev`.
    seed: of what is hidden.
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
