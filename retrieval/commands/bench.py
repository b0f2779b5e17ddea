"""The verb `bench ann`: recall against speed of several nearest-neighbour systems."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from index.errors import needing
from retrieval.commands.options import PATH, json_option
from retrieval.commands.printing import print_json, print_line
from retrieval.commands.progress import progress_bars
from retrieval.evaluation.ann.curves import RECALLS, bench_ann, check_bench_output, write_bench
from retrieval.evaluation.ann.systems import SYSTEMS


@click.group()
def bench() -> None:
    """Measure on your own data what you would use instead."""


@bench.command(short_help="Nearest-neighbour search beside other libraries.")
@click.argument("vectors", metavar="INDEX|FILE", type=PATH)
@click.option(
    "--queries", type=PATH, help="Vectors, or for an index a BEIR folder, a table of pairs or texts."
)
@click.option("--system", "systems", multiple=True, help="Only this one (repeatable).")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Threads that each system may use.",
)
@click.option("-o", "--output", type=PATH, help="Write OUTPUT.json and OUTPUT.png.")
@json_option
def ann(
    vectors: Path,
    queries: Path | None,
    systems: tuple[str, ...],
    threads: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Recall@10 against queries/s: this index beside FAISS's and other libraries', each in its own process.

    INDEX is an index folder, FILE a .npy or .fvecs file of vectors. Of the vectors of either, peephole
    builds an index for each of four recalls. Libraries that are missing are named and skipped;
    pip install 'peephole[bench]' brings them.

    Example: peephole bench ann my.index --queries data -o curves
    """
    unknown = set(systems) - set(SYSTEMS)
    if unknown:
        raise click.UsageError(f"unknown system {sorted(unknown)[0]!r}; choose from {', '.join(SYSTEMS)}")
    if output is not None:
        with needing("plot"):
            check_bench_output(output)
    command = f"peephole bench ann {vectors.name}" + (f" --queries {queries.name}" if queries else "")
    with progress_bars("measuring") as progress:
        result = bench_ann(
            vectors,
            queries,
            systems=systems or tuple(SYSTEMS),
            threads=threads,
            command=f"{command} --threads {threads}",
            progress=progress,
        )
    if output is not None:
        with needing("plot"):
            write_bench(output, result)
    if as_json:
        print_json(result)
    else:
        _print_curves(result)


def _print_curves(result: Mapping[str, Any]) -> None:
    print_line(
        f"{result['vectors']:,} vectors, {result['dimension']} dimensions, {result['queries']:,} queries "
        f"({result['queries_from']}), {result['threads']} thread(s)"
    )
    print_line(
        f"{'system':16} {'setting':25} {'recall@10':>9} {'batch q/s':>10} {'single q/s':>10} {'p99 ms':>8}"
    )
    for name, system in result["systems"].items():
        if "skipped" in system:
            print_line(f"{name:16} skipped: {system['skipped']}")
            continue
        for point in system["points"]:
            print_line(
                f"{name:16} {point['setting']:25} {point['recall@10']:9.4f} {point['batch_qps']:10,.0f} "
                f"{point['single_qps']:10,.0f} {point['p99_ms']:8.3f}"
            )
        print_line(f"{name:16} built in {system['build_seconds']:.2f} s, {system['bytes']:,} bytes")
    _print_at_recall(result)


def _print_at_recall(result: Mapping[str, Any]) -> None:
    for how, title in (("batch", "one batch"), ("single", "one by one")):
        print_line("")
        print_line(f"queries/s at recall@10, {title}: by wall time, by processor time")
        print_line(f"{'':16} " + " ".join(f"{f'{recall:g}':>17}" for recall in RECALLS))
        for name, best in result["at_recall"].items():
            rates = [best.get(str(recall)) for recall in RECALLS]
            cells = [
                f"{rate[f'{how}_qps']:8,.0f} {rate[f'{how}_processor_qps']:8,.0f}" if rate else f"{'-':>17}"
                for rate in rates
            ]
            print_line(f"{name:16} " + " ".join(cells))
