"""The API: answers equal those of the commands, and every limit has its status and one line."""

from __future__ import annotations

import base64
import json
import re
import shutil
import threading
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from click.testing import CliRunner

from cli import verbs
from index.disk.writer_lock import WriterLock
from index.reader import Index
from index.writing.delete import delete
from retrieval.indexing.build import build
from retrieval.search.retriever import Retriever
from retrieval.serving.engine import to_values
from retrieval.serving.errors import Refusal, error_json
from retrieval.serving.settings import Limits
from retrieval.text.snippet import snippet

GOLDEN = Path(__file__).parents[2] / "golden"
TOKEN = "a-token-of-some-length"  # noqa: S105
WRITER = {"Authorization": f"Bearer {TOKEN}"}


def printed(*arguments):
    result = CliRunner().invoke(verbs, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def without_time(answer):
    return {name: value for name, value in answer.items() if name != "took_ms"}


def without_scores(answer):
    hits = [{name: value for name, value in hit.items() if name != "score"} for hit in answer["hits"]]
    return without_time(answer) | {"hits": hits}


def refused(response, status, says):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["status"] == status and says in error["message"] and "\n" not in error["message"]


def test_a_search_answers_what_the_command_prints(run, folder):
    async def scenario(served):
        for mode in ("hybrid", "dense", "lexical"):
            got = await served.client.get("/search", params={"q": "copy a directory", "k": 3, "mode": mode})
            said = printed("search", folder, "-k", 3, "--mode", mode, "--json", "copy a directory")
            assert without_scores(got.json()) == without_scores(said)
            scores = ([hit["score"] for hit in each["hits"]] for each in (got.json(), said))
            assert next(scores) == pytest.approx(next(scores), abs=1e-6)  # a server adds in another order

    run(scenario)


def test_many_queries_are_answered_in_their_order(run, folder):
    async def scenario(served):
        body = {"queries": ["copy a directory", "wait"], "k": 2, "mode": "lexical"}
        got = (await served.client.post("/search", json=body)).json()
        with Retriever.open(folder) as retriever:
            for answer, query in zip(got, body["queries"], strict=True):
                hits = retriever.search(query, 2, "lexical")
                assert [hit["id"] for hit in answer["hits"]] == [hit.id for hit in hits]

    run(scenario)


def test_an_explanation_is_what_the_command_prints(run, folder):
    async def scenario(served):
        got = await served.client.get("/explain", params={"q": "copy", "id": "faq/1"})
        assert got.json() == printed("explain", folder, "copy", "faq/1", "--json")
        refused(await served.client.get("/explain", params={"q": "copy", "id": "no"}), 404, "no document")

    run(scenario)


def test_an_explanation_is_of_the_query_that_was_searched_for(run, folder):
    async def scenario(served):
        async def explained(**asked):
            return (await served.client.get("/explain", params={"id": "faq/1", **asked})).json()

        found = (await served.client.get("/search", params={"q": "cpoy"})).json()
        got = await explained(q="cpoy")
        assert got == printed("explain", folder, "cpoy", "faq/1", "--json")
        assert found["corrected"] == got.pop("corrected") == "copy"
        assert got == await explained(q="copy")
        kept = await explained(q="cpoy", as_typed=1)
        assert kept == printed("explain", folder, "cpoy", "faq/1", "--as-typed", "--json")
        assert kept["query"]["text"] == "cpoy" and "corrected" not in kept

    run(scenario)


def test_conditions_and_a_profile_pass_through(run):
    async def scenario(served):
        refused(await served.client.get("/search?q=copy&where=nonsense"), 422, "nonsense")
        refused(await served.client.get("/search?q=copy&where=no_such=1"), 422, "no_such")
        got = (await served.client.get("/search?q=copy&profile=1")).json()
        assert set(got["phases_ms"]) >= {"tokenise", "encode", "dense", "lexical", "fuse", "documents"}
        assert "phases_ms" not in (await served.client.get("/search?q=copy")).json()

    run(scenario)


COLOURED = [
    {"_id": f"c/{n}", "text": f"zebra {n}", "metadata": {"colour": ["red", "blue"][n % 2], "at": {"n": n}}}
    for n in range(5)
]


def test_facets_pages_and_one_hit_a_value_are_those_of_the_command(run, folder):
    async def scenario(served):
        await served.client.post("/documents", json={"documents": COLOURED}, headers=WRITER)
        asked = {"q": "zebra", "mode": "lexical", "k": 2, "facet": ["colour", "at.n"], "offset": 2}
        got = (await served.client.get("/search", params=asked)).json()
        options = ["--mode", "lexical", "-k", 2, "--facet", "colour", "--facet", "at.n", "--offset", 2]
        assert without_time(got) == without_time(printed("search", folder, *options, "--json", "zebra"))
        assert got["facets"]["colour"] == [{"value": "red", "count": 3}, {"value": "blue", "count": 2}]
        assert [hit["rank"] for hit in got["hits"]] == [3, 4]
        body = {"queries": ["zebra"], "mode": "lexical", "per": "colour", "facet": ["colour"]}
        (many,) = (await served.client.post("/search", json=body)).json()
        assert len(many["hits"]) == 2 and many["facets"]["colour"] == got["facets"]["colour"]

    run(scenario)


def test_a_page_of_hits_has_snippets_and_no_texts(run, folder):
    async def scenario(served):
        got = (await served.client.get("/search?q=copy+a+folder&k=2&snippet=1&text=0")).json()
        hit = got["hits"][0]
        assert set(hit) == {"rank", "id", "score", "title", "probability", "snippet"}
        with Retriever.open(folder) as retriever:
            text = retriever.search("copy a folder", 2)[0].text
        assert hit["snippet"] == [each._asdict() for each in snippet("copy a folder", text)]
        body = {"queries": ["copy a folder"], "k": 2, "snippet": True, "text": False}
        (many,) = (await served.client.post("/search", json=body)).json()
        assert without_time(many) == without_time(got)
        refused(await served.client.get("/search?q=a&text=2"), 422, "text must be 0 or 1")

    run(scenario)


def test_hits_have_metadata_if_it_is_asked_for(run, folder):
    async def scenario(served):
        await served.client.post("/documents", json={"documents": COLOURED}, headers=WRITER)
        asked = {"q": "zebra", "mode": "lexical", "k": 3}
        got = (await served.client.get("/search", params={**asked, "metadata": 1})).json()
        said = printed("search", folder, "--mode", "lexical", "-k", 3, "--metadata", "--json", "zebra")
        assert without_time(got) == without_time(said)
        given = {each["_id"]: each["metadata"] for each in COLOURED}
        assert [hit["metadata"] for hit in got["hits"]] == [given[hit["id"]] for hit in got["hits"]]
        (many,) = (
            await served.client.post(
                "/search", json={"queries": ["zebra"], "mode": "lexical", "k": 3, "metadata": True}
            )
        ).json()
        assert without_time(many) == without_time(got)
        bare = (await served.client.get("/search", params={**asked, "metadata": 1, "text": 0})).json()
        assert set(bare["hits"][0]) == {"rank", "id", "score", "title", "probability", "metadata"}

    run(scenario)


def test_misspelt_words_are_corrected_unless_they_are_to_stay(run, folder):
    async def scenario(served):
        asked = {"q": "zebar", "mode": "lexical"}
        await served.client.post("/documents", json={"documents": COLOURED}, headers=WRITER)
        got = (await served.client.get("/search", params=asked)).json()
        assert (got["query"], got["corrected"], len(got["hits"])) == ("zebar", "zebra", len(COLOURED))
        assert without_time(got) == without_time(
            printed("search", folder, "--mode", "lexical", "--json", "zebar")
        )
        shown = (await served.client.get("/search", params={**asked, "snippet": 1})).json()
        marked = [piece["text"] for piece in shown["hits"][0]["snippet"] if piece["marked"]]
        assert marked == ["zebra"]
        body = {"queries": ["zebar", "zebra"], "mode": "lexical"}
        many = (await served.client.post("/search", json=body)).json()
        assert [each.get("corrected") for each in many] == ["zebra", None]
        kept = [
            (await served.client.get("/search", params={**asked, "as_typed": 1})).json(),
            *(
                await served.client.post("/search", json={**body, "queries": ["zebar"], "as_typed": True})
            ).json(),
        ]
        for each in kept:
            assert each["hits"] == [] and "corrected" not in each

    run(scenario)


def test_metadata_of_hits_is_not_read_unless_it_is_asked_for(run, monkeypatch):
    def fail(*arguments):
        raise AssertionError("metadata was read")

    async def scenario(served):
        monkeypatch.setattr(Index, "documents", fail)
        for metadata in ("", "&metadata=0", "&metadata=false"):
            got = await served.client.get(f"/search?q=copy{metadata}")
            assert "metadata" not in got.json()["hits"][0]

    run(scenario)


@pytest.mark.parametrize(("value", "shown"), [("1", True), ("true", True), ("0", False), ("false", False)])
def test_a_switch_is_a_digit_or_a_word(run, value, shown):
    async def scenario(served):
        got = (await served.client.get(f"/search?q=copy&metadata={value}&text={value}")).json()
        assert ("metadata" in got["hits"][0], "text" in got["hits"][0]) == (shown, shown)

    run(scenario)


def test_snippets_of_much_text_do_not_hold_up_the_loop(run, monkeypatch):
    threads = []

    def noted(*arguments):
        threads.append(threading.current_thread() is threading.main_thread())
        return to_values(*arguments)

    async def scenario(served):
        monkeypatch.setattr("retrieval.serving.api.searching.to_values", noted)
        await served.client.get("/search?q=copy&snippet=1")
        await served.client.put("/documents/long", json={"text": "zebra " * 5000}, headers=WRITER)
        await served.client.get("/search?q=zebra")
        got = await served.client.get("/search?q=zebra&snippet=1&text=0")
        assert got.json()["hits"][0]["snippet"][0] == {"text": "zebra", "marked": True}

    run(scenario)
    assert threads == [True, True, False]


def test_fields_are_those_of_few_values_of_the_generation_that_is_served(run):
    async def scenario(served):
        before = (await served.client.get("/fields")).json()
        assert before["fields"] == {"lang": [{"value": "en", "count": 7}, {"value": "zh", "count": 1}]}
        assert before["documents"] == 8
        await served.client.post("/documents", json={"documents": COLOURED}, headers=WRITER)
        after = (await served.client.get("/fields")).json()
        assert after["fields"]["colour"] == [{"value": "red", "count": 3}, {"value": "blue", "count": 2}]
        assert after["documents"] == 13 and after["generation"] == served.state.engine.index.generation

    run(scenario)


def test_metadata_of_any_json_is_written_read_and_filtered(run):
    async def scenario(served):
        given = {"author": {"name": "Ada", "tags": ["x", 2, None, True]}}
        got = await served.client.put(
            "/documents/n", json={"text": "zebra", "metadata": given}, headers=WRITER
        )
        assert got.status_code == 200, got.text
        assert (await served.client.get("/documents/n")).json()["metadata"] == given
        found = (await served.client.get("/search?q=zebra&where=author.name=Ada")).json()
        assert [hit["id"] for hit in found["hits"]] == ["n"]

    run(scenario)


def test_a_hit_of_a_long_document_names_its_passage(run, folder, tmp_path):
    text = " ".join(f"filler{n} words here." for n in range(400)) + " A zebra crosses the road."
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"_id": "long", "text": text}))
    shutil.rmtree(folder)
    build(tmp_path, GOLDEN / "model-1-bag", folder)

    async def scenario(served):
        got = (await served.client.get("/search?q=zebra&mode=lexical")).json()["hits"][0]
        passage = got["passage"]
        assert passage["text"] == text[passage["start"] : passage["end"]] and "zebra" in passage["text"]
        assert len(passage["text"]) < len(text)

    run(scenario)


