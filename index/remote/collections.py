"""The collections of an index on a server: their names, their owner, and which are still needed.

In: an index folder, the address of its name, a server. Out: names; what no generation needs is removed.

A collection is named NAME_OWNER_SUFFIX after the address's name, a mark of the index, and the number of the
generation that it was made for. An index and its candidate (index/disk/folder.py) have the same mark.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from index.disk.files import write_atomically
from index.disk.folder import CANDIDATE, LEARNING, STAGING, home_of, is_index, next_generation, read_current
from index.disk.manifest import MANIFEST, Manifest
from index.disk.opening import read_file
from index.errors import CorruptError, FormatVersionError, InputError, PeepholeError
from index.remote.address import Address
from index.remote.client import Server

# In the staging folder of a candidate: the collection that is being filled for it.
_FILLED = "collection"


def owner_of(folder: Path, address: Address, server: Server) -> str:
    """The mark of an index's collections; a new one for a new index.

    Raises InputError if the name belongs to another index, or to a collection that is not ours.
    """
    own = {match[1] for name in _named(home_of(folder)) if (match := _pattern(address).fullmatch(name))}
    if address.name in server.collections():
        raise InputError(f"{address}: a collection that peephole did not make; choose another name")
    target = server.target_of(address.name)
    match = None if target is None else _pattern(address).fullmatch(target)
    if target is not None and (match is None or match[1] not in own):
        raise InputError(
            f"{address}: belongs to another index, or to one whose folder was removed; choose another name, "
            f"or remove the alias {address.name} and the collection {target} from the server"
        )
    return min(own) if own else os.urandom(4).hex()


def new_collection(folder: Path, address: Address, server: Server, owner: str) -> str:
    """The name of a collection for the next generation of a folder. What a killed build has left is removed.

    The name of a candidate's collection is written to the candidate's staging folder, which must exist.
    Otherwise a writer of the index could remove the collection, because nothing published names it.
    Raises RemoteError, StorageError.
    """
    if home_of(folder) == folder:
        sweep(folder, address, server, owner)
        return f"{address.name}_{owner}_{next_generation(folder).removeprefix('generation-')}"
    left = _filled(folder)
    if (match := _pattern(address).fullmatch(left)) and match[1] == owner:
        server.drop(left)
    name = f"{address.name}_{owner}_learnt{os.urandom(4).hex()}"
    write_atomically(folder / STAGING / _FILLED, name.encode())
    return name


def settle(folder: Path, address: Address, server: Server, owner: str, name: str) -> None:
    """Move the alias to the live collection of an index and remove the collections that it does not need.

    Does nothing for a candidate. Raises RemoteError.
    """
    if home_of(folder) != folder:
        return
    if server.target_of(address.name) != name:
        server.point(address.name, name)
    sweep(folder, address, server, owner)


def sweep(folder: Path, address: Address, server: Server, owner: str) -> None:
    """Remove the collections of this index, and of killed first builds, that no generation names."""
    there = server.collections()  # before the folder is read: what is made later is not looked at
    needed, target = _named(folder), server.target_of(address.name)
    for name in there:
        match = _pattern(address).fullmatch(name)
        if match and name not in needed and name != target and (match[1] == owner or target is None):
            server.drop(name)


def is_needed(folder: Path, name: str) -> bool:
    """Whether a generation in this folder names the collection."""
    return name in _of_generations(folder)


def _pattern(address: Address) -> re.Pattern[str]:
    return re.compile(rf"{re.escape(address.name)}_([0-9a-f]{{8}})_[0-9a-z]{{6,}}")


def _named(folder: Path) -> set[str]:
    """The collections that an index needs: of its generations, live, kept or held, and of its candidate."""
    candidate = folder / LEARNING / CANDIDATE
    names = {*_of_generations(folder), _filled(candidate)}
    with suppress(PeepholeError):  # it is being removed, or is none that could be published
        names |= {*_of_generations(candidate)}
    return names - {""}


def _of_generations(folder: Path) -> Iterator[str]:
    if not is_index(folder):
        return
    live = read_current(folder).generation
    for path in folder.glob(f"generation-*/{MANIFEST}"):
        try:
            store = Manifest.from_json(read_file(path)).store
        except (OSError, CorruptError, FormatVersionError):
            if path.parent.name == live:
                raise
            continue
        yield str(store.get("collection", ""))


def _filled(candidate: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return read_file(candidate / STAGING / _FILLED).decode()
    return ""
