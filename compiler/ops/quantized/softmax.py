"""Softmax of quantized numbers in fixed point: exponentials of differences to the largest number, and their shares.

Fractions are LiteRT's; for 16-bit numbers see `short_softmax`.
"""

from __future__ import annotations

import numpy as np

from ...errors import ScaleError, ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Value
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Binary, Expr, FixedMul, Select, binary, const, maximum, minimum
from ...types import DType, TensorType
from ..reductions.reduction import check_some
from . import fixed_point as fp
from . import short_softmax
from .base import (
    Part,
    QuantizedOperator,
    check_activations,
    demand,
    named_integer,
    quantization,
)
from .functions import FixedPoint, headroom_expr, reciprocal, reciprocal_expr

DIFFERENCE_BITS = 5
"""Integer bits of the differences whose exponentials softmax adds up."""
SUM_BITS = 12
"""Integer bits of the sum of exponentials. LiteRT gives up (aborts) where a sum reaches 512; here it goes on."""
_WORD = (1 << 32) - 1
_LEAST_SHIFT = 31
"""By a larger shift to the right no exponential's share reaches one half."""


def input_radius(integer_bits: int, left_shift: int) -> int:
    """Largest input whose scaled value is held by `integer_bits`."""
    return int(((1 << integer_bits) - 1) * (1 << (31 - integer_bits)) / 2.0**left_shift)


def difference_factor(scale: float) -> tuple[int, int]:
    """Multiplier and shift from differences on a scale to those with `DIFFERENCE_BITS` integer bits.

    Raises `ScaleError` for scales that are so small that kernels abort.
    """
    real = min(scale * (1 << (31 - DIFFERENCE_BITS)), (1 << 31) - 1.0)
    if not real > 1:
        raise ScaleError(f"a scale (times beta) of {scale:.4g} is too small for the fixed-point softmax")
    return fp.quantize_multiplier(real)


