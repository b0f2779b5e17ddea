"""Verbs that write an index: build, add, delete, compact."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from index.dense.tuning import Goal
from index.disk.folder import read_live_manifest
from index.writing.delete import delete as delete_documents
from retrieval.commands.columns import column_option
from retrieval.commands.corpus_warnings import (
    check_ids,
    warn_of_corpus,
    warn_of_other_columns,
    warn_of_sheets,
)
from retrieval.commands.options import (
    CORPUS,
    PASSAGES,
    PATH,
    PATH_OR_STANDARD_INPUT,
    index_argument,
    json_option,
    source,
    wait_option,
)
from retrieval.commands.printing import manifest_json, print_json, print_line
from retrieval.commands.progress import progress_bars, resumable
from retrieval.commands.units import parse_bytes, parse_milliseconds
from retrieval.data.columns.names import ColumnNames
from retrieval.data.dataset import AnyDataset, open_dataset, read_query_texts
from retrieval.data.lines import numbered_lines
from retrieval.indexing.build import AddResult
from retrieval.indexing.build import add as add_documents
from retrieval.indexing.build import build as build_index
from retrieval.indexing.compact import compact as compact_index
from retrieval.indexing.sync import sync as sync_documents

no_known_queries_option = click.option(
    "--no-known-queries",
    is_flag=True,
    help="Do not store with each document the training queries that it answers.",
)


@click.command()
@click.argument("corpus", type=CORPUS)
@click.option("-m", "--model", type=PATH, required=True, help="Model folder of `peephole train`.")
@click.option("-o", "--output", type=PATH, required=True, help="Index folder to write.")
@click.option(
    "--target-recall",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=0.99,
    show_default=True,
    help="Least recall@10 against exact search; 1 keeps search exact.",
)
@click.option(
    "--store",
    metavar="ADDRESS",
    help="Keep vectors and documents in Milvus: milvus://HOST:PORT/COLLECTION.",
)
@click.option("--ray", "cluster", metavar="ADDRESS|local", help="Encode on the cores of this Ray cluster.")
@no_known_queries_option
@click.option("--max-memory", metavar="SIZE", help="Most bytes that a dense search may read: 500MB, 2GB.")
@click.option("--max-latency", metavar="TIME", help="Longest median of a dense search: 2ms.")
@click.option(
    "--queries",
    type=PATH_OR_STANDARD_INPUT,
    help="Real queries to tune by, one a line, or a data set with training queries.  [default: those of the "
    "corpus]",
)
@click.option(
    "--passages",
    "passage_words",
    type=PASSAGES,
    metavar="WORDS|off",
    help="Most words of a passage of a long document.  [default: what the model reads, 128]",
)
@column_option
@click.option("--resume", is_flag=True, help="Go on with a build that was cut short.")
@wait_option
@json_option
def build(
    corpus: Path | str,
    model: Path,
    output: Path,
    store: str | None,
    cluster: str | None,
    no_known_queries: bool,
    target_recall: float,
    max_memory: str | None,
    max_latency: str | None,
    queries: Path | None,
    passage_words: int | None,
    columns: ColumnNames,
    resume: bool,
    wait: float,
    as_json: bool,
) -> None:
    """Encode a corpus with a model's document tower and publish it as an index.

    CORPUS is a BEIR folder, a table (.jsonl, .tsv, .csv, also .gz, .parquet or .xlsx) of documents or of
    pairs, a folder of text files, a pattern or URL of tables, or - for JSONL on standard input. An index
    already in OUTPUT serves until the new one is whole.

    A longer document than the model reads is split into passages and found by the best of them.

    A corpus of 20,000 documents or more gets the fastest FAISS index that keeps the target recall, chosen
    by measuring; `peephole info` shows what was tried.

    \b
    Example: peephole build data -m my.model -o my.index
    Example: peephole build data -m my.model -o my.index --store milvus://db:19530/faq
    Example: peephole build 's3://bucket/corpus/*.parquet' -m my.model -o my.index --ray auto
    """  # noqa: D301
    goal = Goal(
        target_recall,
        parse_bytes(max_memory) if max_memory else None,
        parse_milliseconds(max_latency) if max_latency else None,
    )
    warn_of_corpus(corpus, columns)
    if queries:
        warn_of_sheets(queries)
    texts = read_query_texts(source(queries), "train") if queries else None
    dataset = open_dataset(corpus, columns)
    with resumable(), progress_bars("building") as progress:
        manifest = build_index(
            dataset,
            model,
            output,
            goal=goal,
            queries=texts,
            passage_words=passage_words,
            resume=resume,
            wait=wait,
            store=store,
            cluster=cluster,
            known_queries=not no_known_queries,
            progress=progress,
        )
    if as_json:
        print_json(manifest_json(output, manifest) | {"joined_rows": dataset.joined_rows()})
    else:
        print_line(
            f"{output}: {manifest.documents:,} documents, {manifest.dimension} dimensions, "
            f"{manifest.generation}{_of_joined(dataset)}"
        )


@click.command()
@index_argument
@click.argument("corpus", type=CORPUS)
@click.option(
    "--sync", is_flag=True, help="Hold exactly CORPUS: leave what is the same, delete what is not in it."
)
@click.option(
    "--most-deleted",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="With --sync: change nothing if more of the index's documents than this would be deleted.",
)
@click.option("--resume", is_flag=True, help="Go on with an addition that was cut short.")
@no_known_queries_option
@column_option
@wait_option
@json_option
def add(
    index: Path,
    corpus: Path | str,
    sync: bool,
    most_deleted: float | None,
    resume: bool,
    no_known_queries: bool,
    columns: ColumnNames,
    wait: float,
    as_json: bool,
) -> None:
    """Add documents to an index; one with the _id of another takes its place.

    CORPUS is as for `build`. A search sees all of the changes or none.

    \b
    Example: peephole add my.index new.jsonl
    Example: peephole add my.index data --sync --most-deleted 10
    """  # noqa: D301
    if most_deleted is not None and not sync:
        raise click.UsageError("--most-deleted needs --sync, without which nothing is deleted")
    warn_of_corpus(corpus, columns)
    dataset = open_dataset(corpus, columns)
    columns_before = read_live_manifest(index).columns
    check_ids(dataset, index, columns_before)
    limit = 100.0 if most_deleted is None else most_deleted
    change = partial(sync_documents, most_deleted=limit) if sync else add_documents
    with resumable(), progress_bars("adding") as progress:
        result = change(
            dataset,
            index,
            resume=resume,
            wait=wait,
            known_queries=not no_known_queries,
            progress=progress,
        )
    if sync:
        warn_of_other_columns(index, corpus, columns_before)
    if as_json:
        print_json({"index": str(index), **asdict(result), "joined_rows": dataset.joined_rows()})
    else:
        _print_added(index, result, sync, dataset)


def _print_added(index: Path, result: AddResult, sync: bool, dataset: AnyDataset) -> None:
    synced = f"{result.deleted:,} deleted, {result.unchanged:,} unchanged, " if sync else ""
    changes = result.added + result.replaced + result.deleted
    print_line(
        f"{index}: {result.added:,} added, {result.replaced:,} replaced, {synced}"
        f"{result.documents:,} documents, "
        f"{result.generation}{'' if changes else '; nothing changed, so nothing was published'}"
        f"{_of_joined(dataset)}"
    )


def _of_joined(dataset: AnyDataset) -> str:
    """What the line of a corpus says of rows that were joined to others."""
    count = dataset.joined_rows()
    told = "1 row was" if count == 1 else f"{count:,} rows were"
    return f"; {told} joined to the document above, whose id they repeat" if count else ""


@click.command()
@index_argument
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--ids", "file", type=PATH_OR_STANDARD_INPUT, help="Ids from a file, one a line.")
@click.option("--missing-ok", is_flag=True, help="Pass over ids that no document has.")
@wait_option
@json_option
def delete(
    index: Path, ids: tuple[str, ...], file: Path | None, missing_ok: bool, wait: float, as_json: bool
) -> None:
    """Delete documents from an index by their _id: all of them, or none.

    Their room on the disk is freed by `peephole compact`.

    Example: peephole delete my.index faq/17 faq/18
    """
    if bool(ids) == (file is not None):
        raise click.UsageError("give either ids or --ids FILE")
    given = None if file is None else numbered_lines(source(file), kept=True)
    document_ids = list(ids) if given is None else [line for _, line in given]
    deleted = delete_documents(index, document_ids, missing_ok=missing_ok, wait=wait)
    live = read_live_manifest(index)
    facts = {"index": str(index), "generation": live.generation, "documents": live.documents}
    if as_json:
        print_json(facts | {"deleted": deleted})
    else:
        print_line(f"{index}: {deleted:,} deleted, {live.documents:,} documents, {live.generation}")


@click.command()
@index_argument
@wait_option
@json_option
def compact(index: Path, wait: float, as_json: bool) -> None:
    """Make one segment of an index, without what was deleted or replaced.

    Example: peephole compact my.index
    """
    with progress_bars("compacting") as progress:
        manifest = compact_index(index, progress=progress, wait=wait)
    if as_json:
        print_json(manifest_json(index, manifest))
    else:
        size = f"{manifest.size_bytes():,} bytes"
        print_line(f"{index}: {manifest.documents:,} documents, {size}, {manifest.generation}")
