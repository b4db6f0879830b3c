"""Sums of rows of bytes by the dot products of the machine, with ones."""

from __future__ import annotations

import math

from .....loops.ir import Allocate, Buffer, Cast, Const, Dot4, Expr, Load, Reduce, Space, Stmt, Store, VectorType, const
from .....lowering.elements import physical
from .....lowering.group import Group
from .....lowering.kernel import Names, Parameters, Scheduled, let
from .....lowering.loops import kind_for, loop, starts_of, vector_widths
from .....ops.quantized.matmul import RowSums
from .....targets.target import Target
from .....types import DType
from ..integers.signs import QUAD, ones_of
from .batch_matmul import divided, flat_place


def schedule_row_sums(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a group that is sums of rows alone; empty for others."""
    anchor = group.anchor
    if not isinstance(anchor.operator, RowSums) or len(group.members) != 1 or group.result.type.layout is not None:
        return ()
    a, names, parameters = anchor.operands[0].type, Names(), Parameters()
    *outer, length = a.shape
    source = parameters.add(Buffer("x", a.dtype, (math.prod(a.buffer_shape),)), group.outer[anchor.operands[0]])
    shape = (math.prod(outer),)
    sums = parameters.add(Buffer("y", DType.I32, shape, Space.OUT), group.operation.result)
    missing, factor = length * anchor.attributes["a_zero"], anchor.attributes["factor"]

    def row(r: Expr) -> list[Stmt]:
        block: list[Stmt] = []
        place = (*divided(r, tuple(outer), block), Const(0))
        first = let(block, "f", flat_place(a.buffer_shape, physical(a, place)))
        total = _row_sum(block, names, source, first, length, target)
        return [*block, Store(sums, (r,), (total - missing) * factor)]

    return (parameters.scheduled(loop("r", shape[0], row, kind_for(a.size)), multiplies=0),)


def _row_sum(block: list[Stmt], names: Names, x: Buffer, first: Expr, length: int, target: Target) -> Expr:
    """The sum of so many bytes: whole vectors, then ever shorter ones of whole quads, then single bytes."""
    lanes, here = target.vector_lanes, (Const(0),)
    ones = ones_of(target, x.dtype)

    def added(place: Expr, width: int, total: Expr) -> Expr:
        return Dot4(ones, Load(x, (place,), width * QUAD), total)

    whole, rest = divmod(length, lanes * QUAD)
    parts: list[Expr] = []
    if whole:
        sums = Buffer(names.fresh("sum"), DType.I32, (1,), Space.REGISTER, lanes)

        def step(k: Expr) -> list[Stmt]:
            return [Store(sums, here, added(first + k * (lanes * QUAD), lanes, Load(sums, here)))]

        block += [Allocate(sums), Store(sums, here, const(0, VectorType(DType.I32, lanes))), *loop("k", whole, step)]
        parts.append(Reduce("add", Load(sums, here)))
    widths = vector_widths(rest // QUAD, lanes)
    for start, width in zip(starts_of(widths), widths, strict=True):
        place = first + (whole * lanes + start) * QUAD
        some = added(place, width, const(0, VectorType(DType.I32, width)))
        parts.append(Reduce("add", some) if width > 1 else some)
    parts += [Cast(Load(x, (first + k,)), DType.I32) for k in range(length - rest % QUAD, length)]
    total: Expr = Const(0, DType.I32)
    for part in parts:
        total = total + let(block, names.fresh("t"), part)
    return total
