"""Turns a click log, and a data set if there is one, into training data and data that judges the outcome.

In: the path of a click log, the documents of the index, a data set. Out: `LearningData`. Knows nothing of
models or indexes.

Queries are divided by a hash of their text (`retrieval.data.clicks.corpus`): most are trained on, a tenth
chooses the best epoch, a tenth is held out and judges. Of the dev queries of the data set one half chooses
and the other one judges. No query that judges, or that differs from one only in case or white space, is
trained on or chooses.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from index.documents.store import Document
from retrieval.data.clicks.corpus import split_pairs
from retrieval.data.clicks.grading import grade_pairs
from retrieval.data.clicks.log import ClickLog, query_key
from retrieval.data.clicks.propensity import estimate_propensities
from retrieval.data.clicks.reading import read_click_log
from retrieval.data.dataset import AnyDataset
from retrieval.data.queries import Judgements, Qrels
from retrieval.learning.agreement import ClickedQueries, held_out_clicks
from retrieval.training.examples.dataset import TrainingData, hold_out

# What the ids of queries begin with, so that those of different origins differ.
_CLICK, _DATA = "click", "data"


@dataclass(frozen=True)
class Judged:
    """Queries by id, and the graded documents of each."""

    queries: Mapping[str, str]
    qrels: Qrels

    def __len__(self) -> int:
        return len(self.qrels)


@dataclass(frozen=True)
class LearningCounts:
    """What there was to learn from. The names of the fields are keys of the JSON that `learn` prints."""

    clicks: int
    clicked_queries: int
    rows_passed_over: int  # of the log: results that the index no longer holds
    click_pairs: int  # graded
    training_queries: int  # those of the data set included
    choosing_queries: int  # choose the best epoch
    held_out_queries: int  # of the log
    data_queries: int  # of the data set, that judge
    judgements_passed_over: int  # of the data set, about documents that the index lacks
    propensity_by_rank: dict[str, float]  # empty if no correction was possible
    not_corrected_because: str  # "" if it was


@dataclass(frozen=True)
class LearningData:
    """What is learnt from, and what judges it."""

    log: ClickLog
    training: TrainingData
    clicked: ClickedQueries  # held out, with all that was shown for them; empty if the log does not tell
    held_out: Judged  # likewise, with the documents that are clicked clearly more than the average
    dev: Judged | None  # of the data set; None without one
    counts: LearningCounts

    def fingerprint(self) -> str:
        """A digest of all that is learnt from or judges, but the documents."""
        training = [self.training.queries, self.training.train, self.training.dev]
        judges = [[part.queries, part.qrels] for part in (self.held_out, self.dev) if part is not None]
        shown = {query: sorted(documents) for query, documents in self.training.shown.items()}
        parts = [training, judges, shown, self.clicked.queries, self.clicked.surplus]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _Part:
    """The judged queries of one origin, by what they are for."""

    train: Judged
    choose: Judged
    judge: Judged


def read_learning_data(
    clicks: Path, documents: Sequence[Document], data: AnyDataset | None, least_clicks: int
) -> LearningData:
    """Read a click log and a data set.

    clicks: a log that `peephole serve --clicks` records, or a table of clicks.
    documents: of the index; what is said of others is passed over and counted.
    data: a data set, of which the splits train and dev are read; its documents are not.
    least_clicks: a query and a document with fewer are no pair.
    Raises what `read_click_log` and `Dataset.qrels` raise.
    """
    ids = {document.id for document in documents}
    read = read_click_log(clicks, ids, missing_ok=True)
    propensities = estimate_propensities(read.log)
    pairs = grade_pairs(read.log, propensities, least_clicks=least_clicks)
    queries, splits = split_pairs(read.log, pairs)
    clicked = _Part(*(Judged(queries, splits.get(split, {})) for split in ("train", "dev", "test")))
    judged, passed_over = (None, 0) if data is None else _part_of(data, ids)
    held_out = held_out_clicks(read.log)
    shown = _shown(read.log, clicked.choose)
    training = replace(
        _joined(documents, clicked, judged, held_out),
        shown={f"{_CLICK} {query}": documents for query, documents in shown.items()},
    )
    counts = LearningCounts(
        clicks=int(read.log.clicks.sum()),
        clicked_queries=len(read.log.queries),
        rows_passed_over=read.rows_passed_over,
        click_pairs=len(pairs),
        training_queries=len(training.train),
        choosing_queries=len(training.dev),
        held_out_queries=len(held_out) or len(clicked.judge),
        data_queries=0 if judged is None else len(judged.judge),
        judgements_passed_over=passed_over,
        propensity_by_rank=propensities.by_rank(),
        not_corrected_because=propensities.why_equal,
    )
    dev = judged.judge if judged else None
    return LearningData(read.log, training, held_out, clicked.judge, dev, counts)


def _shown(log: ClickLog, judged: Judged) -> dict[str, set[str]]:
    """The documents that were shown for each judged query; empty if the log does not record them."""
    if not log.impressions.all():
        return {}
    rows = {query_key(text): row for row, text in enumerate(log.queries)}
    wanted = {rows[query_key(judged.queries[query])]: query for query in judged.qrels}
    shown: dict[str, set[str]] = {query: set() for query in judged.qrels}
    for row, document in zip(log.query.tolist(), log.document.tolist(), strict=True):
        if row in wanted:
            shown[wanted[row]].add(log.documents[document])
    return shown


def _part_of(data: AnyDataset, ids: Container[str]) -> tuple[_Part, int]:
    """The data set's judged queries, and how many judgements are about documents that the index lacks."""
    splits = data.splits()
    train: Judgements
    train, dev = (data.qrels(split) if split in splits else {} for split in ("train", "dev"))
    if not dev:
        train, dev = hold_out(train)
    known = [_known(qrels, ids) for qrels in (train, dev)]
    lost = sum(map(_judgements, (train, dev))) - sum(map(_judgements, known))
    judging = {query for query in known[1] if _judges(data.queries[query])}
    choose = {query: grades for query, grades in known[1].items() if query not in judging}
    judge = {query: grades for query, grades in known[1].items() if query in judging}
    return _Part(*(Judged(data.queries, qrels) for qrels in (known[0], choose, judge))), lost


