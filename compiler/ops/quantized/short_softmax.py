"""Softmax of 16-bit numbers: tables of exp and 1 / (1 + x) with lines between 513 places, and a share of 15 bits.

Facts: TensorFlow Lite's reference/softmax.h, kernels/activations.cc, and LUTPopulate of kernels/internal/common.h.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, Builder, Value
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Binary, Cast, Expr, binary, const, maximum, minimum
from ...types import DType, Quantization, TensorType
from ..functions.rounding import rounded
from . import fixed_point as fp
from .base import Part, quantization
from .functions import bit_length_expr

_LOWEST, _HIGHEST = -(1 << 15), (1 << 15) - 1
_STEPS = 512
_STEP_BITS = 7
"""Bits of a number between two places of the table."""
_DEEPEST = 10.0
"""Exponentials of -10 and less count as that of -10."""
_SUM_SHIFT = 14
"""From a sum with its highest bit at 2^30 to 17 bits."""


def _interpolated(function: Callable[[Array], Array], scale: float, zero_point: int) -> Array:
    """A function of f64 at all 16-bit numbers on a scale, in steps of 2^-15: i64 [65536].

    It is tabulated at the ends of 512 steps, moved towards what it is in their middles.
    """
    low, high = scale * (_LOWEST - zero_point), scale * (_HIGHEST - zero_point)
    step = (high - low) / _STEPS
    unit = 2.0 / (_HIGHEST - _LOWEST)
    factor = (_HIGHEST - _LOWEST + 1) / (unit * _HIGHEST - unit * _LOWEST)
    places = low + np.arange(_STEPS) * step
    sample = rounded(function(places) * factor)
    following = function(low + np.arange(1, _STEPS + 1) * step) * factor
    error = rounded((following + sample) / 2) - rounded(function(places + step / 2) * factor)
    last = rounded(function(np.array([high])) * factor)
    table = np.clip(np.concatenate([sample - rounded(error / 2), last]), _LOWEST, _HIGHEST).astype(np.int64)
    numbers = np.arange(_LOWEST, _HIGHEST + 1)
    index, between = (numbers >> _STEP_BITS) + _STEPS // 2, numbers & ((1 << _STEP_BITS) - 1)
    slope = (table[1:] - table[:-1]).astype(np.int16).astype(np.int64)
    values: Array = table[index] + ((slope[index] * between + (1 << (_STEP_BITS - 1))) >> _STEP_BITS)
    return values.astype(np.int16).astype(np.int64)


def exponentials(x: Quantization, beta: float) -> Array:
    """exp(d * beta * scale) for the differences d from -65535 to 0 to a row's maximum, in steps of 2^-15: i16."""
    with np.errstate(over="ignore"):
        rate = float(np.float32(x.scale) * np.float32(beta)) / (_DEEPEST / 65535)
    differences = np.arange(-65535, 1, dtype=np.int64)
    scaled = fp.multiply(differences, *fp.quantize_multiplier(rate)) + _HIGHEST
    table = _interpolated(np.exp, _DEEPEST / 65535, _HIGHEST)
    found: Array = table[np.clip(scaled, _LOWEST, _HIGHEST) - _LOWEST].astype(np.int16)
    return found


def _reciprocals() -> Array:
    """1 / (1 + x) for x from 0 to 1, by all 16-bit numbers: i16."""

    def reciprocal(x: Array) -> Array:
        return 1.0 / (1.0 + x)

    return _interpolated(reciprocal, 1.0 / 65535, _LOWEST).astype(np.int16)


@register
class ReciprocalPlace(Part):
    """Where the reciprocal of a sum (i32) stands in the table of 1 / (1 + x): i16."""

    name = "reciprocal_place"
    operands = ("total",)
    elementwise = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (total,) = operands
        if total.dtype is not DType.I32:
            raise ShapeError(f"reciprocal_place takes i32, not {total}")
        return (TensorType(DType.I16, total.shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        total = operands[0].astype(np.int64)
        raised = ((total << (31 - _bit_length(total))) + (1 << (_SUM_SHIFT - 1))) >> _SUM_SHIFT
        return (np.clip(raised - (3 << 15), _LOWEST, _HIGHEST).astype(np.int16),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        total = c.let(fp.wide(c.load(0, index)))
        raised = Binary("shl", total, binary("sub", 31, bit_length_expr(c.let, total)))
        place = fp.shr(raised + (1 << (_SUM_SHIFT - 1)), _SUM_SHIFT) - (3 << 15)
        return Cast(maximum(minimum(place, _HIGHEST), _LOWEST), DType.I16)


@register
class ShortShare(Part):
    """Exponentials (i16) times the reciprocal (i16) of their row's total (i32): the last step of a 16-bit softmax."""

    name = "short_share"
    operands = ("x", "reciprocal", "total")
    attributes = {"y": quantization("the result")}
    elementwise = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, reciprocal, total = operands
        row = (*x.shape[:-1], 1)
        wanted = (TensorType(DType.I16, row), TensorType(DType.I32, row))
        if x.rank < 1 or x.dtype is not DType.I16 or (reciprocal, total) != wanted:
            raise ShapeError(f"short_share can't divide {x} by {reciprocal} and {total}")
        return (TensorType(DType.I16, x.shape, None, attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, reciprocal, total = (o.astype(np.int64) for o in operands)
        shift = _bit_length(total) - 1
        return (np.clip((x * reciprocal + (np.int64(1) << (shift - 1))) >> shift, 0, _HIGHEST).astype(np.int16),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        x, reciprocal = fp.wide(c.load(0, index)), fp.wide(c.load_broadcast(1, index))
        shift = c.let(bit_length_expr(c.let, c.let(fp.wide(c.load_broadcast(2, index)))) - 1)
        half = Binary("shl", const(1, shift.type), shift - 1)
        share = Binary("shr", binary("mul", x, reciprocal) + half, shift)
        return Cast(maximum(minimum(share, _HIGHEST), 0), DType.I16)


def _bit_length(x: Array) -> Array:
    _, length = np.frexp(x.astype(np.float64))
    return length.astype(np.int64)


def softmax(x: Array, attributes: Attributes) -> Array:
    """The softmax of rows of 16-bit numbers."""
    table = exponentials(attributes["x"], attributes["beta"])
    e = table[x.astype(np.int64) - x.max(axis=-1, keepdims=True) + 65535]
    total = e.sum(axis=-1, keepdims=True, dtype=np.int32)
    (place,) = ReciprocalPlace().evaluate((total,), {})
    reciprocal = _reciprocals()[place.astype(np.int64) - _LOWEST]
    (share,) = ShortShare().evaluate((e, reciprocal, total), attributes)
    return share


def emit_softmax(b: Builder, x: Value, attributes: Attributes) -> Value:
    """The same made of operators."""
    largest = b.emit("reduce_max", x, axes=(-1,), keepdims=True)
    wide, top = (b.emit("cast", v, dtype="i32") for v in (x, largest))
    difference = b.emit("add", b.emit("sub", wide, top), b.scalar(_HIGHEST, DType.I32))
    e = b.emit(
        "lookup", b.emit("cast", difference, dtype="i16"), b.constant(exponentials(attributes["x"], attributes["beta"]))
    )
    total = b.emit("reduce_sum", b.emit("cast", e, dtype="i32"), axes=(-1,), keepdims=True)
    reciprocal = b.emit("lookup", b.emit("reciprocal_place", total), b.constant(_reciprocals()))
    return b.emit("short_share", e, reciprocal, total, y=attributes["y"])
