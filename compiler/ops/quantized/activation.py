"""Functions of one quantized number, as tables of their values; softmax in fixed point."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from ...errors import ScaleError, ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Value
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Binary, Expr, FixedMul, Select, binary, const, maximum, minimum
from ...types import DType, Quantization, TensorType
from ..reduction import check_some
from ..rounding import rounded
from . import fixed_point as fp
from . import short_softmax
from .base import (
    BYTES,
    INTEGERS,
    Part,
    QuantizedOperator,
    check_quantized,
    demand,
    named_integer,
    per_tensor,
    quantization,
)
from .functions import FixedPoint, headroom_expr, reciprocal, reciprocal_expr
from .shorts import interpolated, sigmoid


def all_values(dtype: DType) -> Array:
    """The values of a type of 8 or 16 bits, smallest first, as int64."""
    info = np.iinfo(str(dtype.numpy))
    return np.arange(info.min, info.max + 1, dtype=np.int64)


@register
class Lookup(Part):
    """The entry of a table for each 8-bit (or 16-bit) number; the table begins with the smallest number."""

    name = "lookup"
    operands = ("x", "table")
    attributes = {"y": AttributeSpec((Quantization, type(None)), "what the results stand for", None)}
    anchor = True
    non_differentiable = "its operand is made of integers"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, table = operands
        if x.dtype not in INTEGERS or table.shape != (1 << 8 * x.dtype.itemsize,):
            raise ShapeError(f"lookup can't find {x} in {table}")
        return (TensorType(table.dtype, x.shape, None, attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, table = operands
        return (table[x.astype(np.int64) - np.iinfo(x.dtype).min],)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return c.entry(1, c.load(0, index))


class ByteFunction(QuantizedOperator):
    """Base of the operators that are a function of one number of 8 bits, or of 16."""

    types: ClassVar[tuple[DType, ...]] = BYTES
    """Element types that it takes."""
    operands = ("x",)
    attributes = {"x": quantization("x"), "y": quantization("the result")}
    non_differentiable = "its operand is made of integers"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        check_quantized(self, operands, attributes, "x")
        per_tensor(self, attributes, "x", "y")
        if x.dtype not in self.types:
            raise ShapeError(f"{self.name} takes integers of type {', '.join(map(str, self.types))}, not {x}")
        self.function(all_values(x.dtype), x.dtype, attributes)
        return (TensorType(x.dtype, x.shape, None, attributes["y"]),)

    @abstractmethod
    def function(self, x: Array, dtype: DType, attributes: Attributes) -> Array:
        """The function of int64 values; what lies outside the element type saturates.

        Raises `ScaleError` for scales with which the kernels give no defined result.
        """

    def table(self, dtype: DType, attributes: Attributes) -> Array:
        """The results for all numbers of an element type, smallest first."""
        return fp.saturate(self.function(all_values(dtype), dtype, attributes), dtype)

    def tabulated(self, function: Callable[[Array], Array], x: Array, dtype: DType, attributes: Attributes) -> Array:
        """A function of f32 numbers at what int64 values stand for, on the result's scale, as kernels tabulate it."""
        source, target = attributes["x"], attributes["y"]
        if dtype is DType.I16:
            return interpolated(x, function, source, target)
        with np.errstate(over="ignore", invalid="ignore"):
            result = function(np.float32(source.scale) * (x - source.zero_point).astype(np.float32))
            whole = rounded(result * (np.float32(1) / np.float32(target.scale))) + np.float32(target.zero_point)
        if not np.all(np.abs(whole) < 1 << 31):
            problem = f"{self.name}: results on the scale of {target} are beyond 32-bit integers"
            raise ScaleError(problem, hint=fp.CALIBRATE)
        return whole.astype(np.int64)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        table = self.table(DType.of(x.dtype), attributes)
        return (table[x.astype(np.int64) - np.iinfo(x.dtype).min],)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        table = b.constant(self.table(x.type.dtype, attributes))
        return b.emit("lookup", x, table, y=attributes["y"])


class RealFunction(ByteFunction):
    """Base of the functions that are computed in f32: of what the operand stands for, on the result's scale."""

    @abstractmethod
    def real(self, x: Array, attributes: Attributes) -> Array:
        """The function of f32 numbers, each step rounded to f32."""

    def function(self, x: Array, dtype: DType, attributes: Attributes) -> Array:
        return self.tabulated(lambda reals: self.real(reals, attributes), x, dtype, attributes)


def in_f32(function: Callable[[Array], Array], x: Array) -> Array:
    """A function of f32 numbers, rounded correctly: computed in f64."""
    return function(x.astype(np.float64)).astype(np.float32)


class _Sigmoid(RealFunction):
    """Base of logistic and tanh, which give 16-bit numbers in steps of 2^-15."""

    types = INTEGERS
    is_tanh: ClassVar[bool]

    def function(self, x: Array, dtype: DType, attributes: Attributes) -> Array:
        if dtype is not DType.I16:
            return super().function(x, dtype, attributes)
        demand(self, attributes["y"], dtype, 2.0**-15, 0)
        return sigmoid(x, attributes["x"], tanh=self.is_tanh)


@register
class QLogistic(_Sigmoid):
    """1 / (1 + exp(-x))."""

    name = "q_logistic"
    is_tanh = False

    def real(self, x: Array, attributes: Attributes) -> Array:
        result: Array = np.float32(1) / (np.float32(1) + in_f32(np.exp, -x))
        return result


@register
class QTanh(_Sigmoid):
    """Hyperbolic tangent."""

    name = "q_tanh"
    is_tanh = True

    def real(self, x: Array, attributes: Attributes) -> Array:
        return in_f32(np.tanh, x)


@register
class QLeakyRelu(ByteFunction):
    """The operand where it is positive, else alpha times it, on another scale."""

    name = "q_leaky_relu"
    types = INTEGERS
    attributes = {**ByteFunction.attributes, "alpha": AttributeSpec(float, "slope below zero")}

    def function(self, x: Array, dtype: DType, attributes: Attributes) -> Array:
        source, target = attributes["x"], attributes["y"]
        offset = x - source.zero_point
        alpha = attributes["alpha"]
        factors = (
            fp.single_ratio(source.scale, over=target.scale),
            fp.single_ratio(source.scale, abs(alpha), over=target.scale),
        )
        positive, negative = (fp.multiply(offset, *fp.quantize_multiplier(f)) for f in factors)
        slope = -negative if alpha < 0 else negative
        result: Array = np.where(offset >= 0, positive, slope) + target.zero_point
        return result


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


DIFFERENCE_BITS = 5
"""Integer bits of the differences whose exponentials softmax adds up."""
SUM_BITS = 12
"""Integer bits of the sum of exponentials. LiteRT gives up (aborts) where a sum reaches 512; here it goes on."""
_WORD = (1 << 32) - 1
_LEAST_SHIFT = 31
"""By a larger shift to the right no exponential's share reaches one half."""


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
    non_differentiable = "its operand is made of integers"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        check_quantized(self, operands, attributes, "x")
        per_tensor(self, attributes, "x", "y")
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
    non_differentiable = "its operand is made of integers"

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
    non_differentiable = "its operand is made of integers"

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
