"""Reductions over whole dimensions, and what is made of them: softmax, its logarithm, the logarithm of a sum."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from ...errors import ShapeError
from ...graph.element_types import check_floats, check_numbers
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Scales, Value
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Cast, Expr, binary
from ...numerics import quotient
from ...types import DType, Quantization, TensorType
from ..gradients import reshaped, scaled, where


def normalize_axis(name: str, axis: int, rank: int) -> int:
    """Bring an axis that may count from the end into 0 <= axis < rank.

    Raises `ShapeError` if there is no such axis.
    """
    if not -rank <= axis < rank:
        raise ShapeError(f"{name}: there is no axis {axis} in a tensor of rank {rank}")
    return axis % rank


def check_some(operator: Operator, x: TensorType, axes: tuple[int, ...]) -> None:
    """Raise `ShapeError` where nothing is left to choose from along some axes."""
    if math.prod(x.shape[a] for a in axes) == 0:
        raise ShapeError(f"{operator.name}: {x} has no elements along {list(axes)}")


class Reduce(Operator):
    """Base of the reductions; axes=None reduces all of them."""

    operands = ("x",)
    attributes = {
        "axes": AttributeSpec((tuple, type(None)), "dimensions that are reduced; all if absent", None),
        "keepdims": AttributeSpec(bool, "keep reduced dimensions with size 1", False),
    }
    anchor = True
    reads_once = True
    loop_op: ClassVar[str]
    of_nothing: ClassVar[bool] = False
    """There is a result where nothing is reduced."""

    def axes(self, rank: int, attributes: Attributes) -> tuple[int, ...]:
        """The reduced dimensions, in order."""
        given = attributes["axes"]
        if given is None:
            return tuple(range(rank))
        return tuple(sorted({normalize_axis(self.name, a, rank) for a in given}))

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        axes = self.axes(x.rank, attributes)
        check_numbers(self, x)
        if not self.of_nothing:
            check_some(self, x, axes)
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

        count = math.prod(extents)
        return Reduction(self.loop_op, extents, element, lambda t: self.finish(t, count), takes_vectors=True)

    def kept(self, b: Builder, op: Operation, value: Value) -> Value:
        """A value of the result's shape with the reduced dimensions back, of size 1."""
        shape = op.operands[0].type.shape
        axes = self.axes(len(shape), op.attributes)
        return reshaped(b, value, tuple(1 if d in axes else s for d, s in enumerate(shape)))

    def spread(self, b: Builder, op: Operation, value: Value) -> Value:
        """A value of the result's shape, repeated over the reduced dimensions."""
        shape = op.operands[0].type.shape
        axes = self.axes(len(shape), op.attributes)
        if axes != tuple(range(len(axes))):  # Leading dimensions are added by broadcasting.
            value = self.kept(b, op, value)
        return b.emit("broadcast_to", value, shape=shape)


@register
class ReduceSum(Reduce):
    """Sum over dimensions."""

    name = "reduce_sum"
    loop_op = "add"
    of_nothing = True

    def function(self, x: Array, **arguments: Any) -> Any:
        return np.sum(x, **arguments)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        return (self.spread(b, op, cotangents[0]),)


