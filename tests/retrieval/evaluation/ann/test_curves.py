from __future__ import annotations

import io
import json
import pickle
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from cli import verbs
from index.errors import InputError, StorageError
from retrieval.evaluation.ann import systems as ann_systems
from retrieval.evaluation.ann import worker
from retrieval.evaluation.ann.curves import (
    OURS,
    RATES,
    at_recall,
    bench_ann,
    best_points,
    index_vectors,
    read_vectors,
    write_curves,
)
from retrieval.evaluation.ann.systems import BuiltIndex
from retrieval.evaluation.ann.worker import measure
from retrieval.search.retriever import Retriever


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)


def test_fvecs_and_npy_hold_the_same_unit_vectors(tmp_path, vectors):
    np.save(tmp_path / "v.npy", vectors)
    rows = np.hstack([np.full((400, 1), 8, "<i4").view("<f4"), vectors])
    rows.tofile(tmp_path / "v.fvecs")
    read = read_vectors(tmp_path / "v.fvecs")
    assert np.array_equal(read, read_vectors(tmp_path / "v.npy"))
    assert np.allclose(read * np.linalg.norm(vectors, axis=1, keepdims=True), vectors, atol=1e-6)


@pytest.mark.parametrize(
    "content", [np.zeros((2, 3), np.float32), np.zeros(3), np.array([[np.nan, 1]]), np.ones((2, 2), int)]
)
def test_vectors_that_have_no_direction_or_shape_are_refused(tmp_path, content):
    np.save(tmp_path / "v.npy", content)
    with pytest.raises(InputError, match=r"v\.npy"):
        read_vectors(tmp_path / "v.npy")


@pytest.mark.parametrize("content", [b"", b"\x02\0\0\0abcd", b"\0\0\0\0", b"\xff\xff\xff\xff"])
def test_broken_fvecs_are_refused(tmp_path, content):
    (tmp_path / "v.fvecs").write_bytes(content)
    with pytest.raises(InputError):
        read_vectors(tmp_path / "v.fvecs")


def _whole(values):
    file = io.BytesIO()
    np.save(file, values, allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a,b\n",
        pickle.dumps([1.0]),
        _whole(np.array([{}], object)),
        _whole(np.ones((9, 9)))[:-5],
        b"PK\x03\x04",
    ],
)
def test_a_file_that_holds_no_vectors_is_told_without_advice_to_trust_it(tmp_path, content):
    (tmp_path / "v.npy").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_vectors(tmp_path / "v.npy")
    told = "is no whole file of vectors; give a .npy array of floats, or .fvecs"
    assert str(caught.value) == f"{tmp_path / 'v.npy'}: {told}"


@pytest.mark.parametrize("name", ["no.npy", "no.fvecs"])
def test_a_missing_file_of_vectors_is_named_once(tmp_path, name):
    with pytest.raises(InputError) as caught:
        read_vectors(tmp_path / name)
    assert (
        str(caught.value) == f"{tmp_path / name}: cannot be read (No such file or directory); check the path"
    )


@pytest.mark.parametrize("name", ann_systems.SYSTEMS)
def test_every_installed_system_finds_what_exact_search_finds_at_full_effort(vectors, name):
    unit = np.ascontiguousarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    try:
        built = ann_systems.SYSTEMS[name](unit, 1)
    except ImportError:
        pytest.skip("not installed")
    built.set_parameter(built.values[-1])
    expected = np.argmax(unit[:20] @ unit.T, axis=1)[:, None]
    assert np.array_equal(built.search(unit[:20], 1), expected)


def test_a_run_holds_out_its_queries_and_exact_search_finds_all(tmp_path, vectors):
    np.save(tmp_path / "v.npy", vectors)
    found = bench_ann(tmp_path / "v.npy", systems=("exact", "hnswlib"), command="c")
    assert (found["vectors"], found["queries"], found["dimension"]) == (360, 40, 8)
    assert found["systems"]["exact"]["points"][0]["recall@10"] == 1.0
    assert found["systems"]["exact"]["bytes"] == 360 * 8 * 4 + 45  # FAISS puts a header before them
    assert {"machine", "date", "commit", "command"} <= found.keys()
    write_curves(tmp_path / "c.png", found)
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(StorageError, match=r"none/c\.png: cannot be written"):
        write_curves(tmp_path / "none" / "c.png", found)


def test_an_index_of_the_vectors_of_a_file_is_built_for_each_recall(tmp_path, vectors):
    np.save(tmp_path / "v.npy", vectors)
    found = bench_ann(tmp_path / "v.npy", systems=("peephole",), command="c")["systems"]["peephole"]
    assert [point["setting"] for point in found["points"]] == [
        f"target-recall {target}" for target in (0.99, 0.9, 0.95, 0.999)
    ]
    assert all(point["recall@10"] == 1 for point in found["points"])  # so few are compared one by one
    assert 360 * 8 * 2 < found["bytes"] < 360 * 8 * 2 + 200


def test_a_missing_library_is_named_with_the_reason(tmp_path, vectors, monkeypatch):
    np.save(tmp_path / "v.npy", vectors)
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    found = bench_ann(tmp_path / "v.npy", systems=("no such system",), command="c")
    assert "KeyError" in found["systems"]["no such system"]["skipped"]


