"""The verb `search`: hits of one query or of many."""

from __future__ import annotations

from pathlib import Path

import click

from retrieval.commands.options import (
    OUTPUT_FILE,
    PATH_OR_STANDARD_INPUT,
    as_typed_option,
    index_argument,
    json_option,
    source,
)
from retrieval.commands.printing import (
    Styled,
    fields_line,
    pieces_of,
    print_corrected,
    print_json,
    print_line,
)
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
    "--queries", "file", type=PATH_OR_STANDARD_INPUT, help="Queries: a file with one a line, a table, or - ."
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
@click.option(
    "--min-probability",
    type=click.FloatRange(0, 1),
    help="Leave out hits that are relevant with less probability, 0 to 1, as the model's calibration says.",
)
@click.option("--metadata", is_flag=True, help="Show the metadata of each hit.")
@as_typed_option
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
    min_probability: float | None,
    metadata: bool,
    as_typed: bool,
    profile: bool,
    as_json: bool,
) -> None:
    """Search an index. The words after INDEX are one query; --queries gives many.

    \b
    Example: peephole search my.index list files by size
    Example: peephole search my.index --queries questions.txt --run hits.trec
    Example: peephole search my.index --where 'lang = en and year >= 2020' list files
    Example: peephole search my.index --min-probability 0.3 list files by size
    Example: peephole search my.index --facet lang --per author.name --offset 10 list files
    """  # noqa: D301
    if bool(query) == (file is not None):
        raise click.UsageError("give either a query or --queries FILE")
    queries = {"1": " ".join(query)} if file is None else _queries_of(file)
    request = Request(k, mode, where, facet, offset, per, min_probability, metadata, as_typed)
    with Retriever.open(index) as retriever:
        answers = [answer(retriever, text, request) for text in queries.values()]
    if run_path is not None:
        from retrieval.evaluation.runs import write_trec_run

        found = zip(queries, answers, strict=True)
        run = {number: {hit.id: hit.score for hit in a.hits} for number, a in found}
        write_trec_run(run_path, run, first_rank=offset + 1)
    if as_json:
        listed = [answer_json(each, profile=profile) for each in answers]
        print_json(listed if file is not None else listed[0])
    elif run_path is None:
        for each in answers:
            _print_answer(each, min_probability, profile)


def _queries_of(file: Path) -> dict[str, str]:
    """Query id to text. The readers are imported here: one query from the shell must not wait for them."""
    from retrieval.commands.corpus_warnings import warn_of_sheets
    from retrieval.data.dataset import read_all_queries

    warn_of_sheets(file)
    return read_all_queries(source(file))


def _print_answer(answer: Answer, least: float | None, profile: bool) -> None:
    told = f"({len(answer.hits)} hits, {answer.took_ms:.1f} ms)"
    if least is not None and not answer.hits:
        told = f"no good answer: no hit is relevant with a probability of {least:g}"
    print_line(Styled(answer.query, bold=True), f"  {told}")
    if answer.searched != answer.query:
        print_corrected(answer.searched)
    if profile:
        print_line(", ".join(f"{name} {taken:.2f} ms" for name, taken in phases_ms(answer).items()))
    for hit in answer.hits:
        title = hit.title if hit.title and hit.title != hit.id else ""
        likely = "" if hit.probability is None else f"{hit.probability:4.0%}  "
        print_line(f"{hit.rank:3}  {hit.score:.3f}  {likely}", Styled(hit.id, colour="green"), f"  {title}")
        pieces = snippet(answer.searched, hit.passage.text if hit.passage else hit.text)
        if pieces:
            print_line("            ", *pieces_of(pieces))
        if hit.metadata:
            print_line("            ", fields_line(hit.metadata))
    for field, values in answer.facets.items():
        counts = ", ".join(f"{one.value} ({one.count:,})" for one in values)
        print_line(Styled(field, bold=True), f"  {counts or 'no values'}")
    print_line("")
