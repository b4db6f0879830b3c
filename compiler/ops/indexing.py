"""Operators that pick or repeat elements: tile, gather_nd; whole-number division."""

from __future__ import annotations

import numpy as np

from ..errors import NetcError, ShapeError
from ..graph.ir import Array, Attributes, AttributeSpec, Operator, Scales
from ..graph.registry import register
from ..loops.compute import Compute
from ..loops.ir import Broadcast, Cast, Const, Expr, Unary, binary, maximum, minimum
from ..types import DType, TensorType
from .elementwise import broadcast_shapes


@register
class Tile(Operator):
    """x repeated `multiples` times along each dimension."""

    name = "tile"
    scales = Scales.OPERAND
    operands = ("x",)
    attributes = {"multiples": AttributeSpec(tuple, "number of repetitions along each dimension")}
    keeps_quantization = True
    non_differentiable = "no rule is written for it"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,), multiples = operands, attributes["multiples"]
        if len(multiples) != x.rank or any(m < 1 for m in multiples):
            raise ShapeError(f"tile: {list(multiples)} doesn't give a number for each dimension of {x}")
        return (TensorType(x.dtype, tuple(s * m for s, m in zip(x.shape, multiples, strict=True))),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (np.tile(operands[0], attributes["multiples"]),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        sizes = zip(index, c.type(0).shape, attributes["multiples"], strict=True)
        return c.load(0, tuple(i if m == 1 else i % s for i, s, m in sizes))


@register
class GatherND(Operator):
    """Slices of x at places: indices [..., K] give the first K indices of x; out of range is an error."""

    name = "gather_nd"
    operands = ("x", "indices")
    non_differentiable = "no rule is written for it"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, indices = operands
        if indices.dtype not in (DType.I32, DType.I64) or indices.rank < 1 or not 1 <= indices.shape[-1] <= x.rank:
            raise ShapeError(f"gather_nd can't pick from {x} by {indices}")
        kept = x.quantization if x.quantization is not None and x.quantization.is_per_tensor else None
        return (TensorType(x.dtype, (*indices.shape[:-1], *x.shape[indices.shape[-1] :]), None, kept),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, indices = operands
        depth = indices.shape[-1]
        flat = indices.reshape(-1, depth)
        limits = np.array(x.shape[:depth])
        if flat.size and not ((flat >= 0) & (flat < limits)).all():
            raise NetcError(f"gather_nd: an index lies outside {list(x.shape)}")
        picked = x[tuple(flat.T)]
        return (picked.reshape((*indices.shape[:-1], *x.shape[depth:])),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        # Compiled code has no errors to raise: places outside move to the border.
        depth = c.type(1).shape[-1]
        lead = c.type(1).rank - 1
        shape = c.type(0).shape
        place = []
        for d in range(depth):
            given = Cast(_scalar(c.load(1, (*index[:lead], Const(d)))), DType.I64)
            place.append(maximum(minimum(given, shape[d] - 1), 0))
        return c.load(0, (*place, *index[lead:]))


def _scalar(loaded: Expr) -> Expr:
    """An index that is the same in all lanes."""
    if isinstance(loaded, Const):
        return Const(loaded.value, loaded.dtype)
    return loaded.value if isinstance(loaded, Broadcast) else loaded


@register
class FloorDiv(Operator):
    """Largest whole number that a / b reaches, with NumPy's broadcasting; integers divided by 0 give 0."""

    name = "floor_div"
    operands = ("a", "b")
    elementwise = True
    piecewise_constant = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        a, b = operands
        if a.dtype is not b.dtype or a.dtype is DType.BOOL:
            raise ShapeError(f"floor_div can't divide {a} by {b}")
        return (TensorType(a.dtype, broadcast_shapes(self.name, a.shape, b.shape)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        a, b = operands
        is_float = np.issubdtype(a.dtype, np.floating)
        return (np.asarray(np.floor(a / b) if is_float else np.floor_divide(a, b)).astype(a.dtype, copy=False),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        a, b = c.load_broadcast(0, index), c.load_broadcast(1, index)
        return Unary("floor", a / b) if c.type(0).dtype.is_float else binary("floordiv", a, b)
