"""Reductions over whole dimensions, and softmax, which is made of them."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..errors import ShapeError
from ..graph.ir import Array, Attributes, Value
from ..graph.types import TensorType
from ..loops.compute import Compute, Reduction
from ..loops.ir import Expr
from .base import AttributeSpec, Operator, register

if TYPE_CHECKING:
    from ..graph.builder import GraphBuilder


def normalize_axis(name: str, axis: int, rank: int) -> int:
    """Bring an axis that may count from the end into 0 <= axis < rank."""
    if not -rank <= axis < rank:
        raise ShapeError(f"{name}: there is no axis {axis} in a tensor of rank {rank}")
    return axis % rank


class Reduce(Operator):
    """Base of the reductions; axes=None reduces all of them."""

    operands = ("x",)
    attributes = {
        "axes": AttributeSpec((tuple, type(None)), "dimensions that are reduced; all if absent", None),
        "keepdims": AttributeSpec(bool, "keep reduced dimensions with size 1", False),
    }
    anchor = True
    loop_op: ClassVar[str]

    def axes(self, rank: int, attributes: Attributes) -> tuple[int, ...]:
        """The reduced dimensions, in order."""
        given = attributes["axes"]
        if given is None:
            return tuple(range(rank))
        return tuple(sorted({normalize_axis(self.name, a, rank) for a in given}))

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        axes = self.axes(x.rank, attributes)
        if attributes["keepdims"]:
            return (TensorType(x.dtype, tuple(1 if d in axes else s for d, s in enumerate(x.shape))),)
        return (TensorType(x.dtype, tuple(s for d, s in enumerate(x.shape) if d not in axes)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        result = self.function(x, axis=self.axes(x.ndim, attributes), keepdims=attributes["keepdims"])
        return (np.asarray(result, x.dtype),)

    @abstractmethod
    def function(self, x: Array, **arguments: Any) -> Any:
        """The reduction in NumPy, taking `axis` and `keepdims`."""

    def finish(self, total: Expr, count: int) -> Expr:
        """What is done with the combined elements; nothing by default."""
        return total

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        shape = c.type(0).shape
        axes = self.axes(len(shape), attributes)
        extents = tuple(shape[a] for a in axes)

        def element(r: tuple[Expr, ...]) -> Expr:
            if attributes["keepdims"]:
                place = list(index)
                for a, i in zip(axes, r, strict=True):
                    place[a] = i
            else:
                kept, reduced = iter(index), iter(r)
                place = [next(reduced) if d in axes else next(kept) for d in range(len(shape))]
            return c.load(0, tuple(place))

        return Reduction(self.loop_op, extents, element, lambda total: self.finish(total, math.prod(extents)))


@register
class ReduceSum(Reduce):
    """Sum over dimensions."""

    name = "reduce_sum"
    loop_op = "add"

    def function(self, x: Array, **arguments: Any) -> Any:
        return np.sum(x, **arguments)


@register
class ReduceMean(Reduce):
    """Mean over dimensions."""

    name = "reduce_mean"
    loop_op = "add"

    def function(self, x: Array, **arguments: Any) -> Any:
        return np.mean(x, **arguments)

    def finish(self, total: Expr, count: int) -> Expr:
        return total * (1 / count)


@register
class ReduceMax(Reduce):
    """Largest element over dimensions."""

    name = "reduce_max"
    loop_op = "max"

    def function(self, x: Array, **arguments: Any) -> Any:
        return np.max(x, **arguments)


@register
class Softmax(Operator):
    """exp(x) / sum(exp(x)) along an axis, computed without overflow."""

    name = "softmax"
    operands = ("x",)
    attributes = {"axis": AttributeSpec(int, "dimension along which the results sum to 1", -1)}

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        normalize_axis(self.name, attributes["axis"], operands[0].rank)
        return (operands[0].dense(),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        e = np.exp(x - x.max(axis=attributes["axis"], keepdims=True))
        return (e / e.sum(axis=attributes["axis"], keepdims=True),)

    def decompose(self, b: GraphBuilder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        axes = (attributes["axis"],)
        e = b.emit("exp", b.emit("sub", x, b.emit("reduce_max", x, axes=axes, keepdims=True)))
        return b.emit("div", e, b.emit("reduce_sum", e, axes=axes, keepdims=True))
