"""Encode on many machines with Ray: files, with a task and a file of vectors for each; or texts of a build.

In: a pattern of files and a model folder; or lists of texts. Out: a folder of Parquet files; or embeddings.
A task is repeated elsewhere if its process or machine dies; a run that was killed is resumed by file. The
machines need this package, and reach the files under the same names; the model is sent to them. ray, which
the extra `ray` brings, is imported here alone. Knows nothing of how a file is encoded.

A build must read every document in any case, to store it. So it sends texts out and gets vectors back. Its
shards, their order and what a resumed build keeps are those of a build without Ray, and the work on one large
file is shared, too.

Ray Data was tried instead (benchmarks/NOTES.md): small files became one block without further settings, and
its own resume hung.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from index.cores import cores
from index.disk.carried_model import fingerprint, model_files
from index.errors import InputError, PeepholeError, PeerError, needing
from index.values import Progress, Vectors, no_progress
from retrieval.data.locations import Location, matching_files
from retrieval.indexing.arrow_files import (
    EncodedFile,
    Settings,
    encode_file,
    remove_temporaries,
    target_of,
)
from retrieval.indexing.passages import passage_words_of
from retrieval.model.config import Side
from retrieval.model.encoder import Encoder
from retrieval.model.folder import read_model

with needing("ray"):
    import ray

# "local" starts Ray on this machine for as long as the work takes.
LOCAL = "local"
# How often the start is tried, in case the machine is so busy that Ray gives up.
_STARTS = 4
# Seconds within which a cluster elsewhere must take a connection.
_REACHED_WITHIN = 10
# Lists of texts that a build has encoded at the same time.
_MOST_AT_ONCE = 32


@dataclass(frozen=True)
class EncodedFiles:
    """What `encode_files` did. The names of the fields are keys of the JSON that `peephole encode` prints."""

    side: Side
    files: int
    kept: int  # files of these that were there from an earlier run
    texts: int
    vectors: int
    dimension: int


def encode_files(
    pattern: str,
    model: Path,
    output: str,
    address: str,
    side: Side = "document",
    *,
    passage_words: int = 0,
    resume: bool = False,
    progress: Progress = no_progress,
) -> EncodedFiles:
    """Write the vectors of all files that a pattern matches, each in a task of a Ray cluster.

    pattern: as for `matching_files`. Paths and URLs must mean the same on all machines.
    model: the model folder.
    output: the folder or URL of the files of vectors, which are named as the files of documents.
    address: of the cluster, or `LOCAL`.
    side: "document" or "query".
    passage_words: as for `encode`.
    resume: keep files that an earlier run with the same model and settings has finished.
    progress: called as files are done.
    Raises InputError, StorageError, PeerError for a cluster that cannot be reached; and at the end, when all
    other files are done, InputError if files could not be encoded.
    """
    saved = read_model(model)
    saved.encoder(side)
    settings = Settings(fingerprint(model), side, passage_words_of(saved.config, passage_words, side))
    jobs = _jobs(pattern, output)
    done: list[EncodedFile] = []
    problems: list[str] = []
    with _cluster(address):
        packed = _packed(model)
        task = ray.remote(num_cpus=1, max_retries=3)(_encode)
        waiting = {
            task.remote(packed, settings, source, target, resume): source for source, target in jobs.items()
        }
        while waiting:
            (ready,), _ = ray.wait(list(waiting), num_returns=1)
            outcome = _outcome(ready, waiting.pop(ready))
            if isinstance(outcome, EncodedFile):
                done.append(outcome)
            else:
                problems.append(outcome)
            progress("encoding files", len(jobs) - len(waiting), len(jobs))
    remove_temporaries(output)
    if problems:
        more = f" (and {len(problems) - 1:,} more)" if len(problems) > 1 else ""
        if side == "query":
            more += "; with --ray queries are records with _id and text, other files of them go without it"
        raise InputError(
            f"{len(problems):,} of {len(jobs):,} files could not be encoded: {problems[0]}{more}; "
            "then run again with --resume"
        )
    return EncodedFiles(
        side,
        len(done),
        sum(file.kept for file in done),
        sum(file.texts for file in done),
        sum(file.vectors for file in done),
        saved.config.dimension,
    )


@contextmanager
def ray_workers(address: str, model: Path) -> Iterator[RayWorkers]:
    """The cores of a Ray cluster as workers of `encode_shards`, within the block.

    address: of the cluster, or `LOCAL`.
    model: the model folder.
    Raises PeerError for a cluster that cannot be reached, and for one that fails within the block.
    """
    with _cluster(address):
        try:
            yield RayWorkers(model)
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise PeerError(
                f"{address}: the Ray cluster could not encode ({type(error).__name__}: {reason}); check that "
                "its machines have peephole, and run again with --resume"
            ) from error


class RayWorkers:
    """The cores of the cluster that this process has joined."""

    def __init__(self, model: Path) -> None:
        self._key, self._packed = fingerprint(model), _packed(model)
        self._task = ray.remote(num_cpus=1, max_retries=3)(_encode_texts)

    @property
    def count(self) -> int:
        """The cores of the cluster, which may grow; at most as many as one process can read and store for."""
        untyped: Any = ray
        return min(_MOST_AT_ONCE, max(1, int(untyped.cluster_resources().get("CPU", 1))))

    def submit(self, texts: Sequence[str]) -> Future[Vectors | None]:
        """The embeddings of the documents with these texts."""
        future: Future[Any] = self._task.remote(self._packed, self._key, texts).future()
        return future


def _packed(model: Path) -> Any:
    """The files of a model in the memory of the cluster."""
    return ray.put({name: (model / name).read_bytes() for name in model_files(model)})


def _jobs(pattern: str, output: str) -> dict[Location, Location]:
    """Each source with its target. Raises InputError if two would have the same."""
    jobs = {source: target_of(source, output) for source in matching_files(pattern)}
    for target, count in Counter(jobs.values()).items():
        if count > 1:
            raise InputError("two files would have their vectors there; rename one", path=str(target))
    if any(str(source) == str(target) for source, target in jobs.items()):
        raise InputError("holds the files to encode; choose another folder", path=output)
    return jobs


@contextmanager
def _cluster(address: str) -> Iterator[None]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it may report its use over the network
    for start in range(_STARTS):
        try:
            _join(address)
            break
        except Exception as error:  # as Ray raises when its processes take more than 30 s to start
            ray.shutdown()
            if address == LOCAL and start < _STARTS - 1:
                continue
            reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[0]
            raise PeerError(
                f"{address}: no Ray cluster can be reached there ({reason}); check `ray status`, or "
                "give local"
            ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _join(address: str) -> None:
    is_local = address == LOCAL
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdigit():  # Ray asks for minutes where nobody listens
        socket.create_connection((host, int(port)), _REACHED_WITHIN).close()
    ray.init(
        address=address,
        num_cpus=cores() if is_local else None,
        # Ray's web page and messages on standard error are for people who run a cluster.
        include_dashboard=False if is_local else None,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def _outcome(ready: Any, source: Location) -> EncodedFile | str:
    """What a task returned, or why it could not."""
    try:
        outcome: EncodedFile | str = ray.get(ready)
        return outcome
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        return f"{source}: its process failed ({type(error).__name__}: {reason})"


class _Unpacked:
    """A model that was sent to this process of the cluster."""

    def __init__(self, files: dict[str, bytes]) -> None:
        # Ray kills its processes, which then remove nothing. Files that are mapped can be read when they are
        # removed, except on Windows, where they stay.
        with tempfile.TemporaryDirectory(prefix="peephole-model-", ignore_cleanup_errors=True) as folder:
            for name, content in files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self.model = read_model(Path(folder))

    @cached_property
    def document_tower(self) -> Encoder:
        """The document tower, the same for all texts, because it remembers the words that it has seen."""
        tower = self.model.encoder("document")
        tower.expect_many()
        return tower


# The last model, by its fingerprint.
_unpacked: dict[str, _Unpacked] = {}


def _encode(
    files: dict[str, bytes], settings: Settings, source: Location, target: Location, resume: bool
) -> EncodedFile | str:
    """Encode a file in a process of the cluster. What a person can remedy is returned as text."""
    try:
        return encode_file(source, target, _model(files, settings.model).model, settings, resume=resume)
    except PeepholeError as error:
        return str(error)


def _encode_texts(files: dict[str, bytes], key: str, texts: Sequence[str]) -> Vectors:
    """Encode texts of documents in a process of the cluster."""
    return _model(files, key).document_tower.encode(texts)


def _model(files: dict[str, bytes], key: str) -> _Unpacked:
    if key not in _unpacked:
        _unpacked.clear()
        _unpacked[key] = _Unpacked(files)
    return _unpacked[key]
