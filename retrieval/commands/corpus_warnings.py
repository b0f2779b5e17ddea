"""What the verbs that read tables and documents say of them before they read them.

In: what a user names, and what they said about its columns. Out: lines on standard error, or none.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from index.disk.folder import read_live_manifest
from index.errors import InputError
from index.values import Scalar
from retrieval.commands.printing import print_line, print_warning
from retrieval.data.columns.names import ROLES, USUAL, ColumnNames
from retrieval.data.dataset import AnyDataset, columns_of, workbooks_of
from retrieval.data.documents import left_out_files
from retrieval.data.files.kinds import KINDS
from retrieval.data.pairs.dataset import PairsDataset
from retrieval.data.tables import sheets_of_table

_MOST_SHEETS = 20


def warn_of_sheets(table: Path | str, columns: ColumnNames = USUAL) -> None:
    """Say which sheets of workbooks on this machine are left out.

    Raises InputError for what cannot be read, and MissingExtraError for a workbook.
    """
    for workbook in workbooks_of(table):
        _warn_of_sheets(workbook, columns)


def warn_of_corpus(corpus: Path | str, columns: ColumnNames) -> None:
    """Say what of a folder of text files, and of workbooks on this machine, is left out.

    Of a table of documents say also which columns it was taken to have, if they are not named as in BEIR.
    Raises InputError for what cannot be read, and MissingExtraError for a workbook.
    """
    warn_of_sheets(corpus, columns)
    found = columns_of(corpus, columns)
    if found is not None and not found.is_beir():
        roles = ", ".join(f"{role} is {name}" for role, name in found.named().items())
        print_line(f"{corpus}: {roles}", err=True)
    left_out = left_out_files(corpus)
    if not left_out:
        return
    count = left_out.total()
    listed = ", ".join(f"{number:,} {reason}" for reason, number in sorted(left_out.items()))
    readable = ", ".join(sorted(left_out.keys() & KINDS))
    remedy = f"; `peephole corpus files {shlex.quote(str(corpus))} -o DATA` reads {readable}"
    print_warning(
        f"{corpus}: {count:,} {'file' if count == 1 else 'files'} left out ({listed})"
        f"{remedy if readable else ''}"
    )


def check_ids(dataset: AnyDataset, index: Path, before: Mapping[str, Scalar]) -> None:
    """Raise InputError for pairs that have the column of the index's ids, but would get hashes as ids.

    Each document would be in the index twice. Who wants hashes says so, with `--column id=`.

    before: the columns that the manifest of the index names.
    """
    if not isinstance(dataset, PairsDataset) or dataset.columns.id or "id" in dataset.given:
        return
    name = next((name for name in dataset.columns.unused if repr(name) == before.get("id")), None)
    if name is not None:
        raise InputError(
            f"the ids of {index} are those of column {name!r}, which this would not read; give --column as "
            f"then ({shlex.join(['--column', f'id={name}'])}), or --column id= for ids of their own",
            path=dataset.path,
        )


def warn_of_other_columns(index: Path, corpus: Path | str, before: Mapping[str, Scalar]) -> None:
    """Say it if a synchronisation that changed an index read a table by other columns than the last one.

    Where nothing changed, the index keeps the columns that it had, and nothing is said.

    index: after the synchronisation.
    corpus: what it was made to hold.
    before: the columns that its manifest named until then; empty for what was no table.
    Raises what `read_live_manifest` raises.
    """
    now = read_live_manifest(index).columns
    if before and now and now != before:
        roles = ", ".join(f"{role} is {before[role]}" for role in ROLES if role in before)
        print_warning(
            f"{corpus}: {index} was read by other columns before ({roles}), so documents may have changed "
            "for that alone; to go back, run this again with --column as before"
        )


def _warn_of_sheets(workbook: Path, columns: ColumnNames) -> None:
    sheets = sheets_of_table(workbook, columns)
    left_out = [repr(name) for name in sheets.left_out] + [f"{name!r} (hidden)" for name in sheets.hidden]
    if left_out:
        print_warning(
            f"{workbook}: of its sheets {_listed(list(map(repr, sheets.read)))} "
            f"{'is' if len(sheets.read) == 1 else 'are'} read; left out: {_listed(left_out)}"
        )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_MOST_SHEETS]) + (", ..." if len(names) > _MOST_SHEETS else "")
