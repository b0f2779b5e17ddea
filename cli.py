"""The `peephole` command: verbs, arguments, progress and printing, nothing else.

Each verb imports what it needs when it runs: a search must not wait for the libraries of training.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from index.errors import PeepholeError

if TYPE_CHECKING:
    from index.disk.manifest import Manifest
    from retrieval.evaluation.compare import Evaluation
    from retrieval.evaluation.runs import Run
    from retrieval.explain.shares import Explanation
    from retrieval.search.retriever import Hit
    from retrieval.text.snippet import Piece

F = TypeVar("F", bound=Callable[..., Any])
Advance = Callable[[str, int, int | None], None]


class _Verbs(click.Group):
    """Turns every failure into one line on standard error; tracebacks are for `--debug`."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PeepholeError as error:
            raise click.ClickException(str(error)) from error
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(
                f"{place}{error.strerror or error}; free space or check the path"
            ) from error
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            problem = f"{type(error).__name__}: {error}".splitlines()[0]
            raise click.ClickException(
                f"unexpected {problem}; run `peephole --debug ...` and report it"
            ) from error


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="peephole")
@click.option("--debug", is_flag=True, help="Show the traceback of an unexpected failure.")
def verbs(debug: bool) -> None:
    """Search that a team trains on its own pairs and serves from ordinary CPUs.

    \b
    peephole corpus pydoc -o data          a data set: the docstrings installed here
    peephole train data -o my.model        learn from its pairs
    peephole build data -m my.model -o my.index
    peephole search my.index "copy a folder"
    peephole evaluate my.index data        recall and nDCG on held-out queries
    """  # noqa: D301


def main() -> None:
    """Entry point of the `peephole` command."""
    for stream in (sys.stdout, sys.stderr):
        # A title in a language that the terminal's encoding lacks must not end a search.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    verbs(prog_name="peephole")


def _json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document, and nothing else.")(
        function
    )


def _wait_option(function: F) -> F:
    return click.option(
        "--wait", type=click.FloatRange(min=0), default=0, help="Seconds to wait for another writer."
    )(function)


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


