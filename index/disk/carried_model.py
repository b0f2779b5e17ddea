"""The model an index carries: copied in whole when a build begins, known by its fingerprint.

Knows nothing of what the files mean.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from index.disk.files import is_regular, list_files, share, storing, sync_file, sync_folder
from index.errors import InputError

# What lies in a model folder and is no part of the model.
_APART = (".", "report/")


def fingerprint(model: Path) -> str:
    """SHA-256 over the names and contents of a model folder's files, hexadecimal.

    Hidden files are no part of a model: training keeps its lock there. Nor is the folder `report`, which
    training writes for people.
    Raises InputError if it is no folder, is empty, or holds anything but regular files and folders.
    """
    total = hashlib.sha256()
    for name in _files(model):
        with (model / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{digest} {name}\n".encode())
    return total.hexdigest()


def copy_model(model: Path, target: Path) -> None:
    """Copy a model folder's files to a new folder, durably. Raises what `fingerprint` does, StorageError."""
    names = _files(model)
    with storing(target):
        for name in names:
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(model / name, path, follow_symlinks=False)
            sync_file(path)
        for folder in {(target / name).parent for name in names}:
            sync_folder(folder)


def share_model(model: Path, target: Path) -> None:
    """Make a stored model part of another folder, by hard links.

    Raises what `fingerprint` does, StorageError.
    """
    share(model, target, _files(model))


def _files(model: Path) -> list[str]:
    """Paths relative to the folder, "/" between folders, in order."""
    if not model.is_dir():
        raise InputError("not a model folder; `peephole train` makes one", path=model)
    try:
        found = [name for name in list_files(model) if not name.startswith(_APART) and "/." not in name]
        odd = next((name for name in found if not is_regular(model / name)), None)
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror}); check its permissions", path=error.filename
        ) from error
    if odd is not None:
        raise InputError("not a regular file; a model folder may hold nothing else", path=model / odd)
    if not found:
        raise InputError("an empty folder; `peephole train` makes a model", path=model)
    return found
