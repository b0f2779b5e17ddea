"""The model inside an index: copied in full when a build begins, identified by a fingerprint.

In: a model folder. Out: its fingerprint, its file names, or a copy. Knows nothing of what the files mean.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from index.disk.checksums import sha256_of
from index.disk.files import copy_file, is_regular, list_files, storing, sync_folder
from index.errors import InputError

# Path prefixes of files in a model folder that are not part of the model.
_EXCLUDED = (".", "report/")


def fingerprint(model: Path) -> str:
    """SHA-256 over the names and contents of a model folder's files, hexadecimal.

    Hidden files do not count: training keeps its lock there. Nor does the folder `report`, which training
    writes for people.
    Raises InputError if the path is not a folder, is empty, or holds anything but regular files and folders;
    StorageError.
    """
    total = hashlib.sha256()
    for name in model_files(model):
        total.update(f"{sha256_of(model / name)} {name}\n".encode())
    return total.hexdigest()


def copy_model(model: Path, target: Path) -> None:
    """Copy a model folder's files to a new folder, durably. Raises what `fingerprint` does, StorageError."""
    names = model_files(model)
    with storing(target):
        for name in names:
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            copy_file(model / name, path)
        for folder in {(target / name).parent for name in names}:
            sync_folder(folder)


def model_files(model: Path) -> list[str]:
    """The files of a model: paths relative to the folder, "/" between folders, sorted.

    Raises what `fingerprint` does.
    """
    if not model.is_dir():
        raise InputError("not a model folder; `peephole train` makes one", path=model)
    try:
        names = [name for name in list_files(model) if not name.startswith(_EXCLUDED) and "/." not in name]
        odd = next((name for name in names if not is_regular(model / name)), None)
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror}); check its permissions", path=error.filename
        ) from error
    if odd is not None:
        raise InputError("not a regular file; a model folder may hold nothing else", path=model / odd)
    if not names:
        raise InputError("an empty folder; `peephole train` makes a model", path=model)
    return names