@register
class QSoftmax(QuantizedOperator):
    """exp(beta * x) / sum(exp(beta * x)) over the last dimension.

    The result's scale is 1/256, or 1/65536 for i16, or 1/32768 where x is of i16, too.
    """

    name = "q_softmax"
    operands = ("x",)
    attributes = {
        "x": quantization("x"),
        "y": quantization("the result"),
        "dtype": AttributeSpec(str, "element type of the result: that of x, or i16"),
        "beta": AttributeSpec(float, "factor of the exponents", 1.0),
    }
    anchor = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        check_activations(self, operands, attributes, "x")
        if x.rank < 1 or attributes["dtype"] not in (str(x.dtype), "i16"):
            raise ShapeError(f"q_softmax can't make {attributes['dtype']} of {x}")
        check_some(self, x, (-1,))
        if x.dtype is DType.I16:
            if attributes["x"].zero_point or attributes["y"].zero_point:
                raise ShapeError("q_softmax: 16-bit numbers must have the zero point 0")
            short_softmax.exponentials(attributes["x"], attributes["beta"])
            return (TensorType(DType.I16, x.shape, None, attributes["y"]),)
        dtype = DType(attributes["dtype"])
        if dtype is DType.I8:
            demand(self, attributes["y"], dtype, 1 / 256, -128)
        difference_factor(attributes["beta"] * attributes["x"].scale)
        return (TensorType(DType(attributes["dtype"]), x.shape, None, attributes["y"]),)

    def exponentials(self, attributes: Attributes) -> Array:
        """exp(-d) for the differences d from 0 to 255 to a row's maximum, as 32-bit fractions; 0 where negligible."""
        multiplier, shift = difference_factor(attributes["beta"] * attributes["x"].scale)
        radius = input_radius(DIFFERENCE_BITS, shift)
        difference = -np.arange(256, dtype=np.int64)
        kept = difference >= -radius
        scaled = fp.high_multiply(np.where(kept, difference, 0) << max(shift, 0), multiplier)
        return np.where(kept, FixedPoint(32).exp_of_negative(scaled, DIFFERENCE_BITS), 0)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        dtype = DType(attributes["dtype"])
        if x.dtype == np.int16:
            return (short_softmax.softmax(x, attributes),)
        e = self.exponentials(attributes)[x.max(axis=-1, keepdims=True).astype(np.int64) - x]
        total = fp.shift_right(e, SUM_BITS).sum(axis=-1, keepdims=True)
        return (softmax_share(e, share_factor(total, dtype), dtype),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        if x.type.dtype is DType.I16:
            return short_softmax.emit_softmax(b, x, attributes)
        largest = b.emit("reduce_max", x, axes=(-1,), keepdims=True)
        wide, top = (b.emit("cast", v, dtype="i16") for v in (x, largest))
        difference = b.emit("cast", b.emit("sub", top, wide), dtype="u8")
        table = self.exponentials(attributes).astype(np.int32)
        terms = b.emit("lookup", difference, b.constant(fp.shift_right(table, SUM_BITS).astype(np.int32)))
        total = b.emit("reduce_sum", terms, axes=(-1,), keepdims=True)
        exponentials = b.emit("lookup", difference, b.constant(table))
        dtype = attributes["dtype"]
        factor = (b.emit(f"softmax_{part}", total, dtype=dtype) for part in ("reciprocal", "exponent"))
        return b.emit("softmax_share", exponentials, *factor, dtype=dtype, y=attributes["y"])


class _OfTotals(Part):
    """What the shares of rows are multiplied with, of their totals (i32, of which all bits count, modulo 2^32)."""

    operands = ("total",)
    attributes = {"dtype": AttributeSpec(str, "element type of the shares")}
    elementwise = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (total,) = operands
        named_integer(self, attributes)
        if total.dtype is not DType.I32:
            raise ShapeError(f"{self.name} takes i32, not {total}")
        return (total.dense(),)


@register
class SoftmaxReciprocal(_OfTotals):
    """The reciprocals of totals as fractions of 31 bits; 0 where no share is as large as one half."""

    name = "softmax_reciprocal"

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (share_factor(operands[0], DType(attributes["dtype"]))[0].astype(np.int32),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        fraction, bits = reciprocal_expr(c.let, _total_expr(c, index), SUM_BITS)
        vanishes = Binary("lt", const(_bits_of(attributes), bits.type), bits)
        return fp.narrow(Select(vanishes, const(0, fraction.type), fraction))


@register
class SoftmaxExponent(_OfTotals):
    """The powers of two of the factors whose fractions `softmax_reciprocal` gives: -31 to -1."""

    name = "softmax_exponent"

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (share_factor(operands[0], DType(attributes["dtype"]))[1].astype(np.int32),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        shift = headroom_expr(c.let, _total_expr(c, index)) + (_bits_of(attributes) - 31 - SUM_BITS)
        return fp.narrow(maximum(minimum(shift, -1), -_LEAST_SHIFT))


def _bits_of(attributes: Attributes) -> int:
    """Of a share."""
    return 8 * DType(attributes["dtype"]).itemsize


def _total_expr(c: Compute, index: tuple[Expr, ...]) -> Expr:
    return c.let(binary("and", fp.wide(c.load(0, index)), _WORD))


def share_factor(total: Array, dtype: DType) -> tuple[Array, Array]:
    """The factor by which an exponential becomes its share in a total: fraction of 31 bits and power of two (i64)."""
    fraction, bits = reciprocal(total.astype(np.int64) & _WORD, SUM_BITS)
    shift = 8 * dtype.itemsize - 31 - bits
    return np.where(shift < -_LEAST_SHIFT, 0, fraction), np.clip(shift, -_LEAST_SHIFT, -1)


@register
class SoftmaxShare(Part):
    """The share of each exponential (i32 fractions of 31 bits) in its row's total: the last step of q_softmax.

    The totals come as `softmax_reciprocal` and `softmax_exponent` give them.
    """

    name = "softmax_share"
    operands = ("x", "reciprocal", "exponent")
    attributes = {"y": quantization("the result"), "dtype": AttributeSpec(str, "element type of the result")}
    elementwise = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, *factor = operands
        row = TensorType(DType.I32, (*x.shape[:-1], 1)) if x.rank else None
        if x.dtype is not DType.I32 or any(f != row for f in factor):
            raise ShapeError(f"softmax_share can't divide {x} by {' and '.join(map(str, factor))}")
        return (TensorType(named_integer(self, attributes), x.shape, None, attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, fraction, shift = operands
        return (softmax_share(x, (fraction, shift), DType(attributes["dtype"])),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        dtype = DType(attributes["dtype"])
        share = FixedMul(c.load(0, index), c.load_broadcast(1, index), c.load_broadcast(2, index), halves_up=True)
        return fp.saturate_expr(share + int(np.iinfo(str(dtype.numpy)).min), dtype)


def softmax_share(x: Array, factor: tuple[Array, Array], dtype: DType) -> Array:
    """The shares of exponentials in their totals, whose factors are given, on the scale that softmax has."""
    return fp.saturate(fp.multiply(x, *factor) + int(np.iinfo(str(dtype.numpy)).min), dtype)
