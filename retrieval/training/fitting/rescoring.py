"""Fits re-scoring when training ends: the vectors of words on training queries, the rest on dev queries.

In: a `Retriever` over an index of the dev documents, and the data set. Out: a `Rescorer`, or none if fusion
ranks the dev queries better; and the hybrid ranking of the dev queries. The score is not learned from
training queries, because the model has seen them, so that their cosines are higher than those of any other
query. It is a weighted sum of the features (`retrieval.training.fitting.linear`), which needs no dev queries.
If there are enough dev queries, and cross-validation on them finds it better, it is a network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from index.documents.store import Document
from index.interaction.matches import Matches
from index.interaction.words import Words
from index.interaction.writing import write_words
from index.ranking import Ranking, empty_ranking
from index.values import Progress, Rows, Vectors, no_progress
from retrieval.evaluation.assess import run_of
from retrieval.evaluation.measures import evaluate_run
from retrieval.model.folder import TrainedModel, read_model_of
from retrieval.model.rescoring import Rescorer
from retrieval.search.features import OF_TITLE_AND_TEXT
from retrieval.search.fusion import fuse
from retrieval.search.ordering import features_of
from retrieval.search.rescoring import RESCORING_DEPTH, CompareWords, Rescoring
from retrieval.search.retriever import Retriever
from retrieval.text.vocabulary import Lexicon, ragged
from retrieval.text.words import document_text
from retrieval.training.dataset import TrainingData
from retrieval.training.fitting.dev_rankings import DevRankings, rank_dev
from retrieval.training.fitting.interaction import (
    CANDIDATES,
    DOCUMENT_WORDS,
    QUERY_WORDS,
    Examples,
    learn_projection,
)
from retrieval.training.fitting.linear import Judged, fit_linear, prior_of, spreads
from retrieval.training.machine import one_thread
from retrieval.training.pseudo_queries import pseudo_queries

# The most training queries that the vectors of words are learned from, and how deep hybrid search looks for
# their candidates.
_MOST_QUERIES = 10_000
_DEPTH = 60
# With fewer dev queries the network would learn noise.
LEAST_DEV_QUERIES = 100
# With fewer dev queries, a worse result does not count against re-scoring.
_LEAST_TO_REJECT = 20
# Pseudo-queries that the spreads of the features are measured on.
_MOST_PSEUDO_QUERIES = 300

# The network: its hidden units, how many networks are averaged, passes over the queries, the fewest steps,
# queries a step, Adam's rate, weight decay.
_HIDDEN = 16
_MEMBERS = 3
_EPOCHS = 16
_LEAST_STEPS = 240
_QUERIES_A_STEP = 64
_RATE = 0.01
_DECAY = 0.01
_FOLDS = 3
RANKED = 20  # ten hits, and ten more for those that a calibration takes out
_MEASURE = "nDCG@10"
# Queries searched at once.
_BATCH = 256


class Fitted(NamedTuple):
    """A rescorer, or None, and the hybrid ranking of the dev queries.

    ranking: `RANKED` deep. Each query is ranked by a fit that has not seen it, or by fusion without one.
    """

    rescorer: Rescorer | None
    ranking: Ranking


@one_thread()
def fit_rescorer(
    retriever: Retriever,
    dataset: TrainingData,
    ranked: DevRankings,
    dense_share: float,
    folder: Path,
    seed: int,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
) -> Fitted:
    """The rescorer of a model; none if it would not help, or if the towers do not share their word rows.

    retriever: over the documents of the dev queries, with exact search.
    dataset: the data set.
    ranked: the dev queries.
    dense_share: the weight of the dense ranking in the fusion that it must surpass.
    folder: a new folder, for the words of the documents.
    seed: of everything random.
    progress: called as words are learned and queries searched.
    stop: called after each step; True raises KeyboardInterrupt.
    Raises StorageError.
    """
    model = read_model_of(retriever.index)
    fused = fuse(ranked.dense, ranked.lexical, RANKED, dense_share)
    if model.config.tie == "none":
        return Fitted(None, fused)
    untrained, judged, spread = candidates_of(retriever, dataset, ranked, folder, seed, progress, stop)
    if not spread.any():
        return Fitted(None, fused)  # a single document, or all alike
    folds = np.random.default_rng(seed).integers(_FOLDS, size=len(dataset.dev))

    def linear(queries: NDArray[np.bool_]) -> Rescorer:
        prior = prior_of(_features_of(untrained.reads_queries))
        return untrained._replace(linear=fit_linear(judged, queries, spread, prior))

    def network(queries: NDArray[np.bool_], members: int = 1) -> Rescorer:
        return fit_network(untrained, judged, np.flatnonzero(queries), seed, stop, members)

    every = np.ones(len(folds), bool)
    chosen, ranking = linear(every), _held_out(judged, folds, linear)
    if not dataset.dev:
        return Fitted(chosen, ranking)
    values = _ndcg(retriever, dataset, ranking)
    if len(dataset.dev) >= LEAST_DEV_QUERIES:
        by_network = _held_out(judged, folds, network)
        others = _ndcg(retriever, dataset, by_network)
        if others.mean() > values.mean():
            chosen, ranking, values = network(every, _MEMBERS), by_network, others
    if _is_worse(values, _ndcg(retriever, dataset, fused)):
        return Fitted(None, fused)
    return Fitted(chosen, ranking)


def _features_of(reads_queries: bool) -> NDArray[np.bool_]:
    """The features that a rescorer has, bool (len(NAMES),)."""
    return OF_TITLE_AND_TEXT | reads_queries


class FoundCandidates(NamedTuple):
    """What weights and networks are fitted to.

    untrained: has the vectors of words that the features were computed with, and no network.
    judged: the candidates of the dev queries.
    spread: float64 (F,), see `spreads`.
    """

    untrained: Rescorer
    judged: Judged
    spread: NDArray[np.float64]


def candidates_of(
    retriever: Retriever,
    dataset: TrainingData,
    ranked: DevRankings,
    folder: Path,
    seed: int,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
) -> FoundCandidates:
    """Learn the vectors of words, and find the candidates of dev queries and of pseudo-queries.

    The parameters are those of `fit_rescorer`.
    """
    model = read_model_of(retriever.index)
    learned = learn_projection(_examples(model, retriever, dataset, seed), seed, progress, stop)
    known = any(document.queries for document in retriever.index.live_documents())
    none = np.zeros((1, np.count_nonzero(_features_of(known))), np.float32)
    untrained = Rescorer(*learned, none, none[:, 0], none[:, 0], none[0], reads_queries=known)
    rescoring = Rescoring(model, untrained, model.word_rows("query"))
    compare = words_of(retriever, rescoring, folder)
    asked = _pseudo(model, retriever, seed)
    spread = spreads(judge(rescoring, retriever, asked, rank_dev(retriever, asked), compare, progress, stop))
    judged = judge(rescoring, retriever, dataset, ranked, compare, progress, stop)
    return FoundCandidates(untrained, judged, spread)


def _held_out(
    judged: Judged, folds: NDArray[np.int64], fit: Callable[[NDArray[np.bool_]], Rescorer]
) -> Ranking:
    """The dev queries, each ranked by a fit to the other folds."""
    scores = np.zeros(len(judged.rows), np.float32)
    fold_of = folds[judged.owners()]
    for fold in np.unique(folds).tolist():
        scores[fold_of == fold] = fit(folds != fold).scores(judged.features[fold_of == fold])
    return _ranking(judged, scores)


def _is_worse(values: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    """Whether the mean is lower by more than two standard errors of the difference.

    Few dev queries cannot tell which is better. Where they cannot, re-scoring is better on other data sets.
    """
    difference = others - values
    if len(difference) < _LEAST_TO_REJECT:
        return False
    standard_error = float(difference.std() / np.sqrt(len(difference)))
    return float(difference.mean()) > 2 * standard_error


def _pseudo(model: TrainedModel, retriever: Retriever, seed: int) -> TrainingData:
    """Pseudo-queries of some documents of the index, one each, as dev queries.

    A document of a single sentence is its own pseudo-query. That does no harm, because only the features of
    other documents are used.
    """
    rows = np.random.default_rng(seed).permutation(retriever.index.rows())
    lexicon = Lexicon(model.vocabulary)
    rng = np.random.default_rng(seed)
    found: dict[str, str] = {}
    for document in retriever.index.texts(rows[:_MOST_PSEUDO_QUERIES].tolist()):
        text = document_text(document.title, document.text)
        parts = pseudo_queries(document, lexicon.word_ids(text, model.config.document_words), lexicon)
        texts = [part.text for part in parts] or [text]
        found[document.id] = texts[rng.integers(len(texts))]
    return TrainingData((), found, {}, {document: {document: 1} for document in found})


def _examples(model: TrainedModel, retriever: Retriever, dataset: TrainingData, seed: int) -> Examples:
    """Training queries with a relevant document each and others that hybrid search ranks high."""
    documents = retriever.index.texts(retriever.index.rows().tolist())
    rows = {document.id: row for row, document in enumerate(documents)}
    relevant = {
        query: [rows[each] for each, grade in grades.items() if grade > 0 and each in rows]
        for query, grades in dataset.train.items()
    }
    query_ids = [query for query, found in relevant.items() if found]
    rng = np.random.default_rng(seed)
    query_ids = [query_ids[at] for at in rng.permutation(len(query_ids))[:_MOST_QUERIES].tolist()]
    texts = [dataset.queries[query] for query in query_ids]
    candidates = [
        _drawn(relevant[query], found, rng)
        for start in range(0, len(texts), _BATCH)
        for query, found in zip(
            query_ids[start : start + _BATCH],
            retriever.rank(texts[start : start + _BATCH], _DEPTH, "hybrid").rows,
            strict=True,
        )
    ]
    lexicon = Lexicon(model.vocabulary)
    of_documents = ragged(
        [
            sorted(set(lexicon.word_ids(document_text(document.title, document.text), DOCUMENT_WORDS)))
            for document in documents
        ]
    )
    of_queries = ragged([sorted(set(lexicon.word_ids(text, QUERY_WORDS))) for text in texts])
    of_words = model.word_rows("query").of(lexicon.words)
    return Examples(of_words, of_queries, of_documents, ragged(candidates))


def _drawn(relevant: Sequence[int], ranked: NDArray[np.int64], rng: np.random.Generator) -> list[int]:
    """One relevant document, then others that were ranked, in random order."""
    others = ranked[(ranked >= 0) & ~np.isin(ranked, relevant)]
    return [int(rng.choice(relevant)), *rng.permutation(others)[: CANDIDATES - 1].tolist()]


def words_of(retriever: Retriever, rescoring: Rescoring, folder: Path) -> CompareWords:
    """A function that compares words, for an index without them: writes the words of all its documents.

    retriever: over the documents.
    rescoring: of the model; only its vectors of words are used.
    folder: a new folder, for the words.
    Raises StorageError.
    """
    write_words(folder, map(Document.texts, retriever.index.live_documents()), rescoring.words)
    words = Words(folder, retriever.index.count, rescoring.words.width)

    def compare(rows: Rows, query: Vectors) -> list[tuple[slice, Matches]]:
        return [(slice(None), words.match(rows, query))]

    return compare


def judge(
    rescoring: Rescoring,
    retriever: Retriever,
    dataset: TrainingData,
    ranked: DevRankings,
    compare: CompareWords,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
) -> Judged:
    """The candidates of all dev queries; parameters as for `fit_rescorer`.

    rescoring: of the model; only its vectors of words are used.
    compare: of `words_of`.
    """
    index = retriever.index
    own = _features_of(rescoring.words.reads_queries)
    found: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
    query_ids = list(dataset.dev)
    dense, lexical = ranked.dense.top(RESCORING_DEPTH), ranked.lexical.top(RESCORING_DEPTH)
    for start in range(0, len(query_ids), _BATCH):
        texts = [dataset.queries[query] for query in query_ids[start : start + _BATCH]]
        for number, (text, embedding) in enumerate(zip(texts, retriever.encode(texts), strict=True), start):
            candidates = dense.of(number), lexical.of(number)
            # It learns from all of them: fusion passes over some only where their number costs time.
            compared = rescoring.compared(index, text, embedding, *candidates, 2 * RESCORING_DEPTH, compare)
            rows, features = features_of(compared)
            found.append((rows, features[:, own]))
        progress("candidates", len(found), len(query_ids))
        if stop():
            raise KeyboardInterrupt
    gains: list[int] = []
    for query, (rows, _) in zip(query_ids, found, strict=True):
        judged = dataset.dev[query]
        grades = {row: judged[document] for document, row in index.rows_of(list(judged)).items()}
        gains.extend(max(0, grades.get(row, 0)) for row in rows.tolist())
    return Judged(
        np.concatenate([np.empty(0, np.int64), *(rows for rows, _ in found)]),
        np.concatenate([np.empty((0, np.count_nonzero(own)), np.float32), *(each for _, each in found)]),
        np.array(gains, np.float32),
        np.cumsum([0, *(len(rows) for rows, _ in found)]),
    )


def fit_network(
    rescorer: Rescorer,
    judged: Judged,
    queries: NDArray[np.int64],
    seed: int,
    stop: Callable[[], bool],
    members: int = _MEMBERS,
) -> Rescorer:
    """The rescorer with a network that was fitted to some of the queries, the mean of a few.

    The loss is the cross-entropy between the softmax of the scores over the candidates and their gains.

    rescorer: what the features were computed with.
    judged: the candidates of all queries.
    queries: int64 (n,), numbers of the queries to fit to.
    seed: of the first weights and of the order of the queries.
    stop: called after each step; True raises KeyboardInterrupt.
    members: how many networks with other seeds are averaged. Together they are one network with all hidden
        units. Queries without a relevant candidate teach nothing and are passed over. If there are no others,
        the rescorer comes back as it was.
    """
    owners = judged.owners()[judged.gains > 0]
    used = queries[np.isin(queries, owners)]
    if not len(used):
        return rescorer
    places, present = _table(judged.starts, used)
    mean = judged.features[places[present]].mean(axis=0)
    spread = judged.features[places[present]].std(axis=0) + 1e-6
    features = torch.from_numpy((judged.features - mean) / spread)
    gains = torch.from_numpy(np.where(present, judged.gains[places], 0))
    targets = gains / gains.sum(1, keepdim=True)
    networks = [
        _train(
            _Network(len(mean), seed + member),
            features,
            torch.from_numpy(places),
            torch.from_numpy(present),
            targets,
            seed + member,
            stop,
        )
        for member in range(members)
    ]
    hidden = np.concatenate([member.hidden.weight.detach().numpy() for member in networks]) / spread
    bias = np.concatenate([member.hidden.bias.detach().numpy() for member in networks]) - hidden @ mean
    output = np.concatenate([member.output.weight.detach().numpy()[0] for member in networks]) / members
    linear = np.mean([member.linear.weight.detach().numpy()[0] for member in networks], axis=0) / spread
    return rescorer._replace(
        hidden=np.ascontiguousarray(hidden, np.float32),
        hidden_bias=np.ascontiguousarray(bias, np.float32),
        output=np.ascontiguousarray(output, np.float32),
        linear=np.ascontiguousarray(linear, np.float32),
    )


class _Network(nn.Module):
    """The network of `retrieval.model.rescoring`: v . tanh(W x + c) + w . x."""

    def __init__(self, features: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            self.hidden = nn.Linear(features, _HIDDEN)
            self.output = nn.Linear(_HIDDEN, 1, bias=False)
        self.linear = nn.Linear(features, 1, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, features: Tensor) -> Tensor:
        scores: Tensor = (self.output(torch.tanh(self.hidden(features))) + self.linear(features))[..., 0]
        return scores


def _train(
    network: _Network,
    features: Tensor,
    places: Tensor,
    present: Tensor,
    targets: Tensor,
    seed: int,
    stop: Callable[[], bool],
) -> _Network:
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY)
    epoch = -(-len(places) // _QUERIES_A_STEP)
    steps = max(_LEAST_STEPS, _EPOCHS * epoch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    rng = np.random.default_rng(seed)
    for step in range(steps):
        if step % epoch == 0:
            batches = np.array_split(rng.permutation(len(places)), epoch)
        batch = torch.from_numpy(batches[step % epoch])
        scores = network(features[places[batch]]).masked_fill(~present[batch], -1e9)
        loss = -(targets[batch] * torch.log_softmax(scores, 1)).sum(1).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if stop():
            raise KeyboardInterrupt
    return network


def _table(
    starts: NDArray[np.int64], queries: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The places of the candidates of some queries as a table, padded with 0, and which are no padding."""
    lengths = np.diff(starts)[queries]
    columns = np.arange(lengths.max())
    present = columns < lengths[:, None]
    return np.where(present, starts[queries][:, None] + columns, 0), present


def _ranking(judged: Judged, scores: NDArray[np.float32]) -> Ranking:
    ranking = empty_ranking(len(judged.starts) - 1, RANKED)
    for query, (start, stop) in enumerate(zip(judged.starts[:-1], judged.starts[1:], strict=True)):
        best = np.argsort(-scores[start:stop], kind="stable")[:RANKED]
        ranking.rows[query, : len(best)] = judged.rows[start:stop][best]
        ranking.scores[query, : len(best)] = scores[start:stop][best]
    return ranking


def _ndcg(retriever: Retriever, dataset: TrainingData, ranking: Ranking) -> NDArray[np.float64]:
    """The measure of each dev query."""
    run = run_of(retriever, list(dataset.dev), ranking)
    return evaluate_run(dataset.dev, run, [_MEASURE]).of(_MEASURE)
