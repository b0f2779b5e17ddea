from types import SimpleNamespace
from typing import Any

import pytest

from index.errors import RemoteError
from index.remote.documents import Documents


def test_damaged_metadata_of_any_document_is_an_error_of_the_server():
    collection: Any = SimpleNamespace(scan=lambda *_: [[{"number": 0, "metadata": "["}]])
    documents = Documents(collection, "true", 1, "milvus://here/name", queries=False)
    with pytest.raises(RemoteError, match=r"milvus://here/name: .*build the index again"):
        list(documents.all_metadata())
