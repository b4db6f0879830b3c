"""Bases of the operators that move elements without changing them, and of those among them that pad."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from ...errors import ShapeError
from ...graph.ir import Attributes, AttributeSpec, Builder, Operation, Operator, Scales, Seams, Value
from ...types import TensorType

Margins = tuple[tuple[int, int], ...]


class Movement(Operator):
    """Base of the operators whose result holds elements of the operand, whatever they stand for, at other places.

    So any element type passes, and its quantization with it. An operator says which shape the result has, and how
    cotangents move back.
    """

    keeps_quantization = True
    moves = True
    scales = Scales.OPERAND
    operands = ("x",)

    @abstractmethod
    def shape(self, x: TensorType, attributes: Attributes) -> tuple[int, ...]:
        """The result's shape; raises `ShapeError` where the attributes don't fit the operand."""

    @abstractmethod
    def adjoint(self, b: Builder, dy: Value, x: TensorType, attributes: Attributes) -> Value:
        """The cotangent of the operand, which is of type `x`, from that of the result."""

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        return (TensorType(x.dtype, self.shape(x, attributes)),)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        return (self.adjoint(b, cotangents[0], op.operands[0].type, op.attributes),)


PADDING = AttributeSpec(tuple, "(before, after) for each dimension")


def check_padding(name: str, x: TensorType, padding: Margins) -> None:
    """Raise `ShapeError` unless `padding` has (before, after), not below 0, for each dimension of x."""
    if len(padding) != x.rank or any(len(sides) != 2 or min(sides) < 0 for sides in padding):
        raise ShapeError(f"{name}: {list(padding)} doesn't give (before, after) for each dimension of {x}")


def padded_shape(x: TensorType, padding: Margins) -> tuple[int, ...]:
    """The shape of x with new elements around it."""
    return tuple(size + before + after for size, (before, after) in zip(x.shape, padding, strict=True))


class Padding(Movement):
    """Base of the operators that surround a tensor: `padding` holds (before, after) for each dimension."""

    def shape(self, x: TensorType, attributes: Attributes) -> tuple[int, ...]:
        check_padding(self.name, x, attributes["padding"])
        return padded_shape(x, attributes["padding"])

    def seams(self, operands: Sequence[TensorType], attributes: Attributes) -> Seams:
        (x,) = operands
        if not x.rank:
            return Seams()
        before: int = attributes["padding"][-1][0]
        return Seams(-1, (before, before + x.shape[-1]))
