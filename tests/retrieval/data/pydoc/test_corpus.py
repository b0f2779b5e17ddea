import json
from pathlib import Path

import pytest

from index.errors import InputError, StorageError
from retrieval.data import beir
from retrieval.data.pydoc import corpus as pydoc
from retrieval.data.pydoc import packages as sources_of
from retrieval.data.pydoc.corpus import PydocCounts, write_pydoc_corpus
from retrieval.data.queries import read_qrels, read_queries
from retrieval.data.splits import split_of_id

BODY = "It takes some number of {} and gives them back to whoever asked for them."


def function(name: str, summary: str, body: str) -> str:
    return f'def {name}(x):\n    """{summary}\n\n    {body}\n    """\n'


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages and a module are installed, nothing else; the standard library is one file."""
    site = tmp_path / "site"
    library = tmp_path / "lib"
    fruit = function("pick", "Pick the ripe fruit.", BODY.format("apples"))
    many = "".join(function(f"show{i}", "Return a readable string.", BODY.format(f"n{i}")) for i in range(4))
    twice = "".join(function(f"wash{i}", "Wash every fruit twice.", BODY.format(f"w{i}")) for i in range(2))
    files = {
        site / "fruits" / "__init__.py": fruit,
        site / "fruits" / "_deep" / "core.py": fruit + many + twice,
        site / "fruits" / "tests" / "test_all.py": function(
            "tested", "Test all the fruit.", BODY.format("x")
        ),
        site / "roots" / "__init__.py": function("dig", "Dig out the roots.", "Short."),
        site / "roots" / "broken.py": 'def """',
        site / "roots" / "dull.py": "x = 1",
        site / "single.py": function("lone", "Do something all alone.", BODY.format("ones")),
        site / "_hidden.py": function("hide", "Hide something from view.", BODY.format("hidden")),
        site / "pip" / "__init__.py": function("install", "Install a package here.", BODY.format("wheels")),
        library / "shelf.py": function("put", "Put books on shelves.", BODY.format("books")),
        library / "_shelf.py": function("twin", "Put more books there.", BODY.format("twins")),
    }
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    paths = {"stdlib": str(library), "purelib": str(site), "platlib": str(site)}
    monkeypatch.setattr(sources_of, "get_paths", lambda: paths)
    monkeypatch.setattr(pydoc, "builtin_docstrings", lambda: iter(()))
    monkeypatch.syspath_prepend(site)
    return tmp_path


