"""Whoever imports `retrieval` pays for no adapter, and who searches through one pays for no torch."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest


def modules_after(imports: str) -> set[str]:
    """Names of the modules that a new process has after an import statement."""
    code = f"import sys\n{imports}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_retrieval_imports_no_adapter_and_no_library_of_one():
    names = modules_after("import retrieval, retrieval.adapters, retrieval.search.retriever, cli")
    assert "retrieval.search.retriever" in names
    assert not [name for name in names if name.startswith("retrieval.adapters.")]
    adapted = {"haystack", "ir_datasets", "langchain_core", "llama_index"}
    adapted |= {"mcp", "mteb", "onnx", "sentence_transformers"}
    assert not names & adapted


@pytest.mark.parametrize(
    ("module", "library"),
    [
        ("collection", "retrieval"),
        ("langchain", "langchain_core"),
        ("llama_index", "llama_index"),
        ("mcp", "mcp"),
        ("onnx", "onnx"),
        ("ir_datasets", "ir_datasets"),
    ],
)
def test_an_adapter_imports_no_torch(module, library):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"needs {library}; `make test-adapters` installs it")
    names = modules_after(f"import retrieval.adapters.{module}")
    assert f"retrieval.adapters.{module}" in names
    assert "torch" not in names  # Haystack imports torch by itself where it is installed
