"""peephole clicks: what it prints, and one line for each mistake."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import verbs
from retrieval.data.clicks.recorded import Clicked, Shown, encode, time_text


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log of two searches a minute and ten days old, with a click each."""
    monkeypatch.chdir(tmp_path)
    path = Path("clicks.jsonl")
    lines = []
    for number, (query, seconds) in enumerate({"Jane  Doe": 864_000, "copy": 60}.items()):
        at = time_text(time.time() - seconds)
        lines += [
            Shown(at, f"{number:016x}", query, "hybrid", 0, ("a",)),
            Clicked(at, f"{number:016x}", "a", 1),
        ]
    path.write_bytes(b"".join(map(encode, lines)))
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(verbs, ["clicks", *arguments], prog_name="peephole")


def test_info_counts_searches_clicks_and_bytes_of_a_log(log):
    said = run("info", str(log)).output
    assert said.startswith("clicks.jsonl: 2 searches for 2 queries, 2 clicks; ")
    assert said.splitlines()[1].startswith("from 20")
    told = json.loads(run("info", str(log), "--json").output)
    assert (told["log"], told["searches"], told["clicks"], told["queries"]) == ("clicks.jsonl", 2, 2, 2)
    assert told["bytes"] == log.stat().st_size and told["first"] < told["last"]


def test_forgetting_says_how_many_went(log):
    assert (
        run("forget", str(log), "--query", "jane doe").output
        == "clicks.jsonl: forgot 1 searches and 1 clicks\n"
    )
    again = run("forget", str(log), "--query", "jane doe")
    assert again.exit_code == 0 and again.output == "clicks.jsonl: nothing to forget, no search fits\n"
    told = json.loads(run("forget", str(log), "--query", "COPY", "--json").output)
    assert told == {"log": "clicks.jsonl", "searches": 1, "clicks": 1} and log.read_bytes() == b""


@pytest.mark.parametrize(
    ("days", "stays"), [("9.5", b"copy"), ("0", b""), ("11", b"Jane"), ("1e300", b"Jane")]
)
def test_old_searches_are_forgotten(log, days, stays):
    assert run("forget", str(log), "--older-than", days).exit_code == 0
    content = log.read_bytes()
    assert stays in content and (content or not stays) and (b"Jane" in content) == (stays == b"Jane")


def test_mistakes_are_one_line(log):
    usage = run("forget", str(log))
    assert usage.exit_code == 2 and "say what to forget: --query TEXT" in usage.stderr
    for arguments in (["info", "none"], ["forget", "none", "--query", "x"]):
        result = run(*arguments)
        assert (result.exit_code, result.stderr) == (1, "Error: none: no such file; check the path\n")
    Path("other").write_text("hello\n")
    for arguments in (["info", "other"], ["forget", "other", "--older-than", "0"]):
        result = run(*arguments)
        assert result.exit_code == 1 and result.stderr.startswith("Error: other:1: broken JSON")
    assert Path("other").read_text() == "hello\n"
