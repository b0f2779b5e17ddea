"""Facets: how many documents have each value of a metadata field.

In: an open index, masks of documents, and a field. Out: values with counts. Knows nothing of queries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nsmallest

from index.documents.filtering.expression import In
from index.documents.filtering.parse import parse_field, parse_where
from index.documents.numbers import Attribute
from index.errors import InputError
from index.protocol import OpenIndex
from index.values import Mask

# Values of a field that are shown.
MOST_VALUES = 20


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value of a field; a text that spells a number is that number, true and false are texts."""

    value: Attribute
    count: int  # documents that have it, each once


def worth_counting(index: OpenIndex, most: int) -> dict[str, list[FacetValue]]:
    """The metadata fields that split the documents into a few groups, with the values of each.

    index: the open index.
    most: how many fields; those that most documents have come first.
    Left out are fields with one value or with more than `MOST_VALUES`, those whose values mostly stand in
    one document each, and those that no filter can name.
    """
    masks = index.matching(())
    fields = [field for field in index.fields_of_few_values(MOST_VALUES) if spelling(field) is not None]
    counted = {field: count_values(index, field, masks, MOST_VALUES + 1) for field in fields}
    sizes = {field: sum(each.count for each in values) for field, values in counted.items()}
    useful = [field for field in fields if 2 <= len(counted[field]) <= min(MOST_VALUES, sizes[field] // 2)]
    return {field: counted[field] for field in sorted(useful, key=lambda field: -sizes[field])[:most]}


def spelling(field: str) -> str | None:
    """How a filter spells a field: as it is, or quoted for its signs; None if it cannot.

    >>> spelling("release year"), spelling("price (EUR)")
    ('release year', '"price (EUR)"')
    """
    quoted = '"' + field.replace('"', '""') + '"'
    return next((spelt for spelt in (field, quoted) if _spells(spelt, field)), None)


def _spells(spelt: str, field: str) -> bool:
    """Whether a filter may spell the field so."""
    try:
        return parse_where(f"{spelt} in ('x')") == In(parse_field(field), ("x",))
    except InputError:
        return False


def count_values(index: OpenIndex, field: str, masks: Sequence[Mask], most: int) -> list[FacetValue]:
    """The most frequent values of a field, of equal ones numbers before texts, each in order.

    index: the open index.
    field: its name, as a filter spells it.
    masks: for each segment the documents that count.
    most: how many values.
    Raises InputError for a field that no document has.
    """
    totals: Counter[Attribute] = Counter()
    for column, mask in zip(index.columns(parse_field(field)), masks, strict=True):
        for value, count in column.counts(mask):
            totals[value] += count
    ordered = nsmallest(most, totals.items(), key=lambda one: (-one[1], isinstance(one[0], str), one[0]))
    return [FacetValue(value, count) for value, count in ordered]
