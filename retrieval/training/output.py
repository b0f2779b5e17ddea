"""The folder that training writes: whether it may be written, and what a killed training leaves there.

config.json ...             the model, see `retrieval.model.folder`
report/                     for people
.checkpoint.safetensors     a training that was cut short
.checkpoint-1.safetensors   that of its second member, and so on; each stays until all are trained
.teacher/                   a teacher's vectors
.dev/                       the index of the dev queries' documents, while something is fitted on it
.lock                       held by the one that trains
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from index.disk.files import is_regular, remove, storing, temporary_of
from index.disk.opening import is_folder, read_file
from index.disk.writer_lock import WriterLock
from index.errors import InputError
from retrieval.model.folder import FILES
from retrieval.training.report import FOLDER

# Hidden: an index takes the visible files of a model folder into itself.
CHECKPOINT = ".checkpoint.safetensors"
TEACHER = ".teacher"
DEV = ".dev"

MOST_MEMBERS = 8
_FURTHER = tuple(f".checkpoint-{member}.safetensors" for member in range(1, MOST_MEMBERS))

_TEMPORARY = re.compile("|".join(temporary_of(name) for name in (*FILES, CHECKPOINT, *_FURTHER)))
# What every model's config has had.
_CONFIG_KEYS = frozenset({"format_version", "tower", "dimension"})


def check_model_output(folder: Path) -> None:
    """Raise InputError unless a model may be written to this folder.

    It may be new or empty, or hold a model or a training that was cut short, whose folders are not links.
    Raises StorageError if the folder cannot be read.
    """
    with storing(folder):
        for path in (folder / FOLDER, folder / TEACHER, folder / DEV):
            if os.path.lexists(path) and not is_folder(path):
                raise InputError("a link or a file where training has a folder; remove it", path=path)
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        others = [name for name in names if not _is_of_training(folder / name)]
        if not others or _has_checkpoint(folder) or _has_model(folder):
            return
    raise InputError(f"holds {others[0]!r} and is no model; choose an empty folder", path=folder)


def check_resumable(folder: Path) -> None:
    """Raise InputError if the training in this folder is complete, so that nothing is left to resume."""
    if _has_model(folder) and not _has_checkpoint(folder):
        raise InputError(
            "there is nothing to resume, its training is complete; leave --resume out to train anew",
            path=folder,
        )


def checkpoint_of(folder: Path, member: int) -> Path:
    """The checkpoint of a member of the training, from 0 to `MOST_MEMBERS` - 1."""
    return folder / (CHECKPOINT, *_FURTHER)[member]


def remove_further_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of all members but the first. Raises OSError."""
    for name in _FURTHER:
        (folder / name).unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Remove the temporary files of a training that was killed while it wrote. Raises OSError."""
    remove(folder / DEV)
    for path in folder.iterdir():
        if _TEMPORARY.fullmatch(path.name):
            path.unlink()


def _is_of_training(path: Path) -> bool:
    """Whether training leaves this beside its first checkpoint."""
    return path.name in (TEACHER, DEV, WriterLock.NAME, *_FURTHER) or bool(_TEMPORARY.fullmatch(path.name))


def _has_checkpoint(folder: Path) -> bool:
    return (folder / CHECKPOINT).exists() and is_regular(folder / CHECKPOINT)


def _has_model(folder: Path) -> bool:
    """Whether there is a model, be it of another format version."""
    if not all((folder / name).is_file() for name in (FILES.config, FILES.vocabulary, FILES.weights)):
        return False
    try:
        config = json.loads(read_file(folder / FILES.config, links=True))
    except (ValueError, RecursionError):
        return False
    return isinstance(config, dict) and config.keys() >= _CONFIG_KEYS
