"""Builds and additions that fail or are killed, names that belong to others, servers that go away."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fruit_corpus import DIMENSION, numbered, unit_vectors
from milvus_server import LiteServer, needs_milvus, running

from index.dense.tuning import Goal
from index.disk.folder import CANDIDATE, LEARNING, prepare
from index.disk.verify import verify
from index.documents.store import Document
from index.errors import InputError, RemoteError
from index.opened import open_index
from index.reader import Index
from index.remote import tuning
from index.remote.address import Address
from index.remote.client import Collection, Server
from index.remote.nearest import nearest
from index.writing import remote
from index.writing.adopt import adopt
from index.writing.builder import IndexBuilder
from index.writing.compact import compact
from index.writing.delete import delete

pytestmark = needs_milvus


class Killed(BaseException):
    """Stands for kill -9: no code that catches exceptions of ours sees it."""


def build(
    folder: Path, model: Path, store: str, documents: Sequence[Document], goal: Goal | None = None
) -> None:
    with IndexBuilder.begin(
        folder, model=model, dimension=DIMENSION, source="corpus", store=store, goal=goal
    ) as builder:
        builder.append(documents, unit_vectors(len(documents)))
        builder.publish()


def add(folder: Path, documents: Sequence[Document]) -> None:
    with IndexBuilder.begin_adding(folder, source="more") as builder:
        builder.append(documents, unit_vectors(len(documents), seed=3))
        builder.publish()


def found(folder: Path) -> set[str]:
    with open_index(folder) as index:
        assert index.problems() == []
        dense = index.search_dense(unit_vectors(1), 100).rows[0]
        ids = {document.id for document in index.documents(dense[dense >= 0].tolist())}
        assert ids == {document.id for document in index.documents(index.rows().tolist())}
        return ids


def found_count(folder: Path) -> int:
    with open_index(folder) as index:
        assert index.problems() == []
        return index.count


def collections(store: str) -> list[str]:
    address = Address.parse(store)
    with closing(Server(address)) as server:
        return [name for name in server.collections() if name.startswith(f"{address.name}_")]


def ids(count: int, start: int = 0) -> set[str]:
    return {document.id for document in numbered(count, start)}


def killed_after(monkeypatch: pytest.MonkeyPatch, target: Any, name: str) -> None:
    """Let a function do its work once, and die."""
    real = getattr(target, name)

    def run(*arguments: Any, **options: Any) -> None:
        real(*arguments, **options)
        raise Killed

    monkeypatch.setattr(target, name, run)


def test_build_that_fails_leaves_the_old_index_and_no_collection(
    tmp_path: Path, model: Path, milvus: LiteServer, monkeypatch: pytest.MonkeyPatch
):
    folder, store = tmp_path / "index", milvus.new_store()
    build(folder, model, store, numbered(5))
    before = collections(store)
    killed_after(monkeypatch, Collection, "insert")
    with pytest.raises(Killed):
        build(folder, model, store, numbered(7))
    assert (found(folder), collections(store)) == (ids(5), before)


@pytest.mark.parametrize("step", ["insert", "index", "flush"])
def test_next_build_removes_what_a_killed_one_left(
    tmp_path: Path, model: Path, milvus: LiteServer, monkeypatch: pytest.MonkeyPatch, step: str
):
    folder, store = tmp_path / "index", milvus.new_store()
    with monkeypatch.context() as patch:
        patch.setattr(Server, "drop", lambda *_: None)  # a killed build removes nothing
        killed_after(patch, Collection, step)
        with pytest.raises(Killed):
            build(folder, model, store, numbered(7))
    assert len(collections(store)) == 1
    with pytest.raises(InputError, match="not an index"):
        open_index(folder)
    build(folder, model, store, numbered(5))
    assert (found(folder), len(collections(store))) == (ids(5), 1)


def test_build_that_was_killed_before_the_alias_moved_is_live(
    tmp_path: Path, model: Path, milvus: LiteServer, monkeypatch: pytest.MonkeyPatch
):
    folder, store = tmp_path / "index", milvus.new_store()
    build(folder, model, store, numbered(5))
    with monkeypatch.context() as patch:
        patch.setattr(remote, "_settle", lambda *_: None)
        build(folder, model, store, numbered(7))
    assert found(folder) == ids(7)
    assert len(collections(store)) == 2
    add(folder, numbered(1, start=100))
    assert found(folder) == ids(7) | {"d100"}
    assert len(collections(store)) == 1


def test_addition_that_was_killed_is_not_seen_and_is_removed_by_the_next(
    tmp_path: Path, model: Path, milvus: LiteServer, monkeypatch: pytest.MonkeyPatch
):
    folder, store = tmp_path / "index", milvus.new_store()
    build(folder, model, store, numbered(5))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_after(patch, Collection, "insert")
        add(folder, [*numbered(1, start=2), *numbered(3, start=50)])
    assert found(folder) == ids(5)
    with open_index(folder) as index:
        assert index.search_lexical(["number51"], 3).rows.tolist() == [[-1, -1, -1]]
    add(folder, numbered(1, start=90))
    assert found(folder) == ids(5) | {"d90"}


def learnt(folder: Path, model: Path, store: str) -> None:
    """Five documents by one model, then by another, then one more and one less."""
    build(folder, model, store, numbered(5))
    other, candidate = folder.parent / "other model", folder / LEARNING / CANDIDATE
    shutil.copytree(model, other)
    (other / "config.json").write_text('{"dimension": 8, "other": true}')
    build(candidate, other, store, numbered(5))
    with prepare(folder), open_index(candidate) as prepared, open_index(folder) as live:
        adopt(folder, prepared, (live.pointer,))
    shutil.rmtree(folder / LEARNING)
    add(folder, numbered(1, start=50))
    delete(folder, ["d1"])


def roll_back(folder: Path) -> None:
    with IndexBuilder.begin_rollback(folder) as builder:
        with open_index(folder) as live:
            comparison = builder.compare()
            changed = comparison.changed(list(live.live_documents()))[builder.count :]
        builder.append(changed, unit_vectors(len(changed), seed=3))
        builder.publish(unchanged=True, gone=comparison.gone())


def model_of(folder: Path) -> str:
    with open_index(folder) as index:
        return (index.model_folder / "config.json").read_text()


def test_going_back_that_is_killed_before_publication_changes_nothing(
    tmp_path: Path, model: Path, milvus: LiteServer, monkeypatch: pytest.MonkeyPatch
):
    folder, store = tmp_path / "index", milvus.new_store()
    learnt(folder, model, store)
    documents = ids(5) - {"d1"} | {"d50"}
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_after(patch, Collection, "insert")
        roll_back(folder)
    assert (found(folder), "other" in model_of(folder)) == (documents, True)
    roll_back(folder)
    assert (found(folder), "other" in model_of(folder)) == (documents, False)
    assert len(collections(store)) == 1


def test_going_back_that_is_killed_before_the_alias_moved_is_done_and_the_next_write_moves_it(
    tmp_path: Path, model: Path, milvus: LiteServer, monkeypatch: pytest.MonkeyPatch
):
    folder, store = tmp_path / "index", milvus.new_store()
    learnt(folder, model, store)
    with monkeypatch.context() as patch:
        patch.setattr(remote, "_settle", lambda *_: None)
        roll_back(folder)
    documents = ids(5) - {"d1"} | {"d50"}
    assert (found(folder), "other" in model_of(folder), len(collections(store))) == (documents, False, 2)
    address = Address.parse(store)
    with closing(Server(address)) as server:
        before = server.target_of(address.name)
        delete(folder, ["d2"])
        assert [server.target_of(address.name)] == collections(store) != [before]
    assert found(folder) == documents - {"d2"}


def test_rows_that_a_killed_deletion_left_are_not_seen_and_go_with_the_next_write(
    tmp_path: Path, model: Path, milvus: LiteServer, monkeypatch: pytest.MonkeyPatch
):
    folder, store = tmp_path / "index", milvus.new_store()
    build(folder, model, store, numbered(5))
    with monkeypatch.context() as patch:
        patch.setattr(remote, "_remove", lambda *_: None)
        delete(folder, ["d2"])
    assert found(folder) == ids(5) - {"d2"}
    delete(folder, ["d3"])
    assert found(folder) == ids(5) - {"d2", "d3"}
    (name,) = collections(store)
    with closing(Server(Address.parse(store))) as server:
        assert server.collection(name).count("number >= 0") == 3


def test_name_of_another_index_is_refused_and_stays_as_it_is(tmp_path: Path, model: Path, milvus: LiteServer):
    store = milvus.new_store()
    build(tmp_path / "one", model, store, numbered(5))
    with pytest.raises(InputError, match="belongs to another index"):
        build(tmp_path / "two", model, store, numbered(7))
    assert found(tmp_path / "one") == ids(5)
    with closing(Server(Address.parse(store))) as server:
        server.create("theirs", DIMENSION)
        other = store.rpartition("/")[0] + "/theirs"
        with pytest.raises(InputError, match="a collection that peephole did not make"):
            build(tmp_path / "two", model, other, numbered(7))
        server.drop("theirs")


def test_what_an_index_in_milvus_is_not_is_refused(tmp_path: Path, model: Path, milvus: LiteServer):
    folder, store = tmp_path / "index", milvus.new_store()
    with pytest.raises(InputError, match="no documents"):
        build(folder, model, store, [])
    build(folder, model, store, numbered(5))
    with pytest.raises(InputError, match="lives in Milvus"):
        Index.open(folder)
    assert verify(folder) == []


def test_refused_build_makes_no_folder(tmp_path: Path, model: Path, milvus: LiteServer):
    store = milvus.new_store()
    build(tmp_path / "one", model, store, numbered(5))
    with pytest.raises(InputError, match="belongs to another index"):
        build(tmp_path / "two", model, store, numbered(5))
    assert not (tmp_path / "two").exists()


def test_compaction_removes_from_the_server_what_killed_writes_left(
    tmp_path: Path, model: Path, milvus: LiteServer, monkeypatch: pytest.MonkeyPatch
):
    folder, store = tmp_path / "index", milvus.new_store()
    build(folder, model, store, numbered(5))
    address = Address.parse(store)
    with monkeypatch.context() as patch:
        patch.setattr(remote, "_settle", lambda *_: None)
        build(folder, model, store, numbered(7))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_after(patch, Collection, "insert")
        add(folder, numbered(3, start=50))
    compact(folder)
    (name,) = collections(store)
    with closing(Server(address)) as server:
        assert server.target_of(address.name) == name
        assert server.collection(name).count("number >= 0") == 7
    assert found(folder) == ids(7)


def test_collection_of_a_candidate_is_left_alone_until_nothing_names_it(
    tmp_path: Path, model: Path, milvus: LiteServer, monkeypatch: pytest.MonkeyPatch
):
    folder, store = tmp_path / "index", milvus.new_store()
    candidate = folder / LEARNING / CANDIDATE
    build(folder, model, store, numbered(5))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Server, "drop", lambda *_: None)
        killed_after(patch, Collection, "insert")
        build(candidate, model, store, numbered(5))
    add(folder, numbered(1, start=50))
    assert len(collections(store)) == 2
    build(candidate, model, store, numbered(5))
    delete(folder, ["d50"])  # removes what the killed one left
    assert len(collections(store)) == 2
    assert (found(candidate), found(folder)) == (ids(5), ids(5))
    shutil.rmtree(folder / LEARNING)
    delete(folder, ["d4"])
    assert (len(collections(store)), found(folder)) == (1, ids(4))


def test_rows_that_the_server_lost_are_told(tmp_path: Path, model: Path, milvus: LiteServer):
    folder, store = tmp_path / "index", milvus.new_store()
    build(folder, model, store, numbered(5))
    (name,) = collections(store)
    with closing(Server(Address.parse(store))) as server:
        server.collection(name).delete("number == 2")
        with open_index(folder) as index:
            assert "holds 4 documents of generation-000001, 5 were published" in index.problems()[0]
        server.drop(name)
    with open_index(folder) as index, pytest.raises(RemoteError, match=r"milvus://.*refused"):
        index.search_dense(unit_vectors(1), 1)


def test_index_is_chosen_by_measuring_and_keeps_the_goal(
    tmp_path: Path, model: Path, milvus: LiteServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tuning, "SMALL", 100)
    folder, store = tmp_path / "index", milvus.new_store()
    build(folder, model, store, numbered(300), Goal(recall=0.9))
    with open_index(folder) as index:
        (entry,) = index.manifest.segments
        tried = {str(each["name"]): each for each in entry.tried}
        assert tried.keys() == {"Milvus FLAT", "Milvus HNSW", "Milvus IVF_FLAT"}
        fastest = min(
            (each for each in entry.tried if float(each.get("recall@10") or 1) >= 0.9),
            key=lambda each: float(each["p50_ms"] or 0),
        )
        assert entry.faiss == fastest["name"]
        queries = unit_vectors(20, seed=8)
        exact, near = index.search_exact(queries, 10), index.search_dense(queries, 10)
        assert sum(len(set(a) & set(b)) for a, b in zip(exact.rows, near.rows, strict=True)) >= 0.85 * 200


def test_limit_on_memory_leaves_the_kinds_below_it_and_scores_stay_exact(
    tmp_path: Path, model: Path, milvus: LiteServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tuning, "SMALL", 100)
    folder, store = tmp_path / "index", milvus.new_store()
    build(folder, model, store, numbered(300), Goal(recall=0.5, max_bytes=9_000))
    with open_index(folder) as index:
        (entry,) = index.manifest.segments
        tried = {str(each["name"]): each for each in entry.tried}
        assert tried.keys() == {"Milvus IVF_SQ8", "Milvus DISKANN"}
        assert "unknown index_type" in str(tried["Milvus DISKANN"]["problem"])  # of Milvus-lite
        assert (entry.faiss, tried["Milvus IVF_SQ8"]["bytes"]) == ("Milvus IVF_SQ8", 16 * 300 + 69 * 32)
        queries = unit_vectors(20, seed=8)
        exact, near = index.search_exact(queries, 300), index.search_dense(queries, 10)
        for rows, scores, all_rows, all_scores in zip(
            near.rows, near.scores, exact.rows, exact.scores, strict=True
        ):
            known = dict(zip(all_rows.tolist(), all_scores.tolist(), strict=True))
            found = rows >= 0
            assert found.any()
            assert scores[found] == pytest.approx([known[row] for row in rows[found].tolist()], abs=1e-5)
    before = collections(store)
    with pytest.raises(InputError, match="no index of this server meets the goal, loosen it: DISKANN 1,200"):
        build(folder, model, store, numbered(300), Goal(recall=0.5, max_bytes=1_500))
    assert (collections(store), found_count(folder)) == (before, 300)


def test_scores_of_rounded_vectors_are_computed_from_the_stored_ones(
    tmp_path: Path, model: Path, milvus: LiteServer, monkeypatch: pytest.MonkeyPatch
):
    def rounded(*_: object) -> list[list[tuple[int, int, float]]]:
        return [[(3, 3, 0.9), (1, 1, 0.8), (2, 2, 0.7)]]

    folder, store = tmp_path / "index", milvus.new_store()
    build(folder, model, store, numbered(5))
    monkeypatch.setattr(Collection, "search", rounded)
    (name,) = collections(store)
    with closing(Server(Address.parse(store))) as server:
        query = unit_vectors(5)[2:3]
        (hits,) = nearest(server.collection(name), query, 2, "number >= 0", "IVF_SQ8", {"nprobe": 4})
    scores = unit_vectors(5).astype(np.float16).astype(np.float32) @ query[0]
    assert hits[0] == (2, 2, pytest.approx(scores[2], abs=1e-6))
    second = 1 if scores[1] > scores[3] else 3
    assert hits[1:] == [(second, second, pytest.approx(scores[second], abs=1e-6))]


def test_kind_that_the_server_refuses_is_passed_over_and_told(
    tmp_path: Path, model: Path, milvus: LiteServer, monkeypatch: pytest.MonkeyPatch
):
    real = Collection.index

    def index(collection: Collection, kind: str, parameters: Any) -> None:
        if kind != "FLAT":
            raise RemoteError("not on this server")
        real(collection, kind, parameters)

    monkeypatch.setattr(tuning, "SMALL", 100)
    monkeypatch.setattr(Collection, "index", index)
    folder, store = tmp_path / "index", milvus.new_store()
    build(folder, model, store, numbered(300), Goal(recall=0.9))
    with open_index(folder) as opened:
        (entry,) = opened.manifest.segments
        assert entry.faiss == "Milvus FLAT"
        assert [each.get("problem") for each in entry.tried] == [None, *["not on this server"] * 2]


def test_server_that_goes_away_is_one_line_and_answers_return(tmp_path: Path, model: Path):
    folder = tmp_path / "index"
    with running(tmp_path / "own") as server:
        build(folder, model, server.new_store(), numbered(5))
        with open_index(folder) as index:
            before = index.search_dense(unit_vectors(1), 3)
            server.kill()
            with pytest.raises(RemoteError, match="the server does not answer") as raised:
                index.search_dense(unit_vectors(1), 3)
            assert "\n" not in str(raised.value)
            with pytest.raises(RemoteError, match="the server does not answer"):
                open_index(folder)
            server.start()
            assert index.search_dense(unit_vectors(1), 3).rows.tolist() == before.rows.tolist()


def test_documents_that_were_prepared_are_not_asked_for_again(
    tmp_path: Path, model: Path, milvus: LiteServer, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "index"
    build(folder, model, milvus.new_store(), numbered(5))
    with open_index(folder) as index:
        rows, query = index.rows(), unit_vectors(1)[0]
        index.prepare(rows)
        monkeypatch.setattr(Collection, "query", None)
        expected = unit_vectors(5).astype(np.float16).astype(np.float32) @ query
        assert index.cosines(rows, query) == pytest.approx(expected, abs=1e-6)
        assert (index.match_words("number3", rows).scores > 0).tolist() == [False, False, False, True, False]
