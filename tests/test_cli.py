"""The command: the whole path on a small corpus, what each verb prints, and what its help says."""

from __future__ import annotations

import csv
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from cli import VERBS, verbs
from index.reader import Index
from retrieval.search.retriever import Retriever
from retrieval.towers.two_tower import TwoTower

ROOT = Path(__file__).parent.parent
MEASURES = ["nDCG@10", "R@1", "R@10", "R@100", "RR@10"]


def peephole(*args: object, typed: str | bytes | None = None) -> Result:
    return CliRunner().invoke(verbs, [str(arg) for arg in args], input=typed, prog_name="peephole")


def told(*args: object, typed: str | None = None) -> object:
    """What a verb prints with --json: one document and nothing else."""
    result = peephole(*args, "--json", typed=typed)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return json.loads(result.stdout)


def process(*args: object, **more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, **more)


def command_of(*names: str) -> click.Command:
    """The command that these words call."""
    command: click.Command = verbs
    for name in names:
        assert isinstance(command, click.Group)
        inner = command.get_command(click.Context(command), name)
        assert inner is not None, names
        command = inner
    return command


def every_verb(*names: str) -> list[tuple[str, ...]]:
    """The words of each verb, those of groups included."""
    command = command_of(*names)
    if not isinstance(command, click.Group):
        return [names]
    inner = command.list_commands(click.Context(command))
    return [verb for name in inner for verb in every_verb(*names, name)]


@pytest.mark.parametrize("verb", every_verb(), ids=" ".join)
def test_help_of_every_verb_holds_an_example_that_parses(verb):
    result = peephole(*verb, "--help")
    assert result.exit_code == 0
    examples = [
        line.split("Example: ")[1].split() for line in result.output.splitlines() if "Example: " in line
    ]
    assert examples
    for program, *args in examples:
        assert program == "peephole"
        assert tuple(args[: len(verb)]) == verb
        # Raises what a wrong option would.
        command_of(*verb).make_context(" ".join(verb), args[len(verb) :])


