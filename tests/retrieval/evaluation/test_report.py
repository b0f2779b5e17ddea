import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from benchmarks.browser import browser, chromium
from index.errors import StorageError
from retrieval.evaluation.breakdown import breakdown, by_length
from retrieval.evaluation.compare import Evaluation
from retrieval.evaluation.measures import evaluate_run
from retrieval.evaluation.report import per_query_table, render, write_report
from retrieval.evaluation.significance import compare_all_pairs
from retrieval.html.charts import Bar, Chart, bar_chart, difference_chart
from retrieval.html.page import TEMPLATES, page_template

EVIL = "<script>alert('&\"')</script>"
VOID = {"meta"}


class Balance(HTMLParser):
    """Checks that every element is closed where it should be, and keeps the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert name not in ("src", "href") and not name.startswith("on"), (name, value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def svg(chart: Chart) -> str:
    return str(page_template(TEMPLATES / "charts.svg.j2").module.draw(chart))  # type: ignore[attr-defined]


def parsed(html: str) -> Balance:
    balance = Balance()
    balance.feed(html)
    balance.close()
    assert balance.open == []
    return balance


@pytest.fixture
def evaluation() -> Evaluation:
    qrels = {"q1": {"right": 1}, "q2": {"right": 2, "also": 1}, "q3": {"far": 1}}
    runs = {
        "dense": {
            "q1": {"right": 0.9, "wrong": 0.8},
            "q2": {"wrong": 0.9, "right": 0.5},
            "q3": {"wrong": 1.0},
        },
        "lexical": {"q1": {"wrong": 0.9, "right": 0.1}, "q2": {"right": 2.0, "also": 1.0}},
    }
    modes = {mode: evaluate_run(qrels, run, ["nDCG@10", "RR", "NumRet"]) for mode, run in runs.items()}
    queries = {"q1": f"find {EVIL}", "q2": "a\tb " + "long " * 200, "q3": "文"}
    return Evaluation(
        title=f"Report {EVIL}",
        split="test",
        modes=modes,
        ours=tuple(modes),
        documents=3,
        runs=runs,
        qrels=qrels,
        queries=queries,
        describe=lambda document: f"Title of {document} {EVIL}",
        measure="nDCG@10",
        focus="dense",
        against="lexical",
        comparisons=compare_all_pairs(modes, "nDCG@10", rounds=100),
        groups={
            "by length": breakdown(
                modes, "nDCG@10", by_length({q: text.split() for q, text in queries.items()})
            )
        },
        ann={"recall@10": 0.99},
        latency_ms={"p50": 1.25},
        facts={"Model": EVIL},
    )


def test_page_is_whole_needs_nothing_else_and_escapes_every_text(evaluation: Evaluation) -> None:
    html = render(evaluation)
    page = parsed(html)
    assert "script" not in page.tags
    assert EVIL in page.text
    assert "url(" not in html
    assert "@import" not in html
    assert not re.findall(r"https?:", html)
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_page_tells_measures_comparisons_groups_and_speed(evaluation: Evaluation) -> None:
    text = parsed(render(evaluation)).text
    for mode in ("dense", "lexical"):
        assert f"{evaluation.modes[mode].mean('nDCG@10'):.4f}" in text
    assert "dense over lexical" in text or "lexical over dense" in text
    assert "nDCG@10: by length" in text
    assert "0.9900" in text
    assert "1.250 ms" in text


def test_query_that_loses_shows_what_came_and_what_was_wanted(evaluation: Evaluation) -> None:
    html = render(evaluation)
    lost = html[html.index("Where dense loses most to lexical") : html.index("Lowest nDCG@10 of dense")]
    text = parsed(f"<p>{lost.partition('</h2>')[2].rpartition('</section>')[0]}</p>").text
    assert "dense wins 1 queries, loses 1 and ties 1." in text
    assert "q2: dense 0." in text
    returned, wanted = text.split("Wanted")
    assert returned.index("Title of wrong") < returned.index("✓Title of right")
    assert "22Title of right" in wanted  # at rank 2, of grade 2
    assert "beyond 21Title of also" in wanted  # not among the 2 returned, of grade 1
    lowest = parsed(html).text.partition("Lowest nDCG@10 of dense")[2]
    assert lowest.index("文") < lowest.index("a b long")
    assert "find" not in lowest  # a perfect query is no failure


def test_a_table_and_a_chart_are_scrolled_by_keys_and_every_header_has_words(evaluation: Evaluation) -> None:
    html = render(evaluation)
    assert html.count('class="wide"') == html.count('class="wide" tabindex="0"') == html.count("</table>") + 3
    assert not re.search(r"<th[^>]*></th>", html)
    assert '<th scope="row">dense over lexical</th>' in html or "lexical over dense</th>" in html


def test_a_text_in_another_direction_moves_nothing_beside_it(evaluation: Evaluation) -> None:
    html = render(replace(evaluation, describe=lambda document: "Docker \u05d4\u05ea\u05e7\u05e0\u05d4"))
    assert '<bdi>Docker \u05d4\u05ea\u05e7\u05e0\u05d4</bdi>\n<bdi class="note">wrong</bdi>' in html


# Numbers that are broken over several lines, and the width of the narrowest chart.
BROKEN = """
[[...document.querySelectorAll("td:not(.text)")].filter((cell) => /^[+0-9.,]+$/.test(cell.textContent.trim()))
  .filter((cell) => { const range = new Range(); range.selectNodeContents(cell);
    return new Set([...range.getClientRects()].map((each) => each.top)).size > 1; })
  .map((cell) => cell.textContent),
 Math.min(...[...document.querySelectorAll("svg[role=img]")].map((each) => each.clientWidth)),
 document.documentElement.scrollWidth]
