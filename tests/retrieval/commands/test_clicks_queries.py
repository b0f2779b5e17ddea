"""peephole clicks queries: its tables, its JSON, what an index adds, and one line for each mistake."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import verbs
from retrieval.data.clicks.recorded import Clicked, Event, Shown, encode, time_text

DAY = 1_790_000_000  # 2026-09-21
# Queries, how often they were searched for, how often they showed nothing, and the ranks that were clicked.
SEARCHED = {
    "copy  a Whole folder": (4, 0, [1, 2]),
    "list a direcotry": (3, 0, []),
    "unicorn wizardry": (3, 2, []),
    "turn text into a date": (2, 0, [6, 5]),
    "jane doe": (1, 1, []),
}


def shown(number: int, query: str, documents: int, at: float | None = None) -> Shown:
    ids = tuple(f"d{each}" for each in range(1, documents + 1))
    seconds = DAY + 60 * number if at is None else at
    return Shown(time_text(seconds), f"{number:016x}", query, "hybrid", 0, ids)


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("clicks.jsonl")
    events: list[Event] = []
    for query, (searches, empty, ranks) in SEARCHED.items():
        for each in range(searches):
            search = shown(len(events), query, 0 if each < empty else 8)
            events.append(search)
            if each < len(ranks):
                events.append(Clicked(search.time, search.search, f"d{ranks[each]}"))
    path.write_bytes(b"".join(map(encode, events)))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(verbs, ["clicks", "queries", *map(str, arguments)], prog_name="peephole")


def told(*arguments: object) -> dict:
    result = run(*arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return json.loads(result.stdout)


def listed(*arguments: object) -> dict[str, list[str]]:
    found = told(*arguments)
    lists = ("frequent", "unclicked", "without_results", "deep")
    return {name: [each["query"] for each in found[name]] for name in lists}


TABLES = """\
clicks.jsonl: 13 searches for 5 queries, 31% with a click, 3 that showed nothing
from 2026-09-21T14:13:20Z to 2026-09-21T14:29:20Z
not listed: 1 query searched for fewer than 2 times; --least 1 lists all

most frequent
 searches  nothing  clicked  rank  last        query
        4        0      50%   1.5  2026-09-21  copy a Whole folder
        3        2       0%     -  2026-09-21  unicorn wizardry
        3        0       0%     -  2026-09-21  list a direcotry
        2        0     100%   5.5  2026-09-21  turn text into a date

never clicked, though something was shown
 searches  nothing  clicked  rank  last        query
        3        0       0%     -  2026-09-21  list a direcotry

showed nothing
 searches  nothing  clicked  rank  last        query
        3        2       0%     -  2026-09-21  unicorn wizardry

clicked deep: the first click beyond rank 3 on average
 searches  nothing  clicked  rank  last        query
        2        0     100%   5.5  2026-09-21  turn text into a date
"""


def test_tables(log):
    result = run(log)
    assert (result.exit_code, result.stdout, result.stderr) == (0, TABLES, "")


def test_json_has_the_totals_and_the_lists(log):
    found = told(log)
    assert {name: value for name, value in found.items() if not isinstance(value, list)} == {
        "log": "clicks.jsonl",
        "searches": 13,
        "queries": 5,
        "empty": 3,
        "clicks": 4,
        "clicked_searches": 4,
        "clicked_share": 4 / 13,
        "half_typed": 0,
        "first": time_text(DAY),
        "last": time_text(DAY + 60 * 16),
        "least": 2,
        "hidden": 1,
        "index": None,
    }
    assert found["frequent"][0] == {
        "query": "copy a Whole folder",
        "searches": 4,
        "empty": 0,
        "clicks": 2,
        "clicked_searches": 2,
        "clicked_share": 0.5,
        "mean_first_rank": 1.5,
        "last": time_text(DAY + 60 * 5),
    }
    assert listed(log) == {
        "frequent": [
            *("copy a Whole folder", "unicorn wizardry", "list a direcotry", "turn text into a date")
        ],
        "unclicked": ["list a direcotry"],
        "without_results": ["unicorn wizardry"],
        "deep": ["turn text into a date"],
    }


def test_what_one_person_may_have_asked_is_listed_only_if_that_is_wanted(log):
    assert "jane" not in run(log).output + run(log, "--json").output
    assert listed(log, "--least", 1)["without_results"] == ["unicorn wizardry", "jane doe"]
    assert "not listed" not in run(log, "--least", 1).output
    assert listed(log, "--least", 4)["frequent"] == ["copy a Whole folder"]


def test_lists_are_as_long_as_wanted(log):
    assert listed(log, "--most", 1)["frequent"] == ["copy a Whole folder"]


def test_only_new_searches(log):
    now = time.time()
    old, new = (shown(n, "q", 1, now - 86_400 * days) for n, days in ((90, 3), (91, 1)))
    log.write_bytes(encode(old) + encode(new))
    assert [told(log, "--newer-than", days)["searches"] for days in (0.5, 2, 4, 1e300)] == [0, 1, 2, 2]
    said = run(log, "--newer-than", 0.5).output
    assert said == "clicks.jsonl: 0 searches for 0 queries, 0 that showed nothing\n"


def test_half_typed_searches_are_told(log):
    log.write_bytes(encode(shown(1, "cop", 1, DAY)) + encode(shown(2, "copy", 1, DAY + 2)))
    assert "1 half-typed search not counted" in run(log).output.splitlines()
    assert (told(log)["half_typed"], told(log, "--typing", 0)["half_typed"]) == (1, 0)


def test_where_no_click_counts_that_is_said_instead_of_listing_everything(log):
    log.write_bytes(encode(shown(1, "copy", 1)) + encode(shown(2, "copy", 1)))
    lines = run(log).output.splitlines()
    at = lines.index("never clicked, though something was shown")
    assert lines[at + 1].startswith("no click counts; a page of your own must send them")


def test_a_query_acts_on_no_terminal_and_is_cut(log):
    log.write_bytes(encode(shown(1, "\x1b]52;c;\x07" + "x" * 200, 1)))
    output = run(log, "--least", 1).output
    assert "\x1b" not in output and "\\x1b]52" in output
    assert max(map(len, output.splitlines())) < 160
    assert "\x1b" not in run(log, "--least", 1, "--json").output


INDEX_TABLES = """\