def test_a_first_single_query_that_compiles_is_not_timed(tmp_path, vectors, monkeypatch):
    clock = {"now": 0.0, "singles": 0}

    def search(queries, k):
        clock["singles"] += len(queries) == 1
        clock["now"] += 1000.0 if len(queries) == 1 and clock["singles"] == 1 else 0.5
        return np.zeros((len(queries), k), np.int64)

    monkeypatch.setitem(
        ann_systems.SYSTEMS, "slow at first", lambda rows, threads: BuiltIndex(search, lambda path: None)
    )
    monkeypatch.setattr(worker.time, "perf_counter", lambda: clock["now"])
    monkeypatch.setattr(worker.time, "process_time", lambda: clock["now"])
    np.save(tmp_path / "vectors.npy", vectors)
    np.save(tmp_path / "queries.npy", vectors[:20])
    np.save(tmp_path / "exact_rows.npy", np.zeros((20, 10), np.int64))
    np.save(tmp_path / "exact_scores.npy", np.zeros((20, 10), np.float32))
    (point,) = measure(tmp_path, "slow at first", 1, None)["points"]
    assert (point["single_qps"], point["single_processor_qps"]) == (2.0, 2.0)
    assert (point["p50_ms"], point["p99_ms"]) == (500.0, 500.0)


def test_an_index_is_searched_with_the_queries_of_its_data(made, tmp_path):
    result = CliRunner().invoke(
        verbs,
        [
            *("bench", "ann", str(made.index), "--queries", str(made.data), "--system", "exact"),
            *("-o", str(tmp_path / "curves"), "--json"),
        ],
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert list(found["systems"]) == list(found["at_recall"]) == [OURS, "exact"]
    assert found == json.loads((tmp_path / "curves.json").read_text())
    assert (found["vectors"], found["queries"]) == (8, 8)
    assert found["systems"][OURS]["points"][0]["recall@10"] == 1.0


def test_the_table_names_what_was_skipped_and_unknown_systems_are_refused(tmp_path, vectors):
    np.save(tmp_path / "v.npy", vectors)
    place = str(tmp_path / "v.npy")
    result = CliRunner().invoke(verbs, ["bench", "ann", place, "--system", "exact"])
    assert result.exit_code == 0 and "360 vectors, 8 dimensions, 40 queries" in result.output
    assert CliRunner().invoke(verbs, ["bench", "ann", place, "--system", "magic"]).exit_code == 2


def test_a_picture_that_cannot_be_drawn_is_refused_before_the_measuring(tmp_path, vectors, monkeypatch):
    np.save(tmp_path / "v.npy", vectors)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # its import fails
    monkeypatch.setattr("retrieval.commands.bench.bench_ann", lambda *arguments, **options: 1 / 0)
    output = str(tmp_path / "curves")
    result = CliRunner().invoke(verbs, ["bench", "ann", str(tmp_path / "v.npy"), "-o", output])
    assert result.exit_code == 1 and "pip install 'peephole[plot]'" in result.output


def test_the_rate_at_a_recall_is_the_best_of_the_points_that_reach_it():
    recalls_and_rates = ((0.9, 5.0), (0.93, 7.0), (0.95, 4.0), (0.98, 1.0))
    points = [{"recall@10": recall, **dict.fromkeys(RATES, rate)} for recall, rate in recalls_and_rates]
    points[0]["single_qps"] = 9.0
    found = at_recall(points)
    assert list(found) == ["0.9", "0.95"]
    assert found["0.9"] == {**dict.fromkeys(RATES, 7.0), "single_qps": 9.0}
    assert found["0.95"] == dict.fromkeys(RATES, 4.0)


def test_points_that_another_one_beats_are_not_drawn():
    points = [(0.95, 4.0), (0.9, 5.0), (0.93, 7.0), (0.95, 3.0), (0.93, 7.0)]
    assert best_points(points) == [(0.93, 7.0), (0.95, 4.0)]


def test_the_table_has_the_rates_at_fixed_recalls(tmp_path, vectors):
    np.save(tmp_path / "v.npy", vectors)
    place = str(tmp_path / "v.npy")
    lines = CliRunner().invoke(verbs, ["bench", "ann", place, "--system", "exact"]).output.splitlines()
    heads = [number for number, line in enumerate(lines) if line.startswith("queries/s at recall@10")]
    assert len(heads) == 2
    for head in heads:
        assert lines[head + 1].split() == ["0.9", "0.95", "0.99", "0.999"]
        assert lines[head + 2].split()[0] == "exact" and len(lines[head + 2].split()) == 9


def test_queries_must_fit_the_vectors(made, tmp_path, vectors):
    np.save(tmp_path / "v.npy", vectors)
    np.save(tmp_path / "q.npy", vectors[:, :4])
    with pytest.raises(InputError, match="4 dimensions and vectors 8"):
        bench_ann(tmp_path / "v.npy", tmp_path / "q.npy")
    with pytest.raises(InputError, match="in words need an index"):
        bench_ann(tmp_path / "v.npy", made.data)
    with pytest.raises(InputError, match="too few"):
        bench_ann(made.index)


def test_vectors_of_an_index_are_those_it_searches(made):
    with Retriever.open(made.index) as retriever:
        query = retriever.encode(["copy folder"])
        found = retriever.index.search_exact(query, 8)
    assert np.allclose(index_vectors(made.index)[found.rows[0]] @ query[0], found.scores[0], atol=1e-6)


def test_every_value_of_the_search_parameter_is_measured(tmp_path, vectors):
    unit = np.ascontiguousarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    scores = unit[:9] @ unit.T
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :30]
    for part, array in {
        "vectors": unit,
        "queries": unit[:9],
        "exact_rows": rows,
        "exact_scores": np.take_along_axis(scores, rows, axis=1),
    }.items():
        np.save(tmp_path / f"{part}.npy", array)
    points = measure(tmp_path, "faiss HNSW", 1, None)["points"]
    assert [point["setting"] for point in points][:2] == ["efSearch 10", "efSearch 20"]
    assert points[-1]["recall@10"] == 1.0
