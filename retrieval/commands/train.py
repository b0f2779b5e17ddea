"""The verb that makes a model: train."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from index.errors import needing
from retrieval.commands.columns import column_option
from retrieval.commands.corpus_warnings import warn_of_corpus
from retrieval.commands.options import CORPUS, PATH, PLACE, json_option
from retrieval.commands.printing import print_json, print_line, print_warning
from retrieval.commands.progress import interrupt_requests, progress_bars, resumable
from retrieval.data.columns.names import ColumnNames
from retrieval.data.dataset import AnyDataset, open_dataset
from retrieval.data.pairs.dataset import PairsDataset, PairsSummary
from retrieval.model.config import TowerKind, preset
from retrieval.model.folder import read_model
from retrieval.training.output import MOST_MEMBERS

if TYPE_CHECKING:
    from retrieval.training.train import TrainingResult


@click.command()
@click.argument("data", type=CORPUS)
@click.option("-o", "--output", type=PATH, required=True, help="Model folder to write.")
@click.option(
    "--tower",
    type=click.Choice(["lstm", "cnn", "dnn", "bag"]),
    help="LSTM-DSSM, CNN-DSSM, DSSM, or a bag of trigrams.  [default: lstm]",
)
@click.option(
    "--paper", is_flag=True, help="The tower in the form of its paper, instead of the measured best."
)
@click.option(
    "--epochs", type=click.IntRange(min=1), help="Passes over the pairs.  [default: 12, more for small data]"
)
@click.option(
    "--batch",
    type=click.IntRange(min=2),
    metavar="PAIRS",
    help="Pairs a step, over all processes.  [default: 512]",
)
@click.option(
    "--members",
    type=click.IntRange(min=1, max=MOST_MEMBERS),
    default=3,
    show_default=True,
    help="Models to train side by side from different first weights, and to merge into one of the same size.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=2**31 - 1),
    default=0,
    show_default=True,
    help="Of everything random: the same seed and data give the same model.",
)
@click.option(
    "--teacher",
    type=PLACE,
    metavar="FILE|NAME",
    help="Vectors in a .npz file, or a sentence-transformers model, to learn the language from.",
)
@click.option("--init", type=PATH, help="A model to start from: its tower, vocabulary and weights.")
@click.option("--resume", is_flag=True, help="Go on with a training that was cut short.")
@column_option
@json_option
def train(
    data: Path | str,
    output: Path,
    tower: TowerKind | None,
    paper: bool,
    epochs: int | None,
    batch: int | None,
    members: int,
    seed: int,
    teacher: str | None,
    init: Path | None,
    resume: bool,
    columns: ColumnNames,
    as_json: bool,
) -> None:
    """Train a two-tower model on pairs, and on titles and sentences of the documents.

    DATA is a table of pairs (.csv, .tsv, .jsonl, .parquet, .xlsx) with a query and a document in each row, or
    a pattern or URL of tables that are one; or a BEIR folder, which has corpus.jsonl and, if there are any,
    queries.jsonl, qrels/train.tsv, and qrels/dev.tsv to choose the best epoch by; fewer than 200 dev queries
    do not choose it. After Ctrl-C or a crash the same command with --resume goes on where it stopped.

    A teacher's .npz file has document_ids, document_vectors and, for the training queries, query_ids and
    query_vectors. A teacher helps most if there are few pairs.

    With --init the vocabulary is that of the other model; words that are new since then are read by their
    trigrams.

    Several processes share every batch and make the model that one of them would make. torchrun starts them:
    torchrun --nproc-per-node 4 --no-python peephole train data -o my.model

    \b
    Example: peephole train faq.csv -o my.model
    Example: peephole train data -o my.model --teacher vectors.npz
    Example: peephole train more -o next.model --init my.model
    """  # noqa: D301
    # Else torch prints frames of C++ when another process of the training cannot be reached.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    with needing("train"):
        from retrieval.training.distributed import joined_ranks
        from retrieval.training.output import check_resumable
        from retrieval.training.recipe import Recipe
        from retrieval.training.train import train as train_model
    if init is not None and (tower or paper):
        raise click.UsageError("--init brings its own tower; leave --tower and --paper out")
    config = preset(tower or "lstm", paper) if init is None else read_model(init).config
    recipe = Recipe(epochs=epochs, batch=batch or Recipe.batch, members=members, seed=seed)
    with needing("train"), interrupt_requests() as stop, joined_ranks() as ranks:
        if resume and ranks.is_first:
            check_resumable(output)
        source = open_dataset(data, columns) if ranks.is_first else Path(data)
        if ranks.is_first:
            warn_of_corpus(data, columns)
        summary = source.summary() if isinstance(source, PairsDataset) else None
        if not isinstance(source, Path) and not as_json:
            _print_data(data, source, summary)
        with resumable(told=ranks.is_first), progress_bars("training", shown=ranks.is_first) as progress:
            trained = train_model(
                source,
                output,
                config,
                recipe,
                init=init,
                teacher=teacher,
                resume=resume,
                ranks=ranks,
                progress=progress,
                stop=stop,
                warn=print_warning,
            )
    if not ranks.is_first:
        return
    if as_json:
        print_json(asdict(trained) | ({"data": asdict(summary)} if summary else {}))
    else:
        _print_trained(output, trained)


def _print_data(data: Path | str, dataset: AnyDataset, summary: PairsSummary | None) -> None:
    """Say what was understood of the data, before hours are spent on it."""
    if summary is None:
        is_folder = (Path(data) / "corpus.jsonl").is_file()
        missing = "qrels/train.tsv" if is_folder else "queries" if not Path(data).is_dir() else ""
        # An empty or broken table fails in its first document, before anything is said about it.
        if missing and "train" not in dataset.splits() and next(dataset.documents()):
            print_line(f"no {missing}: learning from titles and sentences of the documents alone")
        return
    columns = ", ".join(f"{role} is {name!r}" for role, name in summary.columns.items())
    print_line(f"{data}: {columns}")
    unused = ", ".join(repr(name) for name in summary.unused if name)
    if unused:
        print_line(f"  not used: {unused} (--column metadata=NAME makes a column metadata of the documents)")
    negatives = f", {summary.negatives:,} negatives" if summary.negatives else ""
    splits = ", ".join(f"{split} {count:,}" for split, count in summary.splits.items())
    few = "split" not in summary.columns and list(summary.splits) == ["train"]
    print_line(
        f"  {summary.rows:,} rows: {summary.pairs:,} pairs{negatives}, {summary.documents:,} documents, "
        f"{summary.queries:,} queries ({splits}{'; too few to hold some out' if few else ''})"
    )


def _print_trained(output: Path, trained: TrainingResult) -> None:
    print_line(
        f"{output}: {trained.tower}, {trained.parameters:,} parameters, {trained.seconds:.0f} s, "
        f"weights of epoch {trained.best_epoch}"
    )
    for measure, value in trained.dev.items():
        print_line(f"  dev {measure:8} {value:.4f}")
    if not trained.calibrated:
        few = f"{trained.dev_queries} are too few" if trained.dev_queries else "there are none"
        print_line(f"  no calibration, so hits have no probability: it takes dev queries, and {few}")
    print_line(f"  report: {output / 'report' / 'training.html'}")
