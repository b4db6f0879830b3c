"""Depthwise convolution of 8-bit integers on processors that multiply vectors of 16 bits to sums of 32.

The loops are those of `depthwise`, over twice as many channels at a time. Each input vector is widened once for all
results that see it; weights are stored in 16 bits, without their zero point. Products are exact, so that there is
nothing to make good but the zero point of the input.
"""

from __future__ import annotations

from .....graph.ir import Value
from .....loops.ir import Buffer, Cast, Expr, Load, Stmt, Var
from .....lowering.elements import Loaded
from .....lowering.group import Group
from .....lowering.kernel import Packed, Scheduled, let, packing_step
from .....targets.target import DotProduct, Target
from .....types import DType
from ..depthwise import DepthwiseEmitter
from ..epilogue import loaded_once
from ..geometry import Walk, depthwise_walks
from .integer_depthwise import window_of_depthwise
from .signs import Signs


def schedule_widened_depthwise(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule an integer convolution with one filter for each channel, on a machine that multiplies by lanes."""
    if target.dot_product is not DotProduct.LANES or window_of_depthwise(group) is None:
        return ()
    return tuple(WidenedEmitter(group, walk, target, threads).schedule() for walk in depthwise_walks(group))


class WidenedEmitter(DepthwiseEmitter):
    """Writes the kernel of one depthwise convolution of integers."""

    sum_registers = 2
    factor = DType.I16

    def __init__(self, group: Group, walk: Walk, target: Target, threads: int) -> None:
        x, weight = (v.type.dtype for v in group.anchor.operands[:2])
        self.signs = Signs.of(target, x, weight, group.anchor.attributes)
        super().__init__(group, walk, target, threads)
        self.lanes = 2 * target.vector_lanes

    def _declare_weight(self, weight: Value) -> Buffer:
        self.correction = self.signs.add_correction(self.parameters, weight, self.walk.channels)
        wide = Packed(weight, (packing_step("cast", dtype=str(self.factor)),))
        return self.parameters.add(Buffer("w", self.factor, (*self.walk.kernel, self.walk.channels)), wide)

    def _input(self, place: tuple[Expr, ...], lanes: int) -> Expr:
        return Cast(Load(self.x, place, lanes), self.factor)

    def _weight(self, place: tuple[Expr, ...], lanes: int) -> Expr:
        weight, zero = Load(self.w, place, lanes), self.signs.weight_zero
        return weight - zero if zero else weight

    def _add_product(self, value: Expr, weight: Expr, total: Expr) -> Expr:
        return total + Cast(value, self.dtype) * Cast(weight, self.dtype)

    def _begin(self, block: list[Stmt], c: Var, lanes: int) -> Expr:
        start = Load(self.correction, (c,), lanes)
        whole = start + Load(self.bias, (c,), lanes) if self.bias else start
        return let(block, self.names.fresh("start"), whole)

    def _constants(self, block: list[Stmt], c: Var, lanes: int) -> Loaded:
        return loaded_once(block, self.names, self.extras, self.walk.channels, c, lanes)
