"""Logarithm of softmax over rows of 8-bit numbers, in fixed point.

It falls into tables of differences to a row's maximum, their sum, and the sum's logarithm. Facts: TensorFlow Lite's
reference/integer_ops/log_softmax.h and kernels/internal/common.h.
"""

from __future__ import annotations

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Value
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Binary, Expr, binary, maximum, minimum
from ...types import DType, TensorType
from ..reductions.reduction import check_some
from . import fixed_point as fp
from .base import BYTES, Part, QuantizedOperator, check_activations, demand, named_integer, quantization
from .functions import FixedPoint, bit_length_expr, one_over_one_plus_expr
from .softmax import DIFFERENCE_BITS, SUM_BITS, difference_factor, input_radius

_F = FixedPoint(32)
_POWER_BITS = DIFFERENCE_BITS + 1
"""Integer bits of the power of two in a logarithm, one more than the logarithm has."""
_RESULT_SHIFT = 31 - DIFFERENCE_BITS - 4
"""From the differences' fraction to the four bits of the result's: its scale is 1/16."""
_QUARTER = 1 << (29 - _POWER_BITS)
"""As a power of two."""
_LOG_2, _SQRT_HALF, _FOURTH_ROOT_HALF = 1488522236, 1518500250, 1805811301
_NUMERATOR, _SQUARE, _CONSTANT, _LINEAR = 117049297, 127690142, 1057819769, 638450708
"""Coefficients of the rational function that stands for the logarithm between 1/sqrt(2) and 1, as 32-bit fractions."""