@register
class ReduceMean(Reduce):
    """Mean over dimensions; of integers rounded toward zero."""

    name = "reduce_mean"
    loop_op = "add"

    def function(self, x: Array, **arguments: Any) -> Any:
        if np.issubdtype(x.dtype, np.floating):
            return np.mean(x, **arguments)
        total = np.asarray(np.sum(x, dtype=np.int64, **arguments))
        return quotient(total, np.asarray(x.size // max(total.size, 1)))

    def finish(self, total: Expr, count: int) -> Expr:
        return total * (1 / count) if total.type.dtype.is_float else binary("div", total, count)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        rule, dtype = super().compute(c, index, attributes), c.type(0).dtype
        if dtype.is_float or rule.finish is None:
            return rule
        mean = rule.finish
        return replace(
            rule, body=lambda r: Cast(rule.body(r), DType.I64), finish=lambda t: Cast(mean(t), dtype), dtype=DType.I64
        )

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        count = op.operands[0].type.size // op.result.type.size
        return (self.spread(b, op, scaled(b, cotangents[0], 1 / count)),)


class Extremum(Reduce):
    """Base of reduce_max and reduce_min; equal extreme elements share the gradient evenly."""

    keeps_quantization = True
    picks = True
    scales = Scales.OPERAND

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (x,) = op.operands
        dtype = x.type.dtype
        chosen = b.emit("equal", x, self.kept(b, op, op.result))
        ones = b.emit("select", chosen, b.scalar(1.0, dtype), b.scalar(0.0, dtype))
        axes = self.axes(x.type.rank, op.attributes)
        count = b.emit("reduce_sum", ones, axes=axes, keepdims=op.attributes["keepdims"])
        share = b.emit("div", cotangents[0], count)
        return (where(b, chosen, self.spread(b, op, share)),)


@register
class ReduceMax(Extremum):
    """Largest element over dimensions; NaN if there is one."""

    name = "reduce_max"
    loop_op = "max"

    def function(self, x: Array, **arguments: Any) -> Any:
        return np.max(x, **arguments)


@register
class ReduceMin(Extremum):
    """Smallest element over dimensions; NaN if there is one."""

    name = "reduce_min"
    loop_op = "min"

    def function(self, x: Array, **arguments: Any) -> Any:
        return np.min(x, **arguments)


def _along_axis(operator: Operator, x: TensorType, attributes: Attributes) -> TensorType:
    """The type of x, dense, once it is sure that the operator can go along its axis."""
    axis = normalize_axis(operator.name, attributes["axis"], x.rank)
    check_floats(operator, x)
    check_some(operator, x, (axis,))
    return x.dense()


@register
class Softmax(Operator):
    """exp(x) / sum(exp(x)) along an axis, computed without overflow."""

    name = "softmax"
    fixed_scale = Quantization.of(1 / 256, -128)
    operands = ("x",)
    attributes = {"axis": AttributeSpec(int, "dimension along which the results sum to 1", -1)}

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return 0.0, 1.0

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        return (_along_axis(self, operands[0], attributes),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        e = np.exp(x - x.max(axis=attributes["axis"], keepdims=True))
        return (e / e.sum(axis=attributes["axis"], keepdims=True),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        axes = (attributes["axis"],)
        e = b.emit("exp", b.emit("sub", x, b.emit("reduce_max", x, axes=axes, keepdims=True)))
        return b.emit("div", e, b.emit("reduce_sum", e, axes=axes, keepdims=True))

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (dy,), y = cotangents, op.result
        total = b.emit("reduce_sum", b.emit("mul", dy, y), axes=(op.attributes["axis"],), keepdims=True)
        return (b.emit("mul", y, b.emit("sub", dy, total)),)


@register
class LogSoftmax(Operator):
    """x - log(sum(exp(x))) along an axis, computed without overflow: the logarithm of softmax."""

    name = "log_softmax"
    fixed_scale = Quantization.of(1 / 16, 127)
    operands = ("x",)
    attributes = {"axis": AttributeSpec(int, "dimension along which the exponentials sum to 1", -1)}

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return -math.inf, 0.0

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        return (_along_axis(self, operands[0], attributes),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        shifted = x - x.max(axis=attributes["axis"], keepdims=True)
        return (shifted - np.log(np.exp(shifted).sum(axis=attributes["axis"], keepdims=True)),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        axes = (attributes["axis"],)
        shifted = b.emit("sub", x, b.emit("reduce_max", x, axes=axes, keepdims=True))
        total = b.emit("reduce_sum", b.emit("exp", shifted), axes=axes, keepdims=True)
        return b.emit("sub", shifted, b.emit("log", total))

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (dy,) = cotangents
        total = b.emit("reduce_sum", dy, axes=(op.attributes["axis"],), keepdims=True)
        return (b.emit("sub", dy, b.emit("mul", b.emit("exp", op.result), total)),)


@register
class LogSumExp(Operator):
    """log(sum(exp(x))) over an axis, computed without overflow; -inf where all are -inf, inf where one is."""

    name = "logsumexp"
    operands = ("x",)
    attributes = {"axis": AttributeSpec(int, "dimension that is summed over", -1)}

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x = _along_axis(self, operands[0], attributes)
        axis = normalize_axis(self.name, attributes["axis"], x.rank)
        return (TensorType(x.dtype, x.shape[:axis] + x.shape[axis + 1 :]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        axis = attributes["axis"]
        largest = x.max(axis=axis)
        shift = np.where(np.isinf(largest), 0, largest).astype(x.dtype)
        return (np.asarray(shift + np.log(np.exp(x - np.expand_dims(shift, axis)).sum(axis=axis)), x.dtype),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        axes = (attributes["axis"],)
        (result,) = self.infer((x.type,), attributes)
        largest, dtype = b.emit("reduce_max", x, axes=axes, keepdims=True), x.type.dtype
        is_infinite = b.emit("equal", b.emit("abs", largest), b.scalar(math.inf, dtype))
        shift = b.emit("select", is_infinite, b.scalar(0.0, dtype), largest)  # inf - inf would be NaN
        total = b.emit("reduce_sum", b.emit("exp", b.emit("sub", x, shift)), axes=axes, keepdims=True)
        return reshaped(b, b.emit("add", shift, b.emit("log", total)), result.shape)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (x,) = op.operands
        axis = normalize_axis(self.name, op.attributes["axis"], x.type.rank)
        kept = (*x.type.shape[:axis], 1, *x.type.shape[axis + 1 :])
        share = b.emit("exp", b.emit("sub", x, reshaped(b, op.result, kept)))
        return (b.emit("mul", share, reshaped(b, cotangents[0], kept)),)
