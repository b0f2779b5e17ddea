"""The report of a training: its numbers, that it stands alone, and that no index takes it in."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from index.disk.carried_model import copy_model, fingerprint
from index.errors import StorageError
from retrieval.html.charts import Line, line_chart, ticks
from retrieval.html.page import TEMPLATES, page_template
from retrieval.indexing.build import build
from retrieval.model.config import ModelConfig
from retrieval.training.curve import Point
from retrieval.training.recipe import Recipe
from retrieval.training.report import FOLDER, PAGE, TrainingReport, html, write_training_report
from retrieval.training.train import train

REPORT = TrainingReport(
    facts={"tower": "lstm", "parameters": 1234567, "seconds": 2.5},
    counts={"documents": 4000, "training_pairs": 2},
    settings={"residual": True, "learning_rate": 0.003, "pooling": "<mean>"},
    curve=[Point(2, 3.0, 0.001, 0.1, 0.2, 0.3), Point(2, 1.0, 0.003, 0.5, 0.25, 0.1)],
    history=[
        {"epoch": 0.0, "steps": 2.0, "loss": 3.0, "dev": 0.25},
        {"epoch": 1.0, "steps": 4.0, "loss": 1.0, "dev": 0.125},
    ],
    best_epoch=0,
    dev={"nDCG@10": 0.25, "R@1": 0.5},
)


def svg(chart):
    return page_template(TEMPLATES / "charts.svg.j2").module.draw(chart)


def words(page):
    """The text of a page, tags left out."""

    class Text(HTMLParser):
        found = ""

        def handle_data(self, data):
            self.found += f" {data}"

    text = Text()
    text.feed(re.sub(r"<style>.*?</style>", "", page, flags=re.S))
    return " ".join(text.found.split())


def test_page_shows_settings_counts_epochs_and_measures():
    page = html(REPORT)
    told = words(page)
    for part in (
        "parameters 1,234,567",
        "seconds 2.5",
        "documents 4,000",
        "training pairs 2",
        "residual yes",
        "learning rate 0.003",
        "nDCG@10 R@1 0.2500 0.5000",
        "Epoch Steps Loss Dev nDCG@10 1 2 3.0000 0.2500 2 4 1.0000 0.1250",
        "weights of epoch 1",
        "cosine with the hardest negative of the batch",
    ):
        assert part in told
    assert "<td><b>0.2500</b></td>" in page  # the best epoch stands out
    assert "&lt;mean&gt;" in page


def test_page_needs_nothing_beside_itself():
    assert not re.search(r"https?:|src=|<link|<script|url\(", html(REPORT))


def test_same_report_gives_the_same_page():
    assert html(REPORT) == html(replace(REPORT))


@pytest.mark.parametrize("steps", [0, 1])
def test_a_training_of_hardly_a_step_is_told_too(steps):
    history = [{"epoch": 0.0, "steps": float(steps), "loss": 1.0}]
    report = replace(REPORT, curve=REPORT.curve[:steps], history=history, best_epoch=-1, dev={})
    told = words(html(report))
    assert "Reached on dev" not in told
    assert "Dev nDCG@10, by epoch" not in told


def test_a_report_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "m").write_text("a file")
    with pytest.raises(StorageError, match="m/report"):
        write_training_report(tmp_path / "m", REPORT)


def test_line_chart_puts_points_where_they_belong():
    line = Line(1, "rise", [(0, 1.0), (10, 3.0), (20, 2.0)])
    chart = svg(line_chart([line], "A <title>", (10, "here")))
    # x from 150 to 660, y from 176 up to 10.
    assert 'class="l1"' in chart
    assert 'd="M150.0 176.0L405.0 10.0L660.0 93.0"' in chart
    assert 'd="M405.0 10V176"' in chart
    assert "A &lt;title&gt;" in chart
    labels = re.findall(r">([\d.]+)</text>", chart)
    assert labels == ["1", "1.5", "2", "2.5", "3", "0", "5", "10", "15", "20"]


def test_a_single_point_is_a_dot_in_the_middle():
    chart = svg(line_chart([Line(0, "one", [(3, 0.5)])], "t"))
    assert 'cx="405.0" cy="93.0"' in chart
    assert svg(line_chart([Line(0, "none", [])], "t")) == ""


def test_ticks_are_round():
    assert ticks(0, 33) == [0, 10, 20, 30]
    assert ticks(0.35, 0.534) == [0.35, 0.4, 0.45, 0.5]
    assert ticks(-0.1, 0.25) == [-0.1, 0, 0.1, 0.2]
    assert ticks(7, 7) == [7]
    assert ticks(0, 0.3) == [0, 0.1, 0.2, 0.3]  # a third of 0.3 is less than 0.1 in floating point
    assert ticks(1e-4, 3e-3) == [0.0005, 0.001, 0.0015, 0.002, 0.0025, 0.003]


TEXTS = {"d0": "cat sat", "d1": "dog ran", "d2": "cow ate"}
QUERIES = {"q0": "feline", "q1": "canine", "q2": "bovine"}
CONFIG = ModelConfig("lstm", 8, 4, 8, "attention")
RECIPE = Recipe(epochs=3, batch=2, learning_rate=0.02, warmup=2, members=1)


@pytest.fixture
def data(tmp_path, write_beir):
    pairs = {f"q{n}": {f"d{n}": 1} for n in range(3)}
    return write_beir(tmp_path / "data", TEXTS, QUERIES, {"train": pairs, "dev": pairs})


def test_training_leaves_a_report_that_agrees_with_its_record(data, tmp_path):
    seen = []
    trained = train(data, tmp_path / "m", CONFIG, RECIPE, on_step=seen.append)
    told = words((tmp_path / "m" / FOLDER / PAGE).read_text())
    record = json.loads((tmp_path / "m" / "training.json").read_text())
    for entry in record["history"]:
        row = (entry["epoch"] + 1, entry["steps"], entry["loss"], entry["dev"])
        assert "{:.0f} {:.0f} {:.4f} {:.4f}".format(*row) in told
        assert entry["steps"] == sum(step.epoch <= entry["epoch"] for step in seen)
    assert f"weights of epoch {trained.best_epoch}" in told
    assert "documents 3 passages 3 training queries 3 training pairs 3 pseudo queries" in told
    assert [path.name for path in (tmp_path / "m" / FOLDER).iterdir()] == [PAGE]


def test_training_loads_no_plotting_library(data, tmp_path):
    program = (
        "import sys; from pathlib import Path; from retrieval.model.config import ModelConfig;"
        "from retrieval.training.recipe import Recipe; from retrieval.training.train import train;"
        "train(Path(sys.argv[1]), Path(sys.argv[2]), ModelConfig('bag', 8, 4, 8), Recipe(epochs=1));"
        "print('matplotlib' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(data), str(tmp_path / "m")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["False"]


def test_an_interrupted_training_reports_all_its_steps(data, tmp_path):
    def page(model):
        return re.sub(r"<dt>seconds</dt><dd>.*?</dd>", "", (tmp_path / model / FOLDER / PAGE).read_text())

    train(data, tmp_path / "whole", CONFIG, RECIPE)
    steps = []
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "m", CONFIG, RECIPE, on_step=steps.append, stop=lambda: len(steps) == 3)
    train(data, tmp_path / "m", CONFIG, RECIPE, resume=True)
    assert page("m") == page("whole")


def test_no_index_takes_the_report_in(data, tmp_path):
    model = tmp_path / "m"
    train(data, model, CONFIG, RECIPE)
    before = fingerprint(model)
    (model / FOLDER / PAGE).write_text("another")
    assert fingerprint(model) == before
    copy_model(model, tmp_path / "copy")
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == [
        "config.json", "rescoring.safetensors", "training.json", "vocabulary.json", "vocabulary.safetensors",
        "weights.safetensors",
    ]  # fmt: skip
    manifest = build(data, model, tmp_path / "i")
    assert not any(FOLDER in name for name in manifest.files)
