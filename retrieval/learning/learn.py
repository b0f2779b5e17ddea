"""Learn from clicks: pairs, training, a candidate, the comparison with the live model, publication.

In: an index folder, a click log and, if there is one, a data set. Out: an `Outcome`; the index has a new
generation or is as it was. The index can be searched and changed meanwhile: its writer lock is held only at
the end, for the time that publication takes. A learning that is cut short goes on when it is called again
with the same input; with other input it begins anew.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from index.disk.files import write_atomically
from index.disk.previous import read_previous
from index.errors import BusyError, RemoteError
from index.opened import open_index, open_kept
from index.protocol import OpenIndex
from index.values import Progress, no_progress
from index.writing.leftovers import remove_leftovers
from retrieval.data.clicks.grading import LEAST_CLICKS
from retrieval.data.dataset import AnyDataset
from retrieval.learning.candidate import build_candidate, publish_candidate
from retrieval.learning.comparison import Compared, compare, reason_against
from retrieval.learning.doubts import doubts
from retrieval.learning.outcome import Outcome
from retrieval.learning.pairs import LearningData, read_learning_data
from retrieval.learning.work import Work
from retrieval.model.calibration import to_json
from retrieval.model.folder import FILES, read_model_of
from retrieval.search.retriever import Retriever
from retrieval.training.output import CHECKPOINT
from retrieval.training.recipe import Recipe
from retrieval.training.train import train

# A trained model needs fewer and smaller steps than one with random weights.
RECIPE = Recipe(epochs=6, learning_rate=1e-3, patience=2)
KEEP = 2


@dataclass(frozen=True)
class Settings:
    """How to learn."""

    recipe: Recipe = RECIPE
    keep: int = KEEP  # earlier generations that stay for a rollback
    least_clicks: int = LEAST_CLICKS  # a query and a document with fewer are no pair
    wait: float = 0.0  # seconds to wait for another writer at publication
    dry_run: bool = False  # say what there is to learn from, and do nothing


@dataclass(frozen=True)
class Reports:
    """Whom to tell how it goes."""

    progress: Progress = no_progress
    stop: Callable[[], bool] = lambda: False  # as for `train`
    warn: Callable[[str], None] = lambda problem: None


def learn(
    index: Path,
    clicks: Path,
    data: AnyDataset | None = None,
    settings: Settings = Settings(),
    reports: Reports = Reports(),
) -> Outcome:
    """Train the model of an index on what was clicked, and publish it if it is shown to be better.

    index: the index folder.
    clicks: the click log, see `read_learning_data`.
    data: a data set whose train queries are learnt from too, and whose dev queries judge the model too.
    settings: how to learn.
    reports: whom to tell how it goes.
    Raises InputError, also if the index got another model meanwhile; CorruptError, BusyError, StorageError,
    KeyboardInterrupt. The live generation then is as it was.
    """
    start = time.monotonic()
    with open_index(index) as live:
        learning = read_learning_data(clicks, list(live.live_documents()), data, settings.least_clicks)
        reason = doubts(learning)
        if reason or settings.dry_run:
            outcome = _unchanged(live, learning, reason or "a dry run: nothing was trained")
        else:
            with Work(index) as work:
                outcome = _learn(live, work, learning, settings, reports, start)
    if outcome.training is not None:
        _sweep(index)
    return outcome


def _learn(
    live: OpenIndex, work: Work, learning: LearningData, settings: Settings, reports: Reports, start: float
) -> Outcome:
    work.begin(_plan(live, learning, settings))
    _train(live, work, learning, settings, reports)
    _keep_calibration(live, work)
    queries = [learning.training.queries[query] for query in learning.training.train]
    build_candidate(work.candidate, work.model, live, queries, reports.progress)
    compared = _compare(live, work, learning, reports.progress)
    reason = reason_against(compared)
    training = json.loads((work.model / FILES.training).read_bytes())
    facts = {name: training[name] for name in ("tower", "seconds", "best_epoch", "dev")}
    if reason:
        aside = str(work.refused)
        outcome = _unchanged(live, learning, reason, compared, facts, time.monotonic() - start, aside)
        work.put_aside(outcome.as_json())
        return outcome
    manifest = publish_candidate(
        live.folder, work.candidate, live, settings.keep, settings.wait, reports.progress
    )
    work.clear()
    work.forget_refused()
    previous = [pointer.generation for pointer in read_previous(live.folder, manifest)]
    return Outcome(
        "",
        manifest.generation,
        manifest.documents,
        learning.counts,
        compared,
        facts,
        previous,
        time.monotonic() - start,
    )


def _plan(live: OpenIndex, learning: LearningData, settings: Settings) -> str:
    """A digest of all that decides the outcome."""
    parts = [live.pointer, learning.fingerprint(), asdict(settings.recipe)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _train(live: OpenIndex, work: Work, learning: LearningData, settings: Settings, reports: Reports) -> None:
    """Train from the weights of the live model, or go on with it, unless that is done."""
    if (work.model / FILES.config).exists() and not (work.model / CHECKPOINT).exists():
        return
    train(
        learning.training,
        work.model,
        read_model_of(live).config,
        settings.recipe,
        init=live.model_folder,
        resume=True,
        progress=reports.progress,
        stop=reports.stop,
        warn=reports.warn,
    )


def _keep_calibration(live: OpenIndex, work: Work) -> None:
    """Copy the live model's calibration to a model that has none, because clicks alone cannot fit one.

    Without it, searches with a least probability would be refused from now on. Learning from clicks moves
    cosines so little that the probabilities stay right (benchmarks/NOTES.md).
    """
    calibration, path = read_model_of(live).calibration, work.model / FILES.calibration
    if calibration is not None and not path.exists():
        write_atomically(path, to_json(calibration).encode())


def _compare(live: OpenIndex, work: Work, learning: LearningData, progress: Progress) -> list[Compared]:
    then = open_kept(live.folder, live.pointer)  # what is live by now may have other documents
    with Retriever(then) as before, Retriever.open(work.candidate) as after:
        return compare(before, after, learning.clicked, learning.held_out, learning.dev, progress)


def _unchanged(
    live: OpenIndex,
    learning: LearningData,
    reason: str,
    compared: list[Compared] | None = None,
    training: dict[str, object] | None = None,
    seconds: float = 0.0,
    kept_aside: str = "",
) -> Outcome:
    previous = [pointer.generation for pointer in read_previous(live.folder, live.manifest)]
    return Outcome(
        reason,
        live.generation,
        live.count,
        learning.counts,
        compared or [],
        training,
        previous,
        seconds,
        kept_aside,
    )


def _sweep(index: Path) -> None:
    """Remove the generation that was learnt from, unless it is kept. It was held until now."""
    with suppress(BusyError, RemoteError):  # whoever writes now, or next, removes it
        remove_leftovers(index)
