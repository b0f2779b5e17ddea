"""Reading click logs, in the shapes that analytics systems export.

In: a table with a column of queries and one of document ids, and as many as there are of clicks, impressions
and ranks. Out: a `ClickLog`. Knows nothing of what is made of the clicks.

* With a column of impressions, each row adds up many sessions: its clicks and impressions.
* With 0 and 1 as clicks and no impressions, each row is one result of one session: clicked or only shown.
* The log that `peephole serve --clicks` records is recognised by its keys, see `recorded`.
* Otherwise only clicks are known: a row is one, or as many as its column of clicks says. What was shown and
  not clicked is missing, so that the ranks tell nothing and are left out.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

from index.errors import InputError
from retrieval.data.clicks.columns import NAMES, columns_by_use
from retrieval.data.clicks.known import Known
from retrieval.data.clicks.log import ReadLog, Sighting, click_log, clicks_alone
from retrieval.data.clicks.recorded import is_recorded, read_recorded
from retrieval.data.lines import MOST_LINES, Place, is_stream
from retrieval.data.records import Record
from retrieval.data.tables import table_records_of

_WHOLE = re.compile(r"(\d{1,12})(\.0*)?", re.ASCII)  # counts with which sums fit into int64
_TRUTH = {"true": 1, "false": 0}


def read_click_log(path: Path, document_ids: Container[str], *, missing_ok: bool = False) -> ReadLog:
    """Read a click log whole.

    path: a table, see `retrieval.data.tables`, or a recorded log, see `retrieval.data.clicks.recorded`.
    document_ids: the documents of the corpus.
    missing_ok: pass over rows that name other documents. Without it they are an error.
    Raises InputError with file and line for a missing column, an empty query or id, a count or rank that is
    no whole number, a rank below 1 and more clicks than impressions; and for a log without clicks. Raises
    what `table_records_of` and `read_recorded` raise.
    """
    if not is_stream(path) and is_recorded(path):
        read = read_recorded(path, document_ids, missing_ok=missing_ok)
    else:
        read = _read_table(path, document_ids, missing_ok=missing_ok)
    if not read.log.clicks.any():
        raise InputError("no document of the corpus was clicked; give a log with clicks", path=path)
    return read


def _read_table(path: Path, document_ids: Container[str], *, missing_ok: bool) -> ReadLog:
    rows = _Rows(path)
    known_rows = Known(rows, document_ids)
    log = click_log(sighting for sighting in known_rows if sighting.impressions)
    if not known_rows.count:
        raise InputError("holds no rows; give a log of clicks", path=path)
    if not missing_ok:
        known_rows.check()
    known = "impressions" in rows.columns or rows.values == {0, 1}
    return ReadLog(log if known else clicks_alone(log), known_rows.count, known_rows.passed_over)


class _Rows:
    """The sightings of a table, read once; a row without impressions counts as one impression."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: Mapping[str, str] = {}
        self.values: set[int] = set()  # of clicks; 2 stands for all above 1

    def __iter__(self) -> Iterator[tuple[Place, Sighting]]:
        for count, record in enumerate(table_records_of(self.path), 1):
            if not self.columns:
                self.columns = _columns(record)
            if count > MOST_LINES:
                raise record.place.error(f"more than {MOST_LINES} rows; add them up by day or week")
            sighting = _sighting(record, self.columns)
            self.values.add(min(sighting.clicks, 2))
            yield record.place, sighting


def _columns(record: Record) -> dict[str, str]:
    """What columns are for, to their names in the log. Raises InputError if one that is needed is missing."""
    found = columns_by_use(record.fields)
    for what in ("query", "document", *(["clicks"] if "impressions" in found else [])):
        if what not in found:
            raise InputError(
                f"no column of {what if what == 'clicks' else f'the {what}'}; name it "
                f"{' or '.join(NAMES[what][:2])}",
                path=record.place.path,
                line=1,
            )
    return found


def _sighting(record: Record, columns: Mapping[str, str]) -> Sighting:
    query, document = _text(record, columns["query"]), _text(record, columns["document"])
    clicks, impressions, rank = (
        _whole(record, columns[what]) if what in columns else default
        for what, default in (("clicks", 1), ("impressions", 1), ("rank", 0))
    )
    if "rank" in columns and rank == 0:
        raise record.place.error(f'"{columns["rank"]}" is 0; count ranks from 1')
    if "impressions" in columns and clicks > impressions:
        raise record.place.error(f"{clicks:,} clicks of {impressions:,} impressions; correct the counts")
    return Sighting(query, document, rank, clicks, impressions)


def _text(record: Record, column: str) -> str:
    value = record.fields.get(column)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # JSON writes ids such as 17 without quotation marks
    if not isinstance(value, str) or not value.strip():
        raise record.place.error(f'"{column}" is empty or not text; fill it in or drop the row')
    return value.strip()


def _whole(record: Record, column: str) -> int:
    """A count, also in the forms that data frames write: 3.0, true."""
    value = record.fields.get(column)
    text = "" if value is None else str(value).strip()
    if text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    match = _WHOLE.fullmatch(text)
    if match is None:
        raise record.place.error(f'"{column}" is {text[:40]!r}; write a whole number, 0 or more')
    return int(match[1])
