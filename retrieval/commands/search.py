"""The verb `search`: hits of one query or of many."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import click

from retrieval.commands.options import (
    OUTPUT_FILE,
    PATH_OR_STANDARD_INPUT,
    index_argument,
    json_option,
    source,
)
from retrieval.commands.printing import Styled, pieces_of, print_json, print_line
from retrieval.data.queries import Query, read_query_lines
from retrieval.search.retriever import MODES, Hit, Mode, Retriever
from retrieval.text.snippet import snippet

# More than a person or a re-ranker reads; a typing mistake must not fill the memory.
MOST_HITS = 100_000


class Answer(NamedTuple):
    """The hits of a query, and the milliseconds from text to hits."""

    query: Query
    hits: list[Hit]
    took_ms: float


@click.command()
@index_argument
@click.argument("query", nargs=-1)
@click.option(
    "-k",
    type=click.IntRange(1, MOST_HITS),
    default=10,
    show_default=True,
    help=f"Most hits a query, at most {MOST_HITS:,}.",
)
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default="hybrid",
    show_default=True,
    help="By the towers' vectors, by BM25, or by both.",
)
@click.option(
    "--queries", "file", type=PATH_OR_STANDARD_INPUT, help="Queries from a file, one a line, or - ."
)
@click.option("--run", "run_path", type=OUTPUT_FILE, help="Write the hits as a TREC run.")
@click.option(
    "--where",
    multiple=True,
    help="Only documents whose metadata meets it: lang=en, year>=2020 (repeatable).",
)
@json_option
def search(
    index: Path,
    query: tuple[str, ...],
    k: int,
    mode: Mode,
    file: Path | None,
    run_path: Path | None,
    where: tuple[str, ...],
    as_json: bool,
) -> None:
    """Search an index. The words after INDEX are one query; --queries gives many.

    \b
    Example: peephole search my.index list files by size
    Example: peephole search my.index --queries questions.txt --run hits.trec
    Example: peephole search my.index --where lang=en --where 'year>=2020' list files
    """  # noqa: D301
    if bool(query) == (file is not None):
        raise click.UsageError("give a query, or --queries FILE")
    queries = [Query("1", " ".join(query))] if file is None else read_query_lines(source(file))
    with Retriever.open(index) as retriever:
        answers = [_answer(retriever, each, k, mode, where) for each in queries]
    if run_path is not None:
        from retrieval.evaluation.runs import write_trec_run

        write_trec_run(run_path, {a.query.id: {hit.id: hit.score for hit in a.hits} for a in answers})
    if as_json:
        listed = [_answer_json(answer, mode) for answer in answers]
        print_json(listed if file is not None else listed[0])
    elif run_path is None:
        for answer in answers:
            _print_answer(answer)


def _answer(retriever: Retriever, query: Query, k: int, mode: Mode, where: Sequence[str]) -> Answer:
    start = time.perf_counter()
    hits = retriever.search(query.text, k, mode, where)
    return Answer(query, hits, (time.perf_counter() - start) * 1000)


def _answer_json(answer: Answer, mode: Mode) -> dict[str, Any]:
    return {
        "query": answer.query.text,
        "mode": mode,
        "took_ms": round(answer.took_ms, 3),
        "hits": [asdict(hit) for hit in answer.hits],
    }


def _print_answer(answer: Answer) -> None:
    query = answer.query.text
    print_line(Styled(query, bold=True), f"  ({len(answer.hits)} hits, {answer.took_ms:.1f} ms)")
    for hit in answer.hits:
        title = hit.title if hit.title and hit.title != hit.id else ""
        print_line(f"{hit.rank:3}  {hit.score:.3f}  ", Styled(hit.id, colour="green"), f"  {title}")
        pieces = snippet(query, hit.passage.text if hit.passage else hit.text)
        if pieces:
            print_line("            ", *pieces_of(pieces))
    print_line("")
