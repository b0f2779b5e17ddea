"""From a corpus to an index folder: read, encode with the document tower, store; resumable at any point.

In: whatever `read_documents` reads, and a model folder. Out: a published index generation. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from index.builder import IndexBuilder
from index.documents import Document
from index.errors import InputError
from index.manifest import Manifest
from retrieval.corpus import corpus_fingerprint, read_documents
from retrieval.saved import read_model
from retrieval.text import document_text

# Documents between two checkpoints: a few seconds of work at most, and enough that syncing the disk costs
# little beside it.
_SHARD = 4096

# Stage, done, total (None when it cannot be known).
Report = Callable[[str, int, int | None], None]


def build(
    corpus: Path | str, model: Path, output: Path, *, resume: bool = False, report: Report | None = None
) -> Manifest:
    """Encode a corpus and publish it as the index folder's next generation.

    With resume=True, documents that an interrupted build of the same corpus with the same model has stored
    are not encoded again.
    Raises InputError, FormatVersionError, CorruptError, BusyError; whatever happens, the last published
    generation stays.
    """
    saved = read_model(model)
    source = corpus_fingerprint(corpus)
    if source is None and resume:
        raise InputError(
            "a build from standard input cannot be resumed; give a file, or build without --resume"
        )
    encoder = saved.encoder("document")
    documents = read_documents(corpus)
    total = count_documents(corpus)
    builder = IndexBuilder.begin(
        output,
        model=model,
        dimension=saved.config.dimension,
        source=source or "standard input",
        resume=resume,
    )
    with builder:
        for shard in _shards(islice(documents, builder.count, None)):
            texts = [document_text(document.title, document.text) for document in shard]
            builder.append(shard, encoder.encode(texts))
            if report is not None:
                report("encoding", builder.count, total)
        return builder.publish(progress=report)


def count_documents(corpus: Path | str) -> int | None:
    """How many lines a JSONL corpus has, for showing progress; None for other kinds."""
    path = Path(corpus)
    if path.is_dir():
        path = path / "corpus.jsonl"
    if path.suffix != ".jsonl" or not path.is_file():
        return None
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def _shards(documents: Iterable[Document]) -> Iterator[list[Document]]:
    stream = iter(documents)
    while shard := list(islice(stream, _SHARD)):
        yield shard