@pytest.mark.parametrize(
    "document_id", ["a/b c", "a?b=c&d#e", "../../CURRENT", "启动/服务", "%41", "a+b", "a\nb"]
)
def test_a_document_is_written_found_read_and_deleted(run, document_id):
    path = f"/documents/{quote(document_id, safe='')}"

    async def scenario(served):
        body = {"title": "Zebra", "text": "a zebra crossing", "metadata": {"lang": "en"}}
        got = await served.client.put(path, json=body, headers=WRITER)
        assert got.status_code == 200 and got.json()["added"] == 1
        assert (await served.client.get(path)).json() == {"id": document_id, **body}
        found = (await served.client.get("/search?q=zebra&mode=lexical&where=lang=en")).json()
        assert [hit["id"] for hit in found["hits"]] == [document_id]
        assert (await served.client.put(path, json={"text": "b"}, headers=WRITER)).json()["replaced"] == 1
        assert (await served.client.delete(path, headers=WRITER)).json()["deleted"]
        refused(await served.client.get(path), 404, "no document")
        refused(await served.client.delete(path, headers=WRITER), 404, "no document")

    run(scenario)


@pytest.mark.parametrize(
    "fields",
    [
        {"_id": "n", "text": "zebra", "url": "http://a", "Kategorie": "B"},
        {"id": "n", "title": "Zebra", "metadata": {"lang": "en"}, "url": "http://a"},
        {"_id": "n", "id": "other", "text": "zebra", "metadata": "of another kind"},
        {"_id": "n", "title": None, "text": "zebra", "metadata": None, "year": None},
    ],
)
def test_a_document_that_is_put_keeps_what_one_that_is_posted_keeps(run, fields):
    async def scenario(served):
        got = await served.client.post("/documents", json={"documents": [fields]}, headers=WRITER)
        assert got.status_code == 200, got.text
        posted = (await served.client.get("/documents/n")).json()
        assert (await served.client.delete("/documents/n", headers=WRITER)).status_code == 200
        without_id = {name: value for name, value in fields.items() if name not in ("_id", "id")}
        for body in (fields, without_id):
            got = await served.client.put("/documents/n", json=body, headers=WRITER)
            assert got.status_code == 200, got.text
            assert (await served.client.get("/documents/n")).json() == posted

    run(scenario)


