from __future__ import annotations

import sys
import tomllib

import pytest
from click.testing import CliRunner
from house import ROOT
from jinja2 import UndefinedError

from cli import verbs
from retrieval.html.page import page_template


def test_values_are_escaped_and_an_unknown_name_is_refused(tmp_path):
    source = '{% extends "page.html.j2" %}{% block sections %}{{ text }}{% endblock %}'
    (tmp_path / "t.html.j2").write_text(source)
    template = page_template(tmp_path / "t.html.j2")
    page = template.render(title="a < b", text="<script>'\"&")
    assert "&lt;script&gt;&#39;&#34;&amp;" in page
    assert page.count("a &lt; b") == 2
    with pytest.raises(UndefinedError, match="'text' is undefined"):
        template.render(title="a")


def test_templates_tables_and_types_are_part_of_the_package():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert setuptools["package-data"] == {
        "*": ["templates/*", "py.typed"],
        "retrieval.serving": ["page/*"],
        "retrieval.text": ["*.txt"],
    }
    others = {
        path
        for package in ("index", "retrieval")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc", ".nbi", ".nbc")
    }
    page = {path for path in others if path.parent == ROOT / "retrieval" / "serving" / "page"}
    tables = {ROOT / "retrieval" / "text" / "variants.txt"}
    assert tables < others
    # Without these, the type checkers of programs that import an installed package read none of its types.
    typed = {ROOT / package / "py.typed" for package in ("index", "retrieval")}
    assert typed < others
    others -= typed
    assert len(others - page - tables) == 6
    assert {path.parent.name for path in others - page - tables} == {"templates"}
    assert all((path.parent.parent / "__init__.py").is_file() for path in others - tables)
    assert {path.suffix for path in page} >= {".html", ".css", ".js"}


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_without_jinja2_the_extra_is_named(made, tmp_path, monkeypatch, verb):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    arguments = {
        "train": ["train", made.data, "-o", tmp_path / "m", "--tower", "bag", "--epochs", "1"],
        "evaluate": ["evaluate", made.index, made.data, "--report", tmp_path / "report"],
    }
    result = CliRunner().invoke(verbs, [str(argument) for argument in arguments[verb]])
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        f"Error: needs jinja2, which is not installed; run: pip install 'peephole[{verb}]'"
    )
