"""Verbs that look at an index folder: info, verify."""

from __future__ import annotations

from pathlib import Path

import click

from index.disk.folder import LEARNING, STAGING, Pointer, read_manifest
from index.disk.previous import read_previous
from index.disk.verify import superseded
from index.disk.verify import verify as verify_index
from index.errors import PeepholeError
from index.opened import open_index
from index.protocol import OpenIndex
from retrieval.commands.options import index_argument, json_option
from retrieval.commands.printing import manifest_json, plain, print_json, print_line
from retrieval.learning.work import PLAN


@click.command()
@index_argument
@json_option
def info(index: Path, as_json: bool) -> None:
    """What an index holds and what made it: its segments, and what tuning tried for them and found.

    Also the earlier generations that `peephole rollback` can go back to.

    Example: peephole info my.index
    """
    with open_index(index) as opened:
        facts = manifest_json(index, opened.manifest) | {"previous": _previous(opened)}
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        if name not in ("segments", "previous"):
            print_line(f"{name:18} {plain(value)}")
    for segment in facts["segments"]:
        print_line(
            f"{segment['name']:18} {segment['documents']:,} documents, {segment['deleted']:,} deleted, "
            f"{segment['faiss']} {plain(segment['parameters'])}"
        )
        for tried in segment["tried"]:
            print_line(f"  tried {plain(tried)}")
    for kept in facts["previous"]:
        print_line(f"{'previous':18} {plain(kept)}")


def _previous(live: OpenIndex) -> list[dict[str, object]]:
    """What there is to say of the generations that an index keeps, the latest first."""
    return [_kept(live.folder, pointer) for pointer in read_previous(live.folder, live.manifest)]


def _kept(index: Path, pointer: Pointer) -> dict[str, object]:
    try:
        manifest = read_manifest(index, pointer)
    except PeepholeError as error:  # what is live can be told of all the same
        return {"generation": pointer.generation, "problem": str(error)}
    return {
        "generation": manifest.generation,
        "created": manifest.created,
        "documents": manifest.documents,
        "model_fingerprint": manifest.model_fingerprint,
        "bytes": manifest.size_bytes(),
    }


def _remarks(index: Path) -> list[str]:
    """What is in the folder of a sound index beside what is live and kept, one line each."""
    remarks = [
        f"{path}: an earlier generation that is not used any more; the next write removes it"
        for path in superseded(index)
    ]
    if (index / STAGING).exists():
        remarks.append(
            f"{index / STAGING}: `build` or `add` was interrupted, or is at work; "
            "the same command with --resume goes on, any other build or addition removes this"
        )
    if (index / LEARNING / PLAN).exists():
        remarks.append(
            f"{index / LEARNING}: `learn` was interrupted, or is at work; "
            "the same command goes on, any other learning removes this"
        )
    return remarks


@click.command()
@index_argument
@json_option
def verify(index: Path, as_json: bool) -> None:
    """Read every byte of an index and compare it with the checksums; fails if anything differs.

    The generations that it keeps for `peephole rollback` are read too, and of an index in Milvus the
    documents there are counted. An earlier generation that waits for the next write to remove it, and work
    that was interrupted, are no problems and are told.

    Example: peephole verify my.index
    """
    problems, remarks = verify_index(index), list[str]()
    if not problems:
        with open_index(index) as opened:
            problems = opened.problems()
        remarks = _remarks(index)
    if as_json:
        facts = {"index": str(index), "sound": not problems, "problems": problems, "remarks": remarks}
        print_json(facts)
    elif not problems:
        for line in (f"{index}: sound", *remarks):
            print_line(line)
    if problems:
        if not as_json:
            for problem in problems:
                print_line(problem, err=True)
        raise SystemExit(1)