@register
class QLogSoftmax(QuantizedOperator):
    """log(softmax(x)) over the last dimension; the result's scale is 1/16, its zero point the largest number."""

    name = "q_log_softmax"
    operands = ("x",)
    attributes = {"x": quantization("x"), "y": quantization("the result")}
    anchor = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        check_activations(self, operands, attributes, "x")
        if x.rank < 1 or x.dtype not in BYTES:
            raise ShapeError(f"q_log_softmax takes rows of 8-bit numbers, not {x}")
        check_some(self, x, (-1,))
        demand(self, attributes["y"], x.dtype, 2.0**-4, 127)
        difference_factor(attributes["x"].scale)
        return (TensorType(x.dtype, x.shape, None, attributes["y"]),)

    def tables(self, attributes: Attributes) -> tuple[Array, Array]:
        """Of the differences from 0 to 255 to a row's maximum: the scaled ones (negative), and their exponentials."""
        multiplier, shift = difference_factor(attributes["x"].scale)
        difference = -np.arange(256, dtype=np.int64)
        kept = difference >= -input_radius(DIFFERENCE_BITS, shift)
        scaled = np.where(kept, fp.multiply(np.where(kept, difference, 0), multiplier, shift), fp.INT32_MIN)
        exponentials = np.where(kept, _F.exp_of_negative(np.where(kept, scaled, 0), DIFFERENCE_BITS), 0)
        return scaled, fp.shift_right(exponentials, SUM_BITS)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        scaled, terms = self.tables(attributes)
        difference = x.max(axis=-1, keepdims=True).astype(np.int64) - x
        log = logarithm(terms[difference].sum(axis=-1, keepdims=True))
        return (_share(scaled[difference], log, DType.of(x.dtype)),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        largest = b.emit("reduce_max", x, axes=(-1,), keepdims=True)
        wide, top = (b.emit("cast", v, dtype="i16") for v in (x, largest))
        difference = b.emit("cast", b.emit("sub", top, wide), dtype="u8")
        scaled, terms = (b.emit("lookup", difference, b.constant(table)) for table in self.tables(attributes))
        total = b.emit("reduce_sum", terms, axes=(-1,), keepdims=True)
        return b.emit("log_share", scaled, total, dtype=str(x.type.dtype), y=attributes["y"])


@register
class LogShare(Part):
    """Scaled differences (i64) less the logarithm of their row's total (i64): the last step of q_log_softmax."""

    name = "log_share"
    operands = ("x", "total")
    attributes = {"y": quantization("the result"), "dtype": AttributeSpec(str, "element type of the result", "i8")}
    elementwise = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, total = operands
        if x.rank < 1 or x.dtype is not DType.I64 or total != TensorType(DType.I64, (*x.shape[:-1], 1)):
            raise ShapeError(f"log_share can't compare {x} with {total}")
        return (TensorType(named_integer(self, attributes), x.shape, None, attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (_share(operands[0], logarithm(operands[1]), DType(attributes["dtype"])),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        difference = binary("sub", c.load(0, index), logarithm_expr(c.let, c.load_broadcast(1, index)))
        dtype = DType(attributes["dtype"])
        return fp.saturate_expr(fp.shift_right_expr(c.let, difference, _RESULT_SHIFT) + _largest(dtype), dtype)


def _share(scaled: Array, log: Array, dtype: DType) -> Array:
    return fp.saturate(fp.shift_right(scaled - log, _RESULT_SHIFT) + _largest(dtype), dtype)


def _largest(dtype: DType) -> int:
    return int(np.iinfo(str(dtype.numpy)).max)


def _leading_zeros(x: Array) -> Array:
    _, length = np.frexp(x.astype(np.float64))
    zeros: Array = 32 - length.astype(np.int64)
    return zeros


def logarithm(x: Array) -> Array:
    """log(x) for x >= 1 with `SUM_BITS` integer bits, with `DIFFERENCE_BITS` integer bits; int64 in and out.

    x is 2^n * r with r between 1/sqrt(2) and 1, found in two ways of which the one with the larger n holds.
    """
    zeros = _leading_zeros(x)
    ratio = _F.shifted(_F.times(x << (zeros - 1), _SQRT_HALF), 1)
    power = ((SUM_BITS - zeros) << (31 - _POWER_BITS)) + _QUARTER
    headroom = _leading_zeros(_F.times(x, _SQRT_HALF)) - 1
    other_power = ((SUM_BITS - headroom) << (31 - _POWER_BITS)) - _QUARTER
    ratio = np.minimum(ratio, np.minimum(x << headroom, _F.one))
    return _logarithm_of(ratio, np.maximum(power, other_power))


def _logarithm_of(ratio: Array, power: Array) -> Array:
    """log(2) * power + log(ratio)."""
    mean = (ratio + _FOURTH_ROOT_HALF + 1) >> 1
    q = 2 * (ratio - _FOURTH_ROOT_HALF)
    square = _F.times(q, q)
    numerator = _F.times(q, ratio) + _F.times(_F.times(q, square), _NUMERATOR)
    denominator = _F.times(mean, _CONSTANT + q + _F.times(square, _SQUARE)) + _F.times(q, _LINEAR)
    fraction = _F.times(_F.shifted(numerator, -_POWER_BITS), _F.one_over_one_plus(denominator))
    return _F.shifted(_F.times(power, _LOG_2) + fraction, 1)


def logarithm_expr(let: fp.Let, x: Expr) -> Expr:
    """`logarithm` as an expression."""

    def zeros_of(value: Expr) -> Expr:
        return let(binary("sub", 32, bit_length_expr(let, value)))

    def power_of(zeros: Expr) -> Expr:
        return binary("sub", SUM_BITS, zeros) * (1 << (31 - _POWER_BITS))

    x = let(x)
    zeros = zeros_of(x)
    first = minimum(fp.high_multiply_expr(Binary("shl", x, zeros - 1), _SQRT_HALF) * 2, _F.one)
    headroom = let(zeros_of(let(fp.high_multiply_expr(x, _SQRT_HALF))) - 1)
    ratio = let(minimum(first, minimum(Binary("shl", x, headroom), _F.one)))
    power = let(maximum(power_of(zeros) + _QUARTER, power_of(headroom) - _QUARTER))
    mean = fp.shr(ratio + (_FOURTH_ROOT_HALF + 1), 1)
    q = let((ratio - _FOURTH_ROOT_HALF) * 2)
    square = let(fp.high_multiply_expr(q, q))
    times = fp.high_multiply_expr
    numerator = times(q, ratio) + times(times(q, square), _NUMERATOR)
    denominator = times(mean, q + _CONSTANT + times(square, _SQUARE)) + times(q, _LINEAR)
    fraction = times(fp.shift_right_expr(let, numerator, _POWER_BITS), one_over_one_plus_expr(let, denominator))
    return (times(power, _LOG_2) + fraction) * 2
