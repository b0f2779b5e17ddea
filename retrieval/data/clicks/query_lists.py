"""Lists of the queries that a team should look at: frequent ones, those without clicks or results, deep ones.

In: counts by query. Out: for each list the queries that come to it most often, first; of several that come
to it as often the one searched for last, then the one that the log has first. Knows nothing of files.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.values import Mask
from retrieval.data.clicks.queries import QueryCount, QueryCounts

# Clicks lie deep if the mean rank of the first ones is beyond this: the reader passed over three results.
DEEP_RANK = 3


def most_frequent(counts: QueryCounts, least: int, most: int) -> list[QueryCount]:
    """The queries that were searched for most often.

    least: the fewest searches of a query that is listed, from 1.
    most: the length of the list.
    """
    return _listed(counts, counts.searches, counts.searches >= least, most)


def unclicked(counts: QueryCounts, least: int, most: int) -> list[QueryCount]:
    """The queries that showed something and were never clicked, by the searches that showed something.

    least, most: as for `most_frequent`; `least` is of the searches that showed something.
    """
    showing = counts.searches - counts.empty
    return _listed(counts, showing, (showing >= least) & (counts.clicked_searches == 0), most)


def without_results(counts: QueryCounts, least: int, most: int) -> list[QueryCount]:
    """The queries that showed nothing, by the searches that did.

    least, most: as for `most_frequent`; `least` is of all searches.
    """
    return _listed(counts, counts.empty, (counts.searches >= least) & (counts.empty > 0), most)


def deeply_clicked(counts: QueryCounts, least: int, most: int) -> list[QueryCount]:
    """The queries whose first clicks are at a mean rank beyond `DEEP_RANK`, by the searches with a click.

    least, most: as for `most_frequent`; `least` is of the searches and of those with a click.
    """
    clicked = counts.clicked_searches
    deep = counts.first_ranks > DEEP_RANK * clicked
    return _listed(counts, clicked, (np.minimum(clicked, counts.searches) >= least) & deep, most)


def hidden(counts: QueryCounts, least: int) -> int:
    """How many queries were searched for, but less than `least` times."""
    return int(((counts.searches > 0) & (counts.searches < least)).sum())


def _listed(counts: QueryCounts, times: NDArray[np.int64], listed: Mask, most: int) -> list[QueryCount]:
    rows = np.flatnonzero(listed)
    order = np.lexsort((rows, -counts.last[rows], -times[rows]))
    return [counts.at(row) for row in rows[order[:most]].tolist()]
