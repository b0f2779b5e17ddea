"""The verbs on an index in Milvus, from the command line: the same answers as from files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from clicked_world import make_world, people
from conftest import QUERY_TEXTS, Made
from milvus_server import LiteServer, needs_milvus, running
from served import serving

from cli import verbs
from index.remote.address import Address
from index.remote.client import Server
from retrieval.learning import learn as learning
from retrieval.model.config import ModelConfig
from retrieval.model.rescoring import Rescorer
from retrieval.search.features import NAMES
from retrieval.search.retriever import Retriever
from retrieval.training.recipe import Recipe

pytestmark = needs_milvus
Invoke = Callable[..., Result]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    with running(tmp_path_factory.mktemp("milvus")) as server:
        yield server


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(verbs, list(map(str, arguments)))


def printed(*arguments: Any) -> Any:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def hits(index: Path, *arguments: str) -> list[tuple[str, float]]:
    found = printed("search", index, *arguments)["hits"]
    return [(hit["id"], pytest.approx(hit["score"], abs=1e-5)) for hit in found]


def test_every_verb_does_on_milvus_what_it_does_on_files(made: Made, server: LiteServer, tmp_path: Path):
    remote, local, store = tmp_path / "remote", tmp_path / "local", server.new_store()
    for index, place in ((local, ()), (remote, ("--store", store))):
        assert printed("build", made.data, "-m", made.model, "-o", index, *place)["documents"] == 8
    more = tmp_path / "more.jsonl"
    more.write_text(
        '{"_id": "d1", "text": "copy nothing", "tags": ["x", {"n": 1}]}\n'
        '{"_id": "new", "text": "rename a file", "lang": "en"}\n'
    )
    for index in (local, remote):
        added = printed("add", index, more)
        assert (added["added"], added["replaced"], added["documents"]) == (1, 1, 9)
        assert printed("delete", index, "new")["documents"] == 8
        assert printed("verify", index)["sound"]
    for mode in ("dense", "lexical", "hybrid"):
        for query in ("copy a folder", "启动服务", "rename files"):
            assert hits(remote, query, "--mode", mode) == hits(local, query, "--mode", mode)
    shown = [printed("search", index, "copy nothing", "--metadata")["hits"] for index in (remote, local)]
    found, expected = ({hit["id"]: hit["metadata"] for hit in one} for one in shown)
    assert found == expected and found["d1"] == {"tags": ["x", {"n": 1}]}
    facts = printed("info", remote)
    assert facts["store"]["address"] == store
    assert facts["segments"][0]["faiss"] == "Milvus FLAT"
    assert "store" not in printed("info", local)
    scores = [
        {mode: values["nDCG@10"] for mode, values in printed("evaluate", index, made.data)["modes"].items()}
        for index in (local, remote)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    told = [printed("explain", index, "copy", "d1") for index in (local, remote)]
    # A server computes cosines and BM25 itself, equal to rounding.
    effects = [{each["feature"]: each["effect"] for each in one["ranking"].pop("features")} for one in told]
    assert effects[0] == pytest.approx(effects[1], abs=1e-4)
    assert told[0] == told[1]


def test_what_is_not_there_is_one_line(made: Made, server: LiteServer, tmp_path: Path):
    index, store = tmp_path / "remote", server.new_store()
    build = ["build", made.data, "-m", made.model, "-o", index, "--store", store]
    assert invoke(*build).exit_code == 0
    for arguments, problem in (
        (["rollback", index], "keeps no earlier generation to go back to"),
        (
            [*build, "--max-memory", "1B"],
            "no index of a server takes at most 1 bytes; the smallest",
        ),
        ([*build[:-1], "http://x"], "write milvus://HOST:PORT/COLLECTION"),
        ([*build[:-3], tmp_path / "other", *build[-2:]], "belongs to another index"),
    ):
        result = invoke(*arguments)
        assert result.exit_code != 0
        assert problem in result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)


def test_hybrid_search_re_scores_as_it_does_on_files(
    made: Made, server: LiteServer, tmp_path: Path, random_model: Callable[..., Any]
):
    model = random_model(ModelConfig("lstm", 8, 4, 8, "attention", tie="table"), texts=QUERY_TEXTS)
    random = np.random.default_rng(1)
    shapes = ((8, 5), (8,), (1,), (4, len(NAMES)), (4,), (4,), (len(NAMES),))
    model.rescorer = Rescorer(*(random.normal(size=shape).astype(np.float32) for shape in shapes))
    model.save(tmp_path / "model")
    store = server.new_store()
    more = tmp_path / "more.jsonl"
    more.write_text('{"_id": "d1", "title": "cp", "text": "copy it"}\n{"_id": "new", "text": "copy"}\n')
    for name, place in (("local", ()), ("remote", ("--store", store))):
        printed("build", made.data, "-m", tmp_path / "model", "-o", tmp_path / name, *place)
    for change in (("verify",), ("add", more), ("compact",)):
        for name in ("local", "remote"):
            printed(change[0], tmp_path / name, *change[1:])
        if change[0] == "add":
            continue  # until compaction N and df count the document that was replaced
        with Retriever.open(tmp_path / "local") as local, Retriever.open(tmp_path / "remote") as remote:
            assert local.rescoring is not None
            assert remote.rescoring is not None
            for query in QUERY_TEXTS:
                scores = [
                    {hit.id: hit.score for hit in retriever.search(query)} for retriever in (local, remote)
                ]
                assert scores[1] == pytest.approx(scores[0], abs=1e-5)


def test_learning_and_going_back_keep_documents_and_say_what_they_say_of_files(
    server: LiteServer,
    tmp_path: Path,
    random_model: Callable[..., Any],
    write_beir: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(os, "nice", lambda increment: 0)
    monkeypatch.setattr(learning, "RECIPE", Recipe(epochs=12, batch=64, learning_rate=0.03, warmup=2))
    precision = torch.get_float32_matmul_precision()
    world = make_world(tmp_path, random_model, write_beir)
    log, remote = world.record(tmp_path / "clicks.jsonl", people), tmp_path / "remote"
    store = server.new_store()
    build = ["build", world.corpus, "-m", tmp_path / "model", "-o", remote, "--target-recall", "1"]
    first = printed(*build, "--store", store)
    with monkeypatch.context() as patch:
        patch.setattr(learning, "RECIPE", Recipe(epochs=1, batch=64, learning_rate=1e-9))
        assert printed("learn", remote, "--clicks", log)["reason"].startswith("no improvement shown")
    address = Address.parse(store)
    with closing(Server(address)) as connection:
        names = [name for name in connection.collections() if name.startswith(f"{address.name}_")]
        assert names == [connection.target_of(address.name)]
    outcomes = [printed("learn", index, "--clicks", log) for index in (world.index, remote)]
    torch.set_float32_matmul_precision(precision)
    for name in ("published", "generation", "documents", "previous", "counts"):
        assert outcomes[1][name] == outcomes[0][name]
    assert outcomes[1]["published"]
    more = tmp_path / "more.jsonl"
    more.write_text('{"_id": "d3", "text": "changed"}\n{"_id": "new", "text": "answer3"}\n')
    results = []
    for index in (world.index, remote):
        assert printed("info", index)["previous"][0]["documents"] == 16
        printed("add", index, more)
        printed("delete", index, "d5")
        results.append(printed("rollback", index) | {"index": ""})
        assert printed("verify", index)["sound"]
    assert results[1] == results[0]
    assert (results[1]["encoded"], results[1]["documents"]) == (2, 16)
    assert printed("info", remote)["model_fingerprint"] == first["model_fingerprint"]
    for query in ("question3 detail1", "answer3 changed"):
        for mode in ("dense", "hybrid"):
            assert hits(remote, query, "--mode", mode) == hits(world.index, query, "--mode", mode)


def test_server_killed_under_a_running_serve_is_a_503_until_it_is_back(made: Made, tmp_path: Path):
    with running(tmp_path / "own") as own:
        index = tmp_path / "remote"
        printed("build", made.data, "-m", made.model, "-o", index, "--store", own.new_store())
        with serving(index) as served:
            before = [hit["id"] for hit in httpx.get(f"{served.url}/search?q=copy").json()["hits"]]
            own.kill()
            away = httpx.get(f"{served.url}/search?q=copy", timeout=60)
            assert (away.status_code, list(away.json())) == (503, ["error"])
            assert httpx.get(f"{served.url}/healthz").status_code == 200
            result = invoke("search", index, "copy")
            assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
            assert "the server does not answer" in result.stderr
            own.start()
            served.wait_for(served.answers)
            assert [hit["id"] for hit in httpx.get(f"{served.url}/search?q=copy").json()["hits"]] == before
