"""From a data set to the numbers that training works on.

In: the texts and judgements of a data set; on request the vocabulary to keep, and a teacher. Out: `Numbered`.
Knows nothing of how a model is trained.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator

import numpy as np

from retrieval.data.streamed import values_of
from retrieval.indexing.passages import passage_words_of
from retrieval.model.config import ModelConfig
from retrieval.text.vocabulary import Vocabulary, learn_vocabulary
from retrieval.text.words import document_text
from retrieval.training.distillation import TeacherVectors
from retrieval.training.examples.batches import what_hinders_learning
from retrieval.training.examples.dataset import TrainingData
from retrieval.training.examples.numbered import Numbered
from retrieval.training.examples.training_set import TrainingSet, training_set

# This many of the most frequent words get a row of their own.
_WHOLE_WORDS = 20_000


def number_dataset(
    dataset: TrainingData,
    config: ModelConfig,
    vocabulary: Vocabulary | None,
    settings: bytes,
    teacher: Callable[[], TeacherVectors] | None,
    warn: Callable[[str], None],
) -> Numbered:
    """Number a data set. Raises InputError, and what the teacher raises.

    dataset: the data set.
    config: the model's configuration.
    vocabulary: that of the model to start from, or None.
    settings: what else decides the outcome of the training.
    teacher: gives the teacher's vectors of the texts; None without a teacher.
    warn: called with what hinders learning, if something does.
    """
    vocabulary, data = vocabulary_and_training_set(dataset, config, vocabulary)
    problem = what_hinders_learning(data)
    if problem:
        warn(problem)
    vectors = teacher() if teacher else None
    fingerprint = _fingerprint(settings, data, dataset, vectors)
    return Numbered(vocabulary, data, vectors and _by_rows(vectors, data), len(dataset.dev), fingerprint)


def vocabulary_and_training_set(
    dataset: TrainingData, config: ModelConfig, vocabulary: Vocabulary | None = None
) -> tuple[Vocabulary, TrainingSet]:
    """The vocabulary, and the training set numbered by it.

    dataset: what to train on.
    config: the model's configuration.
    vocabulary: that of the model to start from; None to learn one of the training texts.
    Raises InputError.
    """
    vocabulary = vocabulary or learn_vocabulary(
        _training_texts(dataset),
        max_words=_WHOLE_WORDS if config.whole_words else 0,
    )
    return vocabulary, training_set(
        dataset.documents,
        dataset.queries,
        dataset.train,
        vocabulary,
        config.query_words,
        config.document_words,
        passage_words=passage_words_of(config),
    )


def _training_texts(dataset: TrainingData) -> Iterator[str]:
    yield from (document_text(document.title, document.text) for document in dataset.documents)
    yield from values_of(dataset.queries, dataset.train)


def _by_rows(vectors: TeacherVectors, data: TrainingSet) -> TeacherVectors:
    """The teacher's vectors by rows of the training set. All parts of a document have its vector."""
    documents = vectors.documents[data.owners]
    passages = data.pairs[data.judged_pairs :, 1]
    return TeacherVectors(documents, np.concatenate((vectors.queries, documents[passages])))


def _fingerprint(
    settings: bytes, data: TrainingSet, dataset: TrainingData, teacher: TeacherVectors | None
) -> str:
    """A digest of all that decides the outcome of a training."""
    dev = [dataset.dev, [dataset.queries[query_id] for query_id in dataset.dev]]
    digest = hashlib.sha256(settings + json.dumps(dev, sort_keys=True).encode())
    vectors = () if teacher is None else (teacher.queries, teacher.documents)
    lists = (data.documents, data.queries, data.features, data.negatives, data.long_forms)
    arrays = [array for texts in lists for array in (texts.values, texts.offsets)]
    for array in (data.pairs, data.grades, data.removed_words, data.abbreviations, *vectors, *arrays):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
