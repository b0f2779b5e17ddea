"""Whoever imports `retrieval` pays for no adapter."""

from __future__ import annotations

import subprocess
import sys

ASK = """
import sys
import retrieval, retrieval.adapters, retrieval.search.retriever, cli
found = {name for name in sys.modules if name.startswith("retrieval.adapters.")}
libraries = {"haystack", "langchain_core", "llama_index"} & {name.partition(".")[0] for name in sys.modules}
print(*sorted(found | libraries))
"""


def test_importing_retrieval_imports_no_adapter_and_no_library_of_one():
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
