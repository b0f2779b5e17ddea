"""The splits of a data set, and which a query is in whose split is not given: by a hash, 80 : 10 : 10.

In: ids that are hashes. Out: the name of a split. Knows nothing of files.
"""

from __future__ import annotations

SPLITS = ("train", "dev", "test")
# With fewer queries a tenth is too small to measure by, and training needs them all.
MIN_QUERIES_TO_SPLIT = 50


def split_of_id(query_id: str) -> str:
    """The split of a query whose id is a hash, in hexadecimal digits: a tenth is dev, a tenth is test."""
    return {0: "test", 1: "dev"}.get(int(query_id, 16) % 10, "train")
