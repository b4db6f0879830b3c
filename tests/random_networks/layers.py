"""Networks of layers as people build them, at sizes at which schedules have a choice.

A step of `maker` has a few elements, so that it is interpreted at once and shrinks well. Here layers have up to a
hundred channels, odd numbers among them, and a network some millions of multiplications: enough for Winograd's
filtering, tile registers, narrow storage and turns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from netc.compiler.graph import Array, GraphBuilder, Value
from netc.compiler.types import DType, TensorType

from .maker import Network, Shape, UnfitError
from .source import Source, choice

ACTIVATIONS = ("relu", "relu6", "sigmoid", "tanh", "leaky_relu", "hard_swish")
MORE_ACTIVATIONS = (*ACTIVATIONS, "gelu", "elu", "softplus")
EVEN = (16, 32, 48, 64, 96, 8, 24, 4, 72)
ODD = (1, 2, 3, 5, 7, 15, 17, 31, 33, 63, 65)
SIDES = {1: (31, 7, 64, 1, 2), 2: (7, 14, 8, 12, 9, 5, 13, 20, 3, 1), 3: (4, 6, 3, 1, 5)}
MACS = 3_000_000
"""Multiplications of a layer, at most; a network has a few such layers."""
MOST_ELEMENTS = 60_000


class Layers:
    """A network so far: `maps` are [N, ..., C], of which layers take late ones."""

    def __init__(self, source: Source, integers: bool) -> None:
        """`integers`: only layers of which most have an integer form."""
        self.source, self.integers = source, integers
        self.rng = np.random.default_rng(source.number(0, 9999))
        self.b = GraphBuilder("layers")
        self.inputs: dict[str, Array] = {}
        self.params: dict[str, Array] = {}
        self.maps: list[Value] = []
        self.batch = self.choice((1, 1, 2, 3, 4, 5))
        self.spatial = self.choice((2, 2, 2, 2, 2, 1, 3))
        self.maps.append(self.input())

    def choice(self, options: Sequence[Any]) -> Any:
        return choice(self.source, options)

    def flag(self, one_in: int = 2) -> bool:
        return self.source.number(0, one_in - 1) == one_in - 1

    def channels(self) -> int:
        return int(self.choice(ODD if self.flag() else EVEN))

    def input(self) -> Value:
        """Another picture of any size."""
        sides = [self.choice(SIDES[self.spatial]) for _ in range(self.spatial)]
        shape = (self.batch, *(sides[:1] * self.spatial if self.flag() else sides), self.channels())
        shape = shape if math.prod(shape) <= MOST_ELEMENTS else (*shape[:-1], 3)
        name = f"in{len(self.inputs)}"
        self.inputs[name] = self.rng.standard_normal(shape, np.float32)
        return self.b.input(name, TensorType(DType.F32, shape))

    def param(self, *shape: int, scale: float = 1.0, offset: float = 0.0) -> Value:
        """Weights: a parameter or a constant."""
        array = (self.rng.standard_normal(shape) * scale + offset).astype(np.float32)
        if self.flag(4):
            return self.b.constant(array)
        name = f"p{len(self.params)}"
        self.params[name] = array
        return self.b.emit("param", shape=shape, dtype="f32", name=name, init="zeros")

    def take(self) -> Value:
        """One of the last maps."""
        return self.maps[-1 if self.flag() else -1 - self.source.number(0, min(len(self.maps), 4) - 1)]

    def beside(self, x: Value, axis: int) -> Value:
        """A map that has the same shape but for one axis."""

        def others(value: Value) -> Shape:
            return value.type.shape[:axis] + value.type.shape[axis + 1 :]

        found = [v for v in self.maps if v.type.rank == x.type.rank and others(v) == others(x)]
        return found[self.source.number(0, len(found) - 1)]

    # ---- pieces of layers ----

    def activated(self, x: Value) -> Value:
        if self.flag(4):
            return x
        if not self.integers and self.flag(4):
            return self.b.emit("mul", x, self.b.emit("sigmoid", x))
        return self.b.emit(self.choice(ACTIVATIONS if self.integers else MORE_ACTIVATIONS), x)

    def window(self, size: Shape) -> tuple[Shape, dict[str, Any]]:
        """Kernel, strides, padding and dilations."""
        rank = len(size)
        kernel = (self.choice((3, 3, 1, 5, 2, 7)),) * rank if not self.flag(4) else self._sides((3, 1, 2, 4, 5), rank)
        kernel = tuple(min(k, 3) for k in kernel) if rank == 3 else kernel
        strides = self._sides((1, 2, 3, 4), rank) if self.flag(4) else (self.choice((1, 1, 2)),) * rank
        dilations = self._sides((2, 1, 3), rank) if self.flag(6) else (1,) * rank
        extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        padding: Any = self.choice(("same", "same", "valid", "explicit"))
        if padding == "explicit":
            padding = tuple((self.source.number(0, e - 1), self.source.number(0, e - 1)) for e in extent)
        around = padding if isinstance(padding, tuple) else ((0, 0),) * rank
        if any(e > s + sum(more) for e, s, more in zip(extent, size, around, strict=True)):
            padding = "same"
        return kernel, {"strides": strides, "padding": padding, "dilations": dilations}

    def _sides(self, options: Sequence[int], rank: int) -> Shape:
        return tuple(self.choice(options) for _ in range(rank))

    def conv(self, x: Value, filters: int, kernel: Shape, groups: int = 1, **window: Any) -> Value:
        """A convolution; `UnfitError` where it has too many multiplications."""
        shape = (*kernel, x.type.shape[-1] // groups, filters)
        if math.prod(x.type.shape[:-1]) * math.prod(shape) > MACS:
            raise UnfitError
        given = {"strides": (1,) * len(kernel), "padding": "same", "dilations": (1,) * len(kernel), **window}
        operands = [x, self.param(*shape, scale=1.4 / math.sqrt(math.prod(shape[:-1])))]
        operands += [self.param(filters, scale=0.3)] if self.flag() else []
        return self.b.emit(f"conv{len(kernel)}d", *operands, groups=groups, **given)

    def same(self, x: Value, filters: int, size: int = 3, groups: int = 1) -> Value:
        """A convolution whose result has the size of its input."""
        return self.conv(x, filters, (size,) * (x.type.rank - 2), groups)

    def dense(self, x: Value, units: int) -> Value:
        given = x.type.shape[-1]
        if x.type.size * units > MACS:
            raise UnfitError
        return self.b.emit("dense", x, self.param(given, units, scale=given**-0.5), self.param(units, scale=0.1))

    # ---- layers ----

    def convolution(self) -> Value:
        x = self.take()
        kernel, window = self.window(x.type.shape[1:-1])
        channels, groups, filters = x.type.shape[-1], 1, self.channels()
        if self.flag(3):
            groups = channels if self.flag() else self.choice([d for d in range(1, channels + 1) if channels % d == 0])
            filters = groups * self.choice((1, 1, 2, 8) if groups < channels else (1, 1, 2))
        y = self.conv(x, filters, kernel, groups, **window)
        if self.flag(3):
            scales = [self.param(filters, scale=0.1, offset=offset) for offset in (1, 0, 0)]
            y = self.b.emit("batch_norm", y, *scales, self.b.constant(np.full(filters, 0.7, np.float32)))
        return self.activated(y)

    def residual(self) -> Value:
        x = self.take()
        inside = self.activated(self.same(x, self.channels(), self.choice((3, 1))))
        y = self.same(inside, x.type.shape[-1])
        return self.activated(self.b.emit(self.choice(("add", "add", "sub", "mul")), *self.either_way(x, y)))

    def either_way(self, x: Value, y: Value) -> tuple[Value, Value]:
        return (x, y) if self.flag() else (y, x)

    def bottleneck(self) -> Value:
        """Depthwise between two layers of 1 x 1, with squeeze and excitation, or without."""
        x, inside = self.take(), self.channels()
        y = self.activated(self.same(x, inside, 1))
        y = self.activated(self.same(y, inside, self.choice((3, 5)), inside))
        y = self.same(self.excited(y) if self.flag() else y, x.type.shape[-1], 1)
        return y if self.flag(3) else self.b.emit("add", x, y)

    def excited(self, x: Value) -> Value:
        axes, channels = tuple(range(1, x.type.rank - 1)), x.type.shape[-1]
        mean = self.b.emit("reduce_mean", x, axes=axes, keepdims=True)
        inside = self.b.emit("relu", self.same(mean, max(channels // 4, 1), 1))
        return self.b.emit("mul", x, self.b.emit("sigmoid", self.same(inside, channels, 1)))

    def pooling(self) -> Value:
        x = self.take()
        size, window = self.window(x.type.shape[1:-1])
        fits = all(k <= s for k, s in zip(size, x.type.shape[1:-1], strict=True))
        padding = "valid" if window["padding"] == "valid" and fits else "same"
        name = self.choice(("max_pool", "max_pool", "avg_pool"))
        return self.b.emit(name, x, size=size, strides=window["strides"], padding=padding)

    def joined(self) -> Value:
        x = self.take()
        axis = x.type.rank - 1 if self.flag() else self.source.number(1, x.type.rank - 2)
        others = [self.beside(x, axis) for _ in range(self.source.number(1, 3))]
        return self.b.emit("concat", *others, x, axis=axis)

    def sliced(self) -> Value:
        x = self.take()
        begin = [self.source.number(0, s - 1) if i and self.flag() else 0 for i, s in enumerate(x.type.shape)]
        size = [s - b if self.flag() else max((s - b) // 2, 1) for s, b in zip(x.type.shape, begin, strict=True)]
        return self.b.emit("slice", x, begin=tuple(begin), size=(x.type.shape[0], *size[1:]))

    def padded(self) -> Value:
        x = self.take()
        around = [(self.source.number(0, 3), self.source.number(0, 3)) for _ in x.type.shape[1:-1]]
        last = (0, self.source.number(0, 5)) if self.flag(3) else (0, 0)
        return self.b.emit("pad", x, padding=((0, 0), *around, last))

    def shuffled(self) -> Value:
        """Channels of groups take turns."""
        x = self.take()
        *lead, channels = x.type.shape
        groups = self.choice([d for d in range(1, channels + 1) if channels % d == 0])
        y, rank = self.b.emit("reshape", x, shape=(*lead, groups, channels // groups)), len(lead)
        y = self.b.emit("transpose", y, permutation=(*range(rank), rank + 1, rank))
        return self.b.emit("reshape", y, shape=x.type.shape)

    def turned(self) -> Value:
        x = self.take()
        inner = [*range(1, x.type.rank)]
        order = [inner.pop(self.source.number(0, len(inner) - 1)) for _ in range(len(inner))]
        return self.b.emit("transpose", x, permutation=(0, *order))

    def merged(self) -> Value:
        """Samples, and rows behind them, as one dimension."""
        x = self.take()
        count = self.source.number(2, x.type.rank - 1)
        y = self.b.emit("reshape", x, shape=(math.prod(x.type.shape[:count]), *x.type.shape[count:]))
        y = self.dense(y, x.type.shape[-1]) if self.flag() else self.b.emit("softmax", y, axis=-1)
        return self.b.emit("reshape", y, shape=x.type.shape)

    def resized(self) -> Value:
        x = self.take()
        if x.type.rank != 4:
            raise UnfitError
        name = self.choice(("resize_nearest", "resize_bilinear"))
        return self.b.emit(name, x, size=(self.source.number(1, 20), self.source.number(1, 20)))

    def enlarged(self) -> Value:
        x, filters = self.take(), self.channels()
        kernel, stride = self._sides((2, 3, 4), 2), self.choice((2, 1, 3))
        padding = tuple((self.source.number(0, k - 1), self.source.number(0, k - 1)) for k in kernel)
        if x.type.rank != 4 or x.type.size * filters * math.prod(kernel) > MACS:
            raise UnfitError
        sides = zip(x.type.shape[1:3], kernel, padding, strict=True)
        size = tuple(max((s - 1) * stride + k - before - after, 1) for s, k, (before, after) in sides)
        weight = self.param(*kernel, x.type.shape[-1], filters, scale=(x.type.shape[-1] * 4) ** -0.5)
        options = {"size": size, "strides": (stride, stride), "padding": padding}
        return self.activated(self.b.emit("transpose_conv2d", x, weight, self.param(filters), **options))

    def perceptron(self) -> Value:
        x = self.take()
        y = self.dense(self.activated(self.dense(x, self.channels())), x.type.shape[-1])
        return self.b.emit("add", x, y) if self.flag() else y

    def normalized(self) -> Value:
        if self.integers:
            raise UnfitError
        x = self.take()
        channels, axes = x.type.shape[-1], self.choice(((x.type.rank - 1,), tuple(range(1, x.type.rank))))
        groups = self.choice([d for d in (1, 2, 4) if channels % d == 0])
        return self.b.emit("normalize", x, axes=axes, groups=groups, eps=1e-3)

    def attention(self) -> Value:
        """Self-attention between all places, with heads, perhaps with a mask."""
        x = self.take()
        batch, *places, channels = x.type.shape
        rows, heads, depth = math.prod(places), self.choice((1, 2, 3, 4)), self.choice((4, 8, 16, 24, 32, 5, 17))
        if rows > 200:
            raise UnfitError
        t = self.b.emit("reshape", x, shape=(batch, rows, channels))
        q, k, v = (
            self.b.emit("reshape", self.dense(t, heads * depth), shape=(batch, rows, heads, depth)) for _ in range(3)
        )
        y = self.weighed(q, k, v)
        y = self.dense(self.b.emit("reshape", y, shape=(batch, rows, heads * depth)), channels)
        return self.b.emit("reshape", self.b.emit("add", y, t), shape=x.type.shape)

    def weighed(self, q: Value, k: Value, v: Value) -> Value:
        """As one operator, or as products of matrices, of [N, L, heads, D]."""
        rows, depth = q.type.shape[1], q.type.shape[-1]
        mask: list[Value] = []
        if self.flag(3) and not self.integers:
            hidden = np.where(self.rng.random((rows, rows)) < 0.2, np.float32(-100), np.float32(0))
            mask = [self.b.constant(hidden)]
        if self.flag() and not self.integers:
            return self.b.emit("attention", q, k, v, *mask, causal=self.flag(3), heads_inside=True)
        q, k, v = (self.b.emit("transpose", each, permutation=(0, 2, 1, 3)) for each in (q, k, v))
        scores = self.b.emit("matmul", q, k, transpose_b=True)
        scores = self.b.emit("mul", scores, self.b.constant(np.asarray(depth**-0.5, np.float32)))
        scores = self.b.emit("add", scores, *mask) if mask else scores
        y = self.b.emit("matmul", self.b.emit("softmax", scores, axis=-1), v)
        return self.b.emit("transpose", y, permutation=(0, 2, 1, 3))

    def head(self) -> Value:
        x = self.take()
        mean = self.b.emit("reduce_mean", x, axes=tuple(range(1, x.type.rank - 1)), keepdims=True)
        return self.dense(self.activated(self.dense(mean, self.channels())), self.channels())

    def step(self) -> bool:
        """Add a layer; False where the one that was drawn doesn't fit."""
        before = len(self.b.operations)
        layer: Callable[[Layers], Value] = self.choice(LAYERS)
        try:
            y = layer(self)
            if y.type.size > MOST_ELEMENTS:
                raise UnfitError
        except UnfitError:
            del self.b.operations[before:]
            return False
        self.maps.append(y)
        return True

    def finish(self) -> Network:
        """With several outputs, of which some are read inside, too, or are the same."""
        outputs = [self.maps[-1], *(self.choice(self.maps) for _ in range(self.choice((0, 0, 1, 2))))]
        graph = self.b.finish(outputs)
        kept = {op.result.name for op in graph.operations if op.name == "param"}
        return Network(graph, self.inputs, {name: a for name, a in self.params.items() if name in kept})


LAYERS = (
    *(Layers.convolution,) * 6,
    *(Layers.residual, Layers.bottleneck, Layers.attention) * 2,
    *(Layers.pooling, Layers.joined, Layers.perceptron, Layers.merged) * 2,
    *(Layers.sliced, Layers.padded, Layers.shuffled, Layers.turned, Layers.resized, Layers.enlarged),
    *(Layers.normalized, Layers.head, Layers.input),
)


def draw_layers(source: Source, *, integers: bool = False) -> Network:
    """A network of one to six layers."""
    layers = Layers(source, integers)
    wanted, tries = choice(source, (1, 2, 3, 4, 6)), 0
    while wanted and tries < 30:
        wanted, tries = wanted - layers.step(), tries + 1
    return layers.finish()
