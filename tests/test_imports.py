"""The direction of the arrows, read from the source: cli -> retrieval -> index, and nothing loads pickles."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from house import FLOORS, ROOT, arrows, files, imported, imports, module_of, room_of, upward

FILES = files()
# Import names of the libraries that retrieval/adapters is for.
ADAPTED = {"haystack", "langchain_core", "llama_index", "mcp", "mteb", "onnx", "sentence_transformers"}
OURS = {"index", "retrieval", "cli", "benchmarks", "tests"}


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(ast.parse(path.read_text("utf-8")))}


def in_package(name: str) -> list[Path]:
    return [path for path in FILES if path.relative_to(ROOT).parts[0] == name]


def by_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_there_are_files_to_check():
    assert len(in_package("index")) > 10
    assert len(in_package("retrieval")) > 20


@pytest.mark.parametrize("path", in_package("index"), ids=by_name)
def test_index_imports_neither_retrieval_nor_torch(path):
    assert roots(path) & (OURS | {"torch"}) <= {"index"}


@pytest.mark.parametrize("path", in_package("retrieval"), ids=by_name)
def test_retrieval_imports_itself_and_index(path):
    assert roots(path) & OURS <= {"retrieval", "index"}


@pytest.mark.parametrize("path", FILES, ids=by_name)
def test_nothing_loads_pickles(path):
    tree = ast.parse(path.read_text("utf-8"))
    assert not roots(path) & {
        "pickle",
        "cPickle",
        "_pickle",
        "dill",
        "cloudpickle",
        "joblib",
        "shelve",
        "marshal",
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant)
            assert node.value.value is False
        if isinstance(node, ast.Attribute):
            called = ast.unparse(node)
            assert called not in ("torch.load", "torch.save")
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "np.load":
            assert "allow_pickle" in {keyword.arg for keyword in node.keywords}


@pytest.mark.parametrize("path", [ROOT / "cli.py"], ids=by_name)
def test_the_command_imports_nothing_heavy_before_a_verb_runs(path):
    tree = ast.parse(path.read_text("utf-8"))
    top = {
        str(name)
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in imported(ast.Module([node], []))
    }
    assert all(
        name.startswith(("index.errors", "retrieval.text.terminal"))
        for name in top
        if name.split(".")[0] in OURS
    )
    assert not {name.split(".")[0] for name in top} & {"torch", "numpy", "faiss", "rich", "matplotlib"}


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Modules along some loop of imports, empty if there is none."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph.get(name, ())):
            found = visit(other, [*path, name])
            if found:
                return found
        done.add(name)
        return []

    for name in graph:
        found = visit(name, [])
        if found:
            return found
    return []


def test_no_module_imports_itself_in_the_end():
    doors = {module_of(path) for path in FILES if path.stem == "__init__"}  # they hand on, on first use
    graph = {name: others - doors for name, others in imports().items() if name not in doors}
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert cycle(graph) == []


def test_packages_import_only_from_floors_below():
    assert upward({"index.reader": {"index.writing"}}) == ["index.reader -> index.writing"]
    assert upward({"retrieval.text": {"retrieval.data"}}) == ["retrieval.text -> retrieval.data"]
    assert upward({"index.reader": {"index.disk"}}) == []
    assert upward(arrows(imports())) == []


def test_only_a_verb_imports_an_adapter():
    users = {
        room_of(name)
        for name, others in imports().items()
        for other in others
        if room_of(other) == "retrieval.adapters" != room_of(name)
    }
    assert users <= {"retrieval.commands"}


def test_no_module_of_the_adapters_imports_another_library_than_its_own():
    """An adapter stands for one extra, so that each extra is imported in one place."""
    for path in ROOT.glob("retrieval/adapters/*.py"):
        foreign = roots(path) & ADAPTED
        assert len(foreign) <= 1, path


def test_every_floor_is_named_once():
    rooms = [room for floor in FLOORS for room in floor]
    assert len(rooms) == len(set(rooms))


def defined(path: Path) -> set[str]:
    """Names that a module has of its own, not by an import."""
    names = set()
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


@pytest.mark.parametrize(
    "path",
    [*FILES, *sorted(ROOT.glob("benchmarks/**/*.py")), *sorted(ROOT.glob("tests/**/*.py"))],
    ids=by_name,
)
def test_every_name_is_imported_from_where_it_is_defined(path):
    elsewhere = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        source = ROOT / f"{str(getattr(node, 'module', '')).replace('.', '/')}.py"
        if isinstance(node, ast.ImportFrom) and source.is_file():
            names = {alias.name for alias in node.names} - defined(source)
            elsewhere += [f"{name} from {node.module}" for name in sorted(names)]
    assert elsewhere == []


def test_printing_is_left_to_the_command():
    for path in in_package("index") + in_package("retrieval"):
        calls = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)]
        assert not [n for n in calls if ast.unparse(n.func) in ("print", "input", "sys.exit", "exit")], path
