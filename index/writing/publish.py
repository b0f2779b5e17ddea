"""Publication of a generation: it is made beside the live one and becomes live in one atomic step.

In: the segments of the live generation that stay, with their tombstones, and a function that writes a new
segment. Out: the manifest of the new live generation. Knows nothing of what a segment holds. Only the holder
of the writer lock may call these functions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from index.disk.carried_model import model_files
from index.disk.checksums import sha256_of, sha256_of_bytes
from index.disk.files import clear_away, list_files, remove, share, storing, sync_folder, write_atomically
from index.disk.folder import STAGING, Pointer, next_generation, sweep, sweep_staging, write_current
from index.disk.manifest import FORMAT_VERSION, MANIFEST, FileEntry, Manifest, SegmentEntry
from index.disk.previous import PREVIOUS, previous_json, read_previous
from index.protocol import OpenIndex
from index.segment import DELETED, Segment
from index.values import Progress, Rows, Scalar
from index.writing.segment import share_segment

_DRAFT = "generation"
_MODEL = "model"


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A segment of the live generation, with the tombstones it has in the next one."""

    segment: Segment
    deleted: Rows  # all deleted rows, ascending, not only the new ones

    @property
    def live(self) -> int:
        """Number of documents that are not deleted."""
        return self.segment.count - len(self.deleted)


@dataclass(frozen=True, slots=True)
class Origin:
    """What a generation is made from."""

    model: Path  # the folder of the model, which the generation carries
    model_fingerprint: str
    dimension: int
    source: str  # fingerprint of the corpus
    passage_words: int  # most words of a passage; 0 if documents are not split
    goal: Mapping[str, Scalar]  # as in the manifest
    columns: Mapping[str, Scalar]  # as in the manifest
    previous: tuple[Pointer, ...] = ()  # the generations that it keeps, the latest first

    @classmethod
    def of(cls, live: OpenIndex, previous: tuple[Pointer, ...] | None = None) -> Origin:
        """The origin of an open generation, for one that changes it.

        live: the generation.
        previous: the generations to keep; None for those that it keeps.
        Raises CorruptError.
        """
        manifest = live.manifest
        return cls(
            live.model_folder,
            manifest.model_fingerprint,
            manifest.dimension,
            manifest.source,
            manifest.passage_words,
            manifest.goal,
            manifest.columns,
            read_previous(live.folder, manifest) if previous is None else previous,
        )


def publish(
    index: Path,
    origin: Origin,
    live: OpenIndex | None,
    kept: Sequence[Kept],
    write: Callable[[Path], SegmentEntry] | None,
    progress: Progress,
    store: Mapping[str, Scalar] = {},
) -> Manifest:
    """Make the next generation from kept segments and at most one new segment; remove those it does not keep.

    index: folder of the index.
    origin: what the generation is made from.
    live: the generation of the kept segments, closed at the end; its checksums are not computed again.
        None for a first generation.
    kept: the segments that stay; one without live documents is left out.
    write: writes the new segment into the folder that it is called with; None for no new segment.
    progress: called during the checksums.
    store: where vectors and documents live if not in the folder, as in the manifest.
    Raises StorageError. The last published generation then stays live.
    """
    draft = index / STAGING / _DRAFT
    try:
        with storing(draft):
            remove(draft)
            draft.mkdir(parents=True)
        share(origin.model, draft / _MODEL, _model_files(origin, live))
        entries = [_share(part, draft) for part in kept if part.live]
        if write is not None:
            entries.append(write(draft / _next_segment(live)))
        if origin.previous:
            write_atomically(draft / PREVIOUS, previous_json(origin.previous))
        known = live.manifest.files if live else {}
        manifest = _manifest(index, draft, origin, entries, known, progress)._replace(store=store)
        pointer = _put_in_place(index, draft, manifest)
    except BaseException:
        clear_away(draft)  # the next attempt may need its disk space
        sweep_staging(index)
        raise
    write_current(index, pointer)
    sweep_staging(index)
    if live is not None:
        live.close()
    sweep(index, {manifest.generation, *(pointer.generation for pointer in origin.previous)})
    return manifest


def _model_files(origin: Origin, live: OpenIndex | None) -> list[str]:
    """The files of the model; of a published one, only those that its manifest names."""
    if live is None:
        return model_files(origin.model)
    start = f"{_MODEL}/"
    return [name.removeprefix(start) for name in live.manifest.files if name.startswith(start)]


def _share(kept: Kept, draft: Path) -> SegmentEntry:
    entry = kept.segment.entry
    return share_segment(kept.segment.folder, draft / entry.name, entry, kept.deleted)


def _next_segment(live: OpenIndex | None) -> str:
    """A name that no live segment has, kept or not: known checksums are looked up by file name."""
    entries = live.manifest.segments if live else ()
    numbers = (int(entry.name.removeprefix("segment-")) for entry in entries)
    return f"segment-{max(numbers, default=0) + 1:06}"


def _manifest(
    index: Path,
    draft: Path,
    origin: Origin,
    entries: Sequence[SegmentEntry],
    known: Mapping[str, FileEntry],
    progress: Progress,
) -> Manifest:
    recalls = [
        float(entry.parameters["recall@10"] or 0) for entry in entries if "recall@10" in entry.parameters
    ]
    return Manifest(
        format_version=FORMAT_VERSION,
        generation=next_generation(index),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        documents=sum(entry.live for entry in entries),
        dimension=origin.dimension,
        model_fingerprint=origin.model_fingerprint,
        source=origin.source,
        passage_words=origin.passage_words,
        segments=tuple(entries),
        goal=origin.goal,
        recall={"recall@10": min(recalls)} if recalls else {},
        files=_files(draft, known, progress),
        columns=origin.columns,
    )


def _files(draft: Path, known: Mapping[str, FileEntry], progress: Progress) -> dict[str, FileEntry]:
    with storing(draft):
        names = list_files(draft)
        entries = {}
        for done, name in enumerate(names, 1):
            path = draft / name
            if name in known and not name.endswith((DELETED, PREVIOUS)):
                entries[name] = known[name]
            else:
                entries[name] = FileEntry(sha256_of(path), path.stat().st_size)
            progress("checksums", done, len(names))
    return entries


def _put_in_place(index: Path, draft: Path, manifest: Manifest) -> Pointer:
    """Write the manifest, then rename the draft to the generation; CURRENT does not name it yet."""
    data = manifest.to_json()
    write_atomically(draft / MANIFEST, data)
    with storing(draft):
        for folder, _, _ in os.walk(draft):
            sync_folder(Path(folder))
        draft.rename(index / manifest.generation)
        sync_folder(index)
    return Pointer(manifest.generation, sha256_of_bytes(data))
