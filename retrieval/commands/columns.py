"""The option that says which column of a table is what, for the verbs that read tables."""

from __future__ import annotations

import click

from retrieval.commands.options import F
from retrieval.data.columns.names import ROLES, SEVERAL, ColumnNames

_OF_PAIRS = ("query", "document", "score", "split", "negative")


def column_option(function: F) -> F:
    """Add the option --column ROLE=NAME, as `columns`: role to the columns named for it."""
    return click.option(
        "--column",
        "columns",
        metavar="ROLE=NAME",
        multiple=True,
        callback=_column_names,
        help=f"Which column of a table is the {', '.join(ROLES[:-1])} or {ROLES[-1]} (repeatable); ROLE= for "
        "none. A table with a text is a corpus.  [default: by their usual names; of pairs only a column "
        "named metadata is metadata, of a corpus all others]",
    )(function)


def _column_names(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> ColumnNames:
    columns: dict[str, list[str]] = {}
    for value in values:
        role, equals, name = value.partition("=")
        if not equals or role not in ROLES:
            raise click.BadParameter(f"{value!r} is not ROLE=NAME; the roles are {', '.join(ROLES)}")
        if columns.get(role) and role not in SEVERAL:
            raise click.BadParameter(f"{role} has two columns; name one")
        named = columns.setdefault(role, [])
        if name and name not in named:
            named.append(name)
    if columns.get("query") and not columns.get("document", [""]):
        raise click.BadParameter("a query needs a document; name its column as well")
    of_pairs = next((role for role in _OF_PAIRS if columns.get(role)), None)
    if of_pairs and columns.get("text"):
        raise click.BadParameter(
            f"text is a column of a corpus, {of_pairs} one of pairs; name the texts of pairs as the document"
        )
    return columns
