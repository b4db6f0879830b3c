"""Pooling over windows, and over whole pictures."""

from __future__ import annotations

import math

import numpy as np

from ....compiler.graph.ir import Value
from ....compiler.ops.windows import pooling_layers as layers
from ....compiler.ops.windows.window import dilated
from ....compiler.types import DType
from ..node import Node
from ..registry import onnx
from .convolutions import Pairs, missing, padding_of, per_dimension


class Windows:
    """The windows of a pooling node: sizes, strides, dilations, and padding with what rounding up needs behind."""

    def __init__(self, c: Node, *, is_last: bool = False) -> None:
        """Of a node that takes [N, C, spatial...], or [N, spatial..., C] if channels stand last."""
        rank = c.type(0).rank
        if rank < 3:
            c.unsupported(f"it takes [N, C, spatial...], not {c.type(0)}")
        count = rank - 2
        self.sizes = tuple(c.needed("kernel_shape"))
        if len(self.sizes) != count or min(self.sizes) < 1:
            c.unsupported(f"`kernel_shape` can't be {list(self.sizes)} for {count} spatial dimensions")
        self.strides = per_dimension(c, "strides", count)
        self.dilations = per_dimension(c, "dilations", count)
        self.extents = dilated(self.sizes, self.dilations)
        spatial = c.shape(0)[1:-1] if is_last else c.shape(0)[2:]
        self.counted: Pairs = padding_of(c, spatial, self.extents, self.strides)
        self._check_same(c, spatial)
        self.padding = self._rounded_up(spatial) if c.flag("ceil_mode") else self.counted

    def _check_same(self, c: Node, spatial: tuple[int, ...]) -> None:
        """Refuse a negative `auto_pad`: MaxPool's formula takes it, `pads` can't be it, and runtimes differ.

        ONNX Runtime cuts off elements in AveragePool and LpPool, refuses MaxPool, adds nothing in Conv; the reference
        evaluator fails. With one element over, all begin at the first.
        """
        mode = c.attribute("auto_pad", "NOTSET")
        over = -min(missing(spatial, self.extents, self.strides))
        if mode.startswith("SAME") and over > 1:
            reason = f"`auto_pad` {mode} would have to take {over} places away: a stride is larger than its window"
            c.unsupported(reason, hint="state the padding as `pads`")

    def _rounded_up(self, spatial: tuple[int, ...]) -> Pairs:
        """Padding with room for a last, incomplete window, which begins inside the input or the padding before it."""
        wider = []
        each = zip(spatial, self.extents, self.strides, self.counted, strict=True)
        for size, extent, stride, (before, after) in each:
            count = -(-(size + before + after - extent) // stride) + 1
            if (count - 1) * stride >= size + before:
                count -= 1
            wider.append((before, max(after, (count - 1) * stride + extent - size - before)))
        return tuple(wider)

    @property
    def is_padded(self) -> bool:
        """True if padding that counts stands anywhere."""
        return any(map(any, self.counted))


@onnx("MaxPool")
def max_pool(c: Node) -> Value | tuple[Value, Value]:
    """Largest element of each window, and its place in the whole tensor."""
    windows = Windows(c)
    order = int(c.attribute("storage_order", 0))
    x = c.channels_last(c.value(0))
    y = largest_of_windows(c, x, windows)
    if not c.wants(1):
        return c.channels_first(y)
    return c.channels_first(y), _places(c, x, y, windows, order)


def largest_of_windows(c: Node, x: Value, windows: Windows) -> Value:
    """Largest element of each window of [N, spatial..., C]."""
    if any(max(p) >= e for p, e in zip(windows.padding, windows.extents, strict=True)):
        return _widened(c, x, windows)
    return layers.max_pool(c, x, windows.sizes, windows.strides, windows.padding, False, windows.dilations)


def _widened(c: Node, x: Value, windows: Windows) -> Value:
    """Padding as wide as a window, written out."""
    if not x.type.dtype.is_float:
        c.unsupported("padding as wide as a window is not supported")
    wide = c.emit("pad", x, padding=((0, 0), *windows.padding, (0, 0)), value=-math.inf)
    return layers.max_pool(c, wide, windows.sizes, windows.strides, "valid", False, windows.dilations)


def _places(c: Node, x: Value, y: Value, windows: Windows, order: int) -> Value:
    """Where in [N, C, spatial...] the largest elements stand, as one number each."""
    if windows.dilations != (1,) * len(windows.sizes) or not x.type.dtype.is_float:
        c.unsupported("its form with the places of dilated windows is not supported")
    rules = {"size": windows.sizes, "strides": windows.strides, "padding": windows.padding}
    inside = c.cast(c.emit("max_pool_index", x, y, **rules), DType.I64)
    n, *spatial, channels = x.type.shape
    _, *results, _ = y.type.shape
    place = c.made(np.zeros((), np.int64))
    factors = _factors(spatial, order)
    rest = inside
    for d in range(len(spatial)):
        unit = math.prod(windows.sizes[d + 1 :])
        offset = c.emit("floor_div", rest, c.made(np.array(unit)))
        rest = c.emit("floor_mod", rest, c.made(np.array(unit)))
        start = np.arange(results[d]) * windows.strides[d] - windows.padding[d][0]
        start = start.reshape([-1 if e == d + 1 else 1 for e in range(x.type.rank)])
        row = c.emit("add", offset, c.made(start))
        place = c.emit("add", place, c.emit("mul", row, c.made(np.array(factors[d]))))
    volume = math.prod(spatial)
    sample = np.arange(n).reshape(-1, *(1,) * (x.type.rank - 1)) * channels + np.arange(channels)
    return c.channels_first(c.emit("add", place, c.made(sample * volume)))


def _factors(spatial: list[int], order: int) -> list[int]:
    """How far a step along each spatial dimension leads, in row-major order or column-major order."""
    sizes = spatial if not order else spatial[::-1]
    factors = [math.prod(sizes[d + 1 :]) for d in range(len(sizes))]
    return factors if not order else factors[::-1]


@onnx("AveragePool")
def average_pool(c: Node) -> Value:
    """Mean of each window; padding counts if told so."""
    windows = Windows(c)
    counts = c.flag("count_include_pad")
    x = c.channels_last(c.value(0))
    return c.channels_first(mean_of_windows(c, x, windows, counts=counts))


def mean_of_windows(c: Node, x: Value, windows: Windows, *, counts: bool) -> Value:
    """Mean of each window of [N, spatial..., C]; with `counts`, of the padding, too."""
    padding = windows.padding
    if counts and windows.is_padded:
        x = c.emit("pad", x, padding=((0, 0), *windows.counted, (0, 0)), value=0.0)
        padding = tuple((0, w - own) for (_, w), (_, own) in zip(padding, windows.counted, strict=True))
    plain = windows.extents == windows.sizes
    fits = all(max(p) < e for p, e in zip(padding, windows.extents, strict=True))
    if plain and fits:
        return c.emit("avg_pool", x, size=windows.sizes, strides=windows.strides, padding=padding)
    return _weighted_mean(c, x, windows, padding)


def _weighted_mean(c: Node, x: Value, windows: Windows, padding: Pairs) -> Value:
    """Sums of windows, as a convolution with ones of each channel, by how many elements each has."""
    channels, count = x.type.shape[-1], len(windows.sizes)
    one = np.ones((*windows.sizes, 1, channels), x.type.dtype.numpy)
    rules = {"strides": windows.strides, "dilations": windows.dilations, "padding": padding, "groups": channels}
    total = c.emit(f"conv{count}d", x, c.made(one), **rules)
    there = c.made(np.ones((1, *x.type.shape[1:-1], 1), x.type.dtype.numpy))
    number = c.emit(f"conv{count}d", there, c.made(one[..., :1]), **{**rules, "groups": 1})
    return c.emit("div", total, number)


@onnx("LpPool")
def lp_pool(c: Node) -> Value:
    """The p-norm of each window."""
    windows = Windows(c)
    p = float(c.attribute("p", 2))
    x = c.channels_last(c.value(0))
    power = c.emit("mul", x, x) if p == 2 else c.emit("abs", x)
    if p not in (1, 2):
        power = c.emit("pow", power, c.scalar(p, x))
    padded = c.emit("pad", power, padding=((0, 0), *windows.padding, (0, 0)), value=0.0)
    channels = x.type.shape[-1]
    one = c.made(np.ones((*windows.sizes, 1, channels), x.type.dtype.numpy))
    rules = {"strides": windows.strides, "dilations": windows.dilations, "padding": "valid", "groups": channels}
    total = c.emit(f"conv{len(windows.sizes)}d", padded, one, **rules)
    if p == 1:
        return c.channels_first(total)
    return c.channels_first(c.emit("sqrt", total) if p == 2 else c.emit("pow", total, c.scalar(1 / p, x)))


def _whole(c: Node) -> tuple[int, ...]:
    if c.type(0).rank < 3:
        c.unsupported(f"it takes [N, C, spatial...], not {c.type(0)}")
    return tuple(range(2, c.type(0).rank))


@onnx("GlobalAveragePool")
def global_average_pool(c: Node) -> Value:
    """Mean of each channel."""
    return c.emit("reduce_mean", c.value(0), axes=_whole(c), keepdims=True)


@onnx("GlobalMaxPool")
def global_max_pool(c: Node) -> Value:
    """Largest element of each channel."""
    return c.emit("reduce_max", c.value(0), axes=_whole(c), keepdims=True)


@onnx("GlobalLpPool")
def global_lp_pool(c: Node) -> Value:
    """The p-norm of each channel."""
    x, p = c.value(0), float(c.attribute("p", 2))
    total = c.emit("reduce_sum", c.emit("pow", c.emit("abs", x), c.scalar(p, x)), axes=_whole(c), keepdims=True)
    return c.emit("pow", total, c.scalar(1 / p, x))


@onnx("MaxUnpool")
def max_unpool(c: Node) -> Value:
    """Elements at the places that MaxPool found, in zeros."""
    x, places = c.value(0), c.value(1)
    count = x.type.rank - 2
    sizes = tuple(c.needed("kernel_shape"))
    strides = per_dimension(c, "strides", count)
    pads = tuple(c.attribute("pads", (0,) * 2 * count))
    own = tuple(
        (n - 1) * s - before - after + k
        for n, s, k, before, after in zip(x.type.shape[2:], strides, sizes, pads[:count], pads[count:], strict=True)
    )
    inner = (*x.type.shape[:2], *own)
    rows = c.reshape(places, (x.type.size, 1))
    flat = c.emit("scatter_nd", rows, c.reshape(x, (x.type.size,)), shape=(math.prod(inner),))
    y = c.reshape(flat, inner)
    shape = c.integers(2) if c.has(2) else inner
    padding = tuple((0, wanted - size) for wanted, size in zip(shape, inner, strict=True))
    return y if shape == inner else c.emit("pad", y, padding=padding, value=0.0)
