"""What `peephole clicks queries` tells: lists of queries, as JSON values and as tables for a terminal.

In: counts by query, and how an index takes the frequent ones. Out: text on standard output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from index.values import Progress, no_progress
from retrieval.commands.printing import Styled, print_line
from retrieval.data.clicks.queries import QueryCount, QueryCounts
from retrieval.data.clicks.query_lists import (
    deeply_clicked,
    hidden,
    most_frequent,
    unclicked,
    without_results,
)
from retrieval.evaluation.coverage import Coverage, coverage_of
from retrieval.search.retriever import Retriever

# A query whose best hit is relevant with less probability is probably not answered. Of queries of data sets
# with one judged document each up to a ninth are below it, and up to a third below .5.
UNLIKELY = 0.3
_QUERY_CHARACTERS = 100  # of a line


@dataclass(frozen=True)
class LookedUp:
    """Frequent queries as an index takes them."""

    index: Path
    has_probabilities: bool  # whether the model has a calibration
    queries: Sequence[tuple[QueryCount, Coverage]]  # the most frequent first


@dataclass(frozen=True)
class QueryReport:
    """What there is to tell of a log.

    least: the fewest searches of a query that is listed.
    most: the length of a list.
    """

    log: Path
    counts: QueryCounts
    least: int
    most: int
    looked_up: LookedUp | None

    def lists(self) -> dict[str, list[QueryCount]]:
        """The lists that the log alone gives, by name."""
        which = (self.counts, self.least, self.most)
        return {
            "frequent": most_frequent(*which),
            "unclicked": unclicked(*which),
            "without_results": without_results(*which),
            "deep": deeply_clicked(*which),
        }

    def totals(self) -> dict[str, Any]:
        """Counts of all queries."""
        counts = self.counts
        searches, clicked = int(counts.searches.sum()), int(counts.clicked_searches.sum())
        return {
            "searches": searches,
            "queries": int((counts.searches > 0).sum()),
            "empty": int(counts.empty.sum()),
            "clicks": int(counts.clicks.sum()),
            "clicked_searches": clicked,
            "clicked_share": min(1.0, clicked / searches) if searches else None,
            "half_typed": counts.half_typed,
            "first": counts.first,
            "last": counts.latest(),
            "least": self.least,
            "hidden": hidden(counts, self.least),
        }


def look_up(
    retriever: Retriever,
    queries: Sequence[QueryCount],
    progress: Progress = no_progress,
) -> LookedUp:
    """Look queries up in an open index. Raises what `coverage_of` raises."""
    queries = [each for each in queries if each.query]
    found = coverage_of(retriever, [each.query for each in queries], progress=progress)
    return LookedUp(
        index=retriever.index.folder,
        has_probabilities=retriever.calibration is not None,
        queries=list(zip(queries, found, strict=True)),
    )


def report_json(report: QueryReport) -> dict[str, Any]:
    """The report as JSON values: totals, a list for each heading, and what the index says (null without)."""
    lists = {name: list(map(asdict, each)) for name, each in report.lists().items()}
    found = report.looked_up
    return {
        "log": str(report.log),
        **report.totals(),
        **lists,
        "index": None if found is None else _index_json(found, report.most),
    }


def print_report(report: QueryReport) -> None:
    """Print the report as tables."""
    told = report.totals()
    clicked = "" if told["clicked_share"] is None else f", {told['clicked_share']:.0%} with a click"
    print_line(
        f"{report.log}: {_of(told['searches'], 'search', 'searches')} for "
        f"{_of(told['queries'], 'query', 'queries')}{clicked}, {told['empty']:,} that showed nothing"
    )
    if told["first"]:
        print_line(f"from {told['first']} to {told['last']}")
    if told["half_typed"]:
        print_line(f"{_of(told['half_typed'], 'half-typed search', 'half-typed searches')} not counted")
    if told["hidden"]:
        print_line(
            f"not listed: {_of(told['hidden'], 'query', 'queries')} searched for fewer than {report.least} "
            "times; --least 1 lists all"
        )
    if not told["searches"]:
        return
    for name, listed in report.lists().items():
        _print_heading(_HEADINGS[name])
        if name == "unclicked" and not told["clicks"]:
            print_line("no click counts; a page of your own must send them (POST /click)")
        else:
            _print_counts(listed)
    if report.looked_up is not None:
        _print_looked_up(report.looked_up, report.most)


_HEADINGS = {
    "frequent": "most frequent",
    "unclicked": "never clicked, though something was shown",
    "without_results": "showed nothing",
    "deep": "clicked deep: the first click beyond rank 3 on average",
}


def _index_json(looked_up: LookedUp, most: int) -> dict[str, Any]:
    unlikely = [
        {
            **_query_json(count),
            "id": each.best.id,
            "title": each.best.title,
            "probability": each.best.probability,
        }
        for count, each in _unlikely(looked_up, most)
        if each.best is not None
    ]
    return {
        "folder": str(looked_up.index),
        "queries": len(looked_up.queries),
        "unknown_words": [
            {**_query_json(count), "words": list(each.unknown)} for count, each in _lacking(looked_up, most)
        ],
        "corrected": [
            {**_query_json(count), "corrected": each.searched} for count, each in _corrected(looked_up, most)
        ],
        "unlikely": unlikely if looked_up.has_probabilities else None,
    }


def _query_json(count: QueryCount) -> dict[str, Any]:
    return {"query": count.query, "searches": count.searches, "clicked_share": count.clicked_share}


def _lacking(looked_up: LookedUp, most: int) -> list[tuple[QueryCount, Coverage]]:
    return [pair for pair in looked_up.queries if pair[1].unknown][:most]


def _corrected(looked_up: LookedUp, most: int) -> list[tuple[QueryCount, Coverage]]:
    return [pair for pair in looked_up.queries if pair[1].searched != pair[1].query][:most]


def _unlikely(looked_up: LookedUp, most: int) -> list[tuple[QueryCount, Coverage]]:
    return [pair for pair in looked_up.queries if pair[1].is_unlikely(UNLIKELY)][:most]


def _print_counts(listed: Sequence[QueryCount]) -> None:
    if not listed:
        print_line("none")
        return
    print_line(f"{'searches':>9} {'nothing':>8} {'clicked':>8} {'rank':>5}  {'last':10}  query")
    for each in listed:
        rank = "-" if each.mean_first_rank is None else f"{each.mean_first_rank:.1f}"
        print_line(
            f"{each.searches:9,} {each.empty:8,} {each.clicked_share:8.0%} {rank:>5}  {each.last[:10]}  ",
            _shown(each.query),
        )


def _print_looked_up(looked_up: LookedUp, most: int) -> None:
    among = f"of the {_of(len(looked_up.queries), 'query', 'queries')} looked up in {looked_up.index}"
    lines = [(count, ", ".join(each.unknown)) for count, each in _lacking(looked_up, most)]
    _print_told(f"with words that no document has, {among}", "words", lines)
    lines = [(count, each.searched) for count, each in _corrected(looked_up, most)]
    _print_told("misspelt, or not typed to the end", "read as", lines)
    heading = f"probably not answered: the best hit is relevant with less than {UNLIKELY:.0%}"
    if not looked_up.has_probabilities:
        _print_heading(heading)
        print_line("not known: the model has no calibration; train it with dev queries and build again")
        return
    lines = [
        (count, f"{each.best.probability:5.1%}  {each.best.id}")
        for count, each in _unlikely(looked_up, most)
        if each.best is not None
    ]
    _print_told(heading, "best hit", lines)


def _print_told(heading: str, told: str, lines: Sequence[tuple[QueryCount, str]]) -> None:
    _print_heading(heading)
    if not lines:
        print_line("none")
        return
    print_line(f"{'searches':>9} {'clicked':>8}  query: {told}")
    for count, text in lines:
        print_line(
            f"{count.searches:9,} {count.clicked_share:8.0%}  ", _shown(count.query), f": {_shown(text)}"
        )


def _print_heading(text: str) -> None:
    print_line("")
    print_line(Styled(text, bold=True))


def _shown(text: str) -> str:
    return text if len(text) <= _QUERY_CHARACTERS else f"{text[:_QUERY_CHARACTERS]}…"


def _of(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"
