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
from retrieval.search.facets import FacetValue
from retrieval.search.retriever import MODES, Hit, Mode, Retriever
from retrieval.text.snippet import snippet

# More than a person or a re-ranker reads; a typing mistake must not fill the memory.
MOST_HITS = 100_000


class _Page(NamedTuple):
    """Which hits are asked for, and which fields are counted."""

    k: int
    mode: Mode
    where: Sequence[str]
    facets: Sequence[str]
    offset: int
    per: str | None


class Answer(NamedTuple):
    """The hits of a query, the milliseconds from text to hits, and the counted values by field."""

    query: Query
    hits: list[Hit]
    took_ms: float
    facets: dict[str, list[FacetValue]]


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
    help="Only documents whose metadata meets it: lang=en, 'lang = en and not year < 2020' (repeatable).",
)
@click.option("--facet", multiple=True, help="Count the values of this metadata field (repeatable).")
@click.option(
    "--offset",
    type=click.IntRange(0, MOST_HITS),
    default=0,
    help="Leave out so many of the best hits, to read the next page.",
)
@click.option("--per", help="At most one hit for each value of this metadata field.")
@json_option
def search(
    index: Path,
    query: tuple[str, ...],
    k: int,
    mode: Mode,
    file: Path | None,
    run_path: Path | None,
    where: tuple[str, ...],
    facet: tuple[str, ...],
    offset: int,
    per: str | None,
    as_json: bool,
) -> None:
    """Search an index. The words after INDEX are one query; --queries gives many.

    \b
    Example: peephole search my.index list files by size
    Example: peephole search my.index --queries questions.txt --run hits.trec
    Example: peephole search my.index --where 'lang = en and year >= 2020' list files
    Example: peephole search my.index --facet lang --per author.name --offset 10 list files
    """  # noqa: D301
    if bool(query) == (file is not None):
        raise click.UsageError("give a query, or --queries FILE")
    queries = [Query("1", " ".join(query))] if file is None else read_query_lines(source(file))
    page = _Page(k, mode, where, facet, offset, per)
    with Retriever.open(index) as retriever:
        answers = [_answer(retriever, each, page) for each in queries]
    if run_path is not None:
        from retrieval.evaluation.runs import write_trec_run

        write_trec_run(run_path, {a.query.id: {hit.id: hit.score for hit in a.hits} for a in answers})
    if as_json:
        listed = [_answer_json(answer, mode) for answer in answers]
        print_json(listed if file is not None else listed[0])
    elif run_path is None:
        for answer in answers:
            _print_answer(answer)


def _answer(retriever: Retriever, query: Query, page: _Page) -> Answer:
    start = time.perf_counter()
    hits = retriever.search(query.text, page.k, page.mode, page.where, offset=page.offset, per=page.per)
    took_ms = (time.perf_counter() - start) * 1000
    facets = retriever.facets(query.text, page.facets, page.mode, page.where) if page.facets else {}
    return Answer(query, hits, took_ms, facets)


def _answer_json(answer: Answer, mode: Mode) -> dict[str, Any]:
    facets = {field: [asdict(one) for one in values] for field, values in answer.facets.items()}
    return {
        "query": answer.query.text,
        "mode": mode,
        "took_ms": round(answer.took_ms, 3),
        "hits": [asdict(hit) for hit in answer.hits],
        **({"facets": facets} if facets else {}),
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
    for field, values in answer.facets.items():
        counts = ", ".join(f"{one.value} ({one.count:,})" for one in values)
        print_line(Styled(field, bold=True), f"  {counts or 'no values'}")
    print_line("")
