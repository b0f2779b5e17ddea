"""One evaluation as one HTML page: tables, charts, and the queries that the system answers worst.

In: an `Evaluation`. Out: an HTML page that needs no other file, in light, dark and print, and a TSV table of
every query. Knows nothing of models or indexes. Markup is in templates/report.html.j2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from index.disk.files import storing
from index.disk.output import write_output
from retrieval.evaluation.breakdown import lost_queries, worst_queries
from retrieval.evaluation.compare import Evaluation
from retrieval.evaluation.measures import RunMeasures
from retrieval.evaluation.runs import ranking
from retrieval.evaluation.significance import paired_differences, wins_losses_ties
from retrieval.html.charts import Bar, Chart, bar_chart, difference_chart
from retrieval.html.page import page_template

REPORT_FILE = "report.html"
PER_QUERY_FILE = "queries.tsv"

_HITS_SHOWN = 5
_QUERIES_SHOWN = 12
_LONGEST_TEXT = 300
_TEMPLATE = Path(__file__).parent / "templates" / "report.html.j2"

_Row: TypeAlias = tuple[object, object, str, str]  # rank; tick or grade; text and id of a document


class _Card(NamedTuple):
    """One query on the page."""

    query_id: str
    text: str
    modes: Mapping[str, float]  # each mode's value of the measure
    returned: Sequence[_Row]  # the first hits of the mode in focus
    relevant: Sequence[_Row]  # the documents that should have been there


def write_report(folder: Path | str, evaluation: Evaluation) -> Path:
    """Write `report.html` and `queries.tsv` into a folder, which is made; returns the path of the page.

    Raises StorageError.
    """
    folder = Path(folder)
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_per_query(folder / PER_QUERY_FILE, evaluation)
    write_output(folder / REPORT_FILE, render(evaluation).encode())
    return folder / REPORT_FILE


def write_per_query(path: Path, evaluation: Evaluation) -> None:
    """Write the values of every query as TSV, as `per_query_table` has them. Raises StorageError."""
    write_output(path, per_query_table(evaluation.modes, evaluation.queries).encode())


def per_query_table(modes: Mapping[str, RunMeasures], queries: Mapping[str, str]) -> str:
    """A TSV table: query id, a column for each mode and measure, and the query's text with blanks for tabs.

    modes: the measures of each mode, all over the same queries.
    queries: query id to text.
    """
    columns = {
        f"{mode} {measure}": dict(zip(run.query_ids, run.of(measure).tolist(), strict=True))
        for mode, run in modes.items()
        for measure in run.values
    }
    lines = ["\t".join(["query", *columns, "text"])]
    for query_id in next(iter(modes.values())).query_ids if modes else ():
        text = " ".join(queries.get(query_id, "").split())
        values = [f"{column[query_id]:.6g}" for column in columns.values()]
        lines.append("\t".join([query_id, *values, text]))
    return "\n".join(lines) + "\n"


def render(evaluation: Evaluation) -> str:
    """The page as text."""
    modes, measure = evaluation.modes, evaluation.measure
    judged = max((len(run.query_ids) for run in modes.values()), default=0)
    means = {mode: run.means() for mode, run in modes.items()}
    best = _highest(means)
    return page_template(_TEMPLATE).render(
        title=evaluation.title,
        evaluation=evaluation,
        page_facts={"Split": evaluation.split, "Queries": f"{judged:,}", **evaluation.facts},
        means=means,
        best=best,
        quality=_chart(
            # The axis ends at 1, so counts cannot be drawn.
            {name: _column(means, name) for name, value in best.items() if value <= 1},
            modes,
            "Mean of each measure by mode",
        ),
        breakdowns=[
            (title, groups, _chart({group.label: group.means for group in groups}, modes, title))
            for heading, groups in evaluation.groups.items()
            for title in [f"{measure}: {heading}"]
        ],
        reliability=_reliability(evaluation),
        lost=_lost(evaluation),
        worst=_cards(evaluation, worst_queries(modes[evaluation.focus], measure, _QUERIES_SHOWN)),
    )


def _highest(means: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Each measure to the highest of its means."""
    highest: dict[str, float] = {}
    for mean in means.values():
        for name, value in mean.items():
            highest[name] = max(value, highest.get(name, value))
    return highest


def _column(means: Mapping[str, Mapping[str, float]], measure: str) -> dict[str, float]:
    return {mode: mean[measure] for mode, mean in means.items() if measure in mean}


def _chart(groups: Mapping[str, Mapping[str, float]], modes: Iterable[str], title: str) -> Chart:
    """Bars by group and mode; groups: label to the value of each mode."""
    series = list(enumerate(modes))
    bars = [
        (label, [Bar(i, mode, values[mode]) for i, mode in series if mode in values])
        for label, values in groups.items()
    ]
    return bar_chart(bars, title)


def _reliability(evaluation: Evaluation) -> Chart | None:
    """The mean probability of the first hits in each bin, and the share of them that are relevant."""
    if evaluation.calibrated is None:
        return None
    bars = [
        (
            f"{each.low:g} to {each.high:g}",
            [Bar(0, "probability", each.probability), Bar(1, "relevant", each.relevant)],
        )
        for each in evaluation.calibrated.bins
    ]
    return bar_chart(bars, "Probability and share of relevant first hits")


def _lost(evaluation: Evaluation) -> dict[str, Any] | None:
    """The queries that the mode in focus loses to its rival: counts, chart, and the worst ones."""
    if evaluation.against is None:
        return None
    ours, theirs = evaluation.modes[evaluation.focus], evaluation.modes[evaluation.against]
    differences = paired_differences(ours, theirs, evaluation.measure)
    title = f"{evaluation.measure}: {evaluation.focus} minus {evaluation.against}, query by query"
    lost = lost_queries(ours, theirs, evaluation.measure, _QUERIES_SHOWN)
    return {
        "counts": wins_losses_ties(differences),
        "chart": difference_chart(differences, title),
        "cards": _cards(evaluation, [query.query_id for query in lost]),
    }


def _cards(evaluation: Evaluation, query_ids: Iterable[str]) -> list[_Card]:
    return [_card(evaluation, query_id) for query_id in query_ids]


def _card(evaluation: Evaluation, query_id: str) -> _Card:
    ranked = ranking(evaluation.runs.get(evaluation.focus, {}).get(query_id, {}))
    ranks = {document_id: rank for rank, document_id in enumerate(ranked, 1)}
    grades = evaluation.qrels.get(query_id, {})
    relevant = [item for item in sorted(grades.items(), key=lambda item: -item[1]) if item[1] > 0]

    def row(rank: object, second: object, document_id: str) -> _Row:
        return rank, second, _short(evaluation.describe(document_id)), document_id

    return _Card(
        query_id,
        _short(evaluation.queries.get(query_id, "")),
        {
            mode: float(run.of(evaluation.measure)[run.query_ids.index(query_id)])
            for mode, run in evaluation.modes.items()
        },
        [row(ranks[hit], "✓" if grades.get(hit, 0) > 0 else "", hit) for hit in ranked[:_HITS_SHOWN]],
        [row(ranks.get(id_, f"beyond {len(ranked)}"), grade, id_) for id_, grade in relevant[:_HITS_SHOWN]],
    )


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
