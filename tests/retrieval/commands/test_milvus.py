"""The verbs on an index in Milvus, from the command line: the same answers as from files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from conftest import Made
from milvus_server import LiteServer, needs_milvus, running

from cli import verbs

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
        '{"_id": "d1", "text": "copy nothing"}\n{"_id": "new", "text": "rename a file", "lang": "en"}\n'
    )
    for index in (local, remote):
        added = printed("add", index, more)
        assert (added["added"], added["replaced"], added["documents"]) == (1, 1, 9)
        assert printed("delete", index, "new")["documents"] == 8
        assert printed("verify", index)["sound"]
    for mode in ("dense", "lexical", "hybrid"):
        for query in ("copy a folder", "启动服务", "rename files"):
            assert hits(remote, query, "--mode", mode) == hits(local, query, "--mode", mode)
    facts = printed("info", remote)
    assert facts["store"]["address"] == store
    assert facts["segments"][0]["faiss"] == "Milvus FLAT"
    assert "store" not in printed("info", local)
    scores = [
        {mode: values["nDCG@10"] for mode, values in printed("evaluate", index, made.data)["modes"].items()}
        for index in (local, remote)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    assert printed("explain", remote, "copy", "d1") == printed("explain", local, "copy", "d1")


def test_what_is_not_there_is_one_line(made: Made, server: LiteServer, tmp_path: Path):
    index, store = tmp_path / "remote", server.new_store()
    build = ["build", made.data, "-m", made.model, "-o", index, "--store", store]
    assert invoke(*build).exit_code == 0
    for arguments, problem in (
        (["compact", index], "lives in Milvus"),
        (["rollback", index], "lives in Milvus"),
        ([*build, "--max-memory", "1GB"], "leave --max-memory out"),
        ([*build[:-1], "http://x"], "write milvus://HOST:PORT/COLLECTION"),
        ([*build[:-3], tmp_path / "other", *build[-2:]], "belongs to another index"),
    ):
        result = invoke(*arguments)
        assert result.exit_code != 0
        assert problem in result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