@contextmanager
def _progress(what: str) -> Iterator[Advance]:
    """A bar with rate and remaining time on standard error, if that is a terminal; otherwise silence."""
    if not sys.stderr.isatty():
        yield lambda stage, done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
    )
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def advance(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(f"{what}: {stage}", total=total, rate="")
            speed = bars.tasks[tasks[stage]].speed
            bars.update(tasks[stage], completed=done, total=total, rate=f"{speed:,.0f}/s" if speed else "")

        yield advance


@verbs.group()
def corpus() -> None:
    """Make a data set to train and search."""


@corpus.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--package", "packages", multiple=True, help="Only this package (repeatable).")
@click.option(
    "--limit", type=click.IntRange(min=1), default=12_000, show_default=True, help="Most documents."
)
@_json_option
def pydoc(output: Path, packages: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Docstrings of the standard library and of the packages installed here, as a BEIR folder.

    A document is a docstring's body, its query the summary line; split by hash into train, dev and test.

    Example: peephole corpus pydoc -o data
    """
    from retrieval.data.pydoc.corpus import write_pydoc_corpus

    with _progress("docstrings") as advance:
        counts = write_pydoc_corpus(
            output,
            packages=packages or None,
            limit=limit,
            progress=advance,
        )
    if as_json:
        _print_json(asdict(counts))
    else:
        click.echo(f"{output}: " + ", ".join(f"{value:,} {name}" for name, value in asdict(counts).items()))


@verbs.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Model folder to write.")
@click.option("--tower", type=click.Choice(["lstm", "cnn", "dnn", "bag"]), default="lstm", show_default=True)
@click.option(
    "--paper", is_flag=True, help="The tower exactly as its paper has it, instead of the measured best."
)
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the pairs.  [default: the recipe's]")
@click.option("--seed", type=click.IntRange(min=0, max=2**31 - 1), default=0, show_default=True)
@click.option(
    "--teacher",
    metavar="FILE|NAME",
    help="Vectors in a .npz file, or a sentence-transformers model, to learn the language from.",
)
@click.option("--resume", is_flag=True, help="Go on with a training that was cut short.")
@_json_option
def train(
    data: Path,
    output: Path,
    tower: Any,
    paper: bool,
    epochs: int | None,
    seed: int,
    teacher: str | None,
    resume: bool,
    as_json: bool,
) -> None:
    """Train a two-tower model on the pairs of a BEIR folder, and on titles and sentences of its documents.

    DATA has corpus.jsonl and, for more than a start, queries.jsonl, qrels/train.tsv and qrels/dev.tsv to
    choose the epoch by. Interrupted (Ctrl-C, or worse), the same command with --resume goes on where it
    stood.

    A teacher's .npz has document_ids, document_vectors and, for the training queries, query_ids and
    query_vectors. It helps most where pairs are few.

    \b
    Example: peephole train data -o my.model
    Example: peephole train data -o my.model --teacher vectors.npz
    """  # noqa: D301
    from dataclasses import replace

    from retrieval.data.queries import splits
    from retrieval.model.config import preset
    from retrieval.training.loop import Recipe, Step
    from retrieval.training.train import train as train_model

    recipe = replace(Recipe(seed=seed), **({"epochs": epochs} if epochs else {}))
    if not as_json and (data / "corpus.jsonl").is_file() and "train" not in splits(data):
        click.echo("no qrels/train.tsv: learning from titles and sentences of the documents alone")
    with _progress("training") as advance, _interruptible() as stop:

        def report(step: Step) -> None:
            dev = "" if step.dev is None else f", dev nDCG@10 {step.dev:.3f}"
            advance(f"epoch {step.epoch + 1} of {step.epochs}{dev}", step.step, step.steps)

        try:
            trained = train_model(
                data,
                output,
                preset(tower, paper),
                recipe,
                teacher=teacher,
                resume=resume,
                report=report,
                advance=advance,
                stop=stop,
            )
        except KeyboardInterrupt as error:
            raise click.ClickException(
                "interrupted; the same command with --resume goes on from here"
            ) from error
    if as_json:
        _print_json(asdict(trained))
        return
    click.echo(
        f"{output}: {trained.tower}, {trained.parameters:,} parameters, {trained.seconds:.0f} s, "
        f"best epoch {trained.best_epoch}"
    )
    for measure, value in trained.dev.items():
        click.echo(f"  dev {measure:8} {value:.4f}")
    click.echo(f"  report: {output / 'report' / 'training.html'}")


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """While it lasts, Ctrl-C sets what the yielded function tells, and a second Ctrl-C interrupts at once."""
    import signal

    told = False

    def tell(number: int, frame: object) -> None:
        nonlocal told
        told = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, tell)
    try:
        yield lambda: told
    finally:
        signal.signal(signal.SIGINT, before)


@verbs.command()
@click.argument("corpus", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "-m", "--model", type=click.Path(path_type=Path), required=True, help="Model folder of `peephole train`."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Index folder to write.")
@click.option(
    "--target-recall",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=0.99,
    show_default=True,
    help="Least recall@10 against exact search; 1 keeps search exact.",
)
@click.option("--max-memory", metavar="SIZE", help="Most bytes that a dense search may read: 500MB, 2GB.")
@click.option("--max-latency", metavar="TIME", help="Longest median of a dense search: 2ms.")
@click.option(
    "--queries",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Real queries to tune by, one a line.  [default: the training queries of a BEIR folder]",
)
@click.option("--resume", is_flag=True, help="Go on with a build that was cut short.")
@_wait_option
@_json_option
def build(
    corpus: Path,
    model: Path,
    output: Path,
    target_recall: float,
    max_memory: str | None,
    max_latency: str | None,
    queries: Path | None,
    resume: bool,
    wait: float,
    as_json: bool,
) -> None:
    """Encode a corpus with a model's document tower and publish it as an index.

    CORPUS is a BEIR folder, a .jsonl, .tsv or .csv file (also .gz), a folder of text files, or - for JSONL on
    standard input. An index
    already in OUTPUT serves until the new one is whole.

    A corpus of 20,000 documents or more gets the fastest FAISS index that keeps the target recall, chosen
    by measuring; `peephole info` shows what was tried.

    Example: peephole build data -m my.model -o my.index
    """
    from index.dense.tuning import Goal
    from retrieval.commands.units import parse_bytes, parse_milliseconds
    from retrieval.data.queries import read_query_lines
    from retrieval.indexing.build import build as build_index

    goal = Goal(
        target_recall,
        parse_bytes(max_memory) if max_memory else None,
        parse_milliseconds(max_latency) if max_latency else None,
    )
    asked = [query.text for query in read_query_lines(_source(queries))] if queries else None
    with _progress("building") as advance:
        manifest = build_index(
            _source(corpus), model, output, goal=goal, queries=asked, resume=resume, wait=wait, report=advance
        )
    if as_json:
        _print_json(_describe(output, manifest))
    else:
        click.echo(
            f"{output}: {manifest.documents:,} documents, {manifest.dimension} dimensions, "
            f"{manifest.generation}"
        )


def _source(path: Path) -> Path | str:
    """Standard input is no path."""
    return "-" if str(path) == "-" else path


@verbs.command()
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("corpus", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--resume", is_flag=True, help="Go on with an addition that was cut short.")
@_wait_option
@_json_option
def add(index: Path, corpus: Path, resume: bool, wait: float, as_json: bool) -> None:
    """Add documents to an index; one with the _id of another takes its place.

    CORPUS is what `build` reads, too. Searches see all of it or nothing.

    Example: peephole add my.index new.jsonl
    """
    from retrieval.indexing.build import add as add_documents

    with _progress("adding") as advance:
        done = add_documents(_source(corpus), index, resume=resume, wait=wait, report=advance)
    if as_json:
        _print_json({"index": str(index), **asdict(done)})
    else:
        click.echo(
            f"{index}: {done.added:,} added, {done.replaced:,} replaced, {done.documents:,} documents, "
            f"{done.generation}"
        )


@verbs.command()
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option(
    "--ids",
    "file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Ids from a file, one a line.",
)
@click.option("--missing-ok", is_flag=True, help="Pass over ids that no document has.")
@_wait_option
@_json_option
def delete(
    index: Path, ids: tuple[str, ...], file: Path | None, missing_ok: bool, wait: float, as_json: bool
) -> None:
    """Delete documents from an index by their _id: all of them, or none.

    Their room on the disk is freed by `peephole compact`.

    Example: peephole delete my.index faq/17 faq/18
    """
    from index.reader import Index
    from index.writing.change import delete as delete_documents
    from retrieval.data.lines import numbered_lines

    if bool(ids) == (file is not None):
        raise click.UsageError("give ids, or --ids FILE")
    wanted = list(ids) if file is None else [line for _, line in numbered_lines(_source(file))]
    deleted = delete_documents(index, wanted, missing_ok=missing_ok, wait=wait)
    with Index.open(index) as opened:
        facts = {"index": str(index), "generation": opened.generation, "documents": opened.count}
    if as_json:
        _print_json(facts | {"deleted": deleted})
    else:
        click.echo(f"{index}: {deleted:,} deleted, {facts['documents']:,} documents, {facts['generation']}")


@verbs.command()
@click.argument("index", type=click.Path(path_type=Path))
@_wait_option
@_json_option
def compact(index: Path, wait: float, as_json: bool) -> None:
    """Make one segment of an index, without what was deleted or replaced.

    Example: peephole compact my.index
    """
    from index.writing.change import compact as compact_index

    with _progress("compacting") as advance:
        manifest = compact_index(index, progress=advance, wait=wait)
    if as_json:
        _print_json(_describe(index, manifest))
    else:
        size = f"{manifest.size_bytes():,} bytes"
        click.echo(f"{index}: {manifest.documents:,} documents, {size}, {manifest.generation}")


@verbs.command()
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("query", nargs=-1)
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Most hits a query.")
@click.option(
    "--mode", type=click.Choice(["dense", "lexical", "hybrid"]), default="hybrid", show_default=True
)
@click.option(
    "--queries",
    "file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Queries from a file, one a line, or - .",
)
@click.option("--run", "run_path", type=click.Path(path_type=Path), help="Write the hits as a TREC run.")
@click.option(
    "--where",
    multiple=True,
    help="Only documents whose metadata meets it: lang=en, year>=2020 (repeatable).",
)
@_json_option
def search(
    index: Path,
    query: tuple[str, ...],
    k: int,
    mode: Any,
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
    import time

    from retrieval.data.queries import Query, read_query_lines
    from retrieval.search.retriever import Retriever

    if bool(query) == (file is not None):
        raise click.UsageError("give a query, or --queries FILE")
    asked = [Query("1", " ".join(query))] if file is None else read_query_lines(_source(file))
    answers = []
    with Retriever.open(index) as retriever:
        for one in asked:
            start = time.perf_counter()
            hits = retriever.search(one.text, k, mode, where)
            answers.append((one, hits, (time.perf_counter() - start) * 1000))
    if run_path is not None:
        from retrieval.evaluation.runs import write_trec_run

        write_trec_run(run_path, {one.id: {hit.id: hit.score for hit in hits} for one, hits, _ in answers})
    if as_json:
        listed = [
            {
                "query": one.text,
                "mode": mode,
                "took_ms": round(took, 3),
                "hits": [asdict(hit) for hit in hits],
            }
            for one, hits, took in answers
        ]
        _print_json(listed if file is not None else listed[0])
    elif run_path is None:
        for one, hits, took in answers:
            _print_hits(one.text, hits, took)


def _print_hits(query: str, hits: list[Hit], took_ms: float) -> None:
    from retrieval.text.snippet import snippet

    click.echo(f"{click.style(query, bold=True)}  ({len(hits)} hits, {took_ms:.1f} ms)")
    for hit in hits:
        title = hit.title if hit.title and hit.title != hit.id else ""
        click.echo(f"{hit.rank:3}  {hit.score:.3f}  {click.style(hit.id, fg='green')}  {title}".rstrip())
        pieces = snippet(query, hit.text)
        if pieces:
            click.echo(
                "            "
                + "".join(click.style(p.text, fg="yellow", bold=True) if p.marked else p.text for p in pieces)
            )
    click.echo()


@verbs.command()
@click.argument("folder", metavar="MODEL_OR_INDEX", type=click.Path(path_type=Path))
@click.argument("query")
@click.argument("document_id", metavar="[DOC_ID]", required=False)
@click.option("--plot", type=click.Path(path_type=Path), help="Draw gates over words into this PNG file.")
@_json_option
def explain(folder: Path, query: str, document_id: str | None, plot: Path | None, as_json: bool) -> None:
    """Show which words of a query, and of a document of an index, carry the match.

    share: a word's part of the cosine (of the query with itself, without a document). weight: how much
    attention lets the word count. cells: how many of the ten most active cells detected it, reading from
    the left and from the right; words that more than four detected both ways are keywords.

    Example: peephole explain my.index decompress common/unzip --plot gates.png
    """
    from retrieval.explain.shares import explain as explain_match
    from retrieval.explain.text import to_json

    found = explain_match(folder, query, document_id)
    if plot is not None:
        from retrieval.explain.heatmap import write_heatmap

        write_heatmap(plot, found)
    if as_json:
        _print_json(to_json(found))
    else:
        _print_explanation(found)


def _print_explanation(found: Explanation) -> None:
    from retrieval.explain.text import highlighted, table

    method = "shares sum to the cosine" if found.exact else "shares are what is lost without the word"
    cosine = "" if found.cosine is None else f"cosine {found.cosine:.4f}, "
    click.echo(f"{found.tower} tower, {cosine}{method}")
    for name, text in (("query", found.query), (f"document {found.document_id}", found.document)):
        if text is None:
            continue
        click.echo(f"\n{click.style(name, bold=True)}")
        for line in (highlighted(text), *table(text)):
            click.echo("  " + _styled(line))
    if found.pairs:
        click.echo(f"\n{click.style('word by word', bold=True)}")
        for pair in found.pairs:
            click.echo(f"  {pair.share:+.3f}  {pair.query} ~ {pair.document}")


def _styled(pieces: Iterable[Piece]) -> str:
    return "".join(click.style(p.text, fg="yellow", bold=True) if p.marked else p.text for p in pieces)


@verbs.command()
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--split", default="test", show_default=True, help="Which qrels/SPLIT.tsv to score.")
@click.option(
    "--mode",
    "modes",
    type=click.Choice(["dense", "lexical", "hybrid"]),
    multiple=True,
    help="Only this mode (repeatable).",
)
@click.option(
    "--measure", "measures", multiple=True, help="As ir-measures names it (repeatable): AP, R@5 ..."
)
@click.option("--against", type=click.Path(path_type=Path), help="Another index, or a TREC run file.")
@click.option("--run", "run_path", type=click.Path(path_type=Path), help="Write TREC runs; one file a mode.")
@click.option("--report", type=click.Path(path_type=Path), help="Folder for a page of tables and plots.")
@click.option("--per-query", type=click.Path(path_type=Path), help="Write every query's values as TSV.")
@_json_option
def evaluate(
    index: Path,
    data: Path,
    split: str,
    modes: tuple[Any, ...],
    measures: tuple[str, ...],
    against: Path | None,
    run_path: Path | None,
    report: Path | None,
    per_query: Path | None,
    as_json: bool,
) -> None:
    """Score an index on a BEIR folder's judged queries, the whole index as candidates, 100 deep.

    Differences are tested by a paired randomisation test on the first measure, corrected for their number
    (Holm). With several modes, --run hits.trec writes hits.dense.trec and so on.

    \b
    Example: peephole evaluate my.index data --split test --report report
    Example: peephole evaluate my.index data --measure nDCG@10 --measure AP --against theirs.trec
    """  # noqa: D301
    from retrieval.data.queries import read_qrels, read_queries
    from retrieval.evaluation.assess import assess
    from retrieval.evaluation.compare import judge, read_rival, verdict_json
    from retrieval.evaluation.measures import DEFAULT_MEASURES, evaluation_json, parse_measure
    from retrieval.search.retriever import MODES, Retriever

    wanted, chosen = tuple(dict.fromkeys(measures)) or DEFAULT_MEASURES, tuple(dict.fromkeys(modes)) or MODES
    for measure in wanted:
        parse_measure(measure)  # before the work, not after it
    queries = {query.id: query.text for query in read_queries(data)}
    with Retriever.open(index) as retriever, _progress("searching") as advance:
        qrels = read_qrels(data, split, query_ids=queries, document_ids=retriever)
        found = assess(retriever, queries, qrels, chosen, measures=wanted, report=advance)
        rival = read_rival(against, queries, qrels, chosen, wanted, advance) if against else None
        title = f"{index.name} on {data.name}"
        told = judge(retriever, found, queries, qrels, title=title, split=split, rival=rival)
        if report is not None:
            from retrieval.evaluation.report import write_report

            page = write_report(report, told)
    if run_path is not None:
        _write_runs(run_path, found.runs)
    if per_query is not None:
        from retrieval.evaluation.report import per_query_table

        per_query.write_text(per_query_table(told.modes, queries), encoding="utf-8")
    if as_json:
        facts = evaluation_json(split, found.scores, ann=found.ann, latency_ms=found.latency_ms)
        if rival:
            facts["against"] = {name: scores.means() for name, scores in rival.scores.items()}
        _print_json(facts | (verdict_json(told) if rival or report is not None else {}))
        return
    click.echo(f"{index}: {len(qrels):,} {split} queries, {retriever.index.count:,} documents")
    _print_evaluation(told)
    if report is not None:
        click.echo(f"report: {page}")


def _write_runs(path: Path, runs: Mapping[str, Run]) -> None:
    from retrieval.evaluation.runs import write_trec_run

    for mode, run in runs.items():
        write_trec_run(path if len(runs) == 1 else path.with_suffix(f".{mode}{path.suffix}"), run, mode)


def _print_evaluation(told: Evaluation) -> None:
    measures = list(next(iter(told.modes.values())).values)
    width = max(8, *map(len, told.modes))
    columns = [max(8, len(measure)) for measure in measures]
    _print_row("mode", measures, width, columns)
    for mode, scores in told.modes.items():
        _print_row(mode, [f"{scores.mean(measure):.4f}" for measure in measures], width, columns)
    for contest in told.contests:
        one = contest.comparison
        click.echo(
            f"{contest.a} over {contest.b}: {one.measure} {one.difference:+.4f} "
            f"({one.low:+.4f} to {one.high:+.4f}), p {contest.corrected_p:.4f}"
        )
    for heading, groups in told.groups.items():
        click.echo(f"{told.measure} {heading}")
        for group in groups:
            means = ", ".join(f"{mode} {mean:.4f}" for mode, mean in group.means.items())
            click.echo(f"  {group.label}: {group.queries:,} queries, {means}")
    _print_losses(told)
    click.echo(
        "dense index against exact search: "
        + ", ".join(f"{name} {value:.4f}" for name, value in told.ann.items())
    )
    click.echo(
        "one query, text to hits: "
        + ", ".join(f"{name} {value:.2f} ms" for name, value in told.latency_ms.items())
    )


def _print_row(name: str, cells: Sequence[str], width: int, columns: Sequence[int]) -> None:
    click.echo(f"{name:{width}}" + "".join(f" {cell:>{n}}" for cell, n in zip(cells, columns, strict=True)))


def _print_losses(told: Evaluation) -> None:
    from retrieval.evaluation.breakdown import losses

    if told.against is None:
        return
    lost = losses(told.modes[told.focus], told.modes[told.against], told.measure, 5)
    if lost:
        click.echo(f"where {told.focus} loses most to {told.against}, {told.measure}")
    for loss in lost:
        click.echo(f"  {loss.ours:.3f} for {loss.theirs:.3f}  {loss.query_id}  {told.queries[loss.query_id]}")


@verbs.group()
def bench() -> None:
    """Measure on your own data what you would use instead."""


@bench.command()
@click.argument("vectors", metavar="INDEX|FILE", type=click.Path(path_type=Path))
@click.option(
    "--queries", type=click.Path(path_type=Path), help="Vectors, or for an index a BEIR folder or texts."
)
@click.option("--system", "systems", multiple=True, help="Only this one (repeatable).")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write OUTPUT.json and OUTPUT.png.")
@_json_option
def ann(
    vectors: Path,
    queries: Path | None,
    systems: tuple[str, ...],
    threads: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Recall@10 against queries/s: this index beside FAISS's and other libraries', each in its own process.

    INDEX is an index folder, FILE a .npy or .fvecs file of vectors. Libraries that are missing are named
    and skipped; pip install 'peephole[bench]' brings them.

    Example: peephole bench ann my.index --queries data -o curves
    """
    from retrieval.evaluation.ann.curves import bench_ann, write_curves
    from retrieval.evaluation.ann.systems import SYSTEMS

    unknown = set(systems) - set(SYSTEMS)
    if unknown:
        raise click.UsageError(f"unknown system {sorted(unknown)[0]!r}; choose from {', '.join(SYSTEMS)}")
    command = f"peephole bench ann {vectors.name}" + (f" --queries {queries.name}" if queries else "")
    with _progress("measuring") as advance:
        result = bench_ann(
            vectors,
            queries,
            systems=systems or tuple(SYSTEMS),
            threads=threads,
            command=f"{command} --threads {threads}",
            report=advance,
        )
    if output is not None:
        output.with_name(output.name + ".json").write_text(json.dumps(result, indent=1) + "\n")
        write_curves(output.with_name(output.name + ".png"), result)
    if as_json:
        _print_json(result)
    else:
        _print_curves(result)


def _print_curves(result: Mapping[str, Any]) -> None:
    click.echo(
        f"{result['vectors']:,} vectors, {result['dimension']} dimensions, {result['queries']:,} queries "
        f"({result['queries_from']}), {result['threads']} thread(s)"
    )
    click.echo(
        f"{'system':12} {'setting':22} {'recall@10':>9} {'batch q/s':>10} {'single q/s':>10} {'p99 ms':>8}"
    )
    for name, found in result["systems"].items():
        if "skipped" in found:
            click.echo(f"{name:12} skipped: {found['skipped']}")
            continue
        for point in found["points"]:
            click.echo(
                f"{name:12} {point['setting']:22} {point['recall@10']:9.4f} {point['batch_qps']:10,.0f} "
                f"{point['single_qps']:10,.0f} {point['p99_ms']:8.3f}"
            )
        click.echo(f"{name:12} built in {found['build_seconds']:.2f} s, {found['bytes']:,} bytes")


def _describe(index: Path, manifest: Manifest) -> dict[str, Any]:
    facts = asdict(manifest)
    files = facts.pop("files")
    return {"index": str(index), **facts, "files": len(files), "bytes": manifest.size_bytes()}


@verbs.command()
@click.argument("index", type=click.Path(path_type=Path))
@_json_option
def info(index: Path, as_json: bool) -> None:
    """What an index holds and what made it: its segments, and what tuning tried for them and found.

    Example: peephole info my.index
    """
    from index.reader import Index

    with Index.open(index) as opened:
        facts = _describe(index, opened.manifest)
    if as_json:
        _print_json(facts)
        return
    for name, value in facts.items():
        if name != "segments":
            click.echo(f"{name:18} {_plain(value)}")
    for segment in facts["segments"]:
        click.echo(
            f"{segment['name']:18} {segment['documents']:,} documents, {segment['deleted']:,} deleted, "
            f"{segment['faiss']} {_plain(segment['parameters'])}".rstrip()
        )
        for tried in segment["tried"]:
            click.echo(f"  tried {_plain(tried)}")


def _plain(value: object) -> str:
    """A value as a person reads it: mappings as "name value, name value"."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items()) or "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


@verbs.command()
@click.argument("index", type=click.Path(path_type=Path))
@_json_option
def verify(index: Path, as_json: bool) -> None:
    """Read every byte of an index and compare it with the checksums; fails if anything differs.

    Example: peephole verify my.index
    """
    from index.reader import verify as verify_index

    problems = verify_index(index)
    if as_json:
        _print_json({"index": str(index), "sound": not problems, "problems": problems})
    elif not problems:
        click.echo(f"{index}: sound")
    if problems:
        if not as_json:
            for problem in problems:
                click.echo(problem, err=True)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
