"""The manifest: one JSON file that says what a generation of an index holds. It is read strictly.

In and out: bytes of JSON. It lists every other file of the generation with size and SHA-256. Its own SHA-256
is in the pointer file CURRENT (index/disk/folder.py), so every byte of an index is covered by a checksum.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from index.disk.checksums import is_sha256
from index.errors import CorruptError, FormatVersionError
from index.values import Scalar

FORMAT_VERSION = 5
# Format 2 had no passages: every document has one vector. Format 3 had no word vectors, format 4 no known
# queries.
FORMATS = (2, 3, 4, FORMAT_VERSION)
MANIFEST = "manifest.json"
_OPTIONAL = ("store", "columns")  # left out of the file if they are empty

_MOST_ROWS = 2**31 - 1  # rows are stored in 32 bits
_MOST_WIDTH = 65_536  # of a word's vector
_MOST = 2**63 - 1  # counts and sizes fit in signed 64 bits
_NONE: Mapping[str, Any] = MappingProxyType({})
_SHOWN = 80  # characters of an unexpected key or value that an error shows


class FileEntry(NamedTuple):
    """A file of the generation. sha256: hexadecimal. bytes: its size."""

    sha256: str
    bytes: int


class SegmentEntry(NamedTuple):
    """A segment: documents that were written together. Its rows follow those of the segments before it.

    name: its folder.
    documents: its rows, deleted ones included.
    vectors: one for each passage of these documents.
    deleted: its tombstones: rows whose documents were deleted or replaced.
    faiss: FAISS's description of its dense index, such as "Flat".
    parameters: search settings of the dense index and the recall measured with them; empty for "Flat".
    bm25: k1, b and the version of the tokeniser.
    words: tokens in its documents.
    tried: what tuning measured, one mapping a candidate.
    word_width: width of the vectors of its documents' words (index/interaction); 0 if it has none.
    """

    name: str
    documents: int
    vectors: int
    deleted: int
    faiss: str
    parameters: Mapping[str, Scalar]
    bm25: Mapping[str, Scalar]
    words: int
    tried: tuple[Mapping[str, Scalar], ...] = ()
    word_width: int = 0

    @property
    def live(self) -> int:
        """Documents that a search can find."""
        return self.documents - self.deleted


class Manifest(NamedTuple):
    """A generation of an index.

    format_version: of the folder's format when it was written.
    generation: its name, which is its folder's.
    created: UTC, ISO 8601.
    documents: how many a search can find.
    dimension: width of the vectors.
    model_fingerprint: of the model that encoded the vectors.
    source: fingerprint of the corpus it was built from.
    passage_words: most words of a passage; 0 if documents are not split.
    segments: in the order of their rows.
    goal: what tuning had to reach, by name.
    recall: measured against exact search, by name; empty while every segment is exact.
    files: by path relative to the generation, "/" between folders.
    store: where vectors and documents live if not in these files: "address" and "collection"; empty
        otherwise, and then left out of the file.
    columns: by which columns the table was read that it was built from, role to a text for people; empty for
        what is no table, and then left out of the file.
    """

    format_version: int
    generation: str
    created: str
    documents: int
    dimension: int
    model_fingerprint: str
    source: str
    passage_words: int
    segments: tuple[SegmentEntry, ...]
    goal: Mapping[str, Scalar] = _NONE
    recall: Mapping[str, float] = _NONE
    files: Mapping[str, FileEntry] = _NONE
    store: Mapping[str, Scalar] = _NONE
    columns: Mapping[str, Scalar] = _NONE

    def size_bytes(self) -> int:
        """Bytes of all files that are listed: the generation without its manifest."""
        return sum(entry.bytes for entry in self.files.values())

    def to_json(self) -> bytes:
        """UTF-8 JSON; the same manifest gives the same bytes. Raises ValueError for NaN."""
        return (json.dumps(self.as_values(), indent=2, sort_keys=True, allow_nan=False) + "\n").encode()

    def as_values(self) -> dict[str, Any]:
        """The manifest as JSON has it: objects and lists."""
        values = self._asdict() | {
            "segments": [segment._asdict() for segment in self.segments],
            "goal": dict(self.goal),
            "recall": dict(self.recall),
            "files": {name: entry._asdict() for name, entry in self.files.items()},
        }
        for name in _OPTIONAL:
            values[name] = dict(values[name])
            if not values[name]:
                del values[name]
        return values

    @classmethod
    def from_json(cls, data: bytes, *, place: object = MANIFEST) -> Manifest:
        """Read a manifest. place: what errors call it.

        Raises FormatVersionError for a manifest of another version, CorruptError for anything unexpected: an
        unknown or missing key, a value of the wrong type, NaN, a path that leaves the generation.
        """
        try:
            content = json.loads(data, parse_constant=_refuse_constant)
            version = content["format_version"] if isinstance(content, dict) else None
            if version not in FORMATS and type(version) is int:
                readable = f"{', '.join(map(str, FORMATS[:-1]))} and {FORMATS[-1]}"
                raise FormatVersionError(
                    f"{place}: format version {version}, this program reads {readable}; "
                    "build the index again, or use the version of peephole that wrote it"
                )
            return _manifest(_upgraded(content) if version in FORMATS else content)
        except (ValueError, KeyError, RecursionError) as error:
            problem = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise CorruptError(f"{place}: {problem}; restore the file or build the index again") from error


def _upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """A manifest of any format in the form of the newest."""
    if content["format_version"] in (4, FORMAT_VERSION):  # 4 differs in files of segments alone
        return content
    segments = [_mapping("segment", segment) for segment in _list("segments", content["segments"])]
    if content["format_version"] == 2:
        content = {"passage_words": 0, **content}
        segments = [{"vectors": segment["documents"], **segment} for segment in segments]
    return content | {"segments": [{"word_width": 0, **segment} for segment in segments]}


def _manifest(content: object) -> Manifest:
    values = _values(Manifest, {**{name: {} for name in _OPTIONAL}, **_mapping("Manifest", content)})
    files = _mapping("files", values["files"])
    recall = _mapping("recall", values["recall"])
    if not all(type(value) in (int, float) and 0 <= value <= 1 for value in recall.values()):
        raise ValueError("recall holds something other than numbers from 0 to 1")
    manifest = Manifest(
        format_version=_count("format_version", values["format_version"]),
        generation=_text("generation", values["generation"]),
        created=_text("created", values["created"]),
        documents=_count("documents", values["documents"], most=_MOST_ROWS),
        dimension=_count("dimension", values["dimension"], least=1, most=_MOST_ROWS),
        model_fingerprint=_text("model_fingerprint", values["model_fingerprint"]),
        source=_text("source", values["source"]),
        passage_words=_count("passage_words", values["passage_words"], most=_MOST_ROWS),
        segments=tuple(_segment(segment) for segment in _list("segments", values["segments"])),
        goal=_numbers("goal", values["goal"], "recall", "max_bytes", "max_latency_ms"),
        recall={name: float(value) for name, value in recall.items()},
        files={check_relative(name): _file(entry) for name, entry in files.items()},
        store=_scalars("store", values["store"]),
        columns=_scalars("columns", values["columns"]),
    )
    names = [segment.name for segment in manifest.segments]
    if len(set(names)) < len(names):
        raise ValueError("segments holds a name twice")
    if manifest.documents != sum(segment.live for segment in manifest.segments):
        raise ValueError("the segments' documents do not add up")
    return manifest


def _segment(content: object) -> SegmentEntry:
    values = _values(SegmentEntry, content)
    name = _text("segment name", values["name"])
    if len(digits_after("segment-", name)) != 6:
        raise ValueError(f"{name[:_SHOWN]!r} is no segment name")
    documents = _count(f"documents of {name}", values["documents"], least=1, most=_MOST_ROWS)
    vectors = _count(f"vectors of {name}", values["vectors"], least=documents, most=_MOST_ROWS)
    deleted = _count(f"deleted of {name}", values["deleted"])
    if deleted > documents:
        raise ValueError(f"{name} has fewer documents than were deleted")
    return SegmentEntry(
        name=name,
        documents=documents,
        vectors=vectors,
        deleted=deleted,
        faiss=_text("faiss", values["faiss"]),
        parameters=_parameters(values["parameters"]),
        bm25=_scalars("bm25", values["bm25"]),
        words=_count("words", values["words"]),
        word_width=_count("word_width", values["word_width"], most=_MOST_WIDTH),
        tried=tuple(_scalars("tried", entry) for entry in _list("tried", values["tried"])),
    )


def _parameters(content: object) -> Mapping[str, Scalar]:
    of_servers = ("ef", "nprobe", "search_list")  # index/remote/tuning.py
    parameters = _numbers("parameters", content, "parts", "depth", "recall@10", *of_servers)
    for key in ("parts", "depth"):
        if parameters.get(key) is not None:
            _count(f"{key} of parameters", parameters[key], most=_MOST_ROWS)
    return parameters


def _file(content: object) -> FileEntry:
    values = _values(FileEntry, content)
    digest = _text("sha256", values["sha256"])
    if not is_sha256(digest):
        raise ValueError(f"{digest[:_SHOWN]!r} is no SHA-256")
    return FileEntry(digest, _count("bytes", values["bytes"]))


def digits_after(prefix: str, name: str) -> str:
    """The digits 0 to 9 that follow a prefix, if a name is nothing else; "" for any other name.

    >>> digits_after("segment-", "segment-000001"), digits_after("segment-", "segment-1.tmp")
    ('000001', '')
    """
    # No pattern: compiling one takes a search from the shell as long as reading the manifest.
    digits = name.removeprefix(prefix)
    return digits if name == prefix + digits and set("0123456789").issuperset(digits) else ""


def check_relative(name: str) -> str:
    """Return the path if it is plain and stays inside its folder; raise ValueError otherwise."""
    inside = {"", ".", ".."}.isdisjoint(name.split("/")) and "\0" not in name
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # a lone surrogate, which JSON can spell
        inside = False
    if not inside:
        raise ValueError(f"{name[:_SHOWN]!a} is no path inside the index")
    return name


def _values(kind: type[Any], content: object) -> Mapping[str, Any]:
    mapping = _mapping(kind.__name__, content)
    expected = set(kind._fields)
    for name in sorted(expected ^ mapping.keys()):
        known = name in expected
        raise ValueError(f"{kind.__name__} lacks {name!r}" if known else f"unknown key {name[:_SHOWN]!r}")
    return mapping


def _mapping(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not an object")
    return value


def _list(name: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name} is not a list")
    return value


def _scalars(name: str, value: object) -> Mapping[str, Scalar]:
    mapping = _mapping(name, value)
    for key, item in mapping.items():
        if not (item is None or isinstance(item, str | int | float)):
            raise ValueError(f"{name} holds something other than plain values under {key[:_SHOWN]!a}")
        if isinstance(item, float) and not math.isfinite(item):  # JSON can spell infinity as 1e999
            raise ValueError(f"{name} holds too large a number under {key[:_SHOWN]!a}")
    return mapping


def _numbers(name: str, value: object, *keys: str) -> Mapping[str, Scalar]:
    """Plain values; those under the given keys are null or numbers of at least 0."""
    mapping = _scalars(name, value)
    for key in keys:
        item = mapping.get(key)
        if item is not None and (isinstance(item, bool | str) or item < 0):
            raise ValueError(f"{name} holds something other than a number from 0 under {key!r}")
    return mapping


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a text")
    return value


def _count(name: str, value: object, *, least: int = 0, most: int = _MOST) -> int:
    if type(value) is not int or value < least:
        raise ValueError(f"{name} is not a whole number from {least}")
    if value > most:
        raise ValueError(f"{name} is more than {most}")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not allowed")
