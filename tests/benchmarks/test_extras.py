from __future__ import annotations

import tomllib

from house import ROOT

from benchmarks.extras import extras_of_adapters, size_bytes


def test_every_adapter_names_an_extra_that_exists():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {"haystack", "langchain", "llama-index"} <= set(extras_of_adapters())
    assert set(extras_of_adapters()) <= set(project["optional-dependencies"])


def test_a_link_weighs_nothing(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "a" / "file")
    assert size_bytes(tmp_path) == 5
