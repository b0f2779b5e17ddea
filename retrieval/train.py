"""From a BEIR folder to a model folder: reading, vocabulary, initial weights, the run, and what it reached on
dev.

In: `corpus.jsonl`, `queries.jsonl`, `qrels/train.tsv` and, if there is one, `qrels/dev.tsv`. Out: a model
folder. Without a dev split a tenth of the training queries, chosen by hash, is held out in its place.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from index.documents import Document
from index.files import WriterLock, storing
from retrieval.config import ModelConfig
from retrieval.corpus import Qrels, read_documents, read_qrels, read_queries, splits
from retrieval.evaluate import DEFAULT_MEASURES, evaluate_run
from retrieval.learn import Recipe, Report, Run
from retrieval.machine import train_fast
from retrieval.model import TwoTower
from retrieval.pairs import TrainingSet, feature_weights, training_set
from retrieval.text import Vocabulary, document_text, learn_vocabulary
from retrieval.training_report import Course, write_training_report

# Below this many training queries a held-out tenth would say nothing, and learning needs them all.
_FEWEST_TO_HOLD_OUT = 50
# Dev is scored against every relevant document and at most this many others: enough to rank epochs, and the
# time stays bounded.
_DEV_DOCUMENTS = 20_000
# Rows of their own for this many of the most frequent words.
WHOLE_WORDS = 20_000
# Hidden: an index takes the visible files of a model folder into itself.
CHECKPOINT = ".checkpoint.safetensors"


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


@dataclass(frozen=True)
class Source:
    """A data folder in memory."""

    documents: list[Document]
    queries: dict[str, str]
    train: Qrels
    dev: Qrels


def read_source(folder: Path) -> Source:
    """Read a BEIR folder. Raises InputError for whatever is wrong in it."""
    documents = list(read_documents(folder))
    queries = {query.id: query.text for query in read_queries(folder)}
    ids = {document.id for document in documents}
    train = read_qrels(folder, "train", query_ids=queries, document_ids=ids)
    if "dev" in splits(folder):
        dev = read_qrels(folder, "dev", query_ids=queries, document_ids=ids)
    else:
        train, dev = _hold_out(train)
    return Source(documents, queries, train, dev)


def _hold_out(train: Qrels) -> tuple[Qrels, Qrels]:
    if len(train) < _FEWEST_TO_HOLD_OUT:
        return train, {}
    dev = {query: grades for query, grades in train.items() if zlib.crc32(query.encode()) % 10 == 0}
    return {query: grades for query, grades in train.items() if query not in dev}, dev


def train(
    folder: Path,
    output: Path,
    config: ModelConfig,
    recipe: Recipe,
    *,
    resume: bool = False,
    small: bool = True,
    report: Report | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train on a BEIR folder and write the model folder `output`; a run that was cut short is taken up with
    resume=True. small: feature tables in int8, see `retrieval.saved`.

    Until the end `output` holds what it held before, beside a checkpoint. Raises InputError, BusyError,
    KeyboardInterrupt.
    """
    source = read_source(folder)
    with storing(output):
        output.mkdir(parents=True, exist_ok=True)
    with train_fast(), WriterLock(output):
        for abandoned in output.glob(".*.tmp"):  # by a run that was killed while it wrote
            abandoned.unlink()
        vocabulary = learn_vocabulary(
            _training_texts(source),
            max_words=WHOLE_WORDS if config.whole_words else 0,
            limit=config.document_words,
        )
        data = training_set(
            source.documents,
            source.queries,
            source.train,
            vocabulary,
            config.query_words,
            config.document_words,
        )
        torch.manual_seed(recipe.seed)
        model = initial_model(config, vocabulary, data)
        checkpoint = output / CHECKPOINT
        run = Run(model, data, recipe, checkpoint, _fingerprint(config, recipe, data, source))
        if resume and checkpoint.exists():
            run.resume()
        run.learn(_dev_score(source) if source.dev else None, report, stop)
        trained = Trained(
            config.tower,
            sum(parameter.numel() for parameter in model.parameters()),
            round(run.progress.seconds, 1),
            run.progress.best_epoch + 1,
            dev_measures(model, source, DEFAULT_MEASURES) if source.dev else {},
        )
        training = asdict(trained) | {"recipe": asdict(recipe), "history": run.progress.history}
        model.save(output, training, small=small)
        write_training_report(output, _course(trained, config, recipe, source, data, run))
        checkpoint.unlink(missing_ok=True)
    return trained


def _course(
    trained: Trained, config: ModelConfig, recipe: Recipe, source: Source, data: TrainingSet, run: Run
) -> Course:
    """What the training report tells."""
    facts = {name: value for name, value in asdict(trained).items() if name != "dev"}
    counts = {
        "documents": len(source.documents),
        "training_queries": len(source.train),
        "training_pairs": len(data.pairs),
        "dev_queries": len(source.dev),
        "features": len(run.model.vocabulary),
    }
    settings = asdict(config) | asdict(recipe)
    progress = run.progress
    return Course(facts, counts, settings, progress.curve, progress.history, progress.best_epoch, trained.dev)


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
    return model


def _training_texts(source: Source) -> Sequence[str]:
    return [document_text(document.title, document.text) for document in source.documents] + [
        source.queries[query] for query in source.train
    ]


def _fingerprint(config: ModelConfig, recipe: Recipe, data: TrainingSet, source: Source) -> str:
    dev = [source.dev, [source.queries[query] for query in source.dev]]
    digest = hashlib.sha256(json.dumps([asdict(config), asdict(recipe), dev], sort_keys=True).encode())
    for array in (data.pairs, data.grades):
        digest.update(np.ascontiguousarray(array).tobytes())
    for texts in (data.documents, data.queries, data.features):
        digest.update(texts.values.tobytes() + texts.offsets.tobytes())
    return digest.hexdigest()


def _dev_score(source: Source) -> Callable[[TwoTower], float]:
    return lambda model: dev_measures(model, source, ("nDCG@10",), depth=10)["nDCG@10"]


def dev_measures(
    model: TwoTower, source: Source, measures: Sequence[str], depth: int = 100
) -> dict[str, float]:
    """Measures of exact search for the dev queries, see `_DEV_DOCUMENTS`."""
    documents = _dev_candidates(source)
    vectors = torch.from_numpy(
        model.encode_documents([document_text(document.title, document.text) for document in documents])
    )
    names = list(source.dev)
    queries = torch.from_numpy(model.encode_queries([source.queries[name] for name in names]))
    run: dict[str, dict[str, float]] = {}
    for start in range(0, len(names), 1024):
        top = torch.topk(queries[start : start + 1024] @ vectors.t(), min(depth, len(documents)))
        for name, scores, rows in zip(names[start:], top.values.tolist(), top.indices.tolist(), strict=False):
            run[name] = {documents[row].id: score for row, score in zip(rows, scores, strict=True)}
    return evaluate_run(source.dev, run, measures).means()


def _dev_candidates(source: Source) -> list[Document]:
    if len(source.documents) <= _DEV_DOCUMENTS:
        return source.documents
    wanted = {document for grades in source.dev.values() for document in grades}
    share = _DEV_DOCUMENTS / len(source.documents) * 2**32
    return [d for d in source.documents if d.id in wanted or zlib.crc32(d.id.encode()) < share]
