"""Fake quantization: floats rounded to the numbers that 8-bit integers can stand for, so that training sees the errors.

A range of numbers, widened to hold 0, becomes a grid of integers lowest to highest times a scale, with 0 on the grid:
as TFLite's 8-bit specification has it, and bit for bit what `quantize` and `dequantize` do together.
"""

from __future__ import annotations

import numpy as np

from ..errors import ShapeError
from ..graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Value
from ..graph.registry import register
from ..loops.compute import Compute
from ..loops.ir import Expr, Select, binary
from ..types import DType, TensorType
from .functions.rounding import rounded, rounded_expr
from .gradients import scaled, sum_to, where, where_above

NARROWEST = 1e-30
"""A range narrower than this is as good as empty, and taken as one of width 1."""

_GRID = {
    "lowest": AttributeSpec(int, "smallest integer", -128),
    "highest": AttributeSpec(int, "largest integer", 127),
}


class _OnGrid(Operator):
    """Base of the operators that round x to a grid, given by two numbers: one pair for all, or one for each channel."""

    attributes = _GRID

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, *grid = operands
        if not x.dtype.is_float or any(g.dtype is not x.dtype for g in grid):
            raise ShapeError(f"{self.name} takes floats of one type, not {', '.join(map(str, operands))}")
        if grid[0].shape != grid[1].shape or grid[0].shape not in ((), x.shape[-1:]):
            names = " and ".join(self.operands[1:])
            raise ShapeError(f"{self.name}: {names} have one element each, or one for each channel of {x}")
        if attributes["lowest"] >= attributes["highest"]:
            raise ShapeError(f"{self.name}: there is nothing from {attributes['lowest']} to {attributes['highest']}")
        return (x.dense(),)


@register
class RoundToGrid(_OnGrid):
    """scale * (q - zero point), where q is x / scale + zero point, rounded half away from zero and saturated.

    The zero point is a whole number, as a float, not NaN.
    """

    name = "round_to_grid"
    operands = ("x", "scale", "zero_point")
    elementwise = True
    non_differentiable = "rounding has no useful derivative; fake_quantize, which is made of it, has one"

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, scale, zero_point = operands
        low, high = (attributes[name] - zero_point for name in self.attributes)
        whole = rounded(x / scale)
        limited = np.where(high < whole, high, whole)
        return (np.asarray(np.where(limited < low, low, limited) * scale, x.dtype),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        scale, zero_point = (c.let(c.load_broadcast(i, index)) for i in (1, 2))
        low, high = (float(attributes[name]) - zero_point for name in self.attributes)
        whole = c.let(rounded_expr(c.let, c.load(0, index) / scale))
        low, high = c.let(low), c.let(high)
        limited = c.let(
            Select(binary("lt", high, whole), high, whole)
        )  # NaN stays, with one instruction for each limit
        return Select(binary("lt", limited, low), low, limited) * scale


@register
class FakeQuantize(_OnGrid):
    """x rounded to the numbers that integers lowest to highest stand for when they cover the range low to high.

    The gradient takes rounding for the identity (straight-through estimator): x has that of the result inside the
    range and none outside. low and high have what follows from that for the ends of the grid: the gradient of the
    results that saturate there, and of the others in proportion to their rounding errors, times gradient_scale. Ends
    that don't bound the range, because 0 does, have none. In training, ranges that are parameters but not trained move
    towards each batch's, by momentum. Sources: Jacob et al., "Quantization and Training of Neural Networks for
    Efficient Integer-Arithmetic-Only Inference", 2018; Esser et al., "Learned Step Size Quantization", 2020.
    """

    name = "fake_quantize"
    operands = ("x", "low", "high")
    attributes = {
        **_GRID,
        "momentum": AttributeSpec((int, float), "share of the new batch in a range that moves; 0: none", 0.0),
        "gradient_scale": AttributeSpec((int, float), "factor of the gradients of low and high", 1.0),
    }

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, low, high = operands
        lowest, highest = (attributes[name] for name in _GRID)
        bottom, top = np.minimum(low.astype(np.float64), 0), np.maximum(high.astype(np.float64), 0)
        width = np.where(top - bottom < NARROWEST, 1.0, top - bottom)
        scale = np.asarray(width / (highest - lowest), x.dtype)
        zero_point = np.clip(np.floor(lowest - bottom / scale.astype(np.float64) + 0.5), lowest, highest)
        grid = {name: attributes[name] for name in _GRID}
        return RoundToGrid().evaluate((x, scale, zero_point.astype(x.dtype)), grid)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        grid = {name: attributes[name] for name in _GRID}
        scale, zero_point = _scale_and_zero_point(b, operands, attributes)
        return b.emit("round_to_grid", operands[0], scale, zero_point, **grid)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        x, low, high = op.operands
        dtype = x.type.dtype
        scale, zero_point = _scale_and_zero_point(b, op.operands, op.attributes)
        lowest, highest = (
            b.emit("mul", scale, b.emit("sub", b.scalar(op.attributes[name], dtype), zero_point)) for name in _GRID
        )
        below, above = b.emit("less", x, lowest), b.emit("greater", x, highest)
        zero = b.scalar(0.0, dtype)
        inside = b.emit("select", below, zero, b.emit("select", above, zero, cotangents[0]))
        error = b.emit("div", b.emit("sub", op.result, x), b.emit("sub", highest, lowest))
        rounding = b.emit("mul", inside, error)
        factor = op.attributes["gradient_scale"]
        to_low = b.emit("sub", where(b, below, cotangents[0]), rounding)
        to_high = b.emit("add", where(b, above, cotangents[0]), rounding)
        dlow, dhigh = (scaled(b, sum_to(b, d, low.type.shape), factor) for d in (to_low, to_high))
        return inside, where(b, b.emit("less", low, zero), dlow), where_above(b, high, 0, dhigh)


def _scale_and_zero_point(b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> tuple[Value, Value]:
    """The grid of a range, computed in f64 so that it is the one that the integer network gets."""
    dtype = operands[0].type.dtype
    lowest, highest = (attributes[name] for name in _GRID)

    def number(value: float) -> Value:
        return b.scalar(value, DType.F64)

    low, high = (b.emit("cast", v, dtype="f64") for v in operands[1:])
    bottom, top = b.emit("minimum", low, number(0)), b.emit("maximum", high, number(0))
    width = b.emit("sub", top, bottom)
    width = b.emit("select", b.emit("less", width, number(NARROWEST)), number(1), width)
    scale = b.emit("cast", b.emit("div", width, number(highest - lowest)), dtype=str(dtype))
    ratio = b.emit("div", bottom, b.emit("cast", scale, dtype="f64"))
    place = b.emit("sub", number(lowest + 0.5), ratio)
    whole = b.emit("floor_div", place, number(1))
    zero_point = b.emit("clamp", whole, low=lowest, high=highest)
    return scale, b.emit("cast", zero_point, dtype=str(dtype))
