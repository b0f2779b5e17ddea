"""The MCP server over standard input and output, driven by the SDK's client, and its tools one by one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

pytest.importorskip("mcp", reason="needs the extra mcp")

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from retrieval.adapters.mcp import mcp_server
from retrieval.indexing.build import add, build
from retrieval.model.config import preset
from retrieval.search.retriever import Retriever

ROOT = Path(__file__).parents[3]
LONG = " ".join(f"Sentence {number} says what file {number} holds." for number in range(400))
ENGLISH, CHINESE = {"lang": "en", "year": 2021}, {"lang": "zh", "year": 2021}
DOCUMENTS = [
    {"_id": "ls", "title": "List", "text": "list the files of a directory", "metadata": ENGLISH},
    {"_id": "cp", "title": "Copy", "text": "copy a folder", "metadata": ENGLISH | {"year": 2019}},
    {"_id": "ls-zh", "title": "", "text": "显示目录的文件", "metadata": CHINESE},
    {"_id": "mv", "title": "Move", "text": "move a folder", "metadata": {"lang": "zh", "tags": ["a", "b"]}},
    {"_id": "long", "title": "Long", "text": LONG},
]


def write(path: Path, documents: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


@pytest.fixture
def index(tmp_path, random_model):
    texts = [str(document["text"]) for document in DOCUMENTS[:4]]
    random_model(preset("bag"), texts=texts).save(tmp_path / "model")
    build(write(tmp_path / "corpus.jsonl", DOCUMENTS), tmp_path / "model", tmp_path / "index")
    return tmp_path / "index"


def talk(server, *calls):
    """The results of calls of tools, as (is an error, structured content or text)."""

    async def conversation():
        async with Client(server, read_timeout_seconds=60) as client:
            found = [await client.call_tool(name, arguments) for name, arguments in calls]
            return client.instructions, (await client.list_tools()).tools, found

    instructions, tools, found = asyncio.run(conversation())
    told = [(one.is_error, one.content[0].text if one.is_error else one.structured_content) for one in found]
    return instructions, tools, told


def call(index, name, **arguments):
    with Retriever.open(index) as retriever:
        return talk(mcp_server(retriever), (name, arguments))[2][0]


def test_an_agent_over_standard_input_and_output_finds_reads_and_counts(index):
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "cli", "mcp", str(index), "--about", "shell commands"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
    )
    instructions, tools, (found, read, counted, refused) = talk(
        stdio_client(server),
        ("search", {"query": "list files", "k": 2, "mode": "lexical"}),
        ("read_document", {"id": "ls"}),
        ("facets", {"fields": ["lang"], "where": "year >= 2020"}),
        ("read_document", {"id": "nothing"}),
    )
    assert "5 documents: shell commands." in instructions
    assert "`where` filters by lang" in instructions
    assert [tool.name for tool in tools] == ["search", "read_document", "facets"]
    assert found[1]["hits"][0]["id"] == "ls"
    assert read[1]["text"] == "list the files of a directory"
    assert read[1]["metadata"] == {"lang": "en", "year": 2021}
    assert counted[1]["fields"] == {"lang": [{"value": "en", "count": 1}, {"value": "zh", "count": 1}]}
    assert refused[0]
    assert "no document has the id 'nothing'" in refused[1]


def test_a_field_with_signs_is_told_as_a_filter_spells_it(index, tmp_path):
    prices = [
        {"_id": f"p{n}", "text": f"part {n}", "metadata": {"price (EUR)": n % 2, "unit-no": n % 2}}
        for n in range(4)
    ]
    add(write(tmp_path / "prices.jsonl", prices), index)
    with Retriever.open(index) as retriever:
        instructions, _, ((_, told), (_, within)) = talk(
            mcp_server(retriever), ("facets", {}), ("facets", {"where": "lang = en or unit-no = 1"})
        )
        assert "unit-no" in instructions
        assert '"price (EUR)"' in instructions
        assert told["fields"]['"price (EUR)"'] == told["fields"]["unit-no"] != []
        assert within["fields"]['"price (EUR)"'] == [{"value": 1, "count": 2}]
        found = talk(mcp_server(retriever), ("search", {"query": "part", "where": '"price (EUR)" = 1'}))[2]
    assert sorted(hit["id"] for hit in found[0][1]["hits"]) == ["p1", "p3"]


def started(index):
    """The command, after it has answered the first message of a client."""
    command = [sys.executable, "-m", "cli", "mcp", str(index)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=ROOT, text=True, bufsize=1, **pipes)
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}}
    print(json.dumps(request(1, "initialize", hello)), file=process.stdin)
    answer = json.loads(process.stdout.readline())
    print(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}), file=process.stdin)
    return process, answer["result"]


def request(number, method, parameters):
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": parameters}


def test_ctrl_c_ends_the_server_though_its_input_is_open(index):
    process, hello = started(index)
    assert hello["serverInfo"] == {"name": "peephole", "version": version("peephole")}
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == -signal.SIGINT
    assert process.communicate() == ("", "")


def test_server_that_is_started_by_hand_says_that_it_waits(index):
    controller, terminal = os.openpty()
    command = [sys.executable, "-m", "cli", "mcp", str(index)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=terminal, **pipes) as process:
        line = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.communicate() == ("", "")
    os.close(controller)
    os.close(terminal)
    assert line == "waits for the program of an agent to talk to it on standard input; Ctrl-C ends it\n"


def test_client_that_goes_away_in_a_call_is_no_failure(index):
    process, _ = started(index)
    process.stdout.close()
    call = {"name": "search", "arguments": {"query": "list files"}}
    print(json.dumps(request(2, "tools/call", call)), file=process.stdin)
    process.stdin.close()
    assert process.wait(30) == 0
    assert process.stderr.read() == ""


def test_hits_have_the_probability_that_they_answer(index, calibrated):
    assert call(index, "search", query="folder")[1]["hits"][0]["probability"] is None
    query = "how do i list files"
    with Retriever.open(calibrated.index) as retriever:
        told = [hit.probability for hit in retriever.search(query, k=2)]
    hits = call(calibrated.index, "search", query=query, k=2)[1]["hits"]
    assert [hit["probability"] for hit in hits] == [round(probability, 4) for probability in told]


def test_every_argument_is_described_and_bounded(index):
    with Retriever.open(index) as retriever:
        _, tools, _ = talk(mcp_server(retriever))
    for tool in tools:
        assert tool.description
        assert tool.annotations.read_only_hint
        assert tool.output_schema
        for name, schema in tool.input_schema["properties"].items():
            assert schema.get("description"), (tool.name, name)
    search = next(tool for tool in tools if tool.name == "search").input_schema
    assert search["required"] == ["query"]
    assert search["properties"]["mode"]["enum"] == ["dense", "lexical", "hybrid"]
    assert search["properties"]["k"]["maximum"] == 50


def test_a_search_filters_pages_and_names_the_excerpt(index):
    first = call(index, "search", query="folder", mode="lexical", k=1)[1]["hits"]
    second = call(index, "search", query="folder", mode="lexical", k=1, offset=1)[1]["hits"]
    assert {first[0]["id"], second[0]["id"]} == {"cp", "mv"}
    assert [first[0]["rank"], second[0]["rank"]] == [1, 2]
    filtered = call(index, "search", query="folder", where="lang = zh and tags = b")[1]["hits"]
    assert [hit["id"] for hit in filtered] == ["mv"]
    (long,) = call(index, "search", query="sentence 390", mode="lexical", k=1)[1]["hits"]
    assert long["text_characters"] == len(LONG)
    assert LONG[long["start"] :].startswith(long["excerpt"])
    assert "Sentence 390" in long["excerpt"]
    assert len(long["excerpt"]) <= 1200


def test_a_long_document_is_read_in_parts(index):
    text, start = "", 0
    while start is not None:
        part = call(index, "read_document", id="long", start=start, characters=5000)[1]
        text, start = text + part["text"], part["next_start"]
    assert text == LONG


def test_facets_without_fields_tells_those_worth_filtering_by(index):
    counted = call(index, "facets")[1]["fields"]
    assert counted["lang"] == [{"value": "en", "count": 2}, {"value": "zh", "count": 2}]


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("search", {"query": " "}, "the query is empty"),
        ("search", {"query": "x", "where": "lang in ("}, "a value is missing"),
        ("search", {"query": "x", "where": "color = red"}, "color"),
        ("facets", {"fields": ["color"]}, "color"),
        ("search", {"query": "x", "k": 0}, "greater than or equal to 1"),
    ],
)
def test_what_is_wrong_with_a_call_is_told_to_the_agent(index, name, arguments, told):
    is_error, text = call(index, name, **arguments)
    assert is_error
    assert told in text
    assert "Traceback" not in text


def test_the_generation_that_is_live_is_searched(index, tmp_path):
    with Retriever.open(index) as retriever:
        server = mcp_server(retriever)
        assert talk(server, ("read_document", {"id": "new"}))[2][0][0]
        add(write(tmp_path / "new.jsonl", [{"_id": "new", "text": "a new document"}]), index)
        assert talk(server, ("read_document", {"id": "new"}))[2][0][1]["text"] == "a new document"
