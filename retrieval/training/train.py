"""From a BEIR folder to a model folder: reading, vocabulary, initial weights, the run, and what it reached on
dev.

In: `corpus.jsonl` and, where there are any, `queries.jsonl`, `qrels/train.tsv` and `qrels/dev.tsv`. Out: a
model folder. Without a dev split a tenth of the training queries, chosen by hash, is held out in its place;
without pairs the documents' titles and sentences are all there is to learn from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from index.disk.files import WriterLock, storing
from index.values import Progress, no_progress
from retrieval.evaluation.measures import DEFAULT_MEASURES
from retrieval.model.config import ModelConfig, stored
from retrieval.text.vocabulary import Vocabulary, learn_vocabulary
from retrieval.text.words import document_text
from retrieval.towers.two_tower import TwoTower
from retrieval.training.batches import TrainingSet, feature_weights, training_set
from retrieval.training.dataset import TrainingData, read_training_data
from retrieval.training.dev import best_share, dev_measures
from retrieval.training.distillation import Lesson, read_lesson
from retrieval.training.loop import Recipe, Run, Step, Taught
from retrieval.training.machine import train_fast
from retrieval.training.output import CHECKPOINT, TEACHER, check_model_output, remove_temporaries
from retrieval.training.report import Course, write_training_report

# Rows of their own for this many of the most frequent words.
WHOLE_WORDS = 20_000
# How far attention's first weights are from all alike. From zero a few hundred steps do not get it far.
ATTENTION = 0.3
# The dense ranking's weight in hybrid search where no dev queries tell: then pairs were few or none, and BM25
# is the better half (`tldr` without pairs: .547 alone, .550 with this much, .472 with the usual .65).
UNKNOWN_SHARE = 0.2


@dataclass(frozen=True)
class Trained:
    """What `train` reached. dev: measure -> mean on the dev queries, empty without any. best_epoch counts
    from 1.
    """

    tower: str
    parameters: int
    seconds: float
    best_epoch: int
    dev: dict[str, float]


def train(
    folder: Path,
    output: Path,
    config: ModelConfig,
    recipe: Recipe,
    *,
    teacher: str | None = None,
    resume: bool = False,
    small: bool = True,
    on_step: Callable[[Step], None] | None = None,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train on a BEIR folder and write the model folder `output`; a run that was cut short is taken up with
    resume=True. teacher: a file of vectors or a sentence-transformers model, see `retrieval.training.distillation`;
    on_step: called after each training step; by default steps are shown by `progress`.
    small: feature tables in int8, see `retrieval.model.folder`.

    Until the end `output` holds what it held before, beside a checkpoint. Raises InputError, also for an
    output that holds something else than a model, BusyError, KeyboardInterrupt, StorageError.
    """
    dataset = read_training_data(folder)
    check_model_output(output)
    with storing(output):
        output.mkdir(parents=True, exist_ok=True)
    with train_fast(), WriterLock(output):
        with storing(output):
            remove_temporaries(output)
        vocabulary, data = prepare(dataset, config)
        lesson = _lesson(teacher, dataset, output, progress, stop) if teacher else None
        torch.manual_seed(recipe.seed)
        model = initial_model(config, vocabulary, data)
        checkpoint = output / CHECKPOINT
        fingerprint = _fingerprint(config, recipe, data, dataset, lesson)
        run = Run(model, data, recipe, checkpoint, fingerprint, _taught(lesson, data) if lesson else None)
        if resume and checkpoint.exists():
            run.resume()
        run.learn(_dev_score(dataset) if dataset.dev else None, on_step or _shown_by(progress), stop)
        share = best_share(model, dataset) if dataset.dev else UNKNOWN_SHARE
        model.config = replace(model.config, dense_share=share)
        trained = Trained(
            config.tower,
            sum(parameter.numel() for parameter in model.parameters()),
            round(run.progress.seconds, 1),
            run.progress.best_epoch + 1,
            dev_measures(model, dataset, DEFAULT_MEASURES) if dataset.dev else {},
        )
        training = asdict(trained) | {"recipe": asdict(recipe), "history": run.progress.history}
        model.save(output, training, small=small)
        write_training_report(output, _course(trained, recipe, dataset, data, run))
        checkpoint.unlink(missing_ok=True)
    return trained


