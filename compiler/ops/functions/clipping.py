"""Activations that clip: relu, relu6 and clamp; leaky relu."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Attributes, AttributeSpec, Builder, Operation, Value
from ...graph.registry import register
from ...loops.ir import Binary, Expr, Select, const, maximum, minimum
from ...numerics import convert
from ...types import DType, TensorType
from ..gradients import scaled, where, where_above, where_between
from ..quantized.base import ACTIVATION, INTEGERS, check_activation
from .elementwise import UnaryOperator


def _as_element(number: int | float, dtype: DType) -> int | float:
    """A number as one of an element type, saturated."""
    if dtype.is_float:
        return number
    info = np.iinfo(str(dtype.numpy))
    if isinstance(number, int):
        return min(max(number, int(info.min)), int(info.max))
    return int(convert(np.array(number), dtype))


@register
class Relu(UnaryOperator):
    """max(x, 0)."""

    name = "relu"
    clips = True
    homogeneous = True

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return 0.0, math.inf

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.maximum(x, 0)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return maximum(x, 0)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return where_above(b, op.result, 0, dy)


@register
class Clamp(UnaryOperator):
    """min(max(x, low), high); integers are limited to the bounds without their fractions."""

    name = "clamp"
    keeps_quantization = True
    clips = True
    attributes = {
        "low": AttributeSpec((int, float), "smallest result"),
        "high": AttributeSpec((int, float), "largest result"),
        "activation": ACTIVATION,
    }

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        if any(math.isnan(attributes[end]) for end in ("low", "high")):
            raise ShapeError("clamp: NaN is no bound")
        if attributes["activation"] is not None:
            if x.dtype not in INTEGERS:
                raise ShapeError(f"clamp: `activation` tells where bounds of quantized integers come from, not of {x}")
            check_activation(self, x.dtype, x.quantization, attributes)
        return super().infer(operands, attributes)

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return attributes["low"], attributes["high"]

    @staticmethod
    def limits(dtype: DType, attributes: Attributes) -> tuple[int | float, int | float]:
        """The bounds as numbers of an element type."""
        low, high = (_as_element(attributes[end], dtype) for end in ("low", "high"))
        return low, high

    def function(self, x: Any, attributes: Attributes) -> Any:
        low, high = self.limits(DType.of(x.dtype), attributes)
        return np.minimum(np.maximum(x, x.dtype.type(low)), x.dtype.type(high))

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        low, high = self.limits(x.type.dtype, attributes)
        return minimum(maximum(x, low), high)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        """At the bounds, too, the cotangent passes, as in PyTorch."""
        (x,) = op.operands
        for end, holds in (("low", "greater_equal"), ("high", "less_equal")):
            if math.isfinite(op.attributes[end]):
                dy = where(b, b.emit(holds, x, b.scalar(op.attributes[end], x.type.dtype)), dy)
        return dy


@register
class Relu6(UnaryOperator):
    """min(max(x, 0), 6)."""

    name = "relu6"
    clips = True

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return 0.0, 6.0

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.clip(x, 0, 6)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return minimum(maximum(x, 0), 6)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return where_between(b, op.result, 0, 6, dy)


@register
class LeakyRelu(UnaryOperator):
    """x where positive, else alpha * x."""

    name = "leaky_relu"
    floats_only = True
    attributes = {"alpha": AttributeSpec((int, float), "slope on the negative side", 0.01)}
    homogeneous = True

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.where(x > 0, x, x * attributes["alpha"])

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        alpha = attributes["alpha"]
        return Select(Binary("lt", const(0, x.type), x), x, x * alpha)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        alpha = op.attributes["alpha"]
        x = op.result if alpha > 0 else op.operands[0]
        positive = b.emit("greater", x, b.scalar(0.0, x.type.dtype))
        return b.emit("select", positive, dy, scaled(b, dy, alpha))
