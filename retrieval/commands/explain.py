"""The verb `explain`: which words carry a match."""

from __future__ import annotations

from pathlib import Path

import click

from index.errors import needing
from retrieval.commands.options import PATH, PNG_FILE, as_typed_option, json_option
from retrieval.commands.printing import Styled, pieces_of, print_corrected, print_json, print_line
from retrieval.explain.rescoring import RankExplanation, explain_rank
from retrieval.explain.shares import MatchExplanation
from retrieval.explain.shares import explain as explain_match
from retrieval.explain.text import highlighted, rank_lines, to_json, word_table


@click.command()
@click.argument("folder", metavar="MODEL_OR_INDEX", type=PATH)
@click.argument("query")
@click.argument("document_id", metavar="[DOC_ID]", required=False)
@click.option("--plot", type=PNG_FILE, help="Draw gates over words into this PNG file.")
@as_typed_option
@json_option
def explain(
    folder: Path,
    query: str,
    document_id: str | None,
    plot: Path | None,
    as_typed: bool,
    as_json: bool,
) -> None:
    """Show which words of a query, and of a document of an index, carry the match.

    share: a word's part of the cosine (of the query with itself, without a document). weight: how much
    attention lets the word count. cells: how many of the ten most active cells detected it, reading from
    the left and from the right; words that more than four detected both ways are keywords.

    Where hybrid search re-scores: the document's rank, the best match of each query word in it (share of the
    weight, cosine), and what the features with the largest effects do to its score.

    Example: peephole explain my.index decompress common/unzip --plot gates.png
    """
    explanation = explain_match(folder, query, document_id, as_typed=as_typed)
    read = explanation.query.text
    rank = None if document_id is None else explain_rank(folder, read, document_id)
    if plot is not None:
        with needing("plot"):
            from retrieval.explain.heatmap import write_heatmap

            write_heatmap(plot, explanation)
    if as_json:
        print_json(to_json(explanation, rank))
    else:
        _print_explanation(explanation)
        if rank is not None:
            _print_rank(rank)


def _print_explanation(explanation: MatchExplanation) -> None:
    method = "shares sum to the cosine" if explanation.exact else "shares are what is lost without the word"
    cosine = "" if explanation.cosine is None else f"cosine {explanation.cosine:.4f}, "
    print_line(f"{explanation.tower} tower, {cosine}{method}")
    if explanation.query.text != explanation.typed:
        print_corrected(explanation.query.text)
    texts = (("query", explanation.query), (f"document {explanation.document_id}", explanation.document))
    for name, text in texts:
        if text is None:
            continue
        print_line("")
        print_line(Styled(name, bold=True))
        for line in (highlighted(text), *word_table(text)):
            print_line("  ", *pieces_of(line))
    if explanation.pairs:
        print_line("")
        print_line(Styled("word by word", bold=True))
        for pair in explanation.pairs:
            print_line(f"  {pair.share:+.3f}  {pair.query} ~ {pair.document}")


def _print_rank(rank: RankExplanation) -> None:
    print_line("")
    print_line(Styled("re-scoring", bold=True))
    for line in rank_lines(rank):
        print_line(f"  {line}")
