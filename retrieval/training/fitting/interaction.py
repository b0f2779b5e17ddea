"""Learns the short vectors of words that re-scoring compares: a projection of the towers' word rows.

In: rows of words, and for training queries a relevant document and others that hybrid search ranks high. Out:
the projection and the gate of `retrieval.model.rescoring`. A document's score is that of ColBERT (Khattab and
Zaharia 2020), from both sides:

    s(q, d) = t (sum_i a_i max_j cos(i, j) + e sum_j b_j max_i cos(i, j)),    no cosine below 0

over words i of the query and j of the document; a and b are the weights of the words and sum to 1 in a text.
The loss is the softmax over the candidates. The rows themselves stay: dense search needs them as they are.
Knows nothing of indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from index.values import Progress

# Width of a word's vector. 128 is hardly better and makes an index larger.
WIDTH = 64
# Candidates of a query, the relevant document among them.
CANDIDATES = 16
# Distinct words of a document, and words of a query, that training reads.
DOCUMENT_WORDS = 96
QUERY_WORDS = 24

_QUERIES_A_STEP = 32
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
    queries: Sequence[NDArray[np.int64]]
    documents: Sequence[NDArray[np.int64]]
    candidates: Sequence[NDArray[np.int64]]


class Projection(NamedTuple):
    """What was learned, float32; see `retrieval.model.rescoring`."""

    projection: NDArray[np.float32]  # (row width, width)
    gate: NDArray[np.float32]  # (row width,)
    gate_bias: NDArray[np.float32]  # (1,)


def principal_directions(
    rows: NDArray[np.float32], counts: NDArray[np.int64], width: int
) -> NDArray[np.float32]:
    """The projection that keeps most of the unit rows of words, float32 (row width, width).

    rows: float32 (words, row width).
    counts: int64 (words,), how many documents have each word.
    width: how many directions, at most the row width.
    """
    weighted = _units(rows) * np.sqrt(counts)[:, None]
    _, directions = np.linalg.eigh(weighted.T @ weighted)
    return np.ascontiguousarray(directions[:, ::-1][:, :width], np.float32)


def learn_projection(
    examples: Examples, seed: int, progress: Progress, stop: Callable[[], bool]
) -> Projection:
    """Learn from examples, starting from the principal directions.

    examples: training queries with their candidates; without any, the result is where learning starts.
    seed: of the order of the queries.
    progress: called after each step.
    stop: called after each step; True raises KeyboardInterrupt.
    """
    counts = np.bincount(np.concatenate(examples.documents), minlength=len(examples.rows))
    width = min(WIDTH, examples.rows.shape[1])
    start = principal_directions(examples.rows, counts, width)
    model = _LateInteraction(start)
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
    for _ in range(_EPOCHS if steps else 0):
        for batch in np.array_split(rng.permutation(len(examples.queries)), steps // _EPOCHS):
            loss = model(examples, batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            done += 1
            progress("words", done, steps)
            if stop():
                raise KeyboardInterrupt
    learned = (model.projection, model.gate, model.gate_bias)
    return Projection(*(parameter.detach().numpy() for parameter in learned))


class _LateInteraction(nn.Module):
    def __init__(self, start: NDArray[np.float32]) -> None:
        super().__init__()
        self.projection = nn.Parameter(torch.from_numpy(start.copy()))
        self.gate = nn.Parameter(torch.zeros(len(start)))
        self.gate_bias = nn.Parameter(torch.zeros(1))
        self.log_scale = nn.Parameter(torch.tensor(2.5))
        self.share = nn.Parameter(torch.tensor(0.3))

    def forward(self, examples: Examples, batch: NDArray[np.int64]) -> Tensor:
        """The mean loss of a batch of queries."""
        candidates, present = _padded([examples.candidates[query] for query in batch])
        queries, query_mask = _padded([examples.queries[query] for query in batch])
        documents, document_mask = _padded([examples.documents[row] for row in candidates.ravel().tolist()])
        distinct, places = np.unique(
            np.concatenate((queries.ravel(), documents.ravel())), return_inverse=True
        )
        rows = torch.from_numpy(examples.rows[distinct])
        lengths = rows.norm(dim=1).clamp_min(1e-12)
        units = rows / lengths[:, None]
        vectors = F.normalize(units @ self.projection, dim=1)
        weights = lengths * torch.sigmoid(units @ self.gate + self.gate_bias)
        of_queries = torch.from_numpy(places[: queries.size]).view(queries.shape)
        of_documents = torch.from_numpy(places[queries.size :]).view(len(batch), -1)
        n, c = candidates.shape
        # A place without a word has the vector zero. Its cosines are 0, and lower ones count as 0 too.
        query_vectors = F.embedding(of_queries, vectors) * query_mask[:, :, None]
        document_vectors = F.embedding(of_documents, vectors) * document_mask.view(n, -1, 1)
        cosines = torch.bmm(query_vectors, document_vectors.transpose(1, 2))
        of_query = cosines.view(n, -1, c, documents.shape[1]).max(3).values.clamp_min(0)  # (n, words, c)
        of_document = cosines.max(1).values.clamp_min(0).view(n, c, -1)  # (n, c, document words)
        query_weights = _shares(weights[of_queries] * query_mask)
        document_weights = _shares((weights[of_documents] * document_mask.view(n, -1)).view(n, c, -1))
        scores = (query_weights[:, :, None] * of_query).sum(1)
        scores = scores + self.share * (document_weights * of_document).sum(2)
        scores = (self.log_scale.exp() * scores).masked_fill(~present, -torch.inf)
        return -torch.log_softmax(scores, 1)[:, 0].mean()


def _shares(weights: Tensor) -> Tensor:
    """Weights of words, 0 for places without one, that sum to 1 in each text."""
    return weights / weights.sum(-1, keepdim=True).clamp_min(1e-12)


def _padded(lists: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], Tensor]:
    """Lists of numbers as one table, filled up with 0, and where it has numbers."""
    lengths = np.array([len(numbers) for numbers in lists])
    filled = np.arange(max(1, lengths.max())) < lengths[:, None]
    table = np.zeros(filled.shape, np.int64)
    table[filled] = np.concatenate(lists)
    return table, torch.from_numpy(filled)


def _units(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    units: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return units