def test_a_document_that_was_read_can_be_put_back(run):
    async def scenario(served):
        read = (await served.client.get("/documents/faq/1")).json()
        got = await served.client.put("/documents/faq/1", json=read, headers=WRITER)
        assert got.json()["replaced"] == 1, got.text
        assert (await served.client.get("/documents/faq/1")).json() == read

    run(scenario)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"_id": "other", "text": "x"}, "\"_id\" is 'other' but the path says 'p1'; leave \"_id\" out"),
        ({"id": "other", "text": "x"}, "\"id\" is 'other' but the path says 'p1'"),
        ({"_id": 1, "text": "x"}, "\"_id\" is '1' but the path says 'p1'"),
        ({"_id": [1], "text": "x"}, 'the id ("_id") is list; write a text or a whole number'),
        ({"_id": None, "text": "x"}, '"_id" is null; give every record its own'),
        ({"url": "http://a"}, 'neither "title" nor "text"'),
        ({"text": 1}, '"text" is not text'),
        ({"title": " ", "text": ""}, "hold no text"),
        (["x"], "does not fit"),
    ],
)
def test_a_document_whose_body_does_not_fit_its_path_is_not_written(run, body, says):
    async def scenario(served):
        before = served.state.engine.index.generation
        refused(await served.client.put("/documents/p1", json=body, headers=WRITER), 422, says)
        assert served.state.engine.index.generation == before

    run(scenario)


