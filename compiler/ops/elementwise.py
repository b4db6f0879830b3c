"""Elementwise operators: arithmetic with NumPy's broadcasting, activations and other functions of one element."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from ..errors import ShapeError
from ..graph.ir import Array, Attributes
from ..graph.types import TensorType
from ..loops.compute import Compute
from ..loops.ir import Binary, Expr, Select, Unary, binary, const, maximum, minimum
from .base import AttributeSpec, Operator, register


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
        return (TensorType(a.dtype, broadcast_shapes(self.name, a.shape, b.shape)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        result: Array = type(self).ufunc(*operands)
        return (result.astype(operands[0].dtype, copy=False),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return binary(self.loop_op, c.load_broadcast(0, index), c.load_broadcast(1, index))


@register
class Add(BinaryOperator):
    """Sum of two tensors."""

    name = "add"
    commutative = True
    ufunc = np.add
    loop_op = "add"


@register
class Sub(BinaryOperator):
    """Difference of two tensors."""

    name = "sub"
    ufunc = np.subtract
    loop_op = "sub"


@register
class Mul(BinaryOperator):
    """Product of two tensors, element by element."""

    name = "mul"
    commutative = True
    ufunc = np.multiply
    loop_op = "mul"


@register
class Div(BinaryOperator):
    """Quotient of two tensors, element by element."""

    name = "div"
    ufunc = np.divide
    loop_op = "div"


@register
class Maximum(BinaryOperator):
    """The larger of two elements."""

    name = "maximum"
    commutative = True
    ufunc = np.maximum
    loop_op = "max"


@register
class Minimum(BinaryOperator):
    """The smaller of two elements."""

    name = "minimum"
    commutative = True
    ufunc = np.minimum
    loop_op = "min"


class UnaryOperator(Operator):
    """Base of the functions of one element."""

    operands = ("x",)
    elementwise = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        return (operands[0].dense(),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x: Any = operands[0]
        return (np.asarray(self.function(x, attributes), dtype=x.dtype),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return self.element(c.load(0, index), attributes)

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

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.maximum(x, 0)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return maximum(x, 0)


@register
class Clamp(UnaryOperator):
    """min(max(x, low), high)."""

    name = "clamp"
    attributes = {
        "low": AttributeSpec((int, float), "smallest result"),
        "high": AttributeSpec((int, float), "largest result"),
    }

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.clip(x, attributes["low"], attributes["high"])

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        low, high = attributes["low"], attributes["high"]
        return minimum(maximum(x, low), high)


@register
class Relu6(UnaryOperator):
    """min(max(x, 0), 6)."""

    name = "relu6"

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.clip(x, 0, 6)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return minimum(maximum(x, 0), 6)


@register
class LeakyRelu(UnaryOperator):
    """x where positive, else alpha * x."""

    name = "leaky_relu"
    attributes = {"alpha": AttributeSpec((int, float), "slope on the negative side", 0.01)}

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.where(x > 0, x, x * attributes["alpha"])

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        alpha = attributes["alpha"]
        return Select(Binary("lt", const(0, x.type), x), x, x * alpha)


@register
class Neg(UnaryOperator):
    """-x."""

    name = "neg"

    def function(self, x: Any, attributes: Attributes) -> Any:
        return -x

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return Unary("neg", x)


@register
class Abs(UnaryOperator):
    """|x|."""

    name = "abs"

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.abs(x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return Unary("abs", x)


@register
class Sqrt(UnaryOperator):
    """Square root."""

    name = "sqrt"

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.sqrt(x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return Unary("sqrt", x)


@register
class Exp(UnaryOperator):
    """e to the power of x."""

    name = "exp"

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.exp(x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return Unary("exp", x)


@register
class Log(UnaryOperator):
    """Natural logarithm."""

    name = "log"

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.log(x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return Unary("log", x)


@register
class Tanh(UnaryOperator):
    """Hyperbolic tangent."""

    name = "tanh"

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.tanh(x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return Unary("tanh", x)


@register
class Sigmoid(UnaryOperator):
    """1 / (1 + exp(-x))."""

    name = "sigmoid"

    def function(self, x: Any, attributes: Attributes) -> Any:
        e = np.exp(-np.abs(x))
        return np.where(x >= 0, 1 / (1 + e), e / (1 + e))

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return 1.0 / (1.0 + Unary("exp", Unary("neg", x)))


@register
class HardSigmoid(UnaryOperator):
    """relu6(x + 3) / 6."""

    name = "hard_sigmoid"

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.clip(x + 3, 0, 6) * (1 / 6)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return minimum(maximum(x + 3.0, 0), 6) * (1 / 6)
