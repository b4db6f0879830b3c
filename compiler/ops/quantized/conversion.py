"""Between floats and integers, and between integers of different scales."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Cast, Const, Expr, FixedMul, Select, Unary, binary, const
from ...numerics import convert
from ...types import DType, Quantization, TensorType
from ..functions.rounding import rounded, rounded_expr
from . import fixed_point as fp
from .base import (
    ACTIVATED,
    INTEGERS,
    RANGE,
    WIDE,
    Part,
    QuantizedOperator,
    check_activation,
    check_activations,
    check_range,
    named_integer,
    per_tensor,
    quantization,
)

_DTYPE = AttributeSpec(str, "element type of the result, such as i8")


class _Quantization(QuantizedOperator):
    """Base of what makes integers of floats, and rounds in one way or another."""

    operands = ("x",)
    attributes = {"dtype": _DTYPE, "y": quantization("the result")}
    elementwise = True
    non_differentiable = "rounding has no useful derivative; train with fake quantization"
    floats: ClassVar[tuple[DType, ...]] = (DType.F32,)
    """Element types of x."""

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        per_tensor(self, attributes, "y")
        if x.dtype not in self.floats:
            raise ShapeError(f"{self.name} takes {' or '.join(map(str, self.floats))}, not {x}")
        return (TensorType(named_integer(self, attributes), x.shape, None, attributes["y"]),)


@register
class Quantize(_Quantization):
    """Floats to integers: x / scale, rounded half away from zero, plus the zero point; saturated, NaN the largest."""

    name = "quantize"

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        y: Quantization = attributes["y"]
        whole = rounded((operands[0] / np.float32(y.scale)).astype(np.float64)) + y.zero_point
        return (convert(whole, named_integer(self, attributes)),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        y: Quantization = attributes["y"]
        whole = rounded_expr(c.let, c.load(0, index) / y.scale) + float(y.zero_point)
        return Cast(whole, named_integer(self, attributes))


@register
class QuantizeEven(_Quantization):
    """Floats (f32, f64) to integers as in ONNX: x / scale, halves to even, plus the zero point; NaN the smallest.

    What becomes of NaN ONNX leaves open; its reference evaluator and ONNX Runtime on x86 agree on the smallest.
    """

    name = "quantize_even"
    floats = (DType.F32, DType.F64)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        y: Quantization = attributes["y"]
        (x,) = operands
        with np.errstate(all="ignore"):
            whole = np.rint(x / x.dtype.type(y.scale)).astype(np.float64) + y.zero_point
        return (convert(np.nan_to_num(whole, nan=-np.inf), named_integer(self, attributes)),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        y: Quantization = attributes["y"]
        dtype = named_integer(self, attributes)
        smallest = float(np.iinfo(str(dtype.numpy)).min)
        whole: Expr = Unary("round", c.load(0, index) / y.scale)
        if y.zero_point:
            whole = whole + float(y.zero_point)
        whole = c.let(whole)
        return Cast(Select(binary("lt", smallest, whole), whole, const(smallest, whole.type)), dtype)


@register
class Dequantize(QuantizedOperator):
    """Integers to the floats that they stand for: scale * (x - zero point)."""

    name = "dequantize"
    operands = ("x",)
    attributes = {"x": quantization("x")}
    elementwise = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        check_activations(self, operands, attributes, "x", beside=())
        return (TensorType(DType.F32, operands[0].shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x: Quantization = attributes["x"]
        offset = operands[0].astype(np.int32) - x.zero_point
        return (offset.astype(np.float32) * np.float32(x.scale),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        x: Quantization = attributes["x"]
        return Cast(Cast(c.load(0, index), DType.I32) - x.zero_point, DType.F32) * x.scale


@register
class Requantize(QuantizedOperator):
    """The same numbers on another scale: (x - zero point) * x scale / y scale + y zero point, in fixed point."""

    name = "requantize"
    operands = ("x",)
    attributes = {"dtype": _DTYPE, "x": quantization("x"), "y": quantization("the result")}
    types: ClassVar[tuple[DType, ...]] = WIDE
    """Element types of operand and result."""
    elementwise = True

    def factor(self, attributes: Attributes) -> tuple[int, int]:
        """Multiplier and shift between the scales."""
        return fp.quantize_multiplier(attributes["x"].scale / attributes["y"].scale)

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        check_activations(self, operands, attributes, "x", types=self.types)
        self.factor(attributes)
        return (TensorType(named_integer(self, attributes, self.types), operands[0].shape, None, attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, y = attributes["x"], attributes["y"]
        offset = fp.wrap32(operands[0].astype(np.int64) - x.zero_point)
        scaled = fp.wrap32(fp.multiply(offset, *self.factor(attributes)) + y.zero_point)
        dtype = named_integer(self, attributes, self.types)
        return (fp.saturate(scaled, dtype, attributes.get("low"), attributes.get("high")),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        x, y = attributes["x"], attributes["y"]
        offset = fp.offset_expr(c.load(0, index), x)
        scaled = fp.narrow(fp.scale_expr(c.let, offset, *self.factor(attributes)) + y.zero_point)
        dtype = named_integer(self, attributes, self.types)
        return fp.saturate_expr(scaled, dtype, attributes.get("low"), attributes.get("high"))


@register
class QRelu(Requantize):
    """Requantize with a range of its own: relu and its kin, which find the ratio of the scales in f32."""

    name = "q_relu"
    types = INTEGERS
    attributes = {**Requantize.attributes, **ACTIVATED}

    def factor(self, attributes: Attributes) -> tuple[int, int]:
        return fp.quantize_multiplier(fp.single_ratio(attributes["x"].scale, over=attributes["y"].scale))

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        check_activation(self, named_integer(self, attributes), attributes["y"], attributes)
        return super().infer(operands, attributes)


@register
class Reinterpret(QuantizedOperator):
    """The same integers, said to stand for other numbers."""

    name = "reinterpret"
    operands = ("x",)
    attributes = {"y": quantization("the result")}
    elementwise = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        per_tensor(self, attributes, "y")
        return (operands[0].dense().with_quantization(attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return operands

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return c.load(0, index)


@register
class Rescale(Part):
    """32-bit sums to 8 bits: x * multiplier * 2^(shift - 31) in fixed point, plus the zero point, saturated.

    Multiplier and shift (i32) have one element, or one for each channel: they broadcast to x.
    """

    name = "rescale"
    operands = ("x", "multiplier", "shift")
    attributes = {
        "dtype": _DTYPE,
        "y": quantization("the result"),
        **RANGE,
        "reduces": AttributeSpec(bool, "every shift is negative: the factors are less than one half", False),
        "saturates": AttributeSpec(bool, "every shift is from -21 to -1: a sum of 30 bits is beyond the range", False),
    }
    elementwise = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, multiplier, shift = operands
        if any(o.dtype is not DType.I32 for o in operands) or multiplier.shape != shift.shape:
            raise ShapeError(f"rescale can't scale {x} by {multiplier} and {shift}")
        if multiplier.shape not in ((), x.shape[-1:]):
            raise ShapeError(f"rescale: {multiplier} has neither one element nor one for each channel of {x}")
        dtype = named_integer(self, attributes)
        check_range(self, dtype, attributes)
        return (TensorType(dtype, x.shape, None, attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        scaled = fp.multiply(*(o.astype(np.int64) for o in operands)) + attributes["y"].zero_point
        return (fp.saturate(scaled, named_integer(self, attributes), attributes["low"], attributes["high"]),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        x, multiplier, shift = c.load(0, index), c.load_broadcast(1, index), c.load_broadcast(2, index)
        if attributes["reduces"]:
            up = fp.drops_negative(attributes, named_integer(self, attributes))
            scaled: Expr = FixedMul(x, multiplier, shift, halves_up=up)
        elif isinstance(multiplier, Const) and isinstance(shift, Const):
            scaled = fp.scale_expr(c.let, x, int(multiplier.value), int(shift.value))
        else:
            scaled = fp.multiply_by_operands(c.let, fp.wide(x), fp.wide(multiplier), fp.wide(shift))
        zero_point = attributes["y"].zero_point
        return fp.saturate_expr(
            scaled + zero_point, named_integer(self, attributes), attributes["low"], attributes["high"]
        )


@register
class RescaleReal(Part):
    """Sums (i32 or i64) to 8 or 16 bits: x * factor (f64), rounded half away from zero, plus the zero point, saturated.

    The factor has one element, or one for each channel.
    """

    name = "rescale_real"
    operands = ("x", "factor")
    attributes = {"dtype": _DTYPE, "y": quantization("the result"), **RANGE}
    elementwise = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, factor = operands
        fits = x.dtype in (DType.I32, DType.I64) and factor.dtype is DType.F64
        if not fits or factor.shape not in ((), x.shape[-1:]):
            raise ShapeError(f"rescale_real can't scale {x} by {factor}")
        dtype = named_integer(self, attributes)
        check_range(self, dtype, attributes)
        return (TensorType(dtype, x.shape, None, attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        scaled = fp.multiply_real(*operands) + attributes["y"].zero_point
        return (fp.saturate(scaled, named_integer(self, attributes), attributes["low"], attributes["high"]),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        scaled = fp.multiply_real_expr(c.let, c.load(0, index), c.load_broadcast(1, index))
        zero_point, dtype = attributes["y"].zero_point, named_integer(self, attributes)
        return fp.saturate_beside_expr(scaled, zero_point, dtype, attributes["low"], attributes["high"])
