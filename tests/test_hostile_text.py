"""Text of strangers on its way to a terminal: nothing of it acts there, whichever verb prints it."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from cli import verbs
from retrieval.text.terminal import _active, _code, json_visible, visible

ROOT = Path(__file__).parent.parent
CLIPBOARD = "\x1b]52;c;aGk=\x07"  # OSC 52 writes the clipboard
EVIL = f"{CLIPBOARD}\x1b[2J\x9b31m\u202e\n  9  9.999  forged"
ACTIVE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def peephole(*args: object) -> Result:
    return CliRunner().invoke(verbs, [str(arg) for arg in args], prog_name="peephole")


@pytest.fixture(scope="module")
def hostile(made, tmp_path_factory):
    """A data set and an index whose ids, titles, texts and metadata are hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    data = folder / "data"
    (data / "qrels").mkdir(parents=True)
    documents = [
        {"_id": f"d{n}{EVIL}", "title": f"copy {EVIL}", "text": f"folder {EVIL} copy", f"kind{EVIL}": "x"}
        for n in range(3)
    ]
    documents.append({"_id": "plain", "title": "", "text": "list the files of a directory"})
    (data / "corpus.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    (data / "queries.jsonl").write_text(json.dumps({"_id": "q1", "text": f"copy {EVIL}"}) + "\n")
    built = peephole("build", data, "-m", made.model, "-o", folder / "index")
    assert built.exit_code == 0, built.output
    return folder


def assert_inert(result: Result, *forged: str) -> None:
    for output in (result.stdout, result.stderr):
        assert not ACTIVE.search(output), repr(output)
        assert not [line for line in output.splitlines() if line.startswith("  9  9.999")]


@pytest.mark.parametrize(
    "words",
    [
        ["search", "index", f"copy {EVIL}"],
        ["search", "index", "copy", "--json"],
        ["search", "index", "copy", "--where", f"{EVIL}=1"],
        ["search", f"no{EVIL}index", "copy"],
        ["search", "index", f"--no{EVIL}option"],
        [f"no{EVIL}verb"],
        ["delete", "index", f"gone{EVIL}"],
        ["explain", "index", f"copy {EVIL}", f"d1{EVIL}"],
        ["explain", "index", "copy", f"gone{EVIL}"],
        ["add", "index", f"{EVIL}.jsonl"],
        ["info", f"{EVIL}"],
        ["verify", f"{EVIL}"],
        ["evaluate", "index", "data", "--split", f"{EVIL}"],
        ["evaluate", "index", "data", "--measure", f"{EVIL}"],
        ["bench", "ann", "index", "--system", f"{EVIL}"],
        ["train", f"{EVIL}", "-o", "m"],
    ],
    ids=lambda words: " ".join(words)[:24].encode("unicode_escape").decode(),
)
def test_nothing_of_a_strangers_text_acts_on_the_terminal(words, hostile, monkeypatch):
    monkeypatch.chdir(hostile)
    result = peephole(*words)
    assert "Traceback" not in result.output
    assert_inert(result)
    assert "\\x1b" in result.output or "\\u001b" in result.output  # it is shown, not dropped


def test_json_keeps_the_text_as_it_was(hostile, monkeypatch):
    monkeypatch.chdir(hostile)
    hits = json.loads(peephole("search", "index", "copy", "--json").stdout)["hits"]
    assert {hit["id"] for hit in hits} == {"plain", *(f"d{n}{EVIL}" for n in range(3))}
    assert all(EVIL in hit["text"] for hit in hits if hit["id"] != "plain")


def test_query_and_losses_of_an_evaluation_are_shown_inert(hostile, monkeypatch):
    monkeypatch.chdir(hostile)
    Path("data/qrels/test.tsv").write_text("q1\tplain\t1\n")
    Path("perfect.trec").write_text("q1 Q0 plain 1 1 best\n")
    result = peephole("evaluate", "index", "data", "--mode", "dense", "--against", "perfect.trec")
    assert result.exit_code == 0
    assert "where dense loses most to perfect" in result.stdout
    assert_inert(result)


@given(st.text())
def test_visible_text_is_inert_and_other_text_unchanged(text):
    assert not ACTIVE.search(visible(text))
    assert "\n" not in visible(text)
    if not ACTIVE.search(text) and not re.search("[\n\u061c\ufeff]", text):
        assert visible(text) == text
    assert json.loads(json_visible(json.dumps(text, ensure_ascii=False))) == text


def test_each_character_is_shown_as_the_pattern_of_active_ones_says():
    """`visible` looks at `str.isprintable` first, which must be false for each of them."""
    for character in map(chr, range(sys.maxunicode + 1)):
        if _active().match(character):
            assert visible(character) == _code(ord(character))
            assert visible(f"a{character}") == f"a{_code(ord(character))}"
        elif ord(character) < 0x10000:
            assert visible(character) == character


def test_verbs_print_through_one_function():
    for path in sorted((ROOT / "retrieval" / "commands").glob("*.py")):
        calls = [
            ast.unparse(n.func) for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)
        ]
        if path.name != "printing.py":
            assert not {"click.echo", "click.secho", "print", "sys.stdout.write"} & set(calls), path


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_do_not_stop_a_verb(closed, made, tmp_path):
    """With standard error closed nothing can be said of a failure, so the exit status must tell."""
    program = f'exec "$0" -m cli search "$1" copy folder --run "$2" {closed}'
    run = tmp_path / "hits.trec"
    done = subprocess.run(
        ["sh", "-c", program, sys.executable, str(made.index), str(run)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert run.read_text().startswith("1 Q0 d1 1 ")
