"""The kinds of tables, by the names of files.

In: a name. Out: the kind, or the remedy for a file of another kind. Knows nothing of what is in a file.
"""

from __future__ import annotations

from pathlib import Path

TABLE_KINDS = ".jsonl, .ndjson, .json, .tsv, .csv (also .gz), .parquet, .xlsx or another kind of workbook"
WORKBOOKS = frozenset({"ods", "xls", "xlsb", "xlsm", "xlsx"})
JSON_KINDS = frozenset({"json", "jsonl", "ndjson"})  # whose records may have different fields
NOT_LINES = WORKBOOKS | {"json", "parquet"}

_KINDS = frozenset({"csv", "tsv", "parquet", *JSON_KINDS, *WORKBOOKS})


def table_kind(path: Path | str) -> str | None:
    """The kind of table that the name of a file tells, which is its suffix; None for others.

    >>> table_kind("faq.CSV.gz"), table_kind("faq.parquet"), table_kind("faq.xlsx"), table_kind("faq.txt")
    ('csv', 'parquet', 'xlsx', None)
    """
    kind = Path(path).name.lower().removesuffix(".gz").rpartition(".")[2]
    return kind if kind in _KINDS else None


def how_to_give(path: Path, or_else: str = "") -> str:
    """The remedy for a file whose name tells no kind of table. or_else: what may be given beside tables.

    >>> how_to_give(Path("faq.numbers"))
    'save it as .xlsx'
    """
    suffix = path.suffix.lower()
    if suffix == ".numbers":
        return "save it as .xlsx"
    return f"give {TABLE_KINDS}{or_else}"


def is_lock(name: str) -> bool:
    """Whether a file is the one that Excel keeps beside a workbook while somebody has it open.

    >>> is_lock("~$faq.xlsx"), is_lock("faq.xlsx")
    (True, False)
    """
    return name.startswith("~$")
