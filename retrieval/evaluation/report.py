"""One evaluation as one HTML page: tables, charts, and the queries worth looking at with what they got and
what they wanted.

In: an `Evaluation`. Out: HTML that needs nothing beside itself, reads in light and dark, and prints. Knows
nothing of models or indexes; every text in it comes from strangers and is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from index.disk.files import storing, write_atomically
from retrieval.evaluation.breakdown import Group, losses, worst_queries
from retrieval.evaluation.compare import Evaluation
from retrieval.evaluation.measures import Scores
from retrieval.evaluation.runs import ranking
from retrieval.html.charts import Bar, bar_chart, difference_chart, key_colour
from retrieval.html.page import page, section, table

REPORT_FILE = "report.html"
PER_QUERY_FILE = "queries.tsv"

_HITS_SHOWN = 5
_QUERIES_SHOWN = 12
_LONGEST_TEXT = 300


def write_report(folder: Path | str, evaluation: Evaluation) -> Path:
    """Write `report.html`, and `queries.tsv` with every value of every query; returns the path of the page.

    Raises StorageError if the folder cannot be written.
    """
    folder = Path(folder)
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_per_query(folder / PER_QUERY_FILE, evaluation)
    write_atomically(folder / REPORT_FILE, render(evaluation).encode())
    return folder / REPORT_FILE


def write_per_query(path: Path, evaluation: Evaluation) -> None:
    """Write `per_query_table` of an evaluation. Raises StorageError."""
    write_atomically(path, per_query_table(evaluation.modes, evaluation.queries).encode())


def per_query_table(modes: Mapping[str, Scores], queries: Mapping[str, str]) -> str:
    """A TSV table: query id, a column for each mode and measure, the query's text with tabs as blanks."""
    columns = [(mode, measure, scores) for mode, scores in modes.items() for measure in scores.values]
    lines = ["\t".join(["query", *(f"{mode} {measure}" for mode, measure, _ in columns), "text"])]
    values = [
        dict(zip(scores.query_ids, scores.of(measure).tolist(), strict=True))
        for _, measure, scores in columns
    ]
    for query in next(iter(modes.values())).query_ids if modes else ():
        text = " ".join(queries.get(query, "").split())
        lines.append("\t".join([query, *(f"{column[query]:.6g}" for column in values), text]))
    return "\n".join(lines) + "\n"


def render(evaluation: Evaluation) -> str:
    """The page as text."""
    sections = [
        _facts(evaluation),
        _measures(evaluation),
        _contests(evaluation),
        *(_groups(evaluation, heading, groups) for heading, groups in evaluation.groups.items()),
        _speed(evaluation),
        _losses(evaluation),
        _worst(evaluation),
    ]
    return page(evaluation.title, sections)


def _facts(evaluation: Evaluation) -> str:
    judged = max((len(scores.query_ids) for scores in evaluation.modes.values()), default=0)
    facts = {"Split": evaluation.split, "Queries": f"{judged:,}", **evaluation.facts}
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items()
    )
    return f"<dl>{items}</dl>"


def _measures(evaluation: Evaluation) -> str:
    names = list(dict.fromkeys(name for scores in evaluation.modes.values() for name in scores.values))
    means = {mode: scores.means() for mode, scores in evaluation.modes.items()}
    best = {name: max((mean[name] for mean in means.values() if name in mean), default=0.0) for name in names}
    rows = [
        [_key(evaluation, mode), *(_number(mean.get(name), mean.get(name) == best[name]) for name in names)]
        for mode, mean in means.items()
    ]
    bounded = [name for name in names if best[name] <= 1]
    chart = bar_chart(
        [
            (n, [Bar(i, mode, mean[n]) for i, (mode, mean) in enumerate(means.items()) if n in mean])
            for n in bounded
        ],
        "Mean of each measure by mode",
    )
    return section("Quality", table(["Mode", *names], rows) + chart)


def _key(evaluation: Evaluation, mode: str) -> str:
    """The mode's name beside the colour that it has in the charts."""
    colour = key_colour(list(evaluation.modes).index(mode))
    square = f'<svg viewBox="0 0 10 10"><rect {colour} width="10" height="10"/></svg>'
    return f'<span class="key">{square}</span>{escape(mode)}'


def _number(value: float | None, strong: bool = False) -> str:
    if value is None:
        return ""
    return f"<b>{value:.4f}</b>" if strong else f"{value:.4f}"