def test_documents_are_written_all_or_none(run):
    async def scenario(served):
        before = served.state.engine.index.generation
        body = {"documents": [{"_id": "x", "text": "one"}, {"text": "two"}]}
        refused(
            await served.client.post("/documents", json=body, headers=WRITER), 422, 'documents:2: no "_id"'
        )
        body["documents"][1]["_id"] = "x"
        refused(await served.client.post("/documents", json=body, headers=WRITER), 422, "unique")
        assert served.state.engine.index.generation == before
        body["documents"][1]["_id"] = "y"
        got = (await served.client.post("/documents", json=body, headers=WRITER)).json()
        assert got["added"] == 2

    run(scenario)


WRITES = [("PUT", "/documents/x"), ("DELETE", "/documents/faq/1"), ("POST", "/documents")]


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \u00ff"]
)
def test_nothing_is_written_without_the_token(run, method, path, given):
    async def scenario(served):
        before = served.state.engine.index.pointer
        headers = {} if given is None else {"Authorization": given.encode("latin-1")}
        got = await served.client.request(method, path, headers=headers, json={"text": "x"})
        wrong = given is not None and given.startswith("Bearer ")
        refused(got, 401, "the token is wrong" if wrong else "needs the header Authorization: Bearer TOKEN")
        assert TOKEN not in got.text
        assert got.headers["www-authenticate"] == "Bearer"
        served.state.engine.refresh()
        assert served.state.engine.index.pointer == before

    run(scenario)


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_without_a_token_at_the_server_writing_is_off(run, method, path):
    async def scenario(served):
        refused(await served.client.request(method, path, headers=WRITER), 403, "--token-file")

    run(scenario, token=None)


