"""Quotients of two quantized tensors, with NumPy's broadcasting.

Facts: TensorFlow Lite's reference/div.h. The divisor's reciprocal is found by Newton's division, and rounded twice
with the factor between the scales.
"""

from __future__ import annotations

import numpy as np

from ...errors import ScaleError
from ...graph.ir import Array, Attributes
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Binary, Expr, Select, binary, const, maximum, minimum
from ...types import DType
from . import fixed_point as fp
from .elementwise import QBinary
from .functions import bit_length_expr, reciprocal, reciprocal_expr

_WORD = 32
"""Kernels shift a word of 32 bits to the right by more than it has, where the processor shifts by 32 less: quotients
that are below 2^-31 of the divisor's range then are as large as they like. netc gives what LiteRT gives on x86."""


@register
class QDiv(QBinary):
    """Quotient of two quantized tensors; where b stands for 0, so does the result."""

    name = "q_div"

    def check_scales(self, dtype: DType, attributes: Attributes) -> None:
        self.factor(dtype, attributes)

    def factor(self, dtype: DType, attributes: Attributes) -> tuple[int, int]:
        """Multiplier and shift between the scales, combined in f32.

        Raises `ScaleError` where kernels shift by less than 0 or by 64 and more.
        """
        a, b, y = (np.float32(attributes[key].scale) for key in ("a", "b", "y"))
        with np.errstate(all="ignore"):
            multiplier, shift = fp.quantize_multiplier(float(a / (b * y)))
        largest = 15 if dtype is DType.I16 else 8
        if not largest + 31 - 63 <= shift <= 31 - largest:
            side = "small" if shift > 0 else "large"
            raise ScaleError(f"{self.name}: the scale of the result is too {side} for those of the operands")
        return multiplier, shift

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        dtype = DType.of(operands[0].dtype)
        multiplier, shift = self.factor(dtype, attributes)
        a, b = (x.astype(np.int64) - attributes[key].zero_point for x, key in zip(operands, "ab", strict=True))
        a, b = np.broadcast_arrays(a, b)
        a, b = np.where(b < 0, -a, a), np.abs(b)
        inverse, bits = reciprocal(np.maximum(b, 1), 31)
        _, length = np.frexp(np.where(a < 0, ~a, a).astype(np.float64))
        headroom = 31 - length.astype(np.int64)
        unscaled = fp.high_multiply(fp.wrap32(a << headroom), inverse)
        right = bits + headroom - shift
        scaled = fp.high_multiply(unscaled, multiplier)
        quotient = np.where(right < _WORD, fp.shift_right(scaled, right), (scaled >> (right - _WORD)) + (scaled >= 0))
        result = np.where(b == 0, 0, quotient) + attributes["y"].zero_point
        return (fp.saturate(result, dtype, attributes["low"], attributes["high"]),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        dtype = c.type(0).dtype
        multiplier, shift = self.factor(dtype, attributes)
        x, d = (c.let(fp.wide(c.load_broadcast(i, index)) - attributes[key].zero_point) for i, key in enumerate("ab"))
        zero = const(0, x.type)
        is_negative = c.let(Binary("lt", d, zero))
        a, b = (c.let(Select(is_negative, binary("sub", 0, v), v)) for v in (x, d))
        inverse, bits = reciprocal_expr(c.let, maximum(b, 1), 31)
        size = c.let(Select(Binary("lt", a, zero), binary("sub", -1, a), a))
        length = Select(Binary("eq", size, zero), zero, bit_length_expr(c.let, maximum(size, 1)))
        headroom = c.let(binary("sub", 31, length))
        unscaled = fp.high_multiply_expr(Binary("shl", a, headroom), inverse)
        right = bits + headroom - shift
        scaled, right = c.let(fp.high_multiply_expr(unscaled, multiplier)), c.let(right)
        far = fp.shr(scaled, maximum(right - _WORD, 0)) + (fp.shr(scaled, 63) + 1)
        near = fp.shift_right_by(c.let, scaled, minimum(right, 62))
        quotient = Select(Binary("lt", right, const(_WORD, right.type)), near, far)
        result = Select(Binary("eq", b, zero), zero, quotient) + attributes["y"].zero_point
        return fp.saturate_expr(result, dtype, attributes["low"], attributes["high"])
