"""Bases of the operators on single elements: functions of one, and of two with NumPy's broadcasting."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from ...errors import ShapeError
from ...graph.element_types import check_numbers
from ...graph.ir import Array, Attributes, Builder, Operation, Operator, Value
from ...loops.compute import Compute
from ...loops.ir import Expr, Unary, binary
from ...types import TensorType
from ..gradients import sum_to


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


class NamedFunction(UnaryOperator):
    """Base of the functions that NumPy has, too, and the loop IR by the same name."""

    ufunc: ClassVar[np.ufunc]

    def function(self, x: Any, attributes: Attributes) -> Any:
        return type(self).ufunc(x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return Unary(self.name, x)


class MathFunction(NamedFunction):
    """Base of those of floats that cost a polynomial or more."""

    floats_only = True
    work = 16