with words that no document has, of the 4 queries looked up in INDEX
 searches  clicked  query: words
        3       0%  unicorn wizardry: unicorn, wizardry

misspelt, or not typed to the end
 searches  clicked  query: read as
        3       0%  list a direcotry: list a directory
"""


def test_an_index_adds_what_it_lacks_and_how_it_reads_queries(log, calibrated):
    result = run(log, "--index", calibrated.index)
    assert (result.exit_code, result.stderr) == (0, "")
    start = TABLES + INDEX_TABLES.replace("INDEX", str(calibrated.index))
    assert result.stdout.startswith(start)
    rest = result.stdout.removeprefix(start).splitlines()
    assert rest[:2] == ["", "probably not answered: the best hit is relevant with less than 30%"]
    assert any("unicorn wizardry" in line for line in rest[2:])

    found = told(log, "--index", calibrated.index)["index"]
    assert found["folder"] == str(calibrated.index) and found["queries"] == 4
    common = {"searches": 3, "clicked_share": 0.0}
    assert found["unknown_words"] == [
        {"query": "unicorn wizardry", **common, "words": ["unicorn", "wizardry"]}
    ]
    assert found["corrected"] == [{"query": "list a direcotry", **common, "corrected": "list a directory"}]
    unlikely = {each["query"]: each for each in found["unlikely"]}
    assert unlikely["unicorn wizardry"].keys() == {
        *("query", "searches", "clicked_share", "id", "title", "probability")
    }
    assert all(each["probability"] < 0.3 for each in found["unlikely"])
    assert "copy a Whole folder" not in unlikely


def test_only_the_most_frequent_queries_are_looked_up(log, calibrated):
    found = told(log, "--index", calibrated.index, "--among", 2)["index"]
    assert found["queries"] == 2 and found["corrected"] == []
    assert told(log, "--index", calibrated.index, "--least", 1)["index"]["queries"] == 5
    lists = told(log, "--index", calibrated.index, "--most", 1)["index"]
    assert all(len(lists[name]) <= 1 for name in ("unknown_words", "corrected", "unlikely"))


def test_an_empty_query_is_looked_up_in_no_index(log, calibrated):
    log.write_bytes(encode(shown(1, " ", 0)) * 2)
    assert told(log, "--index", calibrated.index)["index"]["queries"] == 0


def test_a_model_without_calibration_says_nothing_of_probabilities(log, made):
    output = run(log, "--index", made.index).output
    assert output.endswith(
        "not known: the model has no calibration; train it with dev queries and build again\n"
    )
    found = told(log, "--index", made.index)["index"]
    assert found["unlikely"] is None and found["corrected"]


def test_mistakes_are_one_line(log, made):
    for arguments, status, says in (
        (["none"], 1, "none: no such file; check the path"),
        ([log, "--index", "none"], 1, "none"),
        ([log, "--index", log], 1, "clicks.jsonl"),
        (["none", "--index", made.index], 1, "none: no such file; check the path"),
        ([log, "--among", 5], 2, "--among is about --index, which is not given"),
        ([log, "--least", 0], 2, "'--least'"),
        ([log, "--newer-than", -1], 2, "'--newer-than'"),
    ):
        result = run(*arguments)
        assert result.exit_code == status and says in result.stderr and result.stdout == ""
        assert result.stderr.splitlines()[-1].startswith("Error: ") and "Traceback" not in result.stderr
    Path("other").write_text("hello\n")
    result = run("other")
    assert result.exit_code == 1 and result.stderr.startswith("Error: other:1: broken JSON")
