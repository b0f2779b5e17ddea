"""Verbs that look at an index folder: info, verify."""

from __future__ import annotations

from pathlib import Path

import click

from index.disk.verify import verify as verify_index
from index.opened import open_index
from retrieval.commands.options import index_argument, json_option
from retrieval.commands.printing import manifest_json, plain, print_json, print_line


@click.command()
@index_argument
@json_option
def info(index: Path, as_json: bool) -> None:
    """What an index holds and what made it: its segments, and what tuning tried for them and found.

    Example: peephole info my.index
    """
    with open_index(index) as opened:
        facts = manifest_json(index, opened.manifest)
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        if name != "segments":
            print_line(f"{name:18} {plain(value)}")
    for segment in facts["segments"]:
        print_line(
            f"{segment['name']:18} {segment['documents']:,} documents, {segment['deleted']:,} deleted, "
            f"{segment['faiss']} {plain(segment['parameters'])}"
        )
        for tried in segment["tried"]:
            print_line(f"  tried {plain(tried)}")


@click.command()
@index_argument
@json_option
def verify(index: Path, as_json: bool) -> None:
    """Read every byte of an index and compare it with the checksums; fails if anything differs.

    Of an index in Milvus the documents there are counted too.

    Example: peephole verify my.index
    """
    problems = verify_index(index)
    if not problems:
        with open_index(index) as opened:
            problems = opened.problems()
    if as_json:
        print_json({"index": str(index), "sound": not problems, "problems": problems})
    elif not problems:
        print_line(f"{index}: sound")
    if problems:
        if not as_json:
            for problem in problems:
                print_line(problem, err=True)
        raise SystemExit(1)
