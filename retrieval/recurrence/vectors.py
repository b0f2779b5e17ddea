"""Vector instructions for the compiled loops, where numba does not find them by itself.

Importing this module needs numba. Knows nothing of gates and products.

A processor adds or multiplies 8 or 16 float32 numbers in one instruction if they stand in a vector register.
numba translates loops into the language of LLVM, its compiler, which uses such instructions only where it can
prove that arrays do not overlap, and which writes sums to memory at every step. So the two innermost pieces
of the layer, a tile of a matrix product and a row of cells, are written in that language directly.

How a function is written: `intrinsic_of(2, write)` makes a function of one tuple of two integers, say the
addresses of two rows. When numba compiles a loop that calls it, `write` is called once, with a `Code` and two
names that stand for the integers. Nothing is computed then. Each method of `Code` and each operator of
`Vector` appends one instruction to the function and returns a name for its result, which later ones use:

    def write(code, source, target):  # doubles as many numbers as a vector has
        code.store(code.load(source) * 2, target)

A Python loop in `write` thus repeats instructions in the function; `Code.loop` makes a loop that runs there.
Addresses are in bytes and are not checked: a wrong one reads or overwrites other memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_WIDE = bool(llvmlite.binding.get_host_cpu_features().get("avx512f"))
LANES = 16 if _WIDE else 8  # float32 numbers of a vector
REGISTERS = 32 if _WIDE else 16  # vectors that the processor holds
FLOAT_BYTES = 4

_FLOAT, _INDEX = ir.FloatType(), ir.IntType(64)
# Sums may be taken in any order, and the sign of zero is free. "fast" would also allow to assume that nothing
# is NaN; but a training that diverges is found by its NaNs.
_FLAGS = ("reassoc", "contract", "arcp", "nsz")


class Vector:
    """Float32 numbers in a register of the function that is being written; operators work on each number."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def _of(self, other: Vector | float) -> Any:
        if isinstance(other, Vector):
            return other.value
        return ir.Constant(self.value.type, [other] * self.value.type.count)

    def __add__(self, other: Vector | float) -> Vector:
        return Vector(self.builder, self.builder.fadd(self.value, self._of(other), flags=_FLAGS))

    def __rsub__(self, other: float) -> Vector:
        return Vector(self.builder, self.builder.fsub(self._of(other), self.value, flags=_FLAGS))

    def __mul__(self, other: Vector | float) -> Vector:
        return Vector(self.builder, self.builder.fmul(self.value, self._of(other), flags=_FLAGS))

    def __truediv__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.fdiv(self.value, other.value, flags=_FLAGS))

    def clamp(self, bound: float) -> Vector:
        """Each number, or the bound or its negative if that is nearer to 0; NaN stays NaN."""
        value = self.value
        for sign, limit in ((">", bound), ("<", -bound)):
            outside = self.builder.fcmp_ordered(sign, value, self._of(limit))
            value = self.builder.select(outside, self._of(limit), value)
        return Vector(self.builder, value)


class Code:
    """A function that is being written, whose arguments are integers: addresses, bytes, counts.

    builder: llvmlite's, which appends instructions to the function.
    lanes: the numbers of a vector; 1 for what is left at the end of a row.
    """

    def __init__(self, builder: Any, lanes: int = LANES) -> None:
        self.builder, self.lanes = builder, lanes
        self.vector = ir.VectorType(_FLOAT, lanes)

    def number(self, value: int) -> Any:
        """A constant integer."""
        return ir.Constant(_INDEX, value)

    def sum(self, *values: Any) -> Any:
        """The sum of integers, of which some may be constants of Python."""
        total, *others = (self.number(value) if isinstance(value, int) else value for value in values)
        for other in others:
            total = self.builder.add(total, other)
        return total

    def times(self, value: Any, factor: int) -> Any:
        """A multiple of an integer."""
        return self.builder.mul(value, self.number(factor))

    def divided(self, value: Any, divisor: int) -> Any:
        """An integer of at least 0, divided and rounded down."""
        return self.builder.udiv(value, self.number(divisor))

    def load(self, address: Any) -> Vector:
        """The vector that begins at an address."""
        pointer = self.builder.inttoptr(address, self.vector.as_pointer())
        return Vector(self.builder, self.builder.load(pointer, align=FLOAT_BYTES))

    def broadcast(self, address: Any) -> Vector:
        """A vector of one number, that at an address."""
        pointer = self.builder.inttoptr(address, _FLOAT.as_pointer())
        scalar = self.builder.load(pointer, align=FLOAT_BYTES)
        # In LLVM's language: put it into the first lane, then fill all lanes from the first.
        undefined, first = ir.Constant(self.vector, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        single = self.builder.insert_element(undefined, scalar, first)
        return Vector(self.builder, self.builder.shuffle_vector(single, undefined, lanes))

    def store(self, vector: Vector, address: Any) -> None:
        """Write a vector to where it shall begin."""
        pointer = self.builder.inttoptr(address, self.vector.as_pointer())
        self.builder.store(vector.value, pointer, align=FLOAT_BYTES)

    def loop(
        self, count: Any, step: Callable[[Any, list[Vector]], list[Vector]], sums: list[Vector]
    ) -> list[Vector]:
        """Run a step for each number from 0 to count - 1.

        In LLVM's language a name gets its value once. What changes from step to step is a "phi": a name at
        the head of the loop, whose value depends on where the head was reached from.

        count: the number of steps.
        step: writes one step. It is given the number of the step and the sums, and returns the sums after it.
        sums: their values before the first step.
        Returns the sums after the last step.
        """
        builder, before = self.builder, self.builder.block
        head, body, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        number = builder.phi(_INDEX)
        phis = [builder.phi(self.vector) for _ in sums]
        current = [Vector(builder, phi) for phi in phis]
        builder.cbranch(builder.icmp_signed("<", number, count), body, after)
        builder.position_at_end(body)
        later = step(number, current)
        following = self.sum(number, 1)
        builder.branch(head)
        number.add_incoming(self.number(0), before)
        number.add_incoming(following, builder.block)
        for phi, first, last in zip(phis, sums, later, strict=True):
            phi.add_incoming(first.value, before)
            phi.add_incoming(last.value, builder.block)
        builder.position_at_end(after)
        return current


def intrinsic_of(arguments: int, write: Callable[..., None]) -> Any:
    """A function for compiled loops. It takes one tuple of integers, and returns nothing.

    arguments: the number of integers.
    write: is given a `Code` and a name for each integer, and writes the function.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        write(Code(builder), *cgutils.unpack_tuple(builder, values[0], arguments))
        return context.get_dummy_value()

    signature = types.void(types.UniTuple(types.int64, arguments))

    @intrinsic
    def function(typing: Any, integers: Any) -> Any:
        return signature, generate

    return function
