"""Sums of 8-bit products as 8-bit results, from one table that has all numbers of a channel side by side.

A result is (high product of sum and multiplier + addend) >> places, saturated. The addend has the half that rounds and
the zero point (see `RescaleTable`). The sum is doubled with saturation: no factor is smaller than 2^-22, so what is
lost by that lies beyond the range of results.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from .....graph.ir import Operation, Value
from .....loops.ir import Binary, Buffer, Const, Expr, HighProduct, Stmt, UpperProduct
from .....lowering.group import Group
from .....lowering.kernel import Names, Packed, let, packing_step
from .....lowering.loops import ceil_div
from .....ops.quantized import fixed_point as fp
from .....ops.quantized.conversion import Rescale
from .....ops.quantized.packing import FARTHEST_SUM, unsigned_factors
from .....targets.target import DotProduct, Target
from .....types import DType
from ..epilogue import Finish
from .signs import Kinds, Signs

FARTHEST_PRODUCT = 255 * 128
"""Of two bytes, the first perhaps unsigned."""
START = 0
FIELDS = 4
"""Numbers of a channel: where its sum starts, multiplier, addend, places."""


@dataclass(frozen=True)
class Rescaling:
    """How the sums of a group are rescaled."""

    group: Group
    operation: Operation

    @classmethod
    def of(cls, group: Group, target: Target) -> Self | None:
        """Where the only reader of the sums rescales them, by factors that are neither large nor tiny; else None."""
        readers = [op for op in group.members if group.anchor.result in op.operands]
        if not cls.serves(group, target) or len(readers) != 1 or group.anchor.result in group.results:
            return None
        (reader,) = readers
        given = [*group.anchor.operands[2:], *reader.operands[1:]]
        known = all(v in group.constants or group.outer.get(v) in group.static for v in given)
        fits = isinstance(reader.operator, Rescale) and reader.attributes["saturates"] and known
        return cls(group, reader) if fits else None

    @classmethod
    def serves(cls, group: Group, target: Target) -> bool:
        """True where such products are quick."""
        return target.has_pairs

    @property
    def options(self) -> dict[str, Any]:
        """What the table is made with beside."""
        return {}

    @property
    def result(self) -> Value:
        """What becomes of the sums."""
        return self.operation.result

    @property
    def factors(self) -> tuple[Value, ...]:
        """What the table holds, so that no kernel needs it."""
        own = self.operation.operands[1:]
        others = (op for op in self.group.members if op is not self.operation)
        read = {v for op in others for v in op.operands}
        return tuple(v for v in own if v not in read)

    def table(self, weight: Value, signs: Signs, channels: int, width: int, kinds: Kinds = ()) -> tuple[Buffer, Packed]:
        """The table of panels of `width` channels, and how it is made: [panel, field * width + channel].

        With kinds of planes, all panels follow each other for each of these.
        """
        bias, (multiplier, shift) = self.group.anchor.operands[2:], self.operation.operands[1:]
        named = {"multiplier": multiplier, "shift": shift, **({"bias": bias[0]} if bias else {})}
        numbers = {name: int(self.group.constants[v]) for name, v in named.items() if v in self.group.constants}
        if not bias:
            numbers["bias"] = 0
        beside = tuple(self.group.outer[v] for name, v in named.items() if name not in numbers)
        step = packing_step(
            "rescale_table",
            width=width,
            zero=self.operation.attributes["y"].zero_point,
            **dict(signs.correction(kinds).attributes),
            **numbers,
            **self.options,
        )
        shape = (max(1, len(kinds)) * ceil_div(channels, width), FIELDS * width)
        return Buffer("t", DType.I32, shape), Packed(weight, (step,), beside)

    def element(
        self, block: list[Stmt], names: Names, total: Expr, multiplier: Expr, addend: Expr, places: Expr
    ) -> Expr:
        """The 8-bit result of a sum; adds statements to the block."""
        if not self.halves_up:
            # Halves go away from zero: below 0 they go down. The sign of the sum may stand for that of the product.
            total = let(block, names.fresh("t"), total)
            addend = addend + Binary("shr", total, Const(31, DType.I32))
        high = let(block, names.fresh("t"), HighProduct(total, multiplier, addend))
        return self._saturated(block, names, high, places)

    def before(self, store: Finish, names: Names, field: Callable[[int], Expr]) -> Finish:
        """What does with sums what `store` does with results; `field` gives the numbers of the table."""
        numbers = [field(number) for number in range(1, FIELDS)]

        def finish(r: Expr, s: Expr, total: Expr) -> list[Stmt]:
            inside: list[Stmt] = []
            result = self.element(inside, names, total, *numbers)
            return [*inside, *store(r, s, result)]

        return finish

    @property
    def halves_up(self) -> bool:
        """Negative results need not be exact."""
        return fp.drops_negative(self.operation.attributes, self.result.type.dtype)

    def _saturated(self, block: list[Stmt], names: Names, high: Expr, places: Expr) -> Expr:
        attributes, dtype = self.operation.attributes, self.result.type.dtype
        shifted = let(block, names.fresh("t"), Binary("shr", high, places))
        return let(block, names.fresh("t"), fp.saturate_expr(shifted, dtype, attributes["low"], attributes["high"]))


class UnsignedRescaling(Rescaling):
    """The same by products of unsigned numbers, so that the upper half is that of the doubled product at once.

    Sums are raised by 2^31: those that were not negative have the top bit.
    """

    @classmethod
    def serves(cls, group: Group, target: Target) -> bool:
        """On x86 with AVX2 or more; sums of products, of unsigned inputs maybe, are below `FARTHEST_SUM`."""
        weight = group.anchor.operands[1].type
        quick = target.dot_product is DotProduct.VNNI or target.multiplies_words
        return quick and weight.size // weight.shape[-1] * FARTHEST_PRODUCT <= FARTHEST_SUM

    @property
    def options(self) -> dict[str, Any]:
        """What the table is made with beside."""
        return {"unsigned": True, "halves_up": self.halves_up}

    def element(
        self, block: list[Stmt], names: Names, total: Expr, multiplier: Expr, addend: Expr, places: Expr
    ) -> Expr:
        """The 8-bit result of a raised sum; adds statements to the block."""
        total = let(block, names.fresh("t"), total)
        high: Expr = UpperProduct(total, multiplier, addend)
        if not self.halves_up:
            high = high - Binary("shr", total, Const(31, DType.I32, total.type.lanes))
        return self._saturated(block, names, let(block, names.fresh("t"), high), places)


@dataclass(frozen=True)
class LiteralRescaling:
    """Sums of products of two activations as 8-bit results, by one factor, which the code holds.

    Sums are raised before others are added to them, if any; see `UnsignedRescaling`.
    """

    rescaling: UnsignedRescaling
    multiplier: int
    addend: int
    places: int

    @classmethod
    def of(cls, group: Group, target: Target, largest: int) -> Self | None:
        """Where such products are quick and only the sums' end needs them; sums lie between -largest and `largest`."""
        found = [op for op in group.members if isinstance(op.operator, Rescale)]
        if target.dot_product is not DotProduct.VNNI or largest > FARTHEST_SUM or len(found) != 1:
            return None
        (operation,) = found
        known = all(v in group.constants for v in operation.operands[1:])
        if not known or not operation.attributes["saturates"] or not _read_alone(group, operation.operands[0]):
            return None
        rescaling = UnsignedRescaling(group, operation)
        multiplier, shift = (np.asarray(group.constants[v], np.int64) for v in operation.operands[1:])
        zero = operation.attributes["y"].zero_point
        factor, addend = unsigned_factors(multiplier, shift, zero, halves_up=rescaling.halves_up)
        return cls(rescaling, *(int(fp.wrap32(n)) for n in (factor, addend, -shift)))

    def element(self, block: list[Stmt], names: Names, total: Expr) -> Expr:
        """The 8-bit result of a raised sum; adds statements to the block."""
        fields = (Const(n, DType.I32, total.type.lanes) for n in (self.multiplier, self.addend, self.places))
        return self.rescaling.element(block, names, total, *fields)


def _read_alone(group: Group, sums: Value) -> bool:
    """True if `sums` are the anchor's, or these and one other summand, and nothing else reads either."""
    chain = {group.anchor.result, sums}
    if sums is not group.anchor.result:
        op = group.producers.get(sums)
        if op is None or op.name != "add" or group.anchor.result not in op.operands:
            return False
    readers = [op for op in group.members for v in op.operands if v in chain]
    return len(readers) == len(chain) and not chain & set(group.results)
