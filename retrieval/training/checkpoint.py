"""The checkpoint of a training: one safetensors file, replaced atomically.

In and out: named tensors, and a state that JSON can hold. Knows nothing of what they mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from index.disk.files import write_atomically
from index.disk.opening import open_to_read
from index.errors import CorruptError


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Replace the checkpoint; after a crash at any moment the file holds either the old or the new one.

    path: the file.
    tensors: name to tensor.
    state: what JSON can hold; kept in the metadata of the safetensors file.
    Raises StorageError.
    """
    from safetensors.torch import save

    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(contiguous, metadata={"state": json.dumps(state)}))


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and state of a checkpoint. Raises CorruptError if the file is not one, StorageError."""
    from safetensors import SafetensorError, safe_open

    try:
        open_to_read(path).close()  # which a pipe would keep waiting
        with safe_open(path, framework="pt") as file:
            state = json.loads(file.metadata()["state"])
            return {name: file.get_tensor(name) for name in file.keys()}, state  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptError(f"{path}: not a checkpoint ({error}); delete it and train again") from error
