"""Parametric relu and squared differences of two quantized tensors, with NumPy's broadcasting.

Facts: TensorFlow Lite's reference/prelu.h and kernels/squared_difference.cc.
"""

from __future__ import annotations

import numpy as np

from ...graph.ir import Array, Attributes
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Binary, Expr, Select, binary, const
from ...types import DType
from . import fixed_point as fp
from .base import BYTES
from .elementwise import QBinary, raised

_RAISE = 7
"""Bits by which the operands of a squared difference are raised: its square stays below 2^31."""


@register
class QPrelu(QBinary):
    """a where it is positive, else a * b, on another scale; for a of 16 bits b has 8."""

    name = "q_prelu"

    def partner(self, dtype: DType) -> DType:
        return DType.I8 if dtype is DType.I16 else dtype

    def check_scales(self, dtype: DType, attributes: Attributes) -> None:
        self.factors(attributes)

    def factors(self, attributes: Attributes) -> tuple[tuple[int, int], tuple[int, int]]:
        """Multipliers and shifts of a and of a * b."""
        a, b, y = (attributes[key].scale for key in ("a", "b", "y"))
        ratios = fp.single_ratio(a, over=y), fp.single_ratio(a, b, over=y)
        return fp.quantize_multiplier(ratios[0]), fp.quantize_multiplier(ratios[1])

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        a, b = (x.astype(np.int64) - attributes[key].zero_point for x, key in zip(operands, "ab", strict=True))
        positive, negative = self.factors(attributes)
        result = np.where(a >= 0, fp.multiply(a, *positive), fp.multiply(a * b, *negative))
        y = result + attributes["y"].zero_point
        return (fp.saturate(y, DType.of(operands[0].dtype), attributes["low"], attributes["high"]),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        loaded = (fp.wide(c.load_broadcast(i, index)) - attributes[key].zero_point for i, key in enumerate("ab"))
        a, b = (c.let(x) for x in loaded)
        positive, negative = (
            fp.multiply_expr(c.let, x, *f) for x, f in zip((a, a * b), self.factors(attributes), strict=True)
        )
        result = Select(Binary("lt", a, const(0, a.type)), negative, positive) + attributes["y"].zero_point
        return fp.saturate_expr(result, c.type(0).dtype, attributes["low"], attributes["high"])


@register
class QSquaredDifference(QBinary):
    """(a - b)^2: both operands are brought to twice the larger scale first."""

    name = "q_squared_difference"
    types = BYTES

    def check_scales(self, dtype: DType, attributes: Attributes) -> None:
        self.factors(attributes)

    def factors(self, attributes: Attributes) -> tuple[tuple[int, int], ...]:
        """Multipliers and shifts of a, b and the result."""
        a, b, y = (attributes[key].scale for key in ("a", "b", "y"))
        common = 2 * max(a, b)
        ratios = (a / common, b / common, common**2 / ((1 << 2 * _RAISE) * y))
        return tuple(fp.quantize_small_multiplier(f) for f in ratios)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        *inputs, output = self.factors(attributes)
        a, b = (
            fp.multiply((x.astype(np.int64) - attributes[key].zero_point) << _RAISE, *factor)
            for x, key, factor in zip(operands, "ab", inputs, strict=True)
        )
        result = fp.multiply((a - b) ** 2, *output) + attributes["y"].zero_point
        return (fp.saturate(result, DType.of(operands[0].dtype), attributes["low"], attributes["high"]),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        *inputs, output = self.factors(attributes)
        offsets = (fp.offset_expr(c.load_broadcast(i, index), attributes[key]) for i, key in enumerate("ab"))
        a, b = (raised(c.let, x, _RAISE, *f) for x, f in zip(offsets, inputs, strict=True))
        difference = c.let(binary("sub", a, b))
        square = fp.scale_expr(c.let, difference * difference, *output, drops_negative=True)  # it has no sign
        result = square + attributes["y"].zero_point
        return fp.saturate_expr(result, c.type(0).dtype, attributes["low"], attributes["high"])
