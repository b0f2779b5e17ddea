"""Which metadata fields are worth a filter."""

from __future__ import annotations

import shutil
from pathlib import Path

from index.documents.store import Document
from index.reader import Index
from index.writing.delete import delete
from retrieval.indexing.build import add_documents
from retrieval.search.facets import MOST_VALUES, FacetValue, worth_counting

GOLDEN = Path(__file__).parents[2] / "golden" / "index-2"


def metadata(n):
    return {
        "own": f"value {n}",  # as many values as documents
        "many": n % (MOST_VALUES + 1),
        "full": n % MOST_VALUES,
        "digits": str(n % 3),  # each is stored as a text and as a number
        "same": "always",
        "in": {"side": "left" if n % 4 else "right"},
        "not in ('x') or a": n % 2,  # no bare name
        "release year": n % 2,
    }


def fields(folder, most=9):
    with Index.open(folder) as index:
        return worth_counting(index, most)


def test_fields_with_few_values_are_found_and_counted_over_all_segments(tmp_path):
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "index"))
    for start in (0, 30):
        add_documents(
            [Document(str(n), "", f"text {n}", metadata(n)) for n in range(start, start + 30)], folder
        )
    found = fields(folder)
    assert set(found) == {"lang", "full", "digits", "in.side", "release year", "not in ('x') or a"}
    assert found["in.side"] == [FacetValue("left", 45), FacetValue("right", 15)]
    assert found["digits"] == [FacetValue(value, 20) for value in range(3)]
    assert list(fields(folder, most=5)) == ["digits", "full", "in.side", "not in ('x') or a", "release year"]


def test_values_of_deleted_documents_are_not_counted(tmp_path):
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "index"))
    add_documents([Document(str(n), "", f"text {n}", {"colour": "rg"[n % 2]}) for n in range(8)], folder)
    delete(folder, ["1", "3"])
    assert fields(folder)["colour"] == [FacetValue("r", 4), FacetValue("g", 2)]
    delete(folder, ["5", "7"])
    assert "colour" not in fields(folder)
