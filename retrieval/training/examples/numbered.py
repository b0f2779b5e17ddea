"""The numbered data set that training works on, the same on every rank.

In: the numbered data set of the first rank. Out: the same on each rank, with its arrays in files (see
`retrieval.training.examples.mapping`). So only one process reads the data set, which need not be on the
other machines, and no process holds it in memory while it trains. Knows nothing of data sets.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from retrieval.text.vocabulary import Ragged, Vocabulary
from retrieval.training.distillation import TeacherVectors
from retrieval.training.distributed import Ranks
from retrieval.training.examples.mapping import mapped_arrays
from retrieval.training.examples.training_set import TrainingSet


@dataclass(frozen=True)
class Numbered:
    """A numbered data set."""

    vocabulary: Vocabulary
    data: TrainingSet
    teacher: TeacherVectors | None  # by rows of `data`
    dev_queries: int  # how many there are; the first rank has them
    fingerprint: str  # of all that decides the outcome of the training


def shared(numbered: Numbered | None, ranks: Ranks, folder: Path | None) -> Numbered:
    """The numbered data set of the first rank, on every rank.

    numbered: that of the first rank; the others give None.
    ranks: the processes, all of which call this.
    folder: where the files are; None for the system's folder of temporary files.
    Raises StorageError, PeerError.
    """
    told = b"" if numbered is None else json.dumps(_facts(numbered)).encode()
    facts = json.loads(ranks.from_first(told))
    arrays = mapped_arrays({} if numbered is None else _arrays(numbered), ranks, folder)
    parts: dict[str, Any] = {
        field.name: Ragged(arrays[f"{field.name}.values"], arrays[f"{field.name}.offsets"])
        if f"{field.name}.values" in arrays
        else arrays.get(field.name)
        for field in fields(TrainingSet)
    }
    teacher = None
    if "teacher.documents" in arrays:
        teacher = TeacherVectors(arrays["teacher.documents"], arrays["teacher.queries"])
    return Numbered(
        Vocabulary(tuple(facts["names"]), facts["buckets"]),
        TrainingSet(**parts | {"judged_pairs": facts["judged_pairs"]}),
        teacher,
        facts["dev_queries"],
        facts["fingerprint"],
    )


def _facts(numbered: Numbered) -> dict[str, Any]:
    """The values that are no arrays."""
    return {
        "names": numbered.vocabulary.names,
        "buckets": numbered.vocabulary.buckets,
        "judged_pairs": numbered.data.judged_pairs,
        "dev_queries": numbered.dev_queries,
        "fingerprint": numbered.fingerprint,
    }


def _arrays(numbered: Numbered) -> dict[str, NDArray[Any]]:
    values = {field.name: getattr(numbered.data, field.name) for field in fields(TrainingSet)}
    lists = {name: value for name, value in values.items() if isinstance(value, Ragged)}
    arrays = {name: value for name, value in values.items() if name not in lists and name != "judged_pairs"}
    for name, value in lists.items():
        arrays |= {f"{name}.values": value.values, f"{name}.offsets": value.offsets}
    if numbered.teacher is not None:
        arrays["teacher.documents"] = numbered.teacher.documents
        arrays["teacher.queries"] = numbered.teacher.queries
    return arrays
