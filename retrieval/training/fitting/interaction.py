"""Learns the short vectors of words that re-scoring compares: a projection of the towers' word rows.

In: rows of words, and for training queries a relevant document and others that hybrid search ranks high. Out:
the projection and the gate of `retrieval.model.rescoring`. A document's score is that of ColBERT (Khattab and
Zaharia 2020), from both sides:

    s(q, d) = t (sum_i a_i max_j cos(i, j) + e sum_j b_j max_i cos(i, j)),    no cosine below 0

over words i of the query and j of the document. a and b are the weights of the words, and sum to 1 in a text.
The loss is softmax cross-entropy over the candidates. The word rows do not change, because dense search needs
them as they are.
Knows nothing of indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from index.values import Progress
from retrieval.text.vocabulary import Ragged

# Width of a word's vector. 128 is hardly better and makes an index larger.
WIDTH = 64
# Candidates of a query, the relevant document among them.
CANDIDATES = 16
# Distinct words of a document, and words of a query, that training reads.
DOCUMENT_WORDS = 96
QUERY_WORDS = 24

_QUERIES_A_STEP = 32
# Parts of a step, each in a thread of its own; as many on every machine, so that a fit repeats to the bit.
_PARTS = 2
_EPOCHS = 3
_PROJECTION_RATE = 2e-3
_GATE_RATE = 2e-2
_SCALE_RATE = 1e-2


class Examples(NamedTuple):
    """Training queries with their candidates.

    rows: float32 (words, row width), of all words below.
    queries: for each query the numbers of its words.
    documents: for each document the numbers of its words.
    candidates: for each query the numbers of its documents, the relevant one first, `CANDIDATES` at most.
    """

    rows: NDArray[np.float32]
    queries: Ragged
    documents: Ragged
    candidates: Ragged


class Projection(NamedTuple):
    """What was learned, float32; see `retrieval.model.rescoring`."""

    projection: NDArray[np.float32]  # (row width, width)
    gate: NDArray[np.float32]  # (row width,)
    gate_bias: NDArray[np.float32]  # (1,)


def principal_directions(rows: NDArray[np.float32], counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """The directions of the unit rows of words, the longest first, float32 (row width, row width).

    rows: float32 (words, row width).
    counts: int64 (words,), how many documents have each word.
    """
    weighted = _units(rows) * np.sqrt(counts)[:, None]
    _, directions = np.linalg.eigh(weighted.T @ weighted)
    return np.ascontiguousarray(directions[:, ::-1], np.float32)


def learn_projection(
    examples: Examples, seed: int, progress: Progress, stop: Callable[[], bool]
) -> Projection:
    """Learn from examples, starting from the principal directions.

    The principal directions are the axes of the projection that is learned. Adam adapts its step to each
    entry by itself, so it learns less along arbitrary axes.

    examples: training queries with their candidates; without any, the result is where learning starts.
    seed: of the order of the queries.
    progress: called after each step.
    stop: called after each step; True raises KeyboardInterrupt.
    """
    counts = np.bincount(examples.documents.values, minlength=len(examples.rows))
    axes = principal_directions(examples.rows, counts)
    width = min(WIDTH, len(axes))
    model = _LateInteraction(examples.rows @ axes, np.eye(len(axes), width, dtype=np.float32))
    optimiser = torch.optim.Adam(
        [
            {"params": [model.projection], "lr": _PROJECTION_RATE},
            {"params": [model.gate, model.gate_bias], "lr": _GATE_RATE},
            {"params": [model.log_scale, model.share], "lr": _SCALE_RATE},
        ]
    )
    steps = -(-len(examples.queries) // _QUERIES_A_STEP) * _EPOCHS
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))
    rng = np.random.default_rng(seed)
    done = 0
    with ThreadPoolExecutor(_PARTS) as threads:
        for _ in range(_EPOCHS if steps else 0):
            for batch in np.array_split(rng.permutation(len(examples.queries)), steps // _EPOCHS):
                _set_gradients(model, examples, batch, threads)
                optimiser.step()
                schedule.step()
                done += 1
                progress("words", done, steps)
                if stop():
                    raise KeyboardInterrupt
    projection, gate, bias = (
        parameter.detach().numpy() for parameter in (model.projection, model.gate, model.gate_bias)
    )
    return Projection(axes @ projection, axes @ gate, bias)


def _set_gradients(
    model: _LateInteraction,
    examples: Examples,
    batch: NDArray[np.int64],
    threads: ThreadPoolExecutor,
) -> None:
    """Set the gradients of the mean loss of a batch, part by part: each part in a thread of its own."""
    parameters = list(model.parameters())

    def part_of(queries: NDArray[np.int64]) -> Sequence[Tensor]:
        return torch.autograd.grad(model(examples, queries) / len(batch), parameters)

    parts = np.array_split(batch, min(_PARTS, len(batch)))
    for parameter, gradients in zip(parameters, zip(*threads.map(part_of, parts), strict=True), strict=True):
        parameter.grad = torch.stack(gradients).sum(0)


class _LateInteraction(nn.Module):
    """The score of the module's docstring, for the words of some examples."""

    def __init__(self, rows: NDArray[np.float32], start: NDArray[np.float32]) -> None:
        super().__init__()
        self.projection = nn.Parameter(torch.from_numpy(start.copy()))
        self.gate = nn.Parameter(torch.zeros(len(start)))
        self.gate_bias = nn.Parameter(torch.zeros(1))
        self.log_scale = nn.Parameter(torch.tensor(2.5))
        self.share = nn.Parameter(torch.tensor(0.3))
        self._units = torch.from_numpy(_units(rows))
        self._lengths = torch.from_numpy(np.linalg.norm(rows, axis=1))

    def forward(self, examples: Examples, batch: NDArray[np.int64]) -> Tensor:
        """The sum of the losses of some queries."""
        candidates = examples.candidates.take(batch)
        queries = examples.queries.take(batch)
        documents = examples.documents.take(candidates.values.astype(np.int64))
        pairs = _pairs(queries, documents, candidates.lengths())
        used, (of_queries, of_documents) = _numbered(len(self._units), queries.values, documents.values)
        units = self._units[used]
        vectors = F.normalize(units @ self.projection, dim=1)
        weights = self._lengths[used] * torch.sigmoid(units @ self.gate + self.gate_bias)
        cosines = vectors[of_queries] @ vectors.t()
        found = cosines.view(-1).index_select(0, pairs.query_words * len(used) + of_documents[pairs.places])
        # Starting from 0: no cosine below counts.
        of_query = found.new_zeros(len(pairs.documents)).scatter_reduce(0, pairs.comparisons, found, "amax")
        of_document = found.new_zeros(len(of_documents)).scatter_reduce(0, pairs.places, found, "amax")
        query_shares = _shares(weights[of_queries], queries)[pairs.compared_words]
        document_shares = _shares(weights[of_documents], documents)
        scores = _sums(query_shares * of_query, pairs.documents, len(documents))
        scores = scores + self.share * _sums(
            document_shares * of_document, _owners(documents), len(documents)
        )
        table = scores.new_full((len(batch), int(candidates.lengths().max())), -torch.inf)
        present = torch.from_numpy(np.arange(table.shape[1]) < candidates.lengths()[:, None])
        table[present] = self.log_scale.exp() * scores
        return -torch.log_softmax(table, 1)[:, 0].sum()