def test_a_writer_elsewhere_is_waited_for_and_then_named(run, folder):
    async def scenario(served):
        with WriterLock(folder):
            got = await served.client.put("/documents/x", json={"text": "x"}, headers=WRITER)
        refused(got, 503, "another writer")
        assert got.headers["retry-after"]

    run(scenario, limits=Limits(lock_seconds=0))


@pytest.mark.parametrize("model", ["query", "document"])
def test_embeddings_are_those_of_the_tower_in_both_encodings(run, folder, model):
    async def scenario(served):
        body = {"model": model, "input": ["copy a directory", "wait"]}
        got = (await served.client.post("/v1/embeddings", json=body)).json()
        vectors = np.array([each["embedding"] for each in got["data"]], np.float32)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        if model == "query":
            with Retriever.open(folder) as retriever:
                assert np.array_equal(vectors, retriever.encode(body["input"]))
        assert got["usage"] == {"prompt_tokens": 4, "total_tokens": 4} and got["object"] == "list"
        body["encoding_format"] = "base64"
        coded = (await served.client.post("/v1/embeddings", json=body)).json()["data"]
        decoded = [np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in coded]
        assert np.array_equal(decoded, vectors)

    run(scenario)


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "gpt", "input": "x"}, 404, "model"),
        ({"model": "query", "input": []}, 422, "input"),
        ({"model": "query", "input": " "}, 422, "input"),
        ({"model": "query", "input": "x", "dimensions": 7}, 422, "dimensions"),
        ({"model": "query", "input": [1, 2]}, 422, None),
        ({"model": "query", "input": "x" * 100_001}, 422, "input"),
    ],
)
def test_errors_of_embeddings_have_openais_shape(run, body, status, param):
    async def scenario(served):
        error = (await served.client.post("/v1/embeddings", json=body)).json()["error"]
        assert error["type"] == "invalid_request_error" and error["param"] == param
        assert error["status"] == status

    run(scenario)


