"""The verb train: what it says and writes of the calibration."""

from __future__ import annotations

import json

from click.testing import CliRunner

from cli import verbs
from retrieval.model.calibration import read_calibration
from retrieval.model.folder import FILES
from retrieval.search.retriever import Retriever

WORDS = ["copy", "move", "list", "unpack", "send", "join"]
DOCUMENTS = {f"d{n}": f"{word} file" for n, word in enumerate(WORDS)}
QUERIES = {f"q{n}-{how}": f"{how} {text}" for n, text in enumerate(DOCUMENTS.values()) for how in "abcd"}
PAIRS = {query: {f"d{query[1]}": 1} for query in QUERIES}


def peephole(*args):
    result = CliRunner().invoke(verbs, [str(arg) for arg in args])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_dev_queries_calibrate_and_a_training_without_them_says_that_there_are_none(tmp_path, write_beir):
    model, index = tmp_path / "model", tmp_path / "index"
    data = write_beir(tmp_path / "data", DOCUMENTS, QUERIES, {"train": PAIRS, "dev": PAIRS})
    train = ("train", data, "-o", model, "--tower", "bag", "--epochs", "1")
    facts = json.loads(peephole(*train, "--json"))
    assert (facts["dev_queries"], facts["calibrated"]) == (24, True)
    assert read_calibration(model / FILES.calibration).queries == 24
    peephole("build", data, "-m", model, "-o", index)
    with Retriever.open(index) as retriever:
        hits = retriever.search("a copy file")
        assert hits[0].id == "d0" and hits[0].probability > 0.5 > hits[-1].probability
        assert retriever.search("a copy file", min_probability=0.5) == hits[:1]

    few = write_beir(
        tmp_path / "few", DOCUMENTS, QUERIES, {"train": PAIRS, "dev": dict([*PAIRS.items()][:3])}
    )
    said = peephole("train", few, *train[2:])
    assert "no calibration, so hits have no probability: it takes dev queries, and 3 are too few" in said
    none = write_beir(tmp_path / "none", DOCUMENTS, QUERIES, {"train": PAIRS})
    said = peephole("train", none, *train[2:])
    assert "it takes dev queries, and there are none" in said
    assert not (model / FILES.calibration).exists()


def test_a_complete_training_is_not_resumed(tmp_path, write_beir):
    data = write_beir(tmp_path / "data", DOCUMENTS, QUERIES, {"train": PAIRS})
    train = ["train", str(data), "-o", str(tmp_path / "m"), "--tower", "bag", "--epochs", "1"]
    peephole(*train)
    before = (tmp_path / "m" / FILES.weights).read_bytes()
    refused = CliRunner().invoke(verbs, [*train, "--resume"])
    assert refused.exit_code == 1
    assert "nothing to resume" in refused.stderr
    assert (tmp_path / "m" / FILES.weights).read_bytes() == before