"""


def test_a_phone_shows_numbers_whole_and_letters_of_charts_large(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    if chromium() is None:
        pytest.skip("Chromium is not installed")
    pytest.importorskip("websockets")
    (tmp_path / "report.html").write_text(render(evaluation), "utf-8")
    with browser() as running, running.page() as page:
        page.size(320, 700)
        page.open((tmp_path / "report.html").as_uri())
        broken, narrowest, width = page.run(BROKEN)
    assert broken == [] and narrowest > 500 and width <= 320


def test_single_mode_needs_neither_comparisons_nor_losses(evaluation: Evaluation) -> None:
    alone = Evaluation(
        title="t",
        split="dev",
        modes={"dense": evaluation.modes["dense"]},
        ours=("dense",),
        documents=3,
        runs={},
        qrels={},
        queries={},
        describe=str,
        measure="nDCG@10",
        focus="dense",
    )
    text = parsed(render(alone)).text
    assert "loses most" not in text
    assert "real?" not in text
    assert "Index and speed" not in text


def test_folder_gets_page_and_table(tmp_path: Path, evaluation: Evaluation) -> None:
    path = write_report(tmp_path / "new" / "report", evaluation)
    assert path.read_text(encoding="utf-8") == render(evaluation)
    assert sorted(file.name for file in path.parent.iterdir()) == ["queries.tsv", "report.html"]
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file: cannot be written \(File exists\); choose a path"):
        write_report(tmp_path / "file", evaluation)


def test_per_query_table_has_a_row_a_query_and_a_column_a_mode_and_measure(evaluation: Evaluation) -> None:
    lines = per_query_table(evaluation.modes, evaluation.queries).splitlines()
    assert lines[0].split("\t")[:3] == ["query", "dense nDCG@10", "dense RR"]
    assert [line.split("\t")[0] for line in lines[1:]] == ["q1", "q2", "q3"]
    assert all(len(line.split("\t")) == 8 for line in lines)
    assert lines[1].split("\t")[1:3] == ["1", "1"]
    assert per_query_table({}, {}) == "query\ttext\n"


def test_bars_are_as_long_as_their_values() -> None:
    bars = [Bar(0, "a", 0.5, 0.4, 0.6), Bar(7, "b", 1.0), Bar(2, "c", 2.0)]
    chart = svg(bar_chart([(EVIL, bars)], "title"))
    rects = ET.fromstring(chart).findall("svg/rect")
    widths = [float(rect.attrib["width"]) for rect in rects]
    assert widths[1] == pytest.approx(2 * widths[0])
    assert widths[2] == widths[1]  # the axis ends at 1
    assert [rect.attrib["class"] for rect in rects] == ["s0", "s1", "s2"]
    assert 'class="whisker"' in chart


@pytest.mark.parametrize("count", [1, 3, 5000])
def test_difference_chart_is_drawn_for_any_number_of_queries(count: int) -> None:
    differences = np.linspace(-1, 1, count)
    root = ET.fromstring(svg(difference_chart(differences, "title")))[0]
    areas = {path.attrib["class"]: path.attrib["d"] for path in root.findall("path")}
    assert {"win", "lose"} <= set(areas)
    assert "V172.0" in areas["lose"]  # the largest loss reaches the lower end
    assert len(areas["win"]) < 20_000
