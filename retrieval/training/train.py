"""From a data set to a model folder: numbering, training, what is fitted on dev, the report.

In: documents and, if there are any, queries and the qrels of train and dev; on request a model to start from.
Out: a model folder. Without a dev split a tenth of the training queries, chosen by hash, is held out in its
place. Without judged pairs the model learns from the pseudo-queries alone, and re-scores by what other data
sets taught.

With several processes, only the first one reads the data set, and reads and writes the output. When the texts
are numbered, they are freed, except those that the dev queries are ranked against.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from index.disk.carried_model import fingerprint as model_fingerprint
from index.disk.files import storing
from index.disk.writer_lock import WriterLock
from index.errors import InputError
from index.values import Progress, no_progress
from retrieval.data.dataset import AnyDataset
from retrieval.evaluation.assess import run_of
from retrieval.evaluation.measures import DEFAULT_MEASURES, evaluate_run
from retrieval.model.calibration import Calibration
from retrieval.model.config import ModelConfig, stored
from retrieval.text.words import document_text
from retrieval.towers.two_tower import TwoTower
from retrieval.training.dev import dev_candidates, dev_measures
from retrieval.training.distillation import TeacherVectors, read_teacher_vectors
from retrieval.training.distributed import ALONE, Ranks
from retrieval.training.examples.dataset import NOTHING, TrainingData, read_training_data
from retrieval.training.examples.numbered import Numbered, shared
from retrieval.training.examples.numbering import number_dataset
from retrieval.training.fitting.calibrate import dev_calibration
from retrieval.training.fitting.dev_index import best_dense_share, dev_index
from retrieval.training.fitting.dev_rankings import rank_dev
from retrieval.training.fitting.rescoring import LEAST_DEV_QUERIES, fit_rescorer
from retrieval.training.fitting.shown_queries import shown_queries
from retrieval.training.loop import StepReport, TrainingState
from retrieval.training.machine import fast_training
from retrieval.training.members import Members, train_members
from retrieval.training.merging import merged
from retrieval.training.output import (
    DEV,
    TEACHER,
    check_model_output,
    checkpoint_of,
    remove_further_checkpoints,
    remove_temporaries,
)
from retrieval.training.recipe import Recipe
from retrieval.training.report import TrainingReport, write_training_report

# With fewer dev queries, dev does not choose the epoch: its scores of two epochs differ more by chance than
# by what was learned. With 48 of `tldr`, epoch 3 of 12 was chosen, which has .026 less nDCG@10 than the last.
_FEWEST_TO_CHOOSE = 200
# The weight of the dense ranking in hybrid search without dev queries. Judged pairs are then few or none, and
# BM25 is better than dense (`tldr` without pairs: .547 alone, .550 with this share, .472 with the usual .65).
DENSE_SHARE_WITHOUT_DEV = 0.2


@dataclass(frozen=True)
class TrainingResult:
    """What a training reached. The names of the fields are keys of training.json."""

    tower: str
    parameters: int
    seconds: float
    best_epoch: int  # from 1; of the first member
    dev: dict[str, float]  # measure to its mean over the dev queries; empty without dev
    dev_queries: int
    calibrated: bool  # whether hits will have a probability
    known_queries: bool  # whether documents will be found by the queries that they are known to answer, too


def train(
    source: AnyDataset | TrainingData | Path,
    output: Path,
    config: ModelConfig,
    recipe: Recipe,
    *,
    init: Path | None = None,
    teacher: str | None = None,
    resume: bool = False,
    small: bool = True,
    ranks: Ranks = ALONE,
    on_step: Callable[[StepReport], None] | None = None,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
    warn: Callable[[str], None] = lambda problem: None,
) -> TrainingResult:
    """Train on a data set and write a model folder.

    source: the data set, its BEIR folder or file of pairs, or what training reads of it; only that of the
        first process counts. A data set is made to forget what it read.
    output: the model folder. Until training ends it holds what it held before, beside a checkpoint.
    config: the model's configuration; with `init` that model's.
    recipe: how to train.
    init: a model folder to start from: its weights are the first ones, its vocabulary stays. Words that are
        new since then are read by their trigrams. Without a dev split its weight of dense stays too.
    teacher: a file of vectors or a sentence-transformers model, see `retrieval.training.distillation`.
    resume: go on from the checkpoint in `output`, if there is one.
    small: write the feature tables in int8, see `retrieval.model.folder`.
    ranks: the processes that train together, see `joined_ranks`. Only the first reads `source` and touches
        `output`, and only its result has measures of dev.
    on_step: called after each training step of any member; by default `progress` is.
    progress: called as the teacher's vectors and the steps of an epoch are done.
    stop: called after each step; if it returns True, the checkpoint is saved and KeyboardInterrupt raised.
    warn: called before the first step with what hinders learning, if something does.
    Raises InputError, also for an output that holds something else than a model, CorruptError for a damaged
    checkpoint, BusyError, StorageError, PeerError, KeyboardInterrupt.
    """
    start = _start(init, config)
    settings = _settings(config, recipe, init)
    dataset, own, counts = NOTHING, None, {}
    if ranks.is_first:
        dataset = source if isinstance(source, TrainingData) else read_training_data(source)
    with fast_training(), _locked(output, ranks, resume):
        ranks.check_same(settings)
        if ranks.is_first:
            own = number_dataset(
                dataset,
                config,
                start.vocabulary if start else None,
                settings,
                partial(_teacher_vectors, teacher, dataset, output, progress, stop) if teacher else None,
                warn,
            )
            counts = _counts(dataset, own)
            # While the members train, no name may keep the texts of the data set in memory, see `packed`.
            packed = dataset.for_dev().packed()
            dataset = NOTHING
            if not isinstance(source, TrainingData | Path):
                source.forget()
            dataset = TrainingData.unpacked(packed)
            del packed
        numbered = shared(own, ranks, output if ranks.is_first else None)
        del own
        members = train_members(
            *(start, config, recipe, numbered, output, resume, ranks),
            _dev_score(dataset, config) if numbered.dev_queries else None,
            numbered.dev_queries >= _FEWEST_TO_CHOOSE,
            progress,
            on_step,
            stop,
        )
        if not ranks.is_first:
            return _result(members, members.first.model, dataset, {}, None)
        model = merged(members.models(), numbered.data)
        if not dataset.dev and start is None:
            model.config = model.config._replace(dense_share=DENSE_SHARE_WITHOUT_DEV)
        dev, calibration = _fit_on_dev(model, dataset, output / DEV, recipe.seed, small, progress, stop)
        result = _result(members, model, dataset, dev, calibration)
        used = replace(recipe, epochs=members.first.epochs, members=len(members.trainers))
        training = asdict(result) | {"recipe": asdict(used), "history": members.first.state.history}
        model.save(output, training, calibration=calibration, small=small)
        write_training_report(output, _report(result, used, counts, model.config, members.first.state))
        with storing(output):
            remove_further_checkpoints(output)
            checkpoint_of(output, 0).unlink(missing_ok=True)
    return result


def _start(init: Path | None, config: ModelConfig) -> TwoTower | None:
    """The model to start from. Raises InputError if its configuration is another, and what reading raises."""
    if init is None:
        return None
    start = TwoTower.load(init)
    if start.config._replace(dense_share=config.dense_share) != config:
        raise InputError("has another configuration than is to be trained", path=init)
    return start


@contextmanager
def _locked(output: Path, ranks: Ranks, resume: bool) -> Iterator[None]:
    """Make the output folder, or clear it, and hold its lock inside the block. Only on the first rank."""
    if not ranks.is_first:
        yield
        return
    check_model_output(output)
    with WriterLock(output, make=True):
        with storing(output):
            remove_temporaries(output)
            if not resume:
                remove_further_checkpoints(output)
        yield


def _fit_on_dev(
    model: TwoTower,
    dataset: TrainingData,
    folder: Path,
    seed: int,
    small: bool,
    progress: Progress,
    stop: Callable[[], bool],
) -> tuple[dict[str, float], Calibration | None]:
    """Set what is fitted on the dev queries; returns the measures of the dense ranking, the calibration.

    Without dev queries that people judged, re-scoring uses a prior. If the model started with a network,
    which was fitted to enough of them, the network stays.
    """
    known = shown_queries(dataset, seed)
    with dev_index(model, dataset, folder, known_queries=known, small=small, progress=progress) as retriever:
        ranked = rank_dev(retriever, dataset)
        if dataset.dev:
            share = best_dense_share(retriever, dataset, ranked)
            model.config = model.config._replace(dense_share=share)
        judged = dataset.judged_by_people()
        by_people = ranked.only(judged.dev)
        share = model.config.dense_share
        fitted = fit_rescorer(retriever, judged, by_people, share, folder / "words", seed, progress, stop)
        if model.rescorer is None or model.rescorer.is_linear or len(judged.dev) >= LEAST_DEV_QUERIES:
            model.rescorer = fitted.rescorer
        calibration = dev_calibration(retriever, judged, by_people, fitted.ranking)
        dense = run_of(retriever, ranked.query_ids, ranked.dense)
    measures = evaluate_run(dataset.dev, dense, DEFAULT_MEASURES).means() if dataset.dev else {}
    return measures, calibration


def _result(
    members: Members,
    model: TwoTower,
    dataset: TrainingData,
    dev: dict[str, float],
    calibration: Calibration | None,
) -> TrainingResult:
    return TrainingResult(
        model.config.tower,
        sum(parameter.numel() for parameter in model.parameters()),
        round(members.seconds, 1),
        members.first.state.best_epoch + 1,
        dev,
        len(dataset.dev),
        calibration is not None,
        model.rescorer is not None and model.rescorer.reads_queries,
    )


def _counts(dataset: TrainingData, numbered: Numbered) -> dict[str, int]:
    """The counts of the report."""
    data = numbered.data
    return {
        "documents": len(dataset.documents),
        "passages": len(data.documents),
        "training_queries": len(dataset.train),
        "training_pairs": data.judged_pairs,
        "pseudo_queries": len(data.pairs) - data.judged_pairs,
        "dev_queries": len(dataset.dev),
        "features": len(numbered.vocabulary),
    }


def _report(
    result: TrainingResult,
    recipe: Recipe,
    counts: Mapping[str, int],
    config: ModelConfig,
    state: TrainingState,
) -> TrainingReport:
    facts = {name: value for name, value in asdict(result).items() if name not in ("dev", "dev_queries")}
    settings = config._asdict() | asdict(recipe)
    del settings["tower"], settings["format_version"]
    return TrainingReport(facts, counts, settings, state.curve, state.history, state.best_epoch, result.dev)


def _settings(config: ModelConfig, recipe: Recipe, init: Path | None) -> bytes:
    """What decides the outcome of a training beside its data."""
    start = None if init is None else model_fingerprint(init)
    return json.dumps([stored(config), asdict(recipe), start], sort_keys=True).encode()


def _dev_score(dataset: TrainingData, config: ModelConfig) -> Callable[[TwoTower], float]:
    candidates = dev_candidates(dataset, config)  # once, not after each epoch
    return lambda model: dev_measures(model, dataset, ("nDCG@10",), 10, candidates)["nDCG@10"]


def _teacher_vectors(
    teacher: str, dataset: TrainingData, output: Path, progress: Progress, stop: Callable[[], bool]
) -> TeacherVectors:
    # One vector a document, as a file has it; all passages of a document share it.
    documents = {document.id: document_text(document.title, document.text) for document in dataset.documents}
    judged = [query_id for query_id, grades in dataset.train.items() if max(grades.values()) > 0]
    queries = {query_id: dataset.queries[query_id] for query_id in judged}
    return read_teacher_vectors(teacher, documents, queries, output / TEACHER, progress, stop)
