"""Weighted sums of rows at places that are computed: what sampling between elements is made of.

The three operators are one trilinear form, sum over k and m of weights[k, m] * (x[places[k, m]] . y[m]), seen from each
side. So each is the derivative of the others, and derivatives of any order are made of them.
"""

from __future__ import annotations

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Value
from ...graph.registry import register
from ...loops.compute import Compute, Procedure, Reduction
from ...loops.ir import Broadcast, Cast, Const, Expr, If, Select, Stmt, binary, const, maximum, minimum
from ...types import DType, TensorType
from ..facets import INTEGER, PERMUTED, TFLITE
from ..moves.indexing import scalar_of


class Weighted(Operator):
    """Base: x [R, C], places i32 [K, M], weights [K, M], y [M, C]; places outside x move to its border.

    A tap of weight 0 doesn't count, even if its row isn't finite.
    """

    internal = True

    def check(self, x: tuple[int, ...], y: tuple[int, ...], places: TensorType, taps: tuple[int, ...]) -> None:
        """Raise `ShapeError` unless the shapes belong together."""
        fits = len(x) == 2 and x[0] and places.rank == 2 and places.dtype is DType.I32 and taps == places.shape
        if not fits or y != (places.shape[1], x[1]):
            raise ShapeError(f"{self.name}: {list(x)}, {list(y)} and {list(taps)} don't fit places {places}")

    def check_floats(self, *types: TensorType) -> None:
        """Raise `ShapeError` unless all are f32, or all f64."""
        if types[0].dtype not in (DType.F32, DType.F64) or any(t.dtype is not types[0].dtype for t in types):
            raise ShapeError(f"{self.name} takes f32 or f64, not {' and '.join(map(str, types))}")


def _place(given: Expr, rows: int) -> Expr:
    return maximum(minimum(Cast(scalar_of(given), DType.I64), rows - 1), 0)


@register
class WeightedGather(Weighted):
    """Row m is the sum over k of weights[k, m] * x[places[k, m]]: x [R, C], places i32 [K, M] to [M, C]."""

    name = "weighted_gather"
    operands = ("x", "places", "weights")
    anchor = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, places, weights = operands
        self.check_floats(x, weights)
        result = (*places.shape[1:], *x.shape[1:])
        self.check(x.shape, result, places, weights.shape)
        return (TensorType(x.dtype, result),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, places, weights = operands
        total = np.zeros((places.shape[1], x.shape[1]), x.dtype)
        for row, weight in zip(np.clip(places, 0, len(x) - 1), weights[..., np.newaxis], strict=True):
            total += np.where(weight == 0, 0, x[row] * weight)
        return (total.astype(x.dtype),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        m, channel = index
        rows = c.type(0).shape[0]

        def term(r: tuple[Expr, ...]) -> Expr:
            weight = c.let(c.load(2, (r[0], m)))
            product = c.load(0, (_place(c.load(1, (r[0], m)), rows), channel)) * weight
            return Select(binary("eq", weight, const(0, weight.type)), const(0, product.type), product)

        return Reduction("add", c.type(1).shape[:1], term)

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value | None:
        x, places, weights = operands
        taps = places.type.shape
        picked = b.emit("gather_nd", x, b.emit("reshape", places, shape=(*taps, 1)))
        product = b.emit("mul", picked, b.emit("reshape", weights, shape=(*taps, 1)))
        return b.emit("reduce_sum", product, axes=(0,))

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (dy,), (x, places, weights) = cotangents, op.operands
        dx = b.emit("weighted_scatter", dy, places, weights, rows=x.type.shape[0])
        return dx, None, b.emit("gathered_dot", x, places, dy)


@register
class WeightedScatter(Weighted):
    """Row places[k, m] gets weights[k, m] * y[m], added up in order of m, then k: y [M, C] to [rows, C]."""

    name = "weighted_scatter"
    operands = ("y", "places", "weights")
    attributes = {"rows": AttributeSpec(int, "rows of the result")}
    procedural = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        y, places, weights = operands
        self.check_floats(y, weights)
        result = (attributes["rows"], *y.shape[1:])
        self.check(result, y.shape, places, weights.shape)
        return (TensorType(y.dtype, result),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        y, places, weights = operands
        total = np.zeros((attributes["rows"], y.shape[1]), y.dtype)
        m, k = np.nonzero(weights.T)
        np.add.at(total, np.clip(places, 0, len(total) - 1)[k, m], y[m] * weights[k, m][:, np.newaxis])
        return (total,)

    def procedure(self, p: Procedure, attributes: Attributes) -> list[Stmt]:
        (rows, channels), (taps, count) = p.result.shape, p.type(1).shape
        dtype = p.result.dtype

        def clear(r: Expr) -> list[Stmt]:
            return p.vectors(channels, lambda c, w: [p.store((r, c), Const(0.0, dtype, w))])

        def add(m: Expr) -> list[Stmt]:
            return p.loop("k", taps, lambda k: tap(k, m))

        def tap(k: Expr, m: Expr) -> list[Stmt]:
            block: list[Stmt] = []
            weight = p.let(block, "weight", p.load(2, (k, m)))
            row = p.let(block, "row", _place(p.load(1, (k, m)), rows))

            def vector(c: Expr, w: int) -> list[Stmt]:
                factor = Broadcast(weight, w) if w > 1 else weight
                return [p.store((row, c), p.read((row, c), w) + p.load(0, (m, c), w) * factor)]

            counts = binary("ne", weight, Const(0.0, dtype))
            return [*block, If(counts, tuple(p.vectors(channels, vector)))]

        return [*p.loop("r", rows, clear), *p.loop("m", count, add)]

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (dz,), (y, places, weights) = cotangents, op.operands
        return b.emit("weighted_gather", dz, places, weights), None, b.emit("gathered_dot", dz, places, y)


@register
class GatheredDot(Weighted):
    """Products of rows, [K, M]: x[places[k, m]] times y[m], summed over the channels of x [R, C] and y [M, C]."""

    name = "gathered_dot"
    operands = ("x", "places", "y")

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, places, y = operands
        self.check_floats(x, y)
        self.check(x.shape, y.shape, places, places.shape)
        return (TensorType(x.dtype, places.shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, places, y = operands
        return (np.stack([(x[row] * y).sum(axis=1) for row in np.clip(places, 0, len(x) - 1)]),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        k, m = index
        row = _place(c.load(1, (k, m)), c.type(0).shape[0])
        return Reduction("add", c.type(0).shape[1:], lambda r: c.load(0, (row, r[0])) * c.load(2, (m, r[0])))

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (dk,), (x, places, y) = cotangents, op.operands
        dx = b.emit("weighted_scatter", y, places, dk, rows=x.type.shape[0])
        return dx, None, b.emit("weighted_gather", x, places, dk)


INTEGER.none("TFLite has no kernel for it", WeightedGather)
INTEGER.none("part of a training step", WeightedScatter, GatheredDot)
TFLITE.none("made of others: GATHER_ND, MUL and SUM", WeightedGather)
TFLITE.none("part of a training step", WeightedScatter, GatheredDot)
PERMUTED.none("places count rows", Weighted)