def _course(trained: Trained, recipe: Recipe, dataset: TrainingData, data: TrainingSet, run: Run) -> Course:
    """What the training report tells."""
    facts = {name: value for name, value in asdict(trained).items() if name != "dev"}
    counts = {
        "documents": len(dataset.documents),
        "training_queries": len(dataset.train),
        "training_pairs": data.given,
        "document_spans": len(data.span_texts),
        "dev_queries": len(dataset.dev),
        "features": len(run.model.vocabulary),
    }
    settings = asdict(run.model.config) | asdict(recipe)
    del settings["tower"], settings["format_version"]
    progress = run.progress
    return Course(facts, counts, settings, progress.curve, progress.history, progress.best_epoch, trained.dev)


def prepare(dataset: TrainingData, config: ModelConfig) -> tuple[Vocabulary, TrainingSet]:
    """The vocabulary of the training texts, and the training pairs numbered by it."""
    vocabulary = learn_vocabulary(
        _training_texts(dataset),
        max_words=WHOLE_WORDS if config.whole_words else 0,
        limit=config.document_words,
    )
    words = (config.query_words, config.document_words)
    return vocabulary, training_set(dataset.documents, dataset.queries, dataset.train, vocabulary, *words)


def initial_model(config: ModelConfig, vocabulary: Vocabulary, data: TrainingSet) -> TwoTower:
    """A model whose feature rows are random directions as long as the feature is rare.

    Cosines of sums of such rows estimate those of TF-IDF vectors, so training starts from a sound lexical
    match and not from noise. A trigram weighs half a whole word: it stands beside half a dozen others in each
    word.
    """
    model = TwoTower(config, vocabulary)
    weights = torch.from_numpy(feature_weights(data, len(vocabulary)))
    whole = torch.tensor([False] * vocabulary.buckets + [name.startswith(" ") for name in vocabulary.names])
    weights *= torch.where(whole, 1.0, 0.5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".table"):
                parameter.mul_(weights[:, None])
            elif name.endswith(".attention"):
                parameter.normal_(std=ATTENTION)
    return model


def _training_texts(dataset: TrainingData) -> Sequence[str]:
    return [document_text(document.title, document.text) for document in dataset.documents] + [
        dataset.queries[query] for query in dataset.train
    ]


def _lesson(
    teacher: str, dataset: TrainingData, output: Path, progress: Progress, stop: Callable[[], bool]
) -> Lesson:
    documents = {document.id: document_text(document.title, document.text) for document in dataset.documents}
    asked = [query for query, grades in dataset.train.items() if max(grades.values()) > 0]
    queries = {query: dataset.queries[query] for query in asked}
    return read_lesson(teacher, documents, queries, output / TEACHER, progress, stop)


def _taught(lesson: Lesson, data: TrainingSet) -> Taught:
    """The lesson by rows of the training set; a document's vector stands for its spans."""
    owners = data.pairs[data.given :, 1]
    queries = np.concatenate((lesson.queries, lesson.documents[owners]))
    return Taught(torch.from_numpy(queries), torch.from_numpy(lesson.documents))


def _fingerprint(
    config: ModelConfig, recipe: Recipe, data: TrainingSet, dataset: TrainingData, lesson: Lesson | None
) -> str:
    dev = [dataset.dev, [dataset.queries[query] for query in dataset.dev]]
    digest = hashlib.sha256(json.dumps([stored(config), asdict(recipe), dev], sort_keys=True).encode())
    taught = () if lesson is None else (lesson.queries, lesson.documents)
    for array in (data.pairs, data.grades, data.cuts, *taught):
        digest.update(np.ascontiguousarray(array).tobytes())
    for texts in (data.documents, data.queries, data.features):
        digest.update(texts.values.tobytes() + texts.offsets.tobytes())
    return digest.hexdigest()


def _dev_score(dataset: TrainingData) -> Callable[[TwoTower], float]:
    return lambda model: dev_measures(model, dataset, ("nDCG@10",), depth=10)["nDCG@10"]


def _shown_by(progress: Progress) -> Callable[[Step], None]:
    """Steps as the progress of an epoch."""

    def show(step: Step) -> None:
        dev = "" if step.dev is None else f", dev nDCG@10 {step.dev:.3f}"
        progress(f"epoch {step.epoch + 1} of {step.epochs}{dev}", step.step, step.steps)

    return show
