"""Memory that compiled loops ask for before they read it, so that they need not wait for it.

In: addresses. Importing this module needs numba. Knows nothing of what is read.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LINE_BYTES = 64  # that are fetched together


@intrinsic
def prefetch(_context: Any, _address: Any) -> Any:
    """Tell the processor to fetch a line of memory; an address that is not there is harmless."""

    def write(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        # To read; into all caches; data.
        flags = [ir.Constant(number, flag) for flag in (0, 3, 1)]
        builder.call(fetch, [builder.inttoptr(arguments[0], pointer), *flags])
        return ir.Constant(ir.IntType(8).as_pointer(), None)

    return types.void(types.int64), write