def records(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_documents_are_bodies_and_queries_are_summaries(packages: Path) -> None:
    counts = write_pydoc_corpus(packages / "out", packages=["fruits"])
    documents = {record["_id"]: record for record in records(packages / "out" / "corpus.jsonl")}
    # The copy of `pick` in a private module is the same document; the shorter name is kept.
    assert sorted(documents) == ["fruits._deep.core." + n for n in ("show0", "show1", "show2", "show3")] + [
        "fruits._deep.core.wash0",
        "fruits._deep.core.wash1",
        "fruits.pick",
    ]
    assert documents["fruits.pick"] == {
        "_id": "fruits.pick",
        "title": "fruits.pick(x)",
        "text": BODY.format("apples"),
    }
    queries = {query.text: query.id for query in read_queries(packages / "out")}
    # Four documents share "Return a readable string": too many for it to ask for any of them.
    assert set(queries) == {"Pick the ripe fruit", "Wash every fruit twice"}
    qrels = {}
    for split in ("train", "dev", "test"):
        path = packages / "out" / "qrels" / f"{split}.tsv"
        assert path.read_text().startswith("query-id\tcorpus-id\tscore\n")
        if len(path.read_text().splitlines()) > 1:
            found = read_qrels(
                packages / "out", split, query_ids=set(queries.values()), document_ids=documents
            )
            assert not set(found) & set(qrels)
            qrels.update(found)
    assert qrels == {
        queries["Pick the ripe fruit"]: {"fruits.pick": 1},
        queries["Wash every fruit twice"]: {"fruits._deep.core.wash0": 1, "fruits._deep.core.wash1": 1},
    }
    assert (counts.documents, counts.train + counts.dev + counts.test, counts.packages) == (7, 2, 1)


def test_everything_installed_is_read_by_default_but_tools_and_private_modules(packages: Path) -> None:
    counts = write_pydoc_corpus(packages / "out")
    ids = {record["_id"] for record in records(packages / "out" / "corpus.jsonl")}
    assert {"shelf.put", "single.lone", "fruits.pick"} < ids
    assert not any(name.startswith(("pip", "_", "roots")) or "test" in name for name in ids)
    assert counts.packages == 4  # the standard library, fruits, roots, single


def test_the_same_environment_gives_the_same_bytes(packages: Path) -> None:
    for name in ("one", "two"):
        write_pydoc_corpus(packages / name)
    for file in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv", "qrels/dev.tsv", "qrels/test.tsv"):
        assert (packages / "one" / file).read_bytes() == (packages / "two" / file).read_bytes()


def test_limit_takes_the_standard_library_first_and_progress_counts(packages: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    counts = write_pydoc_corpus(packages / "out", limit=3, progress=lambda *step: steps.append(step))
    ids = [record["_id"] for record in records(packages / "out" / "corpus.jsonl")]
    assert ids == ["fruits.pick", "shelf.put", "single.lone"]
    assert counts.documents == 3
    assert steps == [("documents", 1, 3), ("documents", 2, 3), ("documents", 3, 3)]


def test_split_depends_on_the_query_alone_and_is_about_80_10_10() -> None:
    names = [split_of_id(pydoc._digest(f"query {i}")) for i in range(5000)]
    assert names.count("train") / 5000 == pytest.approx(0.8, abs=0.02)
    assert names.count("dev") / 5000 == pytest.approx(0.1, abs=0.02)
    assert split_of_id("000000000000") == "test"


@pytest.mark.parametrize("name", ["nowhere_to_be_found", "not a name", "fruits.deep", "_hidden_", "math"])
def test_package_without_source_is_named(packages: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"no package '{name}'"):
        write_pydoc_corpus(packages / "out", packages=[name])
    assert not (packages / "out").exists()


def test_package_without_docstrings_and_bad_limits_are_refused(packages: Path) -> None:
    with pytest.raises(InputError, match="no docstrings in roots"):
        write_pydoc_corpus(packages / "out", packages=["roots"])
    with pytest.raises(InputError, match="limit 0"):
        write_pydoc_corpus(packages / "out", limit=0)


def test_only_its_own_or_an_empty_folder_is_replaced(packages: Path) -> None:
    output = packages / "out"
    output.mkdir()
    write_pydoc_corpus(output, packages=["single"])
    (output / "stray").touch()
    write_pydoc_corpus(output, packages=["fruits"])
    assert not (output / "stray").exists()
    (output / "pydoc.json").unlink()
    with pytest.raises(InputError, match="not written by this command"):
        write_pydoc_corpus(output, packages=["single"])
    file = packages / "file"
    file.touch()
    with pytest.raises(InputError, match="not written by this command"):
        write_pydoc_corpus(file, packages=["single"])
    assert file.is_file()
    assert not [path for path in packages.iterdir() if path.name.startswith(".")]


def test_folder_that_another_program_marked_is_not_replaced(packages: Path) -> None:
    output = packages / "out"
    output.mkdir()
    (output / "pydoc.json").write_text('{"made_by": "someone"}')
    with pytest.raises(InputError, match="not written by this command"):
        write_pydoc_corpus(output, packages=["single"])
    assert [path.name for path in output.iterdir()] == ["pydoc.json"]


def test_link_to_a_folder_stays_a_link(packages: Path) -> None:
    write_pydoc_corpus(packages / "real", packages=["fruits"])
    (packages / "out").symlink_to(packages / "real")
    write_pydoc_corpus(packages / "out", packages=["single"])
    assert (packages / "out").is_symlink()
    assert len(records(packages / "real" / "corpus.jsonl")) == 1


def test_failed_writing_leaves_the_old_folder_whole(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = packages / "out"
    write_pydoc_corpus(output, packages=["single"])
    before = (output / "corpus.jsonl").read_bytes()

    def full(path: Path, lines: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(beir, "_write_lines", full)
    with pytest.raises(StorageError, match=r"out: cannot be written \(No space left on device\); free some"):
        write_pydoc_corpus(output, packages=["fruits"])
    assert (output / "corpus.jsonl").read_bytes() == before
    assert not [path for path in packages.iterdir() if path.name.startswith(".")]


def test_the_real_standard_library_makes_a_task(tmp_path: Path) -> None:
    counts = write_pydoc_corpus(tmp_path / "out", packages=["json", "shutil", "stdlib"], limit=400)
    assert counts == PydocCounts(400, counts.train, counts.dev, counts.test, 3)
    assert counts.train > 200
    assert {"builtins.sorted", "os.stat"} < {r["_id"] for r in records(tmp_path / "out" / "corpus.jsonl")}
