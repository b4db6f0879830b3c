"""Sums and products of two quantized tensors, with NumPy's broadcasting."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from ...errors import ScaleError, ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Cast, Expr, binary
from ...types import DType, TensorType
from ..functions.elementwise import broadcast_shapes
from . import fixed_point as fp
from . import in_floats
from .base import ACTIVATED, INTEGERS, QuantizedOperator, check_activation, check_activations, quantization
from .shorts import power_of_two

HEADROOM, SHORT_HEADROOM = 20, 15
"""Bits by which the operands of a sum (of 16-bit ones) are raised before they are scaled, so that little is lost."""


class QBinary(QuantizedOperator):
    """Base of the operators on two quantized tensors; those of 16 bits have no zero points."""

    types: ClassVar[tuple[DType, ...]] = INTEGERS
    """Element types that it takes."""
    operands = ("a", "b")
    attributes = {"a": quantization("a"), "b": quantization("b"), "y": quantization("the result"), **ACTIVATED}
    elementwise = True
    non_differentiable = "its operands are made of integers"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        a, b = operands
        check_activations(self, operands, attributes, "a", "b")
        check_activation(self, a.dtype, attributes["y"], attributes)
        if a.dtype not in self.types or b.dtype is not self.partner(a.dtype):
            names = " or ".join(f"{t} and {self.partner(t)}" for t in self.types)
            raise ShapeError(f"{self.name} combines {names}, not {a} and {b}")
        types = {"a": a.dtype, "b": b.dtype, "y": a.dtype}
        if any(dtype is DType.I16 and attributes[key].zero_point for key, dtype in types.items()):
            raise ScaleError(f"{self.name} takes 16-bit integers without zero points")
        self.check_scales(a.dtype, attributes)
        return (TensorType(a.dtype, broadcast_shapes(self.name, a.shape, b.shape), None, attributes["y"]),)

    def partner(self, dtype: DType) -> DType:
        """The element type of b, by that of a."""
        return dtype

    @abstractmethod
    def check_scales(self, dtype: DType, attributes: Attributes) -> None:
        """Raise `ScaleError` for scales with which the kernels give no defined result."""


class QSum(QBinary):
    """Base of sum and difference: both operands are brought to twice the larger scale, raised by some bits."""

    attributes = {
        **QBinary.attributes,
        "shifts": AttributeSpec(bool, "16-bit operands are shifted onto the result's scale: powers of two", False),
        "reals": AttributeSpec((tuple, type(None)), "factors and offset that give the same integers", None, float),
    }
    sign: ClassVar[int]

    def check_scales(self, dtype: DType, attributes: Attributes) -> None:
        if attributes["shifts"]:
            self.shifts(dtype, attributes)
        else:
            self.factors(dtype, attributes)

    def factors(self, dtype: DType, attributes: Attributes) -> tuple[tuple[int, int], ...]:
        """Multipliers and shifts of a, b and the result."""
        a, b, y = (attributes[key].scale for key in ("a", "b", "y"))
        common = 2 * max(a, b)
        output = common / ((1 << headroom(dtype)) * y)
        return tuple(fp.quantize_small_multiplier(f) for f in (a / common, b / common, output))

    def shifts(self, dtype: DType, attributes: Attributes) -> tuple[int, ...]:
        """How far a and b are shifted to the right. Raises `ScaleError` for scales that kernels refuse."""
        a, b, y = (power_of_two(attributes[key].scale) for key in ("a", "b", "y"))
        if dtype is not DType.I16 or a is None or b is None or y is None or max(a, b) != y:
            raise ScaleError(f"{self.name} shifts 16-bit integers, one of them on the result's scale, to larger ones")
        return y - a, y - b

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        dtype = DType.of(operands[0].dtype)
        offsets = [x.astype(np.int64) - attributes[key].zero_point for x, key in zip(operands, "ab", strict=True)]
        if attributes["shifts"]:
            a, b = (fp.shift_right(x, n) for x, n in zip(offsets, self.shifts(dtype, attributes), strict=True))
            total = a + self.sign * b
        else:
            *inputs, output = self.factors(dtype, attributes)
            a, b = (fp.multiply(x << headroom(dtype), *f) for x, f in zip(offsets, inputs, strict=True))
            total = fp.multiply(a + self.sign * b, *output) + attributes["y"].zero_point
        return (fp.saturate(total, dtype, attributes["low"], attributes["high"]),)

    def reals(self, dtype: DType, attributes: Attributes) -> tuple[float, float, float] | None:
        """Factors and an offset with which single precision gives the same integers, if there are any (8 bits)."""
        if dtype not in (DType.I8, DType.U8):
            return None
        numbers = np.arange(256) + np.iinfo(str(dtype.numpy)).min
        a, b = np.repeat(numbers, 256), np.tile(numbers, 256)
        (exact,) = self.evaluate((a.astype(dtype.numpy), b.astype(dtype.numpy)), attributes)
        x, y, result = (attributes[key] for key in ("a", "b", "y"))
        f, g = x.scale / result.scale, self.sign * y.scale / result.scale
        zero = result.zero_point - f * x.zero_point - g * y.zero_point
        return in_floats.formula(in_floats.Pairs(a, b, exact), f, g, zero, _results(dtype, attributes))

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        dtype = c.type(0).dtype
        operands = [c.load_broadcast(i, index) for i in range(2)]
        if attributes["reals"] is not None:
            x, y = (Cast(Cast(operand, DType.I32), DType.F32) for operand in operands)
            return _results(dtype, attributes).expression(in_floats.total(x, y, *attributes["reals"]))
        offsets = (fp.offset_expr(x, attributes[key]) for x, key in zip(operands, "ab", strict=True))
        if attributes["shifts"]:
            pairs = zip(offsets, self.shifts(dtype, attributes), strict=True)
            a, b = (fp.shift_right_expr(c.let, fp.wide(x), n) for x, n in pairs)
            total = binary("add" if self.sign > 0 else "sub", a, b)
            return fp.saturate_expr(total, dtype, attributes["low"], attributes["high"])
        *inputs, output = self.factors(dtype, attributes)
        bits = headroom(dtype)
        a, b = (raised(c.let, x, bits, *factor) for x, factor in zip(offsets, inputs, strict=True))
        total = binary("add" if self.sign > 0 else "sub", a, b)
        scaled = fp.scale_expr(c.let, total, *output, drops_negative=fp.drops_negative(attributes, dtype))
        return fp.saturate_expr(scaled + attributes["y"].zero_point, dtype, attributes["low"], attributes["high"])


def _results(dtype: DType, attributes: Attributes) -> in_floats.Results:
    info = np.iinfo(str(dtype.numpy))
    low, high = attributes["low"], attributes["high"]
    return in_floats.Results(dtype, int(info.min if low is None else low), int(info.max if high is None else high))


def headroom(dtype: DType) -> int:
    """Bits by which the operands of a sum are raised."""
    return SHORT_HEADROOM if dtype is DType.I16 else HEADROOM


def raised(let: fp.Let, x: Expr, bits: int, multiplier: int, shift: int) -> Expr:
    """X, raised by some bits, times a factor of at most one half, in 32 bits."""
    if (multiplier, shift) == (1 << 30, 0):  # one half
        return x * (1 << (bits - 1))
    return fp.scale_expr(let, x * (1 << bits), multiplier, shift)


@register
class QAdd(QSum):
    """Sum of two quantized tensors."""

    name = "q_add"
    sign = 1


@register
class QSub(QSum):
    """Difference of two quantized tensors."""

    name = "q_sub"
    sign = -1


@register
class QMul(QBinary):
    """Product of two quantized tensors."""

    name = "q_mul"

    def check_scales(self, dtype: DType, attributes: Attributes) -> None:
        self.factor(attributes)

    def factor(self, attributes: Attributes) -> tuple[int, int]:
        """Multiplier and shift of the product; the scales are combined in f32."""
        a, b, y = (attributes[key].scale for key in ("a", "b", "y"))
        return fp.quantize_multiplier(fp.single_ratio(a, b, over=y))

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        a, b = (x.astype(np.int64) - attributes[key].zero_point for x, key in zip(operands, ("a", "b"), strict=True))
        result = fp.multiply(a * b, *self.factor(attributes)) + attributes["y"].zero_point
        return (fp.saturate(result, DType.of(operands[0].dtype), attributes["low"], attributes["high"]),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        dtype = c.type(0).dtype
        a, b = (fp.offset_expr(c.load_broadcast(i, index), attributes[key]) for i, key in enumerate("ab"))
        result = fp.scale_expr(c.let, a * b, *self.factor(attributes)) + attributes["y"].zero_point
        return fp.saturate_expr(result, dtype, attributes["low"], attributes["high"])
