"""A collection of ir_datasets as a BEIR folder, which every verb reads (extra `ir-datasets`).

In: the name of a collection, or a data set object of that library. Out: a BEIR folder. Runs need no adapter:
both sides have TREC's form.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from index.documents.store import Document
from index.errors import InputError, needing
from retrieval.data.beir import Content, Mark, write_beir
from retrieval.data.queries import Qrels

with needing("ir-datasets"):
    import ir_datasets

_MARK = Mark("ir_datasets.json", "retrieval.adapters.ir_datasets")


def write_ir_dataset(collection: Any, output: Path, *, split: str) -> None:
    """Write a collection as a BEIR folder, whole or not at all.

    collection: a name such as "vaswani", or what `ir_datasets.load` returns.
    output: the folder; one that this function wrote is replaced.
    split: the name that its judged queries get, such as "test".
    Raises InputError for an unknown name and a collection without documents, queries or qrels, and what
    `write_beir` raises.
    """
    dataset = _loaded(collection)
    for part in ("docs", "queries", "qrels"):
        if not getattr(dataset, f"has_{part}")():
            raise InputError(f"the collection has no {part}; name one of its subsets that has")
    queries = {query.query_id: query.default_text() for query in dataset.queries_iter()}
    content = Content(_documents(dataset), queries, {split: _qrels(dataset)})
    write_beir(output, content, _MARK, {"split": split})


def _loaded(collection: Any) -> Any:
    if not isinstance(collection, str):
        return collection
    try:
        return ir_datasets.load(collection)
    except KeyError as error:
        raise InputError(f"ir_datasets has no collection {collection!r}; see its catalogue") from error


def _documents(dataset: Any) -> Iterator[Document]:
    for document in dataset.docs_iter():
        title = getattr(document, "title", None) or ""
        whole = document.default_text()
        yield Document(document.doc_id, title, whole.removeprefix(title).lstrip() if title else whole)


def _qrels(dataset: Any) -> Qrels:
    qrels: Qrels = {}
    for judged in dataset.qrels_iter():
        qrels.setdefault(judged.query_id, {})[judged.doc_id] = int(judged.relevance)
    return qrels
