"""Comparisons, which give truth values, and the choice between two tensors by them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, Builder, Operation, Operator, Value
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Binary, Expr
from ...loops.ir import Select as Choice
from ...types import DType, TensorType
from ..gradients import sum_to, where
from .elementwise import broadcast_shapes


class Comparison(Operator):
    """Base of the comparisons of two tensors, element by element with NumPy's broadcasting."""

    operands = ("a", "b")
    elementwise = True
    piecewise_constant = True
    ufunc: ClassVar[np.ufunc]
    loop_op: ClassVar[str]
    swapped: ClassVar[bool] = False
    """Whether the loop IR has the comparison only with its operands exchanged."""

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        a, b = operands
        if a.dtype is not b.dtype:
            raise ShapeError(f"{self.name} can't compare {a} and {b}: element types differ")
        return (TensorType(DType.BOOL, broadcast_shapes(self.name, a.shape, b.shape)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (np.asarray(type(self).ufunc(*operands)),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return self.element(c.load_broadcast(0, index), c.load_broadcast(1, index))

    def element(self, a: Expr, b: Expr) -> Expr:
        """The comparison of two expressions."""
        return Binary(self.loop_op, b, a) if self.swapped else Binary(self.loop_op, a, b)


@register
class Less(Comparison):
    """True where a < b."""

    name = "less"
    ufunc = np.less
    loop_op = "lt"


@register
class LessEqual(Comparison):
    """True where a <= b."""

    name = "less_equal"
    ufunc = np.less_equal
    loop_op = "le"


@register
class Greater(Comparison):
    """True where a > b."""

    name = "greater"
    ufunc = np.greater
    loop_op = "lt"
    swapped = True


@register
class GreaterEqual(Comparison):
    """True where a >= b."""

    name = "greater_equal"
    ufunc = np.greater_equal
    loop_op = "le"
    swapped = True


@register
class Equal(Comparison):
    """True where a and b are equal."""

    name = "equal"
    commutative = True
    ufunc = np.equal
    loop_op = "eq"


@register
class NotEqual(Comparison):
    """True where a and b differ."""

    name = "not_equal"
    commutative = True
    ufunc = np.not_equal
    loop_op = "ne"


@register
class Select(Operator):
    """a where the condition holds, else b, with NumPy's broadcasting of all three."""

    name = "select"
    operands = ("condition", "a", "b")
    elementwise = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        condition, a, b = operands
        if condition.dtype is not DType.BOOL:
            raise ShapeError(f"select takes a condition of type i1, not {condition}")
        if a.dtype is not b.dtype:
            raise ShapeError(f"select can't choose between {a} and {b}: element types differ")
        shape = broadcast_shapes(self.name, a.shape, b.shape)
        return (TensorType(a.dtype, broadcast_shapes(self.name, condition.shape, shape)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (np.asarray(np.where(*operands)),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        condition, a, b = (c.load_broadcast(i, index) for i in range(3))
        return Choice(condition, a, b)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (dy,) = cotangents
        condition, x, y = op.operands
        other = b.emit("select", condition, b.scalar(0.0, dy.type.dtype), dy)
        return None, sum_to(b, where(b, condition, dy), x.type.shape), sum_to(b, other, y.type.shape)
