"""A model of random weights, and an index of a few documents with metadata."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from index.documents.store import Document
from retrieval.indexing.build import add_documents, create
from retrieval.model.config import ModelConfig

# The towers are one, so that a text is nearest to itself.
CONFIG = ModelConfig("bag", 16, 8, 16, tie="all")

DOCUMENTS = [
    Document("ls", "List", "list the files of a directory by size", {"section": 1, "tags": ["file", "dir"]}),
    Document("cp", "Copy", "copy a folder to another disk", {"section": 1, "tags": ["file"]}),
    Document("tar", "", "unpack an archive", {"section": 8, "added": "2024-05-01"}),
    Document("ssh", "", "log in to another machine", {"section": 1, "secure": True}),
]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory, random_model) -> Path:
    folder = tmp_path_factory.mktemp("adapters") / "model"
    random_model(CONFIG, texts=[document.text for document in DOCUMENTS]).save(folder)
    return folder


@pytest.fixture(scope="session")
def _index(tmp_path_factory, model_folder) -> Path:
    folder = tmp_path_factory.mktemp("adapters") / "index"
    create(model_folder, folder)
    add_documents(DOCUMENTS, folder)
    return folder


@pytest.fixture
def index(tmp_path, _index) -> Path:
    """An index of `DOCUMENTS` that the test may change."""
    shutil.copytree(_index, tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture(scope="session")
def documents() -> list[Document]:
    """What the index holds, in order."""
    return DOCUMENTS