class _Pairs(NamedTuple):
    """The words of queries, each with all words of its candidates, and with each candidate: int64 tensors.

    Words are places in the concatenated texts.

    query_words, places: (pairs,), a word of a query and one of a document.
    comparisons: (pairs,), the comparison of the word with the document that a pair belongs to.
    compared_words, documents: (comparisons,), the word and the document.
    """

    query_words: Tensor
    places: Tensor
    comparisons: Tensor
    compared_words: Tensor
    documents: Tensor


def _pairs(queries: Ragged, documents: Ragged, candidates: NDArray[np.int64]) -> _Pairs:
    """The pairs of some examples.

    queries: the words of n queries.
    documents: the words of the candidates, those of one query after those of another.
    candidates: int64 (n,), how many candidates each query has.
    """
    first = np.concatenate(([0], np.cumsum(candidates)))  # document of each query
    owners = np.repeat(np.arange(len(queries)), queries.lengths())
    compared_words, of_word = _each_in(first[owners], first[owners + 1])
    starts, stops = documents.offsets[of_word], documents.offsets[of_word + 1]
    comparisons, places = _each_in(starts, stops)
    return _Pairs(
        *map(
            torch.from_numpy,
            (compared_words[comparisons], places, comparisons, compared_words, of_word),
        )
    )


def _each_in(
    starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For several ranges, one after the other: the range of each number, and the number itself."""
    lengths = stops - starts
    ranges = np.repeat(np.arange(len(starts)), lengths)
    return ranges, np.arange(len(ranges)) + (starts - np.cumsum(lengths) + lengths)[ranges]


def _numbered(words: int, *texts: NDArray[np.int32]) -> tuple[Tensor, list[Tensor]]:
    """The distinct words of some texts, ascending, and for each place the place of its word among them.

    words: more than the largest word id.
    """
    used = np.zeros(words, bool)
    for some in texts:
        used[some] = True
    distinct = np.flatnonzero(used)
    numbers = np.empty(words, np.int64)
    numbers[distinct] = np.arange(len(distinct))
    return torch.from_numpy(distinct), [torch.from_numpy(numbers[some]) for some in texts]


def _owners(texts: Ragged) -> Tensor:
    """The text of each word, int64 (words,)."""
    return torch.from_numpy(np.repeat(np.arange(len(texts)), texts.lengths()))


def _sums(values: Tensor, owners: Tensor, count: int) -> Tensor:
    """Sums of the values of each of `count` owners."""
    return values.new_zeros(count).index_add(0, owners, values)


def _shares(weights: Tensor, texts: Ragged) -> Tensor:
    """Weights of the words of texts as shares of their sum in the text."""
    owners = _owners(texts)
    return weights / _sums(weights, owners, len(texts)).clamp_min(1e-12)[owners]


def _units(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    units: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return units
