"""The vocabulary of a model folder: read as JSON, or, where the folder has one, from a table beside it.

In: two files. Out: a `Vocabulary`. A query needs the ids of only a few features. So the table has all ids in
order, and is mapped into memory and searched, instead of being read. It holds nothing that the JSON does not
hold, and it belongs to one JSON. If it is missing, or belongs to another JSON, the JSON is read.

vocabulary.safetensors:

    sizes        uint64 (4,)   buckets, names; bytes and CRC-32 of the JSON
    grams        uint64 (g,)   keys of the trigrams, ascending (`retrieval.text.feature_table`)
    gram_ids     int32 (g,)    their ids
    words        uint8 (b,)    the UTF-8 of the whole words, sorted
    word_starts  int64 (w + 1,)  where each begins
    word_ids     int32 (w,)    their ids
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from index.disk.files import write_atomically
from index.disk.opening import read_file
from index.disk.sorted_texts import SortedTexts
from index.errors import CorruptError
from retrieval.model.weights import read_weights, write_weights
from retrieval.text.feature_table import FeatureTable, SortedWords
from retrieval.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KINDS = {
    "sizes": np.uint64,
    "grams": np.uint64,
    "gram_ids": np.int32,
    "words": np.uint8,
    "word_starts": np.int64,
    "word_ids": np.int32,
}


def save_vocabulary(vocabulary: Vocabulary, path: Path, table: Path) -> None:
    """Write both files, each atomically. Raises StorageError.

    vocabulary: what to write.
    path: of the JSON.
    table: of the table.
    """
    content = vocabulary.to_json()
    write_atomically(path, content)
    words = vocabulary.table.sorted_words()
    sizes = [vocabulary.buckets, len(vocabulary) - vocabulary.buckets, *_digest(content)]
    write_weights(
        table,
        {
            "sizes": np.array(sizes, np.uint64),
            "grams": vocabulary.table.grams,
            "gram_ids": vocabulary.table.gram_ids,
            "words": words.texts.characters,
            "word_starts": words.texts.starts,
            "word_ids": words.ids,
        },
    )


def load_vocabulary(path: Path, table: Path) -> Vocabulary:
    """Read what `save_vocabulary` wrote, or a vocabulary without a table. Raises CorruptError, StorageError.

    path: of the JSON.
    table: of the table, which may be missing.
    """
    try:
        content = read_file(path, links=True)
        if table.is_file():
            arrays = _checked(read_weights(table), table)
            buckets, count, *digest = arrays["sizes"].tolist()
            if digest == _digest(content):
                texts = SortedTexts(arrays["words"], arrays["word_starts"])
                words = SortedWords(texts, arrays["word_ids"])
                found = FeatureTable(arrays["grams"], arrays["gram_ids"], words)
                return Vocabulary(_NamesInJson(content, count), buckets, found)
        return Vocabulary.from_json(content)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptError(f"{path}: not a vocabulary ({error}); restore the model folder") from error


class _NamesInJson(Sequence[str]):
    """The names of a vocabulary. They are read on first use, because only training needs them.

    content: the JSON.
    count: how many names it has.
    """

    def __init__(self, content: bytes, count: int) -> None:
        self._content = content
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: Any) -> Any:
        return Vocabulary.from_json(self._content).names[number]

    def __iter__(self) -> Iterator[str]:
        return iter(Vocabulary.from_json(self._content).names)


def _digest(content: bytes) -> list[int]:
    return [len(content), zlib.crc32(content)]


def _checked(arrays: Mapping[str, NDArray[Any]], path: Path) -> Mapping[str, NDArray[Any]]:
    """The arrays of the table. Raises CorruptError if they do not fit together."""
    problem = _problem(arrays)
    if problem:
        raise CorruptError(f"{path}: damaged ({problem}); restore the model folder")
    return arrays


def _problem(arrays: Mapping[str, NDArray[Any]]) -> str | None:
    if {name: array.dtype for name, array in arrays.items()} != _KINDS or any(
        array.ndim != 1 for array in arrays.values()
    ):
        return "other arrays than those of a table"
    if len(arrays["sizes"]) != 4:
        return "sizes has the wrong shape"
    starts = arrays["word_starts"]
    lengths = len(arrays["grams"]), len(starts) - 1
    if (
        lengths != (len(arrays["gram_ids"]), len(arrays["word_ids"]))
        or not len(starts)
        or starts[-1] != len(arrays["words"])
    ):
        return "arrays do not fit together"
    buckets, count = arrays["sizes"][:2].tolist()
    for ids in (arrays["gram_ids"], arrays["word_ids"]):
        if ids.size and not (buckets <= ids.min() and ids.max() < buckets + count):
            return "ids out of range"
    return None
