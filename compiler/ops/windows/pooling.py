"""Pooling over sliding windows, channels last."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from ...errors import ShapeError
from ...graph.element_types import check_numbers
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Scales, Value
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Cast, Const, Expr, maximum, minimum
from ...types import TensorType
from ..reductions.reduction import check_some
from .window import Window, window_of

POOL_ATTRIBUTES = {
    "size": AttributeSpec(tuple, "extent of the window in each spatial dimension"),
    "strides": AttributeSpec(tuple, "step of the window"),
    "padding": AttributeSpec((str, tuple), '"same", "valid", or (before, after) for each spatial dimension'),
}


class Pooling(Operator):
    """Base of the pooling operators: x [N, spatial..., C] to [N, output..., C]."""

    operands: ClassVar[tuple[str, ...]] = ("x",)
    attributes = POOL_ATTRIBUTES
    anchor = True

    def window(self, x: tuple[int, ...], attributes: Attributes) -> Window:
        """Geometry of the sliding window over a tensor of shape x."""
        window = window_of(self.name, x[1:-1], attributes["size"], attributes)
        if any(max(p) >= k for p, k in zip(window.padding, window.kernel, strict=True)):
            raise ShapeError(f"{self.name}: padding {list(window.padding)} must be smaller than {list(window.kernel)}")
        return window

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        if x.rank < 3:
            raise ShapeError(f"{self.name} takes [N, spatial..., channels], not {x}")
        if not self.floats_only:
            check_numbers(self, x)
        check_some(self, x, tuple(range(1, x.rank - 1)))
        return (TensorType(x.dtype, (x.shape[0], *self.window(x.shape, attributes).output, x.shape[-1])),)


@register
class MaxPool(Pooling):
    """Largest element of each window, NaN if there is one; padding never wins. The first such takes the gradient."""

    name = "max_pool"
    keeps_quantization = True
    picks = True
    scales = Scales.OPERAND
    homogeneous = True

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        window = self.window(x.shape, attributes)
        lowest = -np.inf if np.issubdtype(x.dtype, np.floating) else np.iinfo(x.dtype).min
        return (window.patches(x, lowest).max(axis=tuple(range(-len(window.kernel), 0))),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        window = self.window(c.type(0).shape, attributes)
        n, *out, ch = index

        def element(r: tuple[Expr, ...]) -> Expr:
            # An element that is counted twice does no harm, so places in the padding move to the border.
            place = [
                p if before == after == 0 else minimum(maximum(p, 0), size - 1)
                for p, size, (before, after) in zip(
                    window.input_index(out, r), window.size, window.padding, strict=True
                )
            ]
            return c.load(0, (n, *place, ch))

        return Reduction("max", window.kernel, element)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (x,) = op.operands
        index = b.emit("max_pool_index", x, op.result, **op.attributes)
        size = x.type.shape[1:-1]
        return (b.emit("max_pool_gradient", index, cotangents[0], input_size=size, **op.attributes),)


@register
class AvgPool(Pooling):
    """Mean of each window; elements in the padding are not counted (as in TensorFlow)."""

    name = "avg_pool"
    floats_only = True
    scales = Scales.OPERAND
    homogeneous = True
    rounds = True

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        window = self.window(x.shape, attributes)
        axes = tuple(range(-len(window.kernel), 0))
        ones = np.ones((1, *x.shape[1:-1], 1), np.float32)
        total = window.patches(x, 0).sum(axis=axes, dtype=np.result_type(x.dtype, np.float32))
        return ((total / window.patches(ones, 0).sum(axis=axes)).astype(x.dtype),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        window = self.window(c.type(0).shape, attributes)
        n, *out, ch = index
        dtype = c.type(0).dtype

        def element(r: tuple[Expr, ...]) -> Expr:
            return c.load_padded(0, (n, *window.input_index(out, r), ch), 0.0)

        count = window_count(window)
        if isinstance(count, int):
            return Reduction("add", window.kernel, element, lambda total: total * (1 / count))
        return Reduction("add", window.kernel, element, lambda total: total / c.splat(Cast(count(out), dtype)))

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        size = op.operands[0].type.shape[1:-1]
        return (b.emit("avg_pool_gradient", cotangents[0], input_size=size, **op.attributes),)


def window_count(window: Window) -> int | Callable[[Sequence[Expr]], Expr]:
    """How many elements outside the padding a window has: one number for all, or the rule for an output place."""
    if all(p == (0, 0) for p in window.padding):
        return math.prod(window.kernel)

    def count(out: Sequence[Expr]) -> Expr:
        total: Expr = Const(1)
        for o, k, s, size, (before, _) in zip(
            out, window.kernel, window.strides, window.size, window.padding, strict=True
        ):
            first = o * s - before
            total = total * (minimum(first + k, size) - maximum(first, 0))
        return total

    return count
