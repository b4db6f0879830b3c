"""What pooling is differentiated to.

Average pooling is linear, and `avg_pool_gradient` its adjoint. Maximum pooling gives the gradient of a window to its
first largest element, counted row by row: `max_pool_index` finds that element, `max_pool_gradient` carries windows to
their elements, and `max_pool_gather`, its adjoint, reads the elements of windows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Value
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Binary, Cast, Expr, Select, const, row_major
from ...types import TensorType
from .pooling import POOL_ATTRIBUTES, Pooling, window_count

_INPUT_SIZE = {"input_size": AttributeSpec(tuple, "spatial size of the pooling's input")}


class FromWindows(Pooling):
    """Base of the operators from windows [N, output..., C] back to elements [N, input_size..., C]."""

    floats_only = True
    attributes = {**_INPUT_SIZE, **POOL_ATTRIBUTES}

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        first = operands[0]
        x = (first.shape[0], *attributes["input_size"], first.shape[-1]) if first.rank >= 2 else ()
        if first.rank != len(x) or first.rank < 3:
            raise ShapeError(f"{self.name}: {first} doesn't fit the input size {list(attributes['input_size'])}")
        output = (x[0], *self.window(x, attributes).output, x[-1])
        for operand in operands:
            if operand.shape != output:
                raise ShapeError(f"{self.name} takes {list(output)} for the input {list(x)}, not {operand}")
        return (TensorType(first.dtype, x),)

    def pooled(self, op: Operation) -> dict[str, Any]:
        """The attributes of the pooling."""
        return {k: v for k, v in op.attributes.items() if k in POOL_ATTRIBUTES}


@register
class AvgPoolGradient(FromWindows):
    """Share of each input element in the cotangents dy of avg_pool's windows."""

    name = "avg_pool_gradient"
    internal = True
    operands = ("dy",)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (dy,) = operands
        window = self.window((1, *attributes["input_size"], 1), attributes)
        ones = window.patches(np.ones((1, *attributes["input_size"], 1), dy.dtype), 0)
        shares = dy / ones.sum(axis=tuple(range(-len(window.kernel), 0)))
        spread = np.broadcast_to(shares[(..., *(np.newaxis,) * len(window.kernel))], (*shares.shape, *window.kernel))
        return (window.scatter(spread),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        window = self.window((1, *attributes["input_size"], 1), attributes)
        n, *place, ch = index
        count = window_count(window)

        def term(r: tuple[Expr, ...]) -> Expr:
            there = window.covering(place, r)
            dy = c.load(0, (n, *there.out, ch))
            share = dy * (1 / count) if isinstance(count, int) else dy / c.splat(Cast(count(there.out), dy.type.dtype))
            return Select(c.splat(there.valid), share, const(0, dy.type))

        return Reduction("add", window.reach, term)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        return (b.emit("avg_pool", cotangents[0], **self.pooled(op)),)


@register
class MaxPoolIndex(Pooling):
    """Which element of its window max_pool took: the first that equals y, or is NaN, counted row by row, as a float.

    It is the size of the window where there is no such element.
    """

    name = "max_pool_index"
    floats_only = True
    internal = True
    operands = ("x", "y")
    piecewise_constant = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, y = operands
        (index,) = super().infer((x,), attributes)
        if y.dense() != index:
            raise ShapeError(f"{self.name}: max_pool of {x} gives {index}, not {y}")
        return (index,)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, y = operands
        window = self.window(x.shape, attributes)
        patches = window.patches(x, -np.inf).reshape(*y.shape, -1)
        taken = (patches == y[..., np.newaxis]) | np.isnan(patches)
        return (np.where(taken.any(axis=-1), taken.argmax(axis=-1), taken.shape[-1]).astype(x.dtype),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        window = self.window(c.type(0).shape, attributes)
        n, *out, ch = index
        dtype = c.type(0).dtype

        def term(r: tuple[Expr, ...]) -> Expr:
            x = c.let(c.load_padded(0, (n, *window.input_index(out, r), ch), -math.inf))
            number = c.splat(Cast(row_major(r, window.kernel), dtype))
            taken = Binary("or", Binary("eq", x, c.load(1, index)), Binary("ne", x, x))
            return Select(taken, number, const(math.prod(window.kernel), x.type))

        return Reduction("min", window.kernel, term)


@register
class MaxPoolGradient(FromWindows):
    """Cotangents dy of max_pool's windows, added up at the elements that `index` (of max_pool_index) names."""

    name = "max_pool_gradient"
    internal = True
    operands = ("index", "dy")

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        index, dy = operands
        window = self.window((1, *attributes["input_size"], 1), attributes)
        places = index[..., np.newaxis] == np.arange(math.prod(window.kernel))
        taken = np.where(places, dy[..., np.newaxis], np.zeros((), dy.dtype))
        return (window.scatter(taken.reshape(*dy.shape, *window.kernel)),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        window = self.window((1, *attributes["input_size"], 1), attributes)
        n, *place, ch = index
        dtype = c.type(0).dtype

        def term(r: tuple[Expr, ...]) -> Expr:
            there = window.covering(place, r)
            number = c.splat(Cast(row_major(there.element, window.kernel), dtype))
            dy = c.load(1, (n, *there.out, ch))
            zero = const(0, dy.type)
            taken = Select(Binary("eq", c.load(0, (n, *there.out, ch)), number), dy, zero)
            return Select(c.splat(there.valid), taken, zero)

        return Reduction("add", window.reach, term)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        return None, b.emit("max_pool_gather", cotangents[0], op.operands[0], **self.pooled(op))


@register
class MaxPoolGather(Pooling):
    """The element of each window of x that `index` (of max_pool_index) names."""

    name = "max_pool_gather"
    floats_only = True
    internal = True
    operands = ("x", "index")

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, index = operands
        (result,) = super().infer((x,), attributes)
        if index.dense() != result:
            raise ShapeError(f"{self.name}: max_pool of {x} gives {result}, not {index}")
        return (result,)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, index = operands
        patches = self.window(x.shape, attributes).patches(x, 0)
        flat = patches.reshape(*index.shape, -1)
        named = index[..., np.newaxis] == np.arange(flat.shape[-1])
        return (np.where(named, flat, np.zeros((), x.dtype)).sum(axis=-1),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        window = self.window(c.type(0).shape, attributes)
        n, *out, ch = index
        dtype = c.type(0).dtype

        def term(r: tuple[Expr, ...]) -> Expr:
            x = c.load_padded(0, (n, *window.input_index(out, r), ch), 0.0)
            number = c.splat(Cast(row_major(r, window.kernel), dtype))
            return Select(Binary("eq", c.load(1, index), number), x, const(0, x.type))

        return Reduction("add", window.kernel, term)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        x, index = op.operands
        size = x.type.shape[1:-1]
        return b.emit("max_pool_gradient", index, cotangents[0], input_size=size, **op.attributes), None
