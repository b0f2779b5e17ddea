"""The verb `search`: hits of one query or of many."""

from __future__ import annotations

from pathlib import Path

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
from retrieval.search.answer import Answer, Request, answer, answer_json, phases_ms
from retrieval.search.modes import MODES, Mode
from retrieval.search.retriever import Retriever
from retrieval.text.snippet import snippet

# More than a person or a re-ranker reads; a typing mistake must not fill the memory.
MOST_HITS = 100_000


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
@click.option("--profile", is_flag=True, help="Show the milliseconds of each phase of the search.")
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
    profile: bool,
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
    request = Request(k, mode, where, facet, offset, per)
    with Retriever.open(index) as retriever:
        answers = [answer(retriever, each.text, request) for each in queries]
    if run_path is not None:
        from retrieval.evaluation.runs import write_trec_run

        hits = zip(queries, answers, strict=True)
        write_trec_run(run_path, {each.id: {hit.id: hit.score for hit in a.hits} for each, a in hits})
    if as_json:
        listed = [answer_json(each, profile=profile) for each in answers]
        print_json(listed if file is not None else listed[0])
    elif run_path is None:
        for each in answers:
            _print_answer(each, profile)


def _print_answer(answer: Answer, profile: bool) -> None:
    print_line(Styled(answer.query, bold=True), f"  ({len(answer.hits)} hits, {answer.took_ms:.1f} ms)")
    if profile:
        print_line(", ".join(f"{name} {taken:.2f} ms" for name, taken in phases_ms(answer).items()))
    for hit in answer.hits:
        title = hit.title if hit.title and hit.title != hit.id else ""
        print_line(f"{hit.rank:3}  {hit.score:.3f}  ", Styled(hit.id, colour="green"), f"  {title}")
        pieces = snippet(answer.query, hit.passage.text if hit.passage else hit.text)
        if pieces:
            print_line("            ", *pieces_of(pieces))
    for field, values in answer.facets.items():
        counts = ", ".join(f"{one.value} ({one.count:,})" for one in values)
        print_line(Styled(field, bold=True), f"  {counts or 'no values'}")
    print_line("")