@pytest.mark.parametrize(
    ("target", "status", "says"),
    [
        ("/search", 400, "q is missing"),
        ("/search?q=a&q=b", 400, "once"),
        ("/search?q=", 422, "empty"),
        ("/search?q=%20", 422, "empty"),
        ("/search?q=" + "x" * 1001, 422, "1,000 characters"),
        ("/search?q=" + "x" * 17_000, 414, "16,384 bytes"),
        ("/search?q=a&k=0", 422, "k must be a whole number from 1 to 1,000"),
        ("/search?q=a&k=1001", 422, "k must be a whole number from 1 to 1,000"),
        ("/search?q=a&k=-1", 422, "k must be a whole number from 1 to 1,000"),
        ("/search?q=a&k=%D9%A1", 422, "whole number"),
        ("/search?q=a&k=1e3", 422, "whole number"),
        ("/search?q=a&mode=magic", 422, "dense, lexical, hybrid"),
        ("/search?q=a&profile=yes", 422, "0 or 1"),
        ("/search?q=a&limit=3", 400, "limit"),
        ("/search?q=a&offset=-1", 422, "offset must be a whole number from 0 to 10,000"),
        ("/search?q=a&offset=10001", 422, "offset must be a whole number from 0 to 10,000"),
        ("/search?q=a&facet=", 422, "facet takes the name"),
        ("/search?q=a&facet=no_such", 422, "no document has a field 'no_such'"),
        ("/search?q=a" + "".join(f"&facet={n}" for n in range(17)), 422, "at most 16 fields"),
        ("/search?q=a&per=no_such", 422, "no document has a field 'no_such'"),
        ("/search?q=a&per=lang&per=lang", 400, "once"),
        ("/search?q=%ff", 400, "UTF-8"),
        ("/search?q=a" + "&where=x=1" * 17, 422, "where"),
        ("/search?q=a" + "&where=x=1" * 65, 400, "too many"),
        ("/documents/no", 404, "no document"),
        ("/documents/B%FCro", 400, "the path is not percent-encoded UTF-8"),
        ("/documents/", 404, "no document"),
        ("/Search?q=a", 404, "no such route"),
        ("/../../etc/passwd", 404, "no such route"),
        ("/search/", 404, "no such route"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(run, target, status, says):
    async def scenario(served):
        refused(await served.client.get(target), status, says)

    run(scenario)


@pytest.mark.parametrize(
    ("body", "kind", "status", "says"),
    [
        (b"{", "application/json", 400, "not JSON"),
        (b"", "application/json", 400, "not JSON"),
        (b"[" * 4000, "application/json", 422, "does not fit"),
        (b'{"queries":["\\ud800"]}', "application/json", 400, "not JSON"),
        (b'{"queries":["\xff"]}', "application/json", 400, "not JSON"),
        (b"[]", "application/json", 422, "does not fit"),
        (b'{"queries":"x"}', "application/json", 422, "does not fit"),
        (b'{"queries":[]}', "application/json", 422, "1 to 100 queries"),
        (b'{"queries":["a"],"k":true}', "application/json", 422, "does not fit"),
        (b'{"queries":["a"],"limit":1}', "application/json", 422, "does not fit"),
        (b'{"queries":["a"],"offset":-1}', "application/json", 422, "does not fit"),
        (b'{"queries":["a"],"offset":10001}', "application/json", 422, "10,000"),
        (b'{"queries":["a"],"facet":["no_such"]}', "application/json", 422, "no_such"),
        (b'{"queries":["a"],"per":""}', "application/json", 422, "per takes the name"),
        (b'{"queries":["a"]}', "text/plain", 415, "application/json"),
        (b" " * 5000, "application/json", 413, "4,096 bytes"),
    ],
)
def test_a_wrong_body_is_told_what_is_wrong(run, body, kind, status, says):
    async def scenario(served):
        got = await served.client.post("/search", content=body, headers={"Content-Type": kind})
        refused(got, status, says)

    run(scenario, limits=Limits(body_bytes=4096))


def test_a_body_without_a_length_is_cut_off(run):
    async def scenario(served):
        async def endless():
            for _ in range(1000):
                yield b" " * 1000

        headers = {"Content-Type": "application/json"}
        refused(await served.client.post("/search", content=endless(), headers=headers), 413, "4,096 bytes")

    run(scenario, limits=Limits(body_bytes=4096))


def test_a_body_whose_length_is_too_much_is_refused_before_it_is_read(run):
    async def scenario(served):
        headers = {"Content-Type": "application/json", "Content-Length": "4097"}
        refused(await served.client.post("/search", content=b"{", headers=headers), 413, "4,096 bytes")

    run(scenario, limits=Limits(body_bytes=4096))


def test_the_code_of_every_refusal_is_written_in_one_way():
    for status in HTTPStatus:
        code = error_json(Refusal(status, "x"))["error"]["code"]
        assert re.fullmatch("[a-z]+(_[a-z]+)*", code)


def test_a_method_that_a_path_does_not_have_is_named(run):
    async def scenario(served):
        got = await served.client.patch("/search")
        refused(got, 405, "method")
        assert set(got.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}

    run(scenario)


def test_every_route_and_parameter_is_in_the_openapi_document(run):
    async def scenario(served):
        paths = (await served.client.get("/openapi.json")).json()["paths"]
        assert {(path, method) for path, methods in paths.items() for method in methods} == {
            ("/search", "get"),
            ("/search", "post"),
            ("/fields", "get"),
            ("/explain", "get"),
            ("/v1/embeddings", "post"),
            ("/documents", "post"),
            ("/documents/{id}", "get"),
            ("/documents/{id}", "put"),
            ("/documents/{id}", "delete"),
            ("/healthz", "get"),
            ("/readyz", "get"),
            ("/metrics", "get"),
        }
        names = [each["name"] for each in paths["/search"]["get"]["parameters"]]
        assert names == [
            *("q", "k", "mode", "where", "facet", "offset", "per", "min_probability"),
            *("profile", "snippet", "text", "metadata", "as_typed", "record"),
        ]
        for path, methods in paths.items():
            for method, operation in methods.items():
                for each in operation["parameters"]:
                    if each["in"] == "query":  # the server knows it: no 400 for an unknown parameter
                        target = path.replace("{id}", "x")
                        got = await served.client.request(method, target, params={each["name"]: ""})
                        assert "no parameter" not in got.text
                refs = json.dumps(operation).count("#/components/schemas/")
                assert refs >= 1

    run(scenario)


def test_the_openapi_document_describes_what_explain_answers(run):
    async def scenario(served):
        got = await served.client.get("/explain", params={"q": "copy a directory", "id": "faq/1"})
        described = (await served.client.get("/openapi.json")).json()
        assert set(described["components"]["schemas"]["Explanation"]["required"]) == set(got.json())

    run(scenario)


def test_the_openapi_document_describes_what_put_takes(run):
    async def scenario(served):
        described = (await served.client.get("/openapi.json")).json()
        schema = described["components"]["schemas"]["NewDocument"]
        assert set(schema["properties"]) == {"_id", "title", "text", "metadata"}
        assert schema["required"] == [] and schema.get("additionalProperties", True)
        assert "Further fields are metadata" in schema["description"]

    run(scenario)


@pytest.mark.parametrize("log_requests", [True, False])
def test_a_failure_that_nobody_expects_is_one_line_without_a_traceback(run, monkeypatch, capfd, log_requests):
    async def scenario(served):
        def fail(*arguments):
            raise RuntimeError("secret detail")

        monkeypatch.setattr("retrieval.serving.api.searching.search", fail)
        got = await served.client.get("/search?q=a")
        refused(got, 500, "unexpected failure")
        assert "secret" not in got.text and "Traceback" not in got.text

    run(scenario, log_requests=log_requests)
    logged = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["problem"] for line in logged if line.get("status") == 500] == [
        "RuntimeError: secret detail"
    ]


def test_an_origin_may_call_only_if_it_is_allowed(run):
    async def scenario(served):
        got = await served.client.get("/search?q=a", headers={"Origin": "https://a.example"})
        assert got.headers["access-control-allow-origin"] == "https://a.example"
        wrong = await served.client.get("/search", headers={"Origin": "https://a.example"})
        assert wrong.status_code == 400 and "access-control-allow-origin" in wrong.headers
        other = await served.client.get("/search?q=a", headers={"Origin": "https://b.example"})
        assert "access-control-allow-origin" not in other.headers

    run(scenario, cors_origins=("https://a.example",))


def test_no_origin_may_call_by_default(run):
    async def scenario(served):
        got = await served.client.get("/search?q=a", headers={"Origin": "https://a.example"})
        assert "access-control-allow-origin" not in got.headers

    run(scenario)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("127.0.0.1:8080", 200), ("localhost", 200), ("LOCALHOST.:80", 200), ("a.b.localhost:1", 200)),
        *(("[::1]:8080", 200), ("peephole", 200), ("Search.Example.org:443", 200), ("192.168.0.7", 200)),
        *(("evil.example", 421), ("evil.example:8080", 421), ("127.0.0.1.evil.example", 421), ("a.b:c", 421)),
        *(("localhost.evil.example", 421), ("evil.example.", 421), ("127.0.0.1@evil.example", 421)),
        ("search.example.org.evil.example", 421),
    ],
)
def test_a_name_that_a_strangers_site_may_have_is_not_answered(run, host, status):
    async def scenario(served):
        for path in ("/", "/search?q=copy", "/documents/faq/1", "/nothing"):
            got = await served.client.get(path, headers={"Host": host})
            assert (got.status_code == 421) == (status == 421), path
        if status == 421:
            assert "--allowed-host" in got.json()["error"]["message"]

    run(scenario, hosts=("search.example.org",))


