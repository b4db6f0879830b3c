"""What linear resizing becomes: each dimension is a sparse matrix, whose rows are stored as places and weights.

The adjoint of such a matrix is another one, so that gradients are made of the same operator: they gather, and never
depend on an order of threads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operator, Value
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Cast, Expr, maximum, minimum
from ...types import DType, TensorType
from ..facets import INTEGER, PERMUTED, TFLITE
from ..gradients import reshaped
from ..moves.indexing import scalar_of
from ..reductions.reduction import normalize_axis
from .sampling import Taps

_WIDE = 32
"""Channels from which on they alone fill vectors; fewer are joined with the dimensions before them."""


@register
class Interpolate(Operator):
    """Along an axis, result i is the sum over k of weights[i, k] * x[places[i, k]]; places [S, K] lie inside x."""

    name = "interpolate"
    internal = True
    operands = ("x", "places", "weights")
    attributes = {"axis": AttributeSpec(int, "dimension of x")}
    anchor = True
    non_differentiable = "resize, which becomes it, is differentiated before"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, places, weights = operands
        axis = normalize_axis(self.name, attributes["axis"], x.rank)
        fits = places.rank == 2 and places.dtype is DType.I32 and weights.shape == places.shape
        if not fits or weights.dtype is not x.dtype or x.dtype not in (DType.F32, DType.F64) or not x.shape[axis]:
            raise ShapeError(f"interpolate can't pick from axis {axis} of {x} by places {places} and weights {weights}")
        return (TensorType(x.dtype, (*x.shape[:axis], places.shape[0], *x.shape[axis + 1 :])),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, places, weights = operands
        axis = attributes["axis"] % x.ndim
        return (Taps(x.shape[axis], places, weights).apply(x, axis),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        x, (_, count) = c.type(0), c.type(1).shape
        axis = attributes["axis"] % x.rank

        def term(r: tuple[Expr, ...]) -> Expr:
            place = Cast(scalar_of(c.load(1, (index[axis], r[0]))), DType.I64)
            inside = maximum(minimum(place, x.shape[axis] - 1), 0)
            return c.load(0, (*index[:axis], inside, *index[axis + 1 :])) * c.load(2, (index[axis], r[0]))

        return Reduction("add", (count,), term)


def in_order(taps: Mapping[int, Taps]) -> tuple[int, ...]:
    """The axes so that the least is computed: those that shrink first, those that grow most last.

    Outer ones, whose elements stand in the longest rows, are taken where the tensor is large.
    """
    growth = {axis: each.target / each.size for axis, each in taps.items()}
    return tuple(sorted(taps, key=lambda axis: (growth[axis], axis if growth[axis] < 1 else -axis)))


def interpolated(b: Builder, x: Value, taps: Mapping[int, Taps]) -> Value:
    """X with the taps applied along each of some axes, one after the other. Halves are computed in singles."""
    dtype = x.type.dtype
    if dtype is DType.F16:
        return b.emit("cast", interpolated(b, b.emit("cast", x, dtype="f32"), taps), dtype="f16")
    for axis in in_order(taps):
        x = _along(b, x, axis, taps[axis])
    return x


def _along(b: Builder, x: Value, axis: int, taps: Taps) -> Value:
    if np.array_equal(taps.places, np.arange(taps.size)[:, np.newaxis]) and (taps.weights == 1).all():
        return x
    shape = x.type.shape
    before, after = shape[:axis], shape[axis + 1 :]
    places = b.constant(taps.places)
    weights = b.constant(taps.weights.astype(x.type.dtype.numpy))
    if shape[-1] >= _WIDE:
        return b.emit("interpolate", x, places, weights, axis=axis)
    rows = reshaped(b, x, (math.prod(before), shape[axis], math.prod(after)))
    return reshaped(b, b.emit("interpolate", rows, places, weights, axis=1), (*before, taps.target, *after))


def multiplied(b: Builder, x: Value, taps: Mapping[int, Taps]) -> Value:
    """The same by products with full matrices, which are known everywhere."""
    for axis in in_order(taps):
        each, rank = taps[axis], x.type.rank
        order = (*(d for d in range(rank) if d != axis), axis)
        turned = b.emit("transpose", x, permutation=order)
        rows = reshaped(b, turned, (math.prod(turned.type.shape[:-1]), each.size))
        y = b.emit("dense", rows, b.constant(each.matrix().T.astype(x.type.dtype.numpy)))
        y = reshaped(b, y, (*turned.type.shape[:-1], each.target))
        x = b.emit("transpose", y, permutation=tuple(order.index(d) for d in range(rank)))
    return x


INTEGER.none("made of resize after quantization", Interpolate)
TFLITE.none("made of resize after files are written", Interpolate)
PERMUTED.none("made of resize, whose channels stand last", Interpolate)
