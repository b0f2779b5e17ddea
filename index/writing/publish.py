"""A generation put together beside the live one, and published in one atomic step.

In: the segments of the live generation that stay, and with which rows deleted; what writes a new one. Out:
the manifest of the generation that is now live. Only the holder of the writer lock may call these.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from index.disk.carried_model import model_files
from index.disk.files import list_files, remove, sha256_of, share, storing, sync_folder, write_atomically
from index.disk.folder import STAGING, Pointer, next_generation, sweep, sweep_staging, write_current
from index.disk.manifest import FORMAT_VERSION, MANIFEST, FileEntry, Manifest, SegmentEntry
from index.reader import Index
from index.segment import DELETED, Rows, Segment, share_segment
from index.values import Progress, Scalar

_DRAFT = "generation"
_MODEL = "model"


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A segment of the live generation that stays. deleted: all rows that are gone, ascending."""

    segment: Segment
    deleted: Rows

    @property
    def live(self) -> int:
        """Documents that stay."""
        return self.segment.count - len(self.deleted)


@dataclass(frozen=True, slots=True)
class Origin:
    """What a generation is of. model: the folder to carry along; source, goal: as in the manifest."""

    model: Path
    model_fingerprint: str
    dimension: int
    source: str
    goal: Mapping[str, Scalar]

    @classmethod
    def of(cls, live: Index) -> Origin:
        """That of a generation which is changed."""
        manifest = live.manifest
        return cls(
            live.model_folder,
            manifest.model_fingerprint,
            manifest.dimension,
            manifest.source,
            manifest.goal,
        )


def publish(
    index: Path,
    origin: Origin,
    live: Index | None,
    kept: Sequence[Kept],
    write: Callable[[Path], SegmentEntry] | None,
    progress: Progress,
) -> Manifest:
    """Make the next generation of the kept segments and, if there is one, of a new one; sweep the old.

    live: the generation that the kept segments are of, closed in the end; the checksums of its files are not
    computed again. write: writes the new segment into the folder it is given.
    Raises StorageError; then the last published generation stays.
    """
    draft = index / STAGING / _DRAFT
    try:
        with storing(draft):
            remove(draft)
            draft.mkdir(parents=True)
        share(origin.model, draft / _MODEL, _model_files(origin, live))
        entries = [_share(one, draft) for one in kept if one.live]
        if write is not None:
            entries.append(write(draft / _next_segment(live)))
        known = live.manifest.files if live else {}
        manifest = _manifest(index, draft, origin, entries, known, progress)
        pointer = _put_in_place(index, draft, manifest)
    except BaseException:
        with suppress(OSError):  # its room may be what the next attempt needs
            remove(draft)
        sweep_staging(index)
        raise
    write_current(index, pointer)
    sweep_staging(index)
    if live is not None:
        live.close()
    sweep(index, manifest.generation)
    return manifest


def _model_files(origin: Origin, live: Index | None) -> list[str]:
    """Of a published model only what its manifest names: the rest is not what was published."""
    if live is None:
        return model_files(origin.model)
    start = f"{_MODEL}/"
    return [name.removeprefix(start) for name in live.manifest.files if name.startswith(start)]


def _share(kept: Kept, draft: Path) -> SegmentEntry:
    entry = kept.segment.entry
    return share_segment(kept.segment.folder, draft / entry.name, entry, kept.deleted)


def _next_segment(live: Index | None) -> str:
    """A name that no segment of the live generation has, be it kept or not: its checksums are known by it."""
    segments = live.segments if live else ()
    numbers = (int(segment.entry.name.removeprefix("segment-")) for segment in segments)
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
        segments=tuple(entries),
        goal=origin.goal,
        recall={"recall@10": min(recalls)} if recalls else {},
        files=_files(draft, known, progress),
    )


def _files(draft: Path, known: Mapping[str, FileEntry], progress: Progress) -> dict[str, FileEntry]:
    with storing(draft):
        names = list_files(draft)
        entries = {}
        for done, name in enumerate(names, 1):
            path = draft / name
            if name in known and not name.endswith(DELETED):
                entries[name] = known[name]
            else:
                entries[name] = FileEntry(sha256_of(path), path.stat().st_size)
            progress("checksums", done, len(names))
    return entries


def _put_in_place(index: Path, draft: Path, manifest: Manifest) -> Pointer:
    """Write the manifest, then move the generation to its name; nothing points there yet."""
    data = manifest.to_json()
    write_atomically(draft / MANIFEST, data)
    with storing(draft):
        for folder, _, _ in os.walk(draft):
            sync_folder(Path(folder))
        draft.rename(index / manifest.generation)
        sync_folder(index)
    return Pointer(manifest.generation, hashlib.sha256(data).hexdigest())
