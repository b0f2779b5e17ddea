"""Tests of retrieval.commands.progress."""

import io
import re
import sys

import click
import pytest

from retrieval.commands.progress import progress_bars, progress_lines, resumable


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("stage", ["encoding", "steps, epoch 1 of 2"])
def test_count_and_remaining_time_are_whole_on_every_width(monkeypatch, width, stage):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    with progress_bars("building") as report:
        for done in (0, 123_456, 246_912):
            report(stage, done, 1_000_000)
        shown = sys.stderr
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.getvalue()).splitlines()
    line = next(line for line in reversed(last) if "/1000000" in line)
    assert "246912/1000000" in line
    assert re.search(r"( \d\d:\d\d| --:--) *$", line)
    assert "…" not in line
    assert ("━" in line) == (width >= 80)


def test_a_line_a_minute_says_how_much_time_is_left(capsys):
    seconds = iter([0, 0, 30, 61, 100, 122])
    report = progress_lines("building", clock=lambda: next(seconds))
    for done in (0, 300, 610, 1000, 1220):
        report("encoding", done, 6100)
    assert capsys.readouterr().err.splitlines() == [
        "building: encoding: 610 of 6,100, 0:09:09 left",
        "building: encoding: 1,220 of 6,100, 0:08:08 left",
    ]


def test_a_note_does_not_begin_a_stage(capsys):
    seconds = iter([0, 0, 100])
    report = progress_lines("training", clock=lambda: next(seconds))
    report("steps, epoch 1 of 2", 0, 20)
    report("steps, epoch 2 of 2", 10, 20)
    assert capsys.readouterr().err == "training: steps, epoch 2 of 2: 10 of 20, 0:01:40 left\n"


def test_stages_of_unknown_length_say_how_much_is_done(capsys):
    seconds = iter([0, 90])
    progress_lines("learning", clock=lambda: next(seconds))("documents", 7, None)
    assert capsys.readouterr().err == "learning: documents: 7\n"


def test_ctrl_c_tells_how_to_go_on():
    with pytest.raises(click.ClickException, match="--resume goes on from here"), resumable():
        raise KeyboardInterrupt
    with pytest.raises(click.exceptions.Exit), resumable(told=False):
        raise KeyboardInterrupt
