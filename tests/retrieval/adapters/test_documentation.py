"""The examples in docs/adapters.md run and print what stands there; the versions are those of the pins."""

from __future__ import annotations

import csv
import importlib.util
import re
import shutil

import pytest
from click.testing import CliRunner
from house import ROOT

from cli import verbs

PAGE = (ROOT / "docs" / "adapters.md").read_text("utf-8")
EXAMPLES = {
    re.findall(r"^## (.*)$", PAGE[: match.start()], re.MULTILINE)[-1]: match[1]
    for match in re.finditer(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
}
ROWS = [
    (
        "reset",
        "how do I reset my password",
        "Open the account page and choose Forgotten password.",
        "account",
    ),
    (
        "delete",
        "delete my account",
        "Choose Close account; my account is gone after fourteen days.",
        "account",
    ),
    (
        "invoice",
        "where is my invoice",
        "An invoice is on the billing page from the second of a month.",
        "billing",
    ),
    ("refund", "can I get a refund", "Write to billing, and the money is back in a week.", "billing"),
    ("export", "how to export everything", "The settings page packs everything into an archive.", "data"),
    ("limits", "how large may a file be", "Files up to two gigabytes are taken.", "data"),
]
COLUMN = ("--column", "metadata=topic")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The folder that the page's commands make, with the tower that trains fastest."""
    folder = tmp_path_factory.mktemp("example")
    with (folder / "faq.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "query", "document", "topic"), *ROWS])
    for arguments in (
        ["train", folder / "faq.csv", "-o", folder / "my.model", "--tower", "bag", "--epochs", "2"],
        ["build", folder / "faq.csv", "-m", folder / "my.model", "-o", folder / "my.index", *COLUMN],
    ):
        result = CliRunner().invoke(verbs, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
    return folder


def test_the_page_has_examples():
    assert {"LangChain", "Haystack", "LlamaIndex"} <= EXAMPLES.keys()


@pytest.mark.parametrize("framework", EXAMPLES)
def test_an_example_prints_what_the_page_says(framework, request, tmp_path, monkeypatch, capsys):
    example = EXAMPLES[framework]
    for name in re.findall(r"^from (\w+)", example, re.MULTILINE):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}; `make test-adapters` installs it")
    shutil.copytree(request.getfixturevalue("folder"), tmp_path / "here")  # made only if it is needed
    monkeypatch.chdir(tmp_path / "here")
    exec(compile(example, framework, "exec"), {"__name__": "example"})  # noqa: S102 (of our own page)
    expected = re.findall(r"^# > (.*)$", example, re.MULTILINE)
    assert capsys.readouterr().out.splitlines() == expected
    assert expected


def test_versions_of_the_page_are_those_of_the_pins():
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE))
    shown = dict(re.findall(r"^\| ([\w-]+) \| (\d[\d.]*) \|", PAGE, re.MULTILINE))
    assert shown == {name: pins[name] for name in shown}
    assert f"langchain-tests {pins['langchain-tests']} " in PAGE
    assert len(shown) >= 3
