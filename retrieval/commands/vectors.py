"""Verbs that give what a model computes to other programs: encode, export."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import get_args

import click

from index.disk.output import check_output
from index.errors import InputError
from retrieval.commands.columns import column_option
from retrieval.commands.corpus_warnings import warn_of_corpus, warn_of_sheets
from retrieval.commands.options import (
    ONNX_FILE,
    PASSAGES,
    PATH,
    PLACE,
    json_option,
    source,
)
from retrieval.commands.printing import print_json, print_line
from retrieval.commands.progress import progress_bars, resumable
from retrieval.data.columns.names import ColumnNames
from retrieval.indexing.encode import Encoded
from retrieval.indexing.encode import encode as encode_texts
from retrieval.model.config import Side

_TEXTS: dict[Side, str] = {"document": "documents", "query": "queries"}


@click.command()
@click.argument("texts", metavar="CORPUS|QUERIES|PATTERN", type=PLACE)
@click.option("-m", "--model", type=PATH, required=True, help="Model folder of `peephole train`.")
@click.option(
    "-o",
    "--output",
    type=PLACE,
    required=True,
    help="File to write, .npy or .parquet; with --ray a folder or URL for a file for each.",
)
@click.option(
    "--ray",
    "cluster",
    metavar="ADDRESS|local",
    help="Encode each file that PATTERN matches in a task of this Ray cluster.",
)
@click.option(
    "--side",
    type=click.Choice(get_args(Side)),
    default="document",
    show_default=True,
    help="Which tower encodes: that of documents, or that of queries.",
)
@click.option(
    "--passages",
    "passage_words",
    type=PASSAGES,
    metavar="WORDS|off",
    default="off",
    show_default=True,
    help="A vector for each passage of a long document, of so many words at most.",
)
@column_option
@click.option("--resume", is_flag=True, help="Go on with a run that was cut short.")
@json_option
def encode(
    texts: str,
    model: Path,
    output: str,
    cluster: str | None,
    side: Side,
    passage_words: int,
    columns: ColumnNames,
    resume: bool,
    as_json: bool,
) -> None:
    """Encode documents or queries into a file of vectors for other systems.

    vectors.npy is float32, of unit length, a row a vector; vectors.ids.jsonl beside it names the rows.
    vectors.parquet has the columns id and vector.

    A document has one vector, of its first words as far as the model reads, unless --passages gives each
    passage its own; then start and end say where it is in the text.

    \b
    Example: peephole encode data -m my.model -o vectors.npy
    Example: peephole encode data -m my.model -o passages.parquet --passages 128
    Example: peephole encode questions.txt -m my.model -o queries.npy --side query
    Example: peephole encode 'corpus/*.parquet' -m my.model -o vectors --ray local
    """  # noqa: D301
    if cluster is not None:
        if columns:
            raise InputError("--column is for one table; leave it out with --ray")
        _encode_files(texts, model, output, cluster, side, passage_words, resume, as_json)
        return
    file = Path(output)
    check_output(file)
    (warn_of_corpus if side == "document" else warn_of_sheets)(texts, columns)
    with resumable(), progress_bars("encoding") as progress:
        encoded = encode_texts(
            source(Path(texts)),
            model,
            file,
            side,
            passage_words=passage_words,
            columns=columns,
            resume=resume,
            progress=progress,
        )
    if as_json:
        print_json({"output": output, **asdict(encoded)})
    else:
        _print_encoded(file, encoded)


def _encode_files(
    pattern: str,
    model: Path,
    output: str,
    cluster: str,
    side: Side,
    passage_words: int,
    resume: bool,
    as_json: bool,
) -> None:
    """Encode files on a Ray cluster, and say what came of it."""
    from retrieval.indexing.distributed import encode_files

    with resumable(), progress_bars("encoding") as progress:
        done = encode_files(
            *(pattern, model, output, cluster, side),
            passage_words=passage_words,
            resume=resume,
            progress=progress,
        )
    if as_json:
        print_json({"output": output, **asdict(done)})
        return
    kept = f" ({done.kept:,} from before)" if done.kept else ""
    print_line(
        f"{output}: {done.files:,} files{kept}, {done.vectors:,} vectors, {done.dimension} dimensions, "
        f"of {done.texts:,} {_TEXTS[side]}"
    )


def _print_encoded(output: Path, encoded: Encoded) -> None:
    what = _TEXTS[encoded.side]
    print_line(
        f"{output}: {encoded.vectors:,} vectors, {encoded.dimension} dimensions, of {encoded.texts:,} {what}"
    )
    if encoded.cut:
        remedy = "; --passages gives a long one several vectors" if encoded.side == "document" else ""
        print_line(
            f"of {encoded.cut:,} {what} the model read the first {encoded.word_limit} words only{remedy}",
            err=True,
        )


@click.command()
@click.argument("model", type=PATH)
@click.option("-o", "--output", type=ONNX_FILE, required=True, help="File to write, such as query.onnx.")
@click.option(
    "--side",
    type=click.Choice(get_args(Side)),
    default="query",
    show_default=True,
    help="Which tower: that of queries, or that of documents.",
)
@json_option
def export(model: Path, output: Path, side: Side, as_json: bool) -> None:
    """Write a tower as an ONNX file, to encode in other languages.

    It reads numbers of words and features; docs/tokeniser.md says how a text becomes these, with the
    vocabulary.json of the model folder.

    Example: peephole export my.model -o query.onnx
    """
    from retrieval.adapters.onnx import export_tower

    exported = export_tower(model, output, side)
    if as_json:
        print_json({"output": str(output), **asdict(exported)})
    else:
        print_line(
            f"{output}: {exported.side} tower, {exported.dimension} dimensions, {exported.size_bytes:,} bytes"
        )