def _judges(text: str) -> bool:
    """Whether a dev query judges the outcome, by a hash of its text. The others choose the epoch."""
    return zlib.crc32(query_key(text).encode("utf-8", "replace")) % 2 == 1


def _known(qrels: Judgements, ids: Container[str]) -> Qrels:
    """The judgements of known documents, for queries that have a relevant document among these."""
    known = {query: {d: g for d, g in grades.items() if d in ids} for query, grades in qrels.items()}
    return {query: grades for query, grades in known.items() if any(g > 0 for g in grades.values())}


def _judgements(qrels: Judgements) -> int:
    return sum(map(len, qrels.values()))


def _joined(
    documents: Sequence[Document], clicked: _Part, judged: _Part | None, held_out: ClickedQueries
) -> TrainingData:
    parts = {_CLICK: clicked} if judged is None else {_CLICK: clicked, _DATA: judged}
    judging = {query_key(part.judge.queries[query]) for part in parts.values() for query in part.judge.qrels}
    judging |= {query_key(text) for text in held_out.queries.values()}
    queries: dict[str, str] = {}
    train, choose = (
        _renamed({name: getattr(part, use) for name, part in parts.items()}, judging, queries)
        for use in ("train", "choose")
    )
    return TrainingData(list(documents), queries, train, choose)


def _renamed(parts: Mapping[str, Judged], judging: Collection[str], queries: dict[str, str]) -> Qrels:
    """The qrels of several origins in one, without queries that judge; adds their texts to `queries`."""
    qrels: Qrels = {}
    for name, part in parts.items():
        for query, grades in part.qrels.items():
            if query_key(part.queries[query]) not in judging:
                queries[f"{name} {query}"] = part.queries[query]
                qrels[f"{name} {query}"] = grades
    return qrels
