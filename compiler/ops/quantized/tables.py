"""More functions of one quantized number, as tables: hard swish, exponential, logarithm, size, root's reciprocal.

Facts: TensorFlow Lite's reference/hard_swish.h, kernels/internal/common.cc and kernels/elementwise.cc.
"""

from __future__ import annotations

import numpy as np

from ...errors import ScaleError
from ...graph.ir import Array, Attributes
from ...graph.registry import register
from ...types import DType, Quantization
from . import fixed_point as fp
from .activation import ByteFunction, RealFunction, in_f32
from .base import INTEGERS
from .functions import inverse_square_root

_SHORT_MIN, _SHORT_MAX = -(1 << 15), (1 << 15) - 1
_RAISE = 7
"""Bits by which hard swish raises its operand, to 16 bits."""
_ROOT_BITS = 20
"""Bits of fraction that the reciprocal of a root is held with."""


def _rounded_high(a: Array, b: int | Array) -> Array:
    """The upper half of twice a product of 16-bit numbers, rounded, halves up."""
    product: Array = a * b
    high: Array = np.minimum((product + (1 << 14)) >> 15, _SHORT_MAX)
    return high


def _truncated_high(a: Array, b: Array) -> Array:
    """The upper half of twice a product of 16-bit numbers, truncated."""
    product: Array = a * b
    size = np.abs(product) >> 15
    high: Array = np.minimum(np.where(product < 0, -size, size), _SHORT_MAX)
    return high


def _raised(x: Array, by: int) -> Array:
    raised: Array = np.clip(x << by, _SHORT_MIN, _SHORT_MAX)
    return raised


def _shift_short_right(x: Array, exponent: int) -> Array:
    """`shift_right` of 16-bit numbers, whose kernel goes wrong from 16 places on: it adds 1 to what isn't negative."""
    if exponent <= 15:
        return fp.shift_right(x, exponent)
    return np.where(x < 0, -1, 1)


def _short_multiplier(real: float) -> tuple[int, int]:
    """A factor as a 15-bit multiplier and a shift."""
    multiplier, shift = fp.quantize_multiplier(real)
    return min((multiplier + (1 << 15)) >> 16, _SHORT_MAX), shift


@register
class QHardSwish(ByteFunction):
    """x * relu6(x + 3) / 6, in 16-bit fixed point."""

    name = "q_hard_swish"

    def function(self, x: Array, dtype: DType, attributes: Attributes) -> Array:
        scale, target = attributes["x"].scale, attributes["y"].scale
        factor, exponent = _short_multiplier(fp.single_ratio(1 / 128, scale, over=target))
        slope, slope_exponent = _short_multiplier(fp.single_ratio(1 / 128, scale, over=3 / 32768))
        if exponent > 0:
            raise ScaleError(f"{self.name}: scale {np.float32(target)} of the result is too small for x of {scale:.4g}")
        raised = (x - attributes["x"].zero_point) << _RAISE
        share = _raised(raised, max(slope_exponent - 1, 0))
        share = _raised(_rounded_high(share, slope), 1 if slope_exponent > 0 else 0)
        share = (_shift_short_right(share, max(-slope_exponent, 0)) + (1 << 15)) >> 1
        product = _truncated_high(share, _rounded_high(raised, factor))
        result: Array = _shift_short_right(product, max(-exponent, 0)) + attributes["y"].zero_point
        return result


@register
class QExp(RealFunction):
    """exp(x)."""

    name = "q_exp"
    types = INTEGERS

    def real(self, x: Array, attributes: Attributes) -> Array:
        return in_f32(np.exp, x)


@register
class QLog(ByteFunction):
    """Natural logarithm; the smallest number of the result where x is not positive."""

    name = "q_log"
    types = INTEGERS

    def function(self, x: Array, dtype: DType, attributes: Attributes) -> Array:
        y = attributes["y"]
        lowest = np.float32(int(np.iinfo(str(dtype.numpy)).min) - y.zero_point) * np.float32(y.scale)

        def log(reals: Array) -> Array:
            positive = reals > 0
            return np.where(positive, in_f32(np.log, np.where(positive, reals, 1)), lowest)

        return self.tabulated(log, x, dtype, attributes)


@register
class QAbs(ByteFunction):
    """The size of x, on another scale."""

    name = "q_abs"
    types = INTEGERS

    def function(self, x: Array, dtype: DType, attributes: Attributes) -> Array:
        source, target = attributes["x"], attributes["y"]
        size = np.abs(x - source.zero_point)
        if source.scale != target.scale:
            size = fp.multiply(size, *fp.quantize_multiplier(fp.single_ratio(source.scale, over=target.scale)))
        result: Array = size + target.zero_point
        return result


def _inverse_root(x: Array, y: Quantization) -> Array:
    """1 / sqrt(x) of f32 numbers; what the largest 16-bit number stands for where x is not positive."""
    positive = x > 0
    root = np.float32(1) / np.sqrt(np.where(positive, x, np.float32(1)))
    return np.where(positive, root, np.float32(_SHORT_MAX) * np.float32(y.scale))


@register
class QRsqrt(ByteFunction):
    """1 / sqrt(x) of numbers that are not negative; 0 gives the largest result, and so do negative ones."""

    name = "q_rsqrt"
    types = INTEGERS

    def function(self, x: Array, dtype: DType, attributes: Attributes) -> Array:
        if dtype is DType.I16:
            return self.tabulated(lambda reals: _inverse_root(reals, attributes["y"]), x, dtype, attributes)
        scale, target = np.float32(attributes["x"].scale), np.float32(attributes["y"].scale)
        factor, shift = fp.quantize_multiplier(1 / float(np.sqrt(scale) * target))
        offset = x - attributes["x"].zero_point
        mantissa, exponent = inverse_square_root(np.maximum(offset, 1))
        if shift - _ROOT_BITS < -31:
            raise ScaleError(f"{self.name}: scale {target} of the result is too large for x of {scale}")
        root = fp.multiply(np.ones_like(offset), mantissa, exponent + _ROOT_BITS)
        result = fp.multiply(root, factor, shift - _ROOT_BITS) + attributes["y"].zero_point
        return np.where(offset <= 0, np.iinfo(str(dtype.numpy)).max, result)
