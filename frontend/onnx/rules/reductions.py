"""Reductions over dimensions, searches and cumulative sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ....compiler.graph.ir import Value
from ....compiler.ops.reductions.sorting import top_k as top_k_layer
from ....compiler.types import DType
from ..node import Node
from ..registry import Rule, onnx

Reduction = Callable[[Node, Value, tuple[int, ...], bool], Value]


def _axes(c: Node, *, by_input: bool) -> tuple[int, ...] | None:
    """The axes that are reduced; None where nothing is."""
    rank = c.type(0).rank
    given: Sequence[int] | None = (c.integers(1) if c.has(1) else None) if by_input else c.attribute("axes")
    if not given:
        if by_input and c.flag("noop_with_empty_axes"):
            return None
        return tuple(range(rank))
    c.flag("noop_with_empty_axes")
    return c.axes(given, rank)


def _reduces(reduction: Reduction, *, by_input: bool, single: Callable[[Node, Value], Value]) -> Rule:
    def rule(c: Node) -> Value:
        x = c.value(0)
        axes, keep = _axes(c, by_input=by_input), c.flag("keepdims", True)
        if axes is None:
            return single(c, x)
        return reduction(c, x, axes, keep)

    return rule


def _named(operator: str) -> Reduction:
    def reduction(c: Node, x: Value, axes: tuple[int, ...], keep: bool) -> Value:
        if not axes:
            return x
        return c.emit(operator, x, axes=axes, keepdims=keep)

    return reduction


def _extremum(operator: str) -> Reduction:
    def reduction(c: Node, x: Value, axes: tuple[int, ...], keep: bool) -> Value:
        if x.type.dtype is DType.BOOL:
            return _named("reduce_any" if operator == "reduce_max" else "reduce_all")(c, x, axes, keep)
        if any(x.type.shape[a] == 0 for a in axes):
            shape = [1 if d in axes else s for d, s in enumerate(x.type.shape) if keep or d not in axes]
            return c.full(shape, _start(x.type.dtype, largest=operator == "reduce_max"), x.type.dtype)
        return _named(operator)(c, x, axes, keep)

    return reduction


def _start(dtype: DType, *, largest: bool) -> float:
    """The extremum of nothing."""
    if dtype.is_float:
        return -np.inf if largest else np.inf
    info = np.iinfo(str(dtype.numpy))
    return int(info.min if largest else info.max)


def _mean(c: Node, x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    return _named("reduce_mean")(c, x, axes, keep)


def _l1(c: Node, x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    return _named("reduce_sum")(c, c.emit("abs", x), axes, keep)


def _l2(c: Node, x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    return c.emit("sqrt", _square(c, x, axes, keep))


def _square(c: Node, x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    return _named("reduce_sum")(c, c.emit("mul", x, x), axes, keep)


def _log_sum(c: Node, x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    return c.emit("log", _named("reduce_sum")(c, x, axes, keep))


def _log_sum_exp(c: Node, x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    if not axes or any(x.type.shape[a] == 0 for a in axes):
        return _log_sum(c, c.emit("exp", x), axes, keep)
    high = c.emit("reduce_max", x, axes=axes, keepdims=True)
    finite = c.emit("select", c.emit("isfinite", high), high, c.scalar(0, x))
    total = c.emit("reduce_sum", c.emit("exp", c.emit("sub", x, finite)), axes=axes, keepdims=True)
    y = c.emit("add", c.emit("log", total), finite)
    return y if keep else c.reshape(y, [s for d, s in enumerate(x.type.shape) if d not in axes])


def _same(c: Node, x: Value) -> Value:
    return x


_REDUCTIONS: dict[str, tuple[Reduction, int, Callable[[Node, Value], Value]]] = {
    "ReduceSum": (_named("reduce_sum"), 13, _same),
    "ReduceMean": (_mean, 18, _same),
    "ReduceMax": (_extremum("reduce_max"), 18, _same),
    "ReduceMin": (_extremum("reduce_min"), 18, _same),
    "ReduceProd": (_named("reduce_prod"), 18, _same),
    "ReduceL1": (_l1, 18, lambda c, x: c.emit("abs", x)),
    "ReduceL2": (_l2, 18, lambda c, x: c.emit("abs", x)),
    "ReduceSumSquare": (_square, 18, lambda c, x: c.emit("mul", x, x)),
    "ReduceLogSum": (_log_sum, 18, lambda c, x: c.emit("log", x)),
    "ReduceLogSumExp": (_log_sum_exp, 18, _same),
}
"""By operator: what it does, since when axes are an input, and what it does with single elements."""
for _name, (_reduction, _since, _single) in _REDUCTIONS.items():
    onnx(_name)(_reduces(_reduction, by_input=False, single=_single))
    onnx(_name, since=_since)(_reduces(_reduction, by_input=True, single=_single))


def _position(operator: str) -> Rule:
    def rule(c: Node) -> Value:
        x = c.value(0)
        axis = c.axis(c.attribute("axis", 0), x.type.rank)
        place = c.cast(c.emit(operator, x, axis=axis, last=c.flag("select_last_index")), DType.I64)
        if not c.flag("keepdims", True):
            return place
        return c.reshape(place, [1 if d == axis else s for d, s in enumerate(x.type.shape)])

    return rule


onnx("ArgMax")(_position("argmax"))
onnx("ArgMin")(_position("argmin"))


@onnx("TopK", since=10)
def top_k(c: Node) -> tuple[Value, ...]:
    """The largest (or smallest) elements along an axis and their places."""
    x = c.value(0)
    axis = c.axis(c.attribute("axis", -1), x.type.rank)
    c.ignore("sorted")  # any order will do where it isn't asked for
    largest = c.flag("largest", True)
    values, places = top_k_layer(c, x, int(c.one(1)), axis, largest)
    return values, c.cast(places, DType.I64)


@onnx("TopK")
def top_k_by_attribute(c: Node) -> tuple[Value, ...]:
    """The largest elements along an axis and their places."""
    x = c.value(0)
    axis = c.axis(c.attribute("axis", -1), x.type.rank)
    values, places = top_k_layer(c, x, int(c.needed("k")), axis, True)
    return values, c.cast(places, DType.I64)


@onnx("CumSum")
def cumulative_sum(c: Node) -> Value:
    """Sums of the elements up to each one along an axis."""
    x = c.value(0)
    axis = c.axis(int(c.one(1)), x.type.rank)
    return c.emit("cumulative_sum", x, axis=axis, exclusive=c.flag("exclusive"), reverse=c.flag("reverse"))


@onnx("CumProd")
def cumulative_product(c: Node) -> Value:
    """Products of the elements up to each one along an axis, by steps of doubling length."""
    x = c.value(0)
    axis = c.axis(int(c.one(1)), x.type.rank)
    exclusive, reverse = c.flag("exclusive"), c.flag("reverse")
    size = x.type.shape[axis]

    def moved(value: Value, step: int) -> Value:
        step = min(step, size)
        sides = (0, step) if reverse else (step, 0)
        begin = tuple((step if reverse else 0) if d == axis else 0 for d in range(x.type.rank))
        kept = c.emit(
            "slice", value, begin=begin, size=tuple(size - step if d == axis else s for d, s in enumerate(x.type.shape))
        )
        padding = tuple(sides if d == axis else (0, 0) for d in range(x.type.rank))
        return c.emit("pad", kept, padding=padding, value=1.0 if x.type.dtype.is_float else 1)

    y = moved(x, 1) if exclusive else x
    step = 1
    while step < size:
        y = c.emit("mul", y, moved(y, step))
        step *= 2
    return y