def test_any_name_is_answered_unless_names_are_given(run):
    async def scenario(served):
        assert (await served.client.get("/", headers={"Host": "a.example"})).status_code == 200

    run(scenario)


def test_no_browser_takes_json_for_something_else(run):
    async def scenario(served):
        for path in ("/search?q=copy", "/search", "/nothing", "/openapi.json", "/metrics"):
            got = await served.client.get(path)
            assert got.headers["x-content-type-options"] == "nosniff", path

    run(scenario)


def test_a_document_deleted_elsewhere_is_deleted_here(run, folder):
    async def scenario(served):
        delete(folder, ["faq/1"])
        refused(await served.client.delete("/documents/faq/1", headers=WRITER), 404, "no document")

    run(scenario)


def test_probabilities_are_those_of_the_command(run, folder, calibrated):
    shutil.rmtree(folder)
    shutil.copytree(calibrated.index, folder)

    async def scenario(served):
        said = printed("search", folder, "--json", "copy folder")
        got = (await served.client.get("/search?q=copy folder")).json()
        # A server matches words in compiled loops, which add up in another order.
        for name in ("score", "probability"):
            found, expected = ([hit[name] for hit in answer["hits"]] for answer in (got, said))
            assert found == pytest.approx(expected, abs=1e-5)
        least = sorted(hit["probability"] for hit in got["hits"])[2]
        kept = [hit["id"] for hit in got["hits"] if hit["probability"] >= least]
        for hit in (*got["hits"], *said["hits"]):
            del hit["score"], hit["probability"]
        assert without_time(got) == without_time(said)
        few = (await served.client.get(f"/search?q=copy folder&min_probability={least}")).json()
        assert [hit["id"] for hit in few["hits"]] == kept
        body = {"queries": ["copy folder"], "min_probability": least}
        (many,) = (await served.client.post("/search", json=body)).json()
        assert [hit["id"] for hit in many["hits"]] == kept
        none = await served.client.get("/search?q=copy folder&min_probability=1")
        assert none.status_code == 200 and none.json()["hits"] == []
        for wrong in ("2", "-0.1", "nan", "x", "", "\u0661"):
            refused(
                await served.client.get("/search", params={"q": "copy", "min_probability": wrong}),
                422,
                "min_probability must be a number from 0 to 1",
            )
        body["min_probability"] = 2
        refused(await served.client.post("/search", json=body), 422, "min_probability")

    run(scenario)


def test_a_least_probability_without_calibration_is_refused(run):
    async def scenario(served):
        assert {hit["probability"] for hit in (await served.client.get("/search?q=copy")).json()["hits"]} == {
            None
        }
        got = await served.client.get("/search?q=copy&min_probability=0.1")
        refused(got, 422, "has no calibration")

    run(scenario)
