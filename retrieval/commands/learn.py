"""Verbs that change the model of an index that is served: learn, rollback."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from index.errors import needing
from retrieval.commands.columns import column_option
from retrieval.commands.corpus_warnings import warn_of_sheets
from retrieval.commands.options import PATH, index_argument, json_option, wait_option
from retrieval.commands.printing import print_json, print_line, print_warning
from retrieval.commands.progress import interrupt_requests, progress_bars
from retrieval.data.clicks.grading import LEAST_CLICKS
from retrieval.data.columns.names import ColumnNames
from retrieval.data.dataset import open_dataset
from retrieval.learning.rollback import rollback as roll_back

if TYPE_CHECKING:
    from retrieval.learning.outcome import Outcome

# Serving goes first.
_NICENESS = 10
# As in retrieval.learning.learn, which needs torch.
_KEEP = 2
# After an hour of training it is worth to wait for another writer.
_WAIT = 600.0


@click.command()
@index_argument
@click.option(
    "--clicks", type=PATH, required=True, help="What `peephole serve --clicks` records, or a table of clicks."
)
@click.option("--data", type=PATH, help="A data set to learn from too, and to judge the model by.")
@column_option
@click.option(
    "--keep",
    type=click.IntRange(min=0, max=100),
    default=_KEEP,
    show_default=True,
    help="Earlier generations that stay for a rollback, each as large as the index.",
)
@click.option(
    "--least-clicks",
    type=click.IntRange(min=1),
    default=LEAST_CLICKS,
    show_default=True,
    help="A query and a document with fewer clicks are no pair.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the pairs.  [default: 6]")
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=2**31 - 1),
    default=0,
    show_default=True,
    help="Of everything random.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Most cores to use.  [default: all]")
@click.option("--dry-run", is_flag=True, help="Say what there is to learn from, and do nothing.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=_WAIT,
    show_default=True,
    help="Seconds to wait for another writer at publication.",
)
@json_option
def learn(
    index: Path,
    clicks: Path,
    data: Path | None,
    columns: ColumnNames,
    keep: int,
    least_clicks: int,
    epochs: int | None,
    seed: int,
    threads: int | None,
    dry_run: bool,
    wait: float,
    as_json: bool,
) -> None:
    """Learn from clicks, and publish the model if it is shown to be better.

    Training starts from the index's own model, all documents are encoded again, and the two models rank
    queries that were held out. The new one is published if it is significantly better on held-out clicks and
    nowhere worse. Otherwise it is put aside with the reason in INDEX/.learning/refused, and the index stays
    as it is. Both are a success: exit status 0, and "published" in --json tells which.

    The index can be searched and changed meanwhile. Run at a low priority, it leaves the cores to searches.
    After Ctrl-C or a crash the same command goes on where it stopped.

    \b
    Example: peephole learn my.index --clicks clicks.jsonl
    Example: peephole learn my.index --clicks clicks.jsonl --data data --json
    """  # noqa: D301
    _give_way(threads)
    with needing("train"):
        from retrieval.learning.learn import RECIPE, Reports, Settings
        from retrieval.learning.learn import learn as learn_from
        from retrieval.training.recipe import Recipe
    if columns and data is None:
        raise click.UsageError("--column is about a table of --data")
    if data is not None:
        warn_of_sheets(data, columns)
    dataset = None if data is None else open_dataset(data, columns)
    recipe = Recipe(**asdict(RECIPE) | {"seed": seed} | ({"epochs": epochs} if epochs else {}))
    settings = Settings(recipe, keep, least_clicks, wait, dry_run)
    with needing("train"), progress_bars("learning") as progress, interrupt_requests() as stop:
        try:
            outcome = learn_from(index, clicks, dataset, settings, Reports(progress, stop, print_warning))
        except KeyboardInterrupt as error:
            raise click.ClickException("interrupted; the same command goes on from here") from error
    if as_json:
        print_json({"index": str(index), **outcome.as_json()})
    else:
        _print_outcome(index, outcome)


@click.command()
@index_argument
@wait_option
@json_option
def rollback(index: Path, wait: float, as_json: bool) -> None:
    """Give an index the model back that it had before `learn`.

    The documents stay those of today: what was added since is encoded by the old model. Each call goes one
    model further back, as long as one is kept. The model that was live is not kept: to have it again, learn
    again.

    Example: peephole rollback my.index
    """
    with progress_bars("rolling back") as progress:
        result = roll_back(index, wait=wait, progress=progress)
    if as_json:
        print_json({"index": str(index), **asdict(result)})
        return
    encoded = f", {result.encoded:,} encoded by the old model" if result.encoded else ""
    kept = f"{len(result.previous)} more to go back to" if result.previous else "no other to go back to"
    print_line(
        f"{index}: the model of {result.restored}, {result.documents:,} documents{encoded}, "
        f"{result.generation}; {kept}"
    )


def _give_way(threads: int | None) -> None:
    """Lower the priority of this process, and its cores if asked, before a library starts its threads."""
    os.nice(max(0, _NICENESS - os.nice(0)))
    if threads is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def _print_outcome(index: Path, outcome: Outcome) -> None:
    counts = outcome.counts
    print_line(
        f"{counts.clicks:,} clicks on {counts.clicked_queries:,} queries: {counts.click_pairs:,} pairs, "
        f"{counts.training_queries:,} queries to train on, {counts.held_out_queries:,} held out"
    )
    if counts.rows_passed_over:
        print_line(
            f"  passed over {counts.rows_passed_over:,} rows of documents that the index does not hold"
        )
    if counts.judgements_passed_over:
        print_line(f"  passed over {counts.judgements_passed_over:,} judgements of documents likewise")
    if counts.not_corrected_because:
        print_line(f"  no correction of position bias: {counts.not_corrected_because}")
    for compared in outcome.compared:
        test = compared.test
        print_line(
            f"  {compared.queries:15} {compared.mode:6} {test.measure:15} {test.mean_b:.4f} -> "
            f"{test.mean_a:.4f} ({test.low:+.4f} to {test.high:+.4f}), p {test.p_value:.4f}"
        )
    if outcome.published:
        print_line(
            f"{index}: published as {outcome.generation}; {len(outcome.previous)} kept for "
            "`peephole rollback`"
        )
        return
    print_line(f"{index}: not published, {outcome.reason}")
    if outcome.kept_aside:
        print_line(f"  the model and a report: {outcome.kept_aside}")
