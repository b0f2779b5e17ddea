"""What the columns of a click log are for, by their usual names.

In: the names of columns. Out: which is which, and whether they are those of a click log. Knows nothing of
the rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from retrieval.data.clicks.recorded import has_keys_of_an_event

# What a column is for, to the names that it may have; the first of them that a log has is taken.
NAMES = {
    "query": (
        *("query", "q", "search_term", "search_query", "query_text"),
        *("查询", "查询词", "搜索词", "关键词"),
    ),
    "document": (
        *("doc_id", "document_id", "product_id", "item_id", "document", "doc", "url", "_id", "id"),
        *("文档编号", "文档id", "商品编号", "商品id", "编号"),
    ),
    "clicks": ("clicks", "click", "clicked", "点击", "点击数", "点击次数", "点击量"),
    "impressions": ("impressions", "shown", "views", "展示", "展示数", "展示次数", "曝光", "曝光次数"),
    "rank": ("rank", "position", "排名", "名次", "位置"),
}
_COUNTS = ("clicks", "impressions", "rank")


def looks_like_a_click_log(names: Iterable[str]) -> bool:
    """Whether a table with these columns has queries, ids of documents, and counts or ranks of results.

    A recorded log is one too.
    """
    names = list(names)
    found = columns_by_use(names)
    counted = {"query", "document"} <= found.keys() and not found.keys().isdisjoint(_COUNTS)
    return counted or has_keys_of_an_event(names)


def columns_by_use(columns: Iterable[str]) -> dict[str, str]:
    """What columns are for, to their names, of those that there are."""
    plain = {re.sub(r"[\s-]+", "_", name.strip().casefold()): name for name in columns}
    return {
        what: plain[next(name for name in names if name in plain)]
        for what, names in NAMES.items()
        if not plain.keys().isdisjoint(names)
    }
