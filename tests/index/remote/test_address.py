"""The address of a collection, as `--store` takes it."""

import pytest

from index.errors import InputError
from index.remote.address import Address


def test_address_is_read_strictly():
    assert Address.parse("milvus://[::1]:19530/faq_2") == Address("[::1]", 19530, "faq_2")
    for wrong in (
        "http://a:1/b",
        "milvus://a/b",
        "milvus://a:70000/b",
        "milvus://a:1/b-c",
        "milvus://a:1/",
        "x",
    ):
        with pytest.raises(InputError, match="write milvus://HOST:PORT/COLLECTION"):
            Address.parse(wrong)