@pytest.mark.parametrize("verb", every_verb(), ids=" ".join)
def test_every_option_of_a_verb_has_help(verb):
    options = [option for option in command_of(*verb).params if isinstance(option, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_the_table_of_verbs_agrees_with_their_help():
    for name, verb in VERBS.items():
        told = (command_of(name).help or "").strip().partition("\n")[0]
        assert told.startswith(verb.summary.rstrip(".")), name


def test_verbs_of_the_contract_are_there():
    assert {" ".join(verb) for verb in every_verb()} >= {
        "corpus pydoc",
        "train",
        "build",
        "add",
        "delete",
        "compact",
        "search",
        "evaluate",
        "info",
        "verify",
    }


def test_version_and_help_work_without_a_verb():
    assert peephole("--version").output.startswith("peephole, version ")
    assert "peephole train data" in peephole("-h").output


def test_corpus_pydoc_prints_what_it_wrote(tmp_path):
    counts = told(
        "corpus", "pydoc", "-o", tmp_path / "d", "--package", "json", "--package", "csv", "--limit", 20
    )
    assert isinstance(counts, dict)
    documents = (tmp_path / "d" / "corpus.jsonl").read_text().splitlines()
    assert counts["documents"] == len(documents) > 0
    assert all(json.loads(line)["_id"].split(".")[0] in ("json", "csv") for line in documents)


def test_train_json_has_the_keys_of_the_contract(made, tmp_path):
    facts = told("train", made.data, "-o", tmp_path / "m", "--tower", "bag", "--epochs", "2")
    kept = ["tower", "parameters", "seconds", "best_epoch", "dev"]
    assert list(facts) == [*kept, "dev_queries", "calibrated", "known_queries"]
    assert list(facts["dev"]) == MEASURES
    assert facts["tower"] == "bag"
    model = TwoTower.load(tmp_path / "m")
    assert facts["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert 1 <= facts["best_epoch"] <= 2


def test_train_on_a_bare_corpus_says_so_in_a_line(tmp_path):
    (tmp_path / "d").mkdir()
    documents = [
        {"_id": "1", "title": "ls", "text": "list all files"},
        {"_id": "2", "title": "cp", "text": "copy a folder"},
    ]
    (tmp_path / "d" / "corpus.jsonl").write_text("".join(json.dumps(each) + "\n" for each in documents))
    args = ["train", tmp_path / "d", "-o", tmp_path / "m", "--tower", "bag", "--epochs", "1"]
    lines = peephole(*args).stdout.splitlines()
    assert lines[0] == "no qrels/train.tsv: learning from titles and sentences of the documents alone"
    assert "weights of epoch 1" in lines[1]
    assert told(*args)["dev"] == {}


def test_train_prints_measures_for_a_person(made, tmp_path):
    result = peephole(
        "train", made.data, "-o", tmp_path / "m", "--tower", "dnn", "--epochs", "1", "--seed", "7"
    )
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert "weights of epoch 1" in lines[0]
    assert [line.split()[1] for line in lines[1:-2]] == MEASURES
    assert lines[-2].endswith("no probability: it takes dev queries, and 8 are too few")
    page = tmp_path / "m" / "report" / "training.html"
    assert lines[-1].split() == ["report:", str(page)]
    assert page.is_file()
    assert json.loads((tmp_path / "m" / "training.json").read_text())["recipe"]["seed"] == 7


def test_build_json_describes_the_index(made, tmp_path):
    facts = told("build", made.data, "-m", made.model, "-o", tmp_path / "i")
    assert facts["index"] == str(tmp_path / "i")
    assert facts["documents"] == 8
    assert facts["generation"] == "generation-000001"
    with Index.open(tmp_path / "i") as opened:
        assert facts["dimension"] == opened.dimension
        assert facts["bytes"] == opened.manifest.size_bytes()
        assert facts["files"] == len(opened.manifest.files)


def test_building_again_publishes_the_next_generation(made, tmp_path):
    shutil.copytree(made.index, tmp_path / "i")
    result = peephole("build", made.data, "-m", made.model, "-o", tmp_path / "i")
    assert result.exit_code == 0
    assert "8 documents" in result.stdout
    assert "generation-000002" in result.stdout


def test_build_reads_standard_input(made, tmp_path):
    lines = (made.data / "corpus.jsonl").read_text()
    facts = told("build", "-", "-m", made.model, "-o", tmp_path / "i", typed=lines)
    assert facts["documents"] == 8
    told("build", made.data / "corpus.jsonl", "-m", made.model, "-o", tmp_path / "file")
    for mode in ("dense", "lexical", "hybrid"):
        assert ids(told("search", tmp_path / "i", "copy folder", "--mode", mode)) == ids(
            told("search", tmp_path / "file", "copy folder", "--mode", mode)
        )


def ids(answer):
    return [hit["id"] for hit in answer["hits"]]


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_search_json_has_the_keys_of_the_contract(made, mode):
    answer = told("search", made.index, "copy", "a", "folder", "-k", "3", "--mode", mode)
    assert list(answer) == ["query", "mode", "took_ms", "hits"]
    assert (answer["query"], answer["mode"]) == ("copy a folder", mode)
    assert answer["took_ms"] > 0
    for rank, hit in enumerate(answer["hits"], 1):
        assert list(hit) == ["rank", "id", "score", "title", "text", "passage", "probability"]
        assert hit["rank"] == rank
    assert ids(answer)[0] == "d1"
    scores = [hit["score"] for hit in answer["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 3 if mode != "lexical" else 1 <= len(scores) <= 3


def test_dense_scores_are_the_models_cosines(made):
    model = TwoTower.load(made.model)
    texts = {
        json.loads(line)["_id"]: json.loads(line)["text"] for line in (made.data / "corpus.jsonl").open()
    }
    cosines = (model.encode_queries(["启动服务"]) @ model.encode_documents(list(texts.values())).T)[0]
    answer = told("search", made.index, "启动服务", "--mode", "dense", "-k", 8)
    assert ids(answer) == [list(texts)[row] for row in np.argsort(-cosines)]
    np.testing.assert_allclose([hit["score"] for hit in answer["hits"]], np.sort(cosines)[::-1], atol=3e-4)


def test_search_prints_rank_score_id_and_the_querys_words(made):
    result = peephole("search", made.index, "tar", "archive", "-k", "2")
    assert result.exit_code == 0
    assert result.stderr == ""
    first, second, third = result.stdout.splitlines()[:3]
    assert first.startswith("tar archive  (2 hits, ")
    assert second.split()[0] == "1"
    assert second.split()[2] == "d2"
    assert third.strip() == "unpack a tar archive with tar -xzf"


def test_search_marks_words_in_colour_on_a_terminal(made):
    result = CliRunner().invoke(verbs, ["search", str(made.index), "archive", "-k", "1"], color=True)
    assert click.style("archive", fg="yellow", bold=True) in result.stdout


def test_queries_come_from_a_file_or_standard_input(made, tmp_path):
    (tmp_path / "q.txt").write_text("copy folder\n\nmatrix product\n", encoding="utf-8")
    from_file = told("search", made.index, "--queries", tmp_path / "q.txt", "-k", 2)
    typed = told("search", made.index, "--queries", "-", "-k", 2, typed="copy folder\nmatrix product\n")
    alone = [told("search", made.index, query, "-k", 2) for query in ("copy folder", "matrix product")]
    for answers in (from_file, typed):
        assert [answer["query"] for answer in answers] == ["copy folder", "matrix product"]
        assert [ids(answer) for answer in answers] == [ids(answer) for answer in alone]


def test_queries_come_from_a_column_of_a_table(made, tmp_path):
    (tmp_path / "q.csv").write_text('Question,Answer\ncopy folder,"a\nb"\nmatrix product,c\n')
    found = told("search", made.index, "--queries", tmp_path / "q.csv", "-k", 2)
    assert [answer["query"] for answer in found] == ["copy folder", "matrix product"]


def test_one_query_from_a_file_is_still_a_list(made, tmp_path):
    (tmp_path / "q.txt").write_text("copy folder\n")
    assert len(told("search", made.index, "--queries", tmp_path / "q.txt")) == 1


def test_run_file_holds_the_hits_in_trec_form(made, tmp_path):
    (tmp_path / "q.tsv").write_text("q1\tcopy folder\nq6\tmatrix product\n")
    result = peephole(
        "search", made.index, "--queries", tmp_path / "q.tsv", "--run", tmp_path / "r.trec", "-k", 3
    )
    assert (result.exit_code, result.output) == (0, "")
    rows = list(csv.reader((tmp_path / "r.trec").open(), delimiter=" "))
    assert [row[0] for row in rows] == ["q1"] * 3 + ["q6"] * 3
    answer = told("search", made.index, "copy folder", "-k", 3)
    assert [row[2] for row in rows[:3]] == ids(answer)
    assert [row[3] for row in rows[:3]] == ["1", "2", "3"]
    assert [float(row[4]) for row in rows[:3]] == pytest.approx([hit["score"] for hit in answer["hits"]])


def test_evaluate_json_has_the_keys_of_the_contract(made):
    facts = told("evaluate", made.index, made.data)
    assert list(facts) == ["split", "queries", "modes", "ann", "latency_ms"]
    assert (facts["split"], facts["queries"]) == ("test", 8)
    assert list(facts["modes"]) == ["dense", "lexical", "hybrid"]
    assert all(list(measures) == MEASURES for measures in facts["modes"].values())
    assert facts["ann"] == {"recall@10": 1, "recall@100": 1}
    assert list(facts["latency_ms"]) == ["p50", "p95", "p99"]
    assert 0 < facts["latency_ms"]["p50"] <= facts["latency_ms"]["p95"] <= facts["latency_ms"]["p99"]


def test_evaluate_measures_are_those_of_its_searches(made):
    facts = told("evaluate", made.index, made.data, "--split", "dev", "--mode", "dense")
    assert list(facts["modes"]) == ["dense"]
    ranks = []
    queries = [json.loads(line) for line in (made.data / "queries.jsonl").open()]
    with Retriever.open(made.index) as retriever:
        for query in queries:
            found = [hit.id for hit in retriever.search(query["text"], 8, "dense")]
            ranks.append(found.index(query["_id"].replace("q", "d")) + 1)
    expected = {
        "nDCG@10": np.mean([1 / np.log2(rank + 1) for rank in ranks]),
        "R@1": np.mean([rank == 1 for rank in ranks]),
        "R@10": 1,
        "R@100": 1,
        "RR@10": np.mean([1 / rank for rank in ranks]),
    }
    assert facts["modes"]["dense"] == pytest.approx(expected)


def test_evaluate_prints_a_table(made):
    result = peephole("evaluate", made.index, made.data)
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[1] == ["mode", *MEASURES]
    assert [line[0] for line in lines[2:5]] == ["dense", "lexical", "hybrid"]
    assert all(0 <= float(cell) <= 1 for line in lines[2:5] for cell in line[1:])


def test_info_tells_what_the_index_holds(made):
    facts = told("info", made.index)
    assert (facts["documents"], facts["index"]) == (8, str(made.index))
    assert set(facts) >= {"generation", "created", "dimension", "model_fingerprint", "files", "bytes"}
    printed = dict(line.split(maxsplit=1) for line in peephole("info", made.index).stdout.splitlines())
    assert printed["documents"] == "8"
    assert printed["model_fingerprint"] == facts["model_fingerprint"]
    assert printed["goal"] == "recall 0.99"  # no limits were set


def test_verify_of_a_sound_index(made):
    sound = {"index": str(made.index), "sound": True, "problems": [], "remarks": []}
    assert told("verify", made.index) == sound
    result = peephole("verify", made.index)
    assert (result.exit_code, result.output) == (0, f"{made.index}: sound\n")


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["fly"],
        ["train"],
        ["train", "x"],
        ["train", "x", "-o", "y", "--tower", "gru"],
        ["train", "x", "-o", "y", "--epochs", "0"],
        ["build", "x", "-o", "y"],
        ["search"],
        ["search", "x"],
        ["search", "x", "words", "--queries", "file"],
        ["search", "x", "words", "-k", "0"],
        ["search", "x", "words", "-k", "ten"],
        ["search", "x", "words", "--mode", "sparse"],
        ["evaluate", "x"],
        ["info", "x", "--frobnicate"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_two(args):
    result = peephole(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("group", [(), ("corpus",), ("clicks",), ("bench",)], ids=" ".join)
def test_a_group_without_a_verb_prints_its_help(group):
    result = peephole(*group)
    assert result.exit_code == 2
    assert (
        result.stderr.splitlines()[0]
        == f"Usage: {' '.join(('peephole', *group))} [OPTIONS] COMMAND [ARGS]..."
    )
    assert "Commands:" in result.stderr.splitlines()


def test_a_mistyped_verb_is_told_the_verbs_like_it():
    assert "'search'" in peephole("serch").stderr


# What a search from the shell does without, for all that is imported delays its first hit.
NOT_FOR_A_SEARCH = {
    *("torch", "matplotlib", "scipy", "ir_measures", "rich", "numba"),
    *(
        "asyncio",
        "copy",
        "dataclasses",
        "decimal",
        "inspect",
        "numpy.typing",
        "random",
        "shutil",
        "subprocess",
        "tempfile",
    ),
    *(
        "index.protocol",
        "index.dense.tuning",
        "index.documents.writer",
        "index.interaction.writing",
        "index.lexical.postings",
    ),
    *("index.writing", "retrieval.data", "retrieval.indexing", "retrieval.training"),
}


def test_the_command_searches_as_a_process_that_imports_little(made):
    program = (
        "import sys, numpy, click; before = set(sys.modules)\n"
        "import cli\n"
        "try: cli.main()\n"
        f"finally: print(*sorted({NOT_FOR_A_SEARCH!r} & (set(sys.modules) - before)), file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, "search", str(made.index), "copy folder", "--json"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert run.returncode == 0
    assert run.stderr.strip() == ""
    assert ids(json.loads(run.stdout))[0] == "d1"


def on_a_terminal(*args: object) -> tuple[int, str, str]:
    """Exit code, standard output and what standard error, a terminal, received."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "cli", *map(str, args)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=slave, cwd=ROOT) as child:
        os.close(slave)
        received = b""
        while True:
            try:
                part = os.read(master, 4096)
            except OSError:  # Linux says so when the other end is closed
                break
            if not part:
                break
            received += part
        output = child.stdout.read().decode() if child.stdout else ""
    os.close(master)
    return child.returncode, output, received.decode(errors="replace")


def test_progress_is_shown_on_a_terminal_and_only_there(made, tmp_path):
    args = ("build", made.data, "-m", made.model, "-o", tmp_path / "i", "--json")
    code, output, received = on_a_terminal(*args)
    assert code == 0
    assert json.loads(output)["documents"] == 8
    assert "building: encoding" in received
    silent = process(*args)
    assert (silent.returncode, silent.stderr) == (0, "")
    assert json.loads(silent.stdout)["documents"] == 8


def test_training_has_one_bar_for_all_of_its_steps(made, tmp_path):
    args = ("train", made.data, "-o", tmp_path / "m", "--tower", "bag", "--epochs", "30")
    code, _, received = on_a_terminal(*args)
    assert code == 0
    last = received[received.rindex("\x1b[2K") :]  # drawn when all was done
    assert "training: steps, epoch 30 of 30" in last
    assert "epoch 29" not in last


def test_a_title_that_the_terminal_cannot_show_does_not_end_a_search(made):
    run = process("search", made.index, "nginx", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert run.returncode == 0
    assert "nginx" in run.stdout


def test_ctrl_c_stops_training_and_resume_goes_on(made, tmp_path):
    output = tmp_path / "m"
    args = ["train", str(made.data), "-o", str(output), "--tower", "lstm", "--epochs", "200"]
    with subprocess.Popen(
        [sys.executable, "-m", "cli", *args], stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        deadline = time.monotonic() + 60
        while not (output / ".lock").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        _, complaint = child.communicate(timeout=60)
    assert child.returncode == 1
    assert complaint == "Error: interrupted; the same command with --resume goes on from here\n"
    assert not (output / "config.json").exists()
    resumed = peephole(*args, "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert "weights of epoch" in resumed.stdout
