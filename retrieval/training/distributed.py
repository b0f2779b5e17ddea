"""Training in several processes that take each step together, on one machine or on many.

In: the variables that torchrun sets for each process (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT). Out: the
`Ranks`, by which a process knows its share of the rows and exchanges tensors with the others over gloo. A
process that is alone exchanges nothing. Knows nothing of towers, losses or batches.

A sum over ranks gives every rank the same bits, so all take the same steps and need not compare weights.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed import distributed_c10d
from torch.distributed.rendezvous import rendezvous

from index.errors import InputError, PeerError

# A rank that is silent for this long counts as lost. A rank that dies is noticed at once. The longest wait is
# for the first rank, which reads all pairs and scores the model on dev.
_TIMEOUT = timedelta(hours=4)
# Nothing is read before all are connected: they only have to be started. torchrun waits as long.
_JOINED_WITHIN = timedelta(minutes=10)
# torch 2.14 has a public name for it, and warns of the other.
_set_timeout = getattr(distributed, "set_timeout", None) or distributed_c10d._set_pg_timeout


@dataclass(frozen=True)
class Ranks:
    """The processes of a training: which one this is, and what they exchange."""

    rank: int = 0  # from 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process reads and writes the output, and reports."""
        return self.rank == 0

    def share(self, total: int) -> slice:
        """The part of `total` rows that this rank has. Parts differ by one row at most."""
        return slice(self.rank * total // self.size, (self.rank + 1) * total // self.size)

    def sum(self, own: Tensor) -> Tensor:
        """The sum over the ranks, in place. Raises PeerError, as all below do."""
        if self.size > 1:
            with _exchanging():
                distributed.all_reduce(own)
        return own

    def any(self, own: bool) -> bool:
        """Whether it is true of any rank."""
        return bool(self.sum(torch.tensor(float(own))))

    def check_same(self, settings: bytes) -> None:
        """Raise InputError on a rank whose settings are not those of the first."""
        if self.from_first(settings) != settings:
            raise InputError(
                f"process {self.rank} has other settings than process 0; give the same command to all"
            )

    def gather(self, own: Tensor, total: int) -> Tensor:
        """The rows of all ranks, (total, d), with gradient.

        own: (n, d), the rows of `share(total)`.

        The gradient of the own rows is the sum of their gradients on all ranks, that is their gradient in the
        sum of all losses.
        """
        if self.size == 1:
            return own
        rows: Tensor = _Gather.apply(own, total, self)  # type: ignore[no-untyped-call]
        return rows

    def from_first(self, data: bytes) -> bytes:
        """The value of the first rank, on every rank."""
        if self.size == 1:
            return data
        length = int(self.sum(torch.tensor(len(data) * self.is_first)))
        content = torch.zeros(length, dtype=torch.uint8)
        if self.is_first:
            content = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        with _exchanging():
            distributed.broadcast(content, 0)
        return content.numpy().tobytes()


ALONE = Ranks()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, total: int, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        rows = own.new_zeros(total, own.shape[1])
        rows[ranks.share(total)] = own
        return ranks.sum(rows)

    @staticmethod
    def backward(ctx: Any, grad_rows: Tensor) -> tuple[Tensor, None, None]:
        whole = ctx.ranks.sum(grad_rows.clone(memory_format=torch.contiguous_format))
        return whole[ctx.ranks.share(len(whole))], None, None


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Join the processes that torchrun started; without torchrun this process is alone.

    Raises InputError if its variables are incomplete, PeerError if the others do not come within ten minutes.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield ALONE
        return
    _join()
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
    finally:
        with suppress(RuntimeError):  # the others may be gone
            distributed.destroy_process_group()


def _join() -> None:
    """Wait for all ranks, then connect them. Raises InputError, PeerError."""
    try:
        store, rank, size = next(rendezvous("env://", timeout=_JOINED_WITHIN))
        distributed.init_process_group(
            "gloo", timeout=_JOINED_WITHIN, world_size=size, rank=rank, store=store
        )
        _set_timeout(_TIMEOUT)
    except ValueError as error:
        raise InputError(
            f"WORLD_SIZE is set as torchrun does, but the rest is not ({error}); start it with torchrun"
        ) from error
    except RuntimeError as error:
        place = ":".join(os.environ.get(name, "") for name in ("MASTER_ADDR", "MASTER_PORT"))
        raise PeerError(
            f"the {os.environ['WORLD_SIZE']} processes of this training did not meet at {place} "
            f"({_reason(error)}); see that all are started, reach that address, and that its port is free"
        ) from error


def _reason(error: RuntimeError) -> str:
    """The first sentence of what gloo says, without where in its code that was."""
    return str(error).partition("\n")[0].rpartition("] ")[2].partition(". ")[0][:200].rstrip(".")


@contextmanager
def _exchanging() -> Iterator[None]:
    """Turn a failure of the network into a PeerError: the end of another process shows as one."""
    try:
        yield
    except RuntimeError as error:
        raise PeerError(
            f"another process of this training has ended or cannot be reached ({_reason(error)}); "
            "see what it said, and start all again with --resume"
        ) from error
