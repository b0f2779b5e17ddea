"""Facets: how many documents have each value of a metadata field.

In: an open index, masks of documents, and a field. Out: values with counts. Knows nothing of queries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nsmallest

from index.documents.numbers import Attribute
from index.documents.parse import parse_field
from index.reader import Index
from index.values import Mask

# Values of a field that are shown.
MOST_VALUES = 20


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value of a field; a text that spells a number is that number, true and false are texts."""

    value: Attribute
    count: int  # documents that have it, each once


def count_values(index: Index, field: str, masks: Sequence[Mask], most: int) -> list[FacetValue]:
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
