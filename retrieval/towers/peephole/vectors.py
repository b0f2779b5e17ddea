"""Vector instructions for the compiled loops, written as vectors of LLVM's intermediate language.

Importing this module needs numba. A compiler of loops has to prove that arrays do not overlap before it uses
vectors, and does not keep sums in registers. Here both are said.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_FEATURES = llvmlite.binding.get_host_cpu_features()
_WIDE = bool(_FEATURES.get("avx512f"))
LANES = 16 if _WIDE else 8  # float32 numbers of a vector
REGISTERS = 32 if _WIDE else 16

_FLOAT, _INDEX = ir.FloatType(), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, LANES)
_FLAGS = ("fast",)


class Vector:
    """A vector of `LANES` float32 numbers in a function that is being written; Python's operators work."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def _of(self, other: Vector | float) -> Any:
        return other.value if isinstance(other, Vector) else ir.Constant(_VECTOR, [other] * LANES)

    def __add__(self, other: Vector | float) -> Vector:
        return Vector(self.builder, self.builder.fadd(self.value, self._of(other), flags=_FLAGS))

    def __sub__(self, other: Vector | float) -> Vector:
        return Vector(self.builder, self.builder.fsub(self.value, self._of(other), flags=_FLAGS))

    def __rsub__(self, other: float) -> Vector:
        return Vector(self.builder, self.builder.fsub(self._of(other), self.value, flags=_FLAGS))

    def __mul__(self, other: Vector | float) -> Vector:
        return Vector(self.builder, self.builder.fmul(self.value, self._of(other), flags=_FLAGS))

    def __truediv__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.fdiv(self.value, other.value, flags=_FLAGS))

    def clamp(self, bound: float) -> Vector:
        """Each number, or the bound or its negative if that is nearer to 0."""
        value = self.value
        for sign, limit in (("<", bound), (">", -bound)):
            inside = self.builder.fcmp_ordered(sign, value, self._of(limit), flags=_FLAGS)
            value = self.builder.select(inside, value, self._of(limit))
        return Vector(self.builder, value)


class Code:
    """A function that is being written, whose arguments are integers: addresses, distances, counts."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def number(self, value: int) -> Any:
        """A constant."""
        return ir.Constant(_INDEX, value)

    def place(self, address: Any, *distances: Any) -> Any:
        """The address that is so many bytes further on."""
        for distance in distances:
            step = self.number(distance) if isinstance(distance, int) else distance
            address = self.builder.add(address, step)
        return address

    def times(self, value: Any, factor: int) -> Any:
        """A multiple of an integer."""
        return self.builder.mul(value, self.number(factor))

    def divided(self, value: Any, divisor: int) -> Any:
        """An integer, divided without a remainder."""
        return self.builder.sdiv(value, self.number(divisor))

    def load(self, address: Any) -> Vector:
        """The vector that begins at an address."""
        pointer = self.builder.inttoptr(address, _VECTOR.as_pointer())
        return Vector(self.builder, self.builder.load(pointer, align=4))

    def spread(self, address: Any) -> Vector:
        """The number at an address in all lanes."""
        scalar = self.builder.load(self.builder.inttoptr(address, _FLOAT.as_pointer()), align=4)
        undefined, zero = ir.Constant(_VECTOR, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        single = self.builder.insert_element(undefined, scalar, zero)
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return Vector(self.builder, self.builder.shuffle_vector(single, undefined, lanes))

    def store(self, vector: Vector, address: Any) -> None:
        """Write a vector to where it shall begin."""
        self.builder.store(vector.value, self.builder.inttoptr(address, _VECTOR.as_pointer()), align=4)

    def loop(
        self, count: Any, step: Callable[[Any, list[Vector]], list[Vector]], sums: list[Vector]
    ) -> list[Vector]:
        """Run a step for each number from 0 to count - 1, at least once.

        count: the number of steps.
        step: is given the number of the step and the sums, and returns the sums after it.
        sums: their values before the first step.
        Returns the sums after the last step.
        """
        builder, before = self.builder, self.builder.block
        body, after = builder.append_basic_block("loop"), builder.append_basic_block("after")
        builder.branch(body)
        builder.position_at_end(body)
        number = builder.phi(_INDEX)
        phis = [builder.phi(_VECTOR) for _ in sums]
        found = step(number, [Vector(builder, phi) for phi in phis])
        following = builder.add(number, self.number(1))
        for phi, first, later in zip(
            (number, *phis), (self.number(0), *_values(sums)), (following, *_values(found)), strict=True
        ):
            phi.add_incoming(first, before)
            phi.add_incoming(later, body)
        builder.cbranch(builder.icmp_signed("<", following, count), body, after)
        builder.position_at_end(after)
        return found


def _values(vectors: list[Vector]) -> list[Any]:
    return [vector.value for vector in vectors]


def written(arguments: int, write: Callable[..., None]) -> Any:
    """A function for compiled loops. It takes one tuple of so many integers, and returns nothing.

    write: is given a `Code` and the integers, and writes the function.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        write(Code(builder), *cgutils.unpack_tuple(builder, values[0], arguments))
        return context.get_dummy_value()

    signature = types.void(types.UniTuple(types.int64, arguments))

    @intrinsic
    def function(typing: Any, integers: Any) -> Any:
        return signature, generate

    return function