def _contests(evaluation: Evaluation) -> str:
    if not evaluation.contests:
        return ""
    rows = []
    for contest in evaluation.contests:
        found = contest.comparison
        rows.append(
            [
                f"{escape(contest.a)} over {escape(contest.b)}",
                f"{found.difference:+.4f}",
                f"{found.low:+.4f} to {found.high:+.4f}",
                f"{found.p_value:.4f}",
                f"{contest.corrected_p:.4f}",
                f"{found.wins:,} / {found.losses:,} / {found.ties:,}",
            ]
        )
    head = [
        "",
        escape(evaluation.contests[0].comparison.measure),
        "95% interval",
        "p",
        "p (Holm)",
        "win / lose / tie",
    ]
    note = (
        "<p>Paired randomisation test over the queries; the interval is a bootstrap over them. "
        "A corrected p below 0.05 is unlikely to be luck.</p>"
    )
    return section("Is the difference real?", table(head, rows) + note)


def _groups(evaluation: Evaluation, heading: str, groups: Sequence[Group]) -> str:
    modes = list(evaluation.modes)
    rows = [
        [escape(group.label), f"{group.queries:,}", *(_number(group.means.get(mode)) for mode in modes)]
        for group in groups
    ]
    bars = [
        (
            group.label,
            [Bar(i, mode, group.means[mode]) for i, mode in enumerate(modes) if mode in group.means],
        )
        for group in groups
    ]
    head = ["", "Queries", *(_key(evaluation, mode) for mode in modes)]
    title = f"{evaluation.measure}: {heading}"
    return section(title, table(head, rows) + bar_chart(bars, title))


def _speed(evaluation: Evaluation) -> str:
    parts = []
    if evaluation.ann:
        rows = [[escape(name), _number(value)] for name, value in evaluation.ann.items()]
        parts.append(table(["Index against exact search", ""], rows))
    if evaluation.latency_ms:
        rows = [[escape(name), f"{value:.3f} ms"] for name, value in evaluation.latency_ms.items()]
        parts.append(table(["Latency of one query", ""], rows))
    return section("Index and speed", "".join(parts)) if parts else ""


def _losses(evaluation: Evaluation) -> str:
    if evaluation.against is None:
        return ""
    ours, theirs = evaluation.modes[evaluation.focus], evaluation.modes[evaluation.against]
    rows = {query: row for row, query in enumerate(theirs.query_ids)}
    their_values = theirs.of(evaluation.measure)[[rows[query] for query in ours.query_ids]]
    differences = ours.of(evaluation.measure) - their_values
    wins, losing = int((differences > 0).sum()), int((differences < 0).sum())
    counts = f"wins {wins:,} queries, loses {losing:,} and ties {len(differences) - wins - losing:,}"
    title = f"{evaluation.measure}: {evaluation.focus} minus {evaluation.against}, query by query"
    found = losses(ours, theirs, evaluation.measure, _QUERIES_SHOWN)
    return section(
        f"Where {evaluation.focus} loses most to {evaluation.against}",
        f"<p>{escape(evaluation.focus)} {counts}.</p>"
        + difference_chart(differences, title)
        + "".join(_query(evaluation, loss.query_id) for loss in found),
    )


def _worst(evaluation: Evaluation) -> str:
    found = worst_queries(evaluation.modes[evaluation.focus], evaluation.measure, _QUERIES_SHOWN)
    if not found:
        return ""
    shown = "".join(_query(evaluation, query) for query in found)
    return section(f"Lowest {evaluation.measure} of {evaluation.focus}", shown)


def _query(evaluation: Evaluation, query: str) -> str:
    """One query: its values, the first hits of the mode in focus, and what should have been there."""
    values = ", ".join(
        f"{escape(mode)} {scores.of(evaluation.measure)[scores.query_ids.index(query)]:.3f}"
        for mode, scores in evaluation.modes.items()
    )
    ranked = ranking(evaluation.runs.get(evaluation.focus, {}).get(query, {}))
    judged = evaluation.qrels.get(query, {})
    got = [
        [str(rank), "✓" if judged.get(document, 0) > 0 else "", _document(evaluation, document)]
        for rank, document in enumerate(ranked[:_HITS_SHOWN], 1)
    ]
    places = {document: rank for rank, document in enumerate(ranked, 1)}
    wanted = [
        [str(places.get(document, f"beyond {len(ranked)}")), str(grade), _document(evaluation, document)]
        for document, grade in sorted(judged.items(), key=lambda item: -item[1])
        if grade > 0
    ][:_HITS_SHOWN]
    text = escape(_short(evaluation.queries.get(query, "")))
    return (
        f'<article><h3>{text}</h3><p class="note">{escape(query)}: {values}</p>'
        f"{table(['Rank', '', 'Returned'], got)}{table(['Rank', 'Grade', 'Wanted'], wanted)}</article>"
    )


def _document(evaluation: Evaluation, document: str) -> str:
    return f'{escape(_short(evaluation.describe(document)))} <span class="note">{escape(document)}</span>'


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
