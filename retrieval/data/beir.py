"""Writing a data set as a BEIR folder, whole or not at all.

In: documents, queries and qrels. Out: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv, and a file that says
which command wrote the folder, by which the same command knows a folder that it may replace. Knows nothing of
where the texts come from.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index.disk.files import storing
from index.disk.opening import create, read_file
from index.documents.store import Document
from index.errors import InputError
from retrieval.data.queries import Qrels

_HEADER = "query-id\tcorpus-id\tscore"
_BREAKS = frozenset("\t\r\n")  # no cell of a qrels file can hold them


@dataclass(frozen=True)
class Mark:
    """The file by which a command knows the folders that it wrote."""

    file: str
    made_by: str


@dataclass(frozen=True)
class Content:
    """What a BEIR folder holds."""

    documents: Iterable[Document]
    queries: Mapping[str, str]  # query id to text
    qrels: Mapping[str, Qrels]  # by split


def check_beir_output(output: Path, mark: Mark) -> None:
    """Raise InputError if the output has no name, or holds something else than a folder of this command."""
    if output.name in ("", ".."):
        raise InputError("has no name; name the folder to write", path=output)
    if output.exists() and not _may_replace(output, mark):
        raise InputError("exists and was not written by this command; choose another folder", path=output)


def write_beir(output: Path, content: Content, mark: Mark, facts: Mapping[str, Any]) -> None:
    """Write a folder beside the output, then rename it to the output.

    output: the folder; one with this mark is replaced.
    content: what it is to hold.
    mark: of the command.
    facts: what else the file of the mark says, as JSON.
    Raises what `check_beir_output` and the documents raise, and StorageError.
    """
    check_beir_output(output, mark)
    output = Path(os.path.realpath(output))
    draft = output.with_name(f".{output.name}.{os.urandom(8).hex()}.draft")
    try:
        with storing(output):
            output.parent.mkdir(parents=True, exist_ok=True)
            draft.mkdir()
            (draft / "qrels").mkdir()
            _write_content(draft, content)
            _write_lines(draft / mark.file, [json.dumps({"made_by": mark.made_by, **facts})])
            _replace(output, draft)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _may_replace(output: Path, mark: Mark) -> bool:
    return output.is_dir() and (not any(output.iterdir()) or _is_marked(output, mark))


def _is_marked(output: Path, mark: Mark) -> bool:
    """Whether this command wrote the folder; a file of another program may have the same name as the mark."""
    try:
        found = json.loads(read_file(output / mark.file))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("made_by") == mark.made_by


def _replace(output: Path, draft: Path) -> None:
    """Rename the draft to the output. An output that is not empty is renamed first, then removed."""
    if output.is_dir() and any(output.iterdir()):
        aside = output.with_name(f".{output.name}.{os.urandom(8).hex()}.old")
        output.rename(aside)
        draft.rename(output)
        shutil.rmtree(aside)
    else:
        draft.replace(output)


def _write_content(folder: Path, content: Content) -> None:
    _write_lines(folder / "corpus.jsonl", map(_document_line, content.documents))
    texts = ({"_id": query_id, "text": text} for query_id, text in content.queries.items())
    _write_lines(folder / "queries.jsonl", (json.dumps(record, ensure_ascii=False) for record in texts))
    for split, qrels in content.qrels.items():
        _write_lines(folder / "qrels" / f"{split}.tsv", [_HEADER, *_judgements(qrels)])


def _document_line(document: Document) -> str:
    record: dict[str, Any] = {"_id": document.id, "title": document.title, "text": document.text}
    if document.metadata:
        record["metadata"] = document.metadata
    return json.dumps(record, ensure_ascii=False)


def _judgements(qrels: Qrels) -> Iterator[str]:
    for query_id, grades in qrels.items():
        for document_id, grade in grades.items():
            if not _BREAKS.isdisjoint(document_id):
                raise InputError(
                    f"the document id {document_id!r} holds a tab or a line end; give it another"
                )
            yield f"{query_id}\t{document_id}\t{grade}"


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with create(path) as file:
        file.writelines(f"{line}\n".encode() for line in lines)
