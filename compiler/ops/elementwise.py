"""Elementwise operators: arithmetic with NumPy's broadcasting, activations and other functions of one element."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from ..errors import ShapeError
from ..graph.element_types import check_numbers
from ..graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Scales, Value
from ..graph.registry import register
from ..loops.compute import Compute
from ..loops.ir import Binary, Expr, Select, Unary, binary, const, maximum, minimum
from ..numerics import convert, quotient
from ..types import DType, Quantization, TensorType
from .gradients import scaled, sum_to, where, where_above, where_between
from .quantized.base import ACTIVATION, INTEGERS, check_activation


def _as_element(number: int | float, dtype: DType) -> int | float:
    """A number as one of an element type, saturated."""
    if dtype.is_float:
        return number
    info = np.iinfo(str(dtype.numpy))
    if isinstance(number, int):
        return min(max(number, int(info.min)), int(info.max))
    return int(convert(np.array(number), dtype))


def broadcast_shapes(name: str, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """NumPy's broadcasting of two shapes, or `ShapeError` with both."""
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        raise ShapeError(
            f"{name} can't combine shapes {list(a)} and {list(b)}",
            hint="from the last dimension backward, sizes must be equal or 1",
        ) from None


class BinaryOperator(Operator):
    """Base of the operators that combine two tensors element by element."""

    operands = ("a", "b")
    elementwise = True
    ufunc: ClassVar[np.ufunc]
    loop_op: ClassVar[str]

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        a, b = operands
        if a.dtype is not b.dtype:
            raise ShapeError(f"{self.name} can't combine {a} and {b}: element types differ")
        check_numbers(self, a, b)
        return (TensorType(a.dtype, broadcast_shapes(self.name, a.shape, b.shape)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        result: Array = type(self).ufunc(*operands)
        return (result.astype(operands[0].dtype, copy=False),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return binary(self.loop_op, c.load_broadcast(0, index), c.load_broadcast(1, index))

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value, ...]:
        partials = self.partials(b, op, cotangents[0])
        return tuple(sum_to(b, d, v.type.shape) for d, v in zip(partials, op.operands, strict=True))

    @abstractmethod
    def partials(self, b: Builder, op: Operation, dy: Value) -> tuple[Value, Value]:
        """Cotangents of both operands, of the result's shape: `gradient` undoes the broadcasting."""


@register
class Add(BinaryOperator):
    """Sum of two tensors."""

    name = "add"
    commutative = True
    ufunc = np.add
    loop_op = "add"

    def partials(self, b: Builder, op: Operation, dy: Value) -> tuple[Value, Value]:
        return dy, dy


@register
class Sub(BinaryOperator):
    """Difference of two tensors."""

    name = "sub"
    ufunc = np.subtract
    loop_op = "sub"

    def partials(self, b: Builder, op: Operation, dy: Value) -> tuple[Value, Value]:
        return dy, b.emit("neg", dy)


@register
class Mul(BinaryOperator):
    """Product of two tensors, element by element."""

    name = "mul"
    commutative = True
    ufunc = np.multiply
    loop_op = "mul"

    def partials(self, b: Builder, op: Operation, dy: Value) -> tuple[Value, Value]:
        x, y = op.operands
        return b.emit("mul", dy, y), b.emit("mul", dy, x)


@register
class Div(BinaryOperator):
    """Quotient of two tensors, element by element; of integers rounded toward zero, and 0 where b is 0."""

    name = "div"
    ufunc = np.divide
    loop_op = "div"

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        is_float = np.issubdtype(operands[0].dtype, np.floating)
        return super().evaluate(operands, attributes) if is_float else (quotient(*operands),)

    def partials(self, b: Builder, op: Operation, dy: Value) -> tuple[Value, Value]:
        da = b.emit("div", dy, op.operands[1])
        return da, b.emit("neg", b.emit("mul", da, op.result))


@register
class Maximum(BinaryOperator):
    """The larger of two elements; NaN if one of them is."""

    name = "maximum"
    keeps_quantization = True
    commutative = True
    ufunc = np.maximum
    loop_op = "max"
    scales = Scales.COMMON

    def partials(self, b: Builder, op: Operation, dy: Value) -> tuple[Value, Value]:
        return _shares(b, "greater", op, dy)


@register
class Minimum(BinaryOperator):
    """The smaller of two elements; NaN if one of them is."""

    name = "minimum"
    keeps_quantization = True
    commutative = True
    ufunc = np.minimum
    loop_op = "min"
    scales = Scales.COMMON

    def partials(self, b: Builder, op: Operation, dy: Value) -> tuple[Value, Value]:
        return _shares(b, "less", op, dy)


def _shares(b: Builder, wins: str, op: Operation, dy: Value) -> tuple[Value, Value]:
    """The cotangents of two operands of which the one that `wins` is the result; equal ones get half each."""
    x, y = op.operands
    tie = where(b, b.emit("equal", x, y), scaled(b, dy, 0.5))
    return b.emit("select", b.emit(wins, x, y), dy, tie), b.emit("select", b.emit(wins, y, x), dy, tie)


class UnaryOperator(Operator):
    """Base of the functions of one element."""

    operands = ("x",)
    elementwise = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        check_numbers(self, *operands)
        return (operands[0].dense(),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x: Any = operands[0]
        return (np.asarray(self.function(x, attributes), dtype=x.dtype),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return self.element(c.load(0, index), attributes)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        return (self.chain(b, op, cotangents[0]),)

    @abstractmethod
    def chain(self, b: Builder, op: Operation, dy: Value) -> Value | None:
        """The cotangent of x: `dy` times the derivative, written with the result where that spares keeping x."""

    @abstractmethod
    def function(self, x: Any, attributes: Attributes) -> Any:
        """The function on a NumPy array."""

    @abstractmethod
    def element(self, x: Expr, attributes: Attributes) -> Expr:
        """The function on one element (or one vector of them) in the loop IR."""


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
        return where_between(b, op.result, op.attributes["low"], op.attributes["high"], dy)


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


@register
class Neg(UnaryOperator):
    """-x."""

    name = "neg"

    def function(self, x: Any, attributes: Attributes) -> Any:
        return -x

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return Unary("neg", x)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("neg", dy)


@register
class Abs(UnaryOperator):
    """|x|."""

    name = "abs"

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return 0.0, math.inf

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.abs(x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return Unary("abs", x)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("mul", dy, b.emit("sign", op.operands[0]))


@register
class Sqrt(UnaryOperator):
    """Square root."""

    name = "sqrt"
    floats_only = True

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return 0.0, math.inf

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.sqrt(x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return Unary("sqrt", x)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("div", scaled(b, dy, 0.5), op.result)


@register
class Exp(UnaryOperator):
    """e to the power of x."""

    name = "exp"
    floats_only = True
    work = 8

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return 0.0, math.inf

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.exp(x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return Unary("exp", x)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("mul", dy, op.result)


@register
class Log(UnaryOperator):
    """Natural logarithm."""

    name = "log"
    floats_only = True
    work = 8

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.log(x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return Unary("log", x)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("div", dy, op.operands[0])


@register
class Tanh(UnaryOperator):
    """Hyperbolic tangent."""

    name = "tanh"
    floats_only = True
    work = 8
    fixed_scale = Quantization.of(1 / 128, 0)

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return -1.0, 1.0

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.tanh(x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return Unary("tanh", x)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        square = b.emit("mul", op.result, op.result)
        return b.emit("mul", dy, b.emit("sub", b.scalar(1.0, dy.type.dtype), square))


@register
class Sigmoid(UnaryOperator):
    """1 / (1 + exp(-x))."""

    name = "sigmoid"
    floats_only = True
    work = 8
    fixed_scale = Quantization.of(1 / 256, -128)

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return 0.0, 1.0

    def function(self, x: Any, attributes: Attributes) -> Any:
        e = np.exp(-np.abs(x))
        return np.where(x >= 0, 1 / (1 + e), e / (1 + e))

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return 1.0 / (1.0 + Unary("exp", Unary("neg", x)))

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        rest = b.emit("sub", b.scalar(1.0, dy.type.dtype), op.result)
        return b.emit("mul", dy, b.emit("mul", op.result, rest))


@register
class HardSigmoid(UnaryOperator):
    """relu6(x + 3) / 6."""

    name = "hard_sigmoid"
    floats_only = True

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        x = operands[0]
        limited = b.emit("relu6", b.emit("add", x, b.scalar(3.0, x.type.dtype)))
        return b.emit("mul", limited, b.scalar(1 / 6, x.type.dtype))

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return 0.0, 1.0

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.clip(x + 3, 0, 6) * (1 / 6)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return minimum(maximum(x + 3.0, 0), 6) * (1 / 6)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return scaled(b, where_between(b, op.operands[0], -3, 3, dy), 1 / 6)


@register
class Sign(UnaryOperator):
    """1 where x > 0, -1 where x < 0, else x (0 or NaN)."""

    name = "sign"
    piecewise_constant = True

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return -1.0, 1.0

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.sign(x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        negative = x if x.type.dtype is DType.U8 else Select(Binary("lt", x, const(0, x.type)), const(-1, x.type), x)
        return Select(Binary("lt", const(0, x.type), x), const(1, x.type), negative)

    def chain(self, b: Builder, op: Operation, dy: Value) -> None:
        return None
