"""Training data as arrays: numbered queries and documents, and the pairs among them.

In: documents, queries, qrels and a vocabulary. Out: a `TrainingSet`. A long document is split into passages,
which are what the tower reads; one passage of a relevant document is the positive (see `positives`). Each
passage also has pseudo-queries (see `pseudo_queries`). When a passage is paired with one of them, the words
of that pseudo-query are removed from the passage. Knows nothing of batches, towers or losses.

No array of a training set holds a Python object for each text or pair, so that files can hold them (see
`mapping`).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, compress, islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.documents.store import Document
from index.errors import InputError
from retrieval.data.queries import Judgements
from retrieval.data.streamed import values_of
from retrieval.indexing.passages import split_document
from retrieval.text.vocabulary import Lexicon, Ragged, Vocabulary, ragged
from retrieval.text.words import document_text
from retrieval.training.examples.abbreviations import Abbreviations
from retrieval.training.examples.pseudo_queries import pseudo_queries
from retrieval.training.examples.rows import RowsOfIds

# Queries whose judgements are Python objects at once.
_QUERIES_AT_ONCE = 8192


@dataclass(frozen=True)
class TrainingSet:
    """Tokenised texts and the pairs among them: the judged pairs first, then those of the pseudo-queries."""

    documents: Ragged  # the passages: word ids, which are rows of `features`
    owners: NDArray[np.int64]  # (passages,): the document of each passage, ascending
    queries: Ragged  # likewise; the judged queries first, then the pseudo-queries
    features: Ragged  # feature ids of each word
    pairs: NDArray[np.int64]  # (pairs, 2): query row, passage row; pseudo-queries in order of passages
    grades: NDArray[np.float32]  # (pairs,): relevance, positive
    relevant: Ragged  # for each judged query the passages of its relevant documents
    negatives: Ragged  # for each judged query the passages of its given negatives
    removed_words: NDArray[np.int64]  # (pairs, 2): words [from, to) that the pair's passage goes without
    abbreviations: NDArray[np.int64]  # (abbreviations,): the feature of each, a whole word
    long_forms: Ragged  # for each abbreviation the feature ids of all words of its long form
    judged_pairs: int  # the number of pairs that come from the qrels


def training_set(
    documents: Iterable[Document],
    queries: Mapping[str, str],
    qrels: Judgements,
    vocabulary: Vocabulary,
    query_words: int,
    document_words: int,
    passage_words: int = 0,
) -> TrainingSet:
    """Number the texts, the pairs of the qrels and the pseudo-queries.

    The positive of a judged pair is the document's first passage.

    documents: the corpus, which is read twice.
    queries: query id to text; must hold every query of `qrels`, in its order if it is streamed.
    qrels: query id to document id to grade; a grade of 0 or less makes no pair but a given negative.
    vocabulary: the features of the words.
    query_words: how many words of a query count.
    document_words: how many words of a passage count.
    passage_words: most words of a passage; 0 to leave documents whole.
    Raises InputError if no judgement makes a pair, or if there are neither pairs nor pseudo-queries.
    """
    if qrels and not any(grade > 0 for _, grades in qrels.items() for grade in grades.values()):
        raise InputError("no query has a relevant document to learn from; add pairs to qrels/train.tsv")
    lexicon = Lexicon(vocabulary)
    texts, owners, abbreviations = _Lists(), array("q"), Abbreviations()

    def numbered() -> Iterator[str]:
        """Number the passages, and give the ids of the documents."""
        for number, document in enumerate(documents):
            abbreviations.read_definitions(document_text(document.title, document.text))
            for passage in _passages(document, document_words, passage_words):
                texts.append(lexicon.word_ids(document_text(passage.title, passage.text), document_words))
                owners.append(number)
            yield document.id

    rows_of_ids = RowsOfIds(numbered())
    owner = np.array(owners, np.int64)
    judged = _judged(qrels, rows_of_ids, owner)

    def passages_again() -> Iterator[Document]:
        for document in documents:
            abbreviations.read_spellings(document_text(document.title, document.text))
            yield from _passages(document, document_words, passage_words)

    pseudo = _pseudo(passages_again(), texts, lexicon, query_words)
    if not len(judged.pairs) and not len(pseudo.words):
        raise InputError(
            "no document has a title or sentence to learn from; add pairs: to qrels/train.tsv, or give a "
            "table with a query and its document in each row"
        )
    asked = _Lists()
    for text in values_of(queries, compress(qrels, judged.answered)):
        asked.append(lexicon.word_ids(text, query_words))
    asked.extend(pseudo.words)
    rows = np.arange(len(judged.relevant), len(asked))
    pairs = np.concatenate((judged.pairs, np.stack((rows, np.array(pseudo.passages, np.int64)), axis=1)))
    removed = np.array(pseudo.removed, np.int64).reshape(-1, 2)
    spelt_out = _long_forms(abbreviations, vocabulary)
    return TrainingSet(
        documents=texts.ragged(),
        owners=owner,
        queries=asked.ragged(),
        features=lexicon.features(),
        pairs=pairs,
        grades=np.concatenate((judged.grades, np.ones(len(rows), np.float32))),
        relevant=judged.relevant.ragged(),
        negatives=judged.negatives.ragged(),
        removed_words=np.concatenate((np.zeros((len(judged.pairs), 2), np.int64), removed)),
        abbreviations=np.array(list(spelt_out), np.int64),
        long_forms=ragged(list(spelt_out.values())),
        judged_pairs=len(judged.pairs),
    )


class _Lists:
    """Lists of ids that become a ragged array; an id takes four bytes."""

    def __init__(self) -> None:
        self._values, self._ends = array("i"), array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> list[int]:
        return self._values[self._ends[row] : self._ends[row + 1]].tolist()

    def append(self, ids: Iterable[int]) -> None:
        self._values.extend(ids)
        self._ends.append(len(self._values))

    def extend(self, others: _Lists) -> None:
        for row in range(len(others)):
            self.append(others[row])

    def ragged(self) -> Ragged:
        return Ragged(np.array(self._values, np.int32), np.array(self._ends, np.int64))


class _Judged(NamedTuple):
    """The pairs of the qrels; further fields are those of `TrainingSet`, for judged queries alone."""

    answered: bytearray  # for each query of the qrels whether it has a relevant document
    pairs: NDArray[np.int64]
    grades: NDArray[np.float32]
    relevant: _Lists
    negatives: _Lists


class _Pseudo(NamedTuple):
    """The pseudo-queries: their words, the passage of each, and the words [from, to) that it goes without."""

    words: _Lists
    passages: array[int]
    removed: array[int]  # from, to, from, to


def _judged(qrels: Judgements, rows: RowsOfIds, owners: NDArray[np.int64]) -> _Judged:
    """The pairs of the qrels.

    qrels: query id to document id to grade.
    rows: the numbers of the documents.
    owners: int64 (passages,), the document of each passage.
    """
    # Passages of document i are starts[i] to starts[i + 1].
    starts = array("q", np.append(np.flatnonzero(np.diff(owners, prepend=-1)), len(owners)).tobytes())

    def passages(documents: Iterable[int]) -> Iterator[int]:
        return chain.from_iterable(range(starts[number], starts[number + 1]) for number in documents)

    pairs, grades = array("q"), array("f")
    relevant, negatives = _Lists(), _Lists()
    answered = bytearray()
    stream = (judgements for _, judgements in qrels.items())
    while some := list(islice(stream, _QUERIES_AT_ONCE)):
        numbers = iter(rows.of(list(chain.from_iterable(some))).tolist())
        for judgements in some:
            graded = list(zip(judgements.values(), numbers, strict=False))
            good = [number for grade, number in graded if grade > 0]
            answered.append(bool(good))
            if good:
                pairs.extend(chain.from_iterable((len(relevant), starts[number]) for number in good))
                grades.extend(grade for grade, _ in graded if grade > 0)
                relevant.append(passages(good))
                negatives.append(passages(number for grade, number in graded if grade <= 0))
    numbered = np.array(pairs, np.int64).reshape(-1, 2)
    return _Judged(answered, numbered, np.array(grades, np.float32), relevant, negatives)


def _pseudo(passages: Iterable[Document], texts: _Lists, lexicon: Lexicon, query_words: int) -> _Pseudo:
    """The pseudo-queries of passages.

    passages: all passages.
    texts: the words of each.
    lexicon: that numbered the words.
    query_words: how many words of a query count.
    """
    pseudo = _Pseudo(_Lists(), array("q"), array("q"))
    for row, passage in enumerate(passages):
        for query in pseudo_queries(passage, texts[row], lexicon):
            pseudo.words.append(query.words[:query_words])
            pseudo.passages.append(row)
            pseudo.removed.extend((query.start, query.end))
    return pseudo


def _long_forms(abbreviations: Abbreviations, vocabulary: Vocabulary) -> dict[int, list[int]]:
    """The feature of each abbreviation in the vocabulary, and the features of the words of its long form."""
    found = abbreviations.long_forms()
    features = vocabulary.table.ids_of_words(list(found)).tolist() if found else []
    return {
        feature: vocabulary.features_of(long).values.tolist()
        for feature, long in zip(features, found.values(), strict=True)
        if feature >= 0
    }


def _passages(document: Document, document_words: int, passage_words: int) -> list[Document]:
    """The passages of a document as documents; parameters as for `training_set`."""
    split = split_document(document, document_words, passage_words)
    if len(split.spans) == 1:
        return [document]
    return [document._replace(title="", text=text) for text in split.texts()]
