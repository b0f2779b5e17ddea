"""What the documentation shows is there: commands parse, files exist, every verb and option is explained."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from cli import verbs

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *ROOT.glob("docs/*.md")])
TEXT = {page.name: page.read_text("utf-8") for page in PAGES}
COMMAND = re.compile(r"^ {4}(peephole .*)$", re.MULTILINE)


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words call, and its own arguments."""
    command: click.Command = verbs
    while isinstance(command, click.Group) and words:
        inner = command.get_command(click.Context(command), words[0])
        assert inner is not None, words
        command, words = inner, words[1:]
    return command, words


def every_command(*names: str) -> list[tuple[str, ...]]:
    command, _ = command_of(list(names))
    if not isinstance(command, click.Group):
        return [names]
    inner = command.list_commands(click.Context(command))
    return [verb for name in inner for verb in every_command(*names, name)]


SHOWN = [
    part.strip()
    for text in TEXT.values()
    for line in COMMAND.findall(text)
    for part in line.split("&&")
    if part.strip().startswith("peephole") and "--help" not in part
]


def test_the_documentation_shows_commands():
    assert len(SHOWN) > 20


@pytest.mark.parametrize("line", sorted(set(SHOWN)))
def test_a_command_in_the_documentation_parses(line):
    words = shlex.split(line)[1:]
    command, arguments = command_of(words)
    command.make_context(" ".join(words), arguments)  # raises what a wrong option would


@pytest.mark.parametrize("names", every_command(), ids=" ".join)
def test_every_verb_and_option_is_in_the_guide(names):
    everything = " ".join(TEXT.values())
    assert f"peephole {' '.join(names)}" in everything
    command, _ = command_of(list(names))
    for option in command.params:
        if isinstance(option, click.Option) and option.name != "as_json":
            assert any(re.search(rf"(?<![\w-]){name}\b", everything) for name in option.opts), option.opts


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_benchmarks_of_a_page_exist(page):
    text = TEXT[page.name]
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (page.parent / target).exists(), target
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
        other = (page.parent / target).read_text("utf-8") if target else text
        headings = re.findall(r"^#+ (.+)$", other, re.MULTILINE)
        anchors = [re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings]
        assert anchor in anchors, anchor
    for module in re.findall(r"python -m (benchmarks\.\w+)", text):
        place = ROOT / module.replace(".", "/")
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), module


def test_the_readme_is_short():
    assert len(TEXT["README.md"].split()) <= 900
