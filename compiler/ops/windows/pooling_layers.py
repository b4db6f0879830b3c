"""Layers that pool: windows of a given size, windows that give a result of a given size, whole pictures."""

from __future__ import annotations

import math

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Value
from ...types import DType
from ..layer import LayerBuilder, layer
from .window import Padding, SpatialSize, Window, dilated, normalize_padding, per_dimension, window_of

Pairs = tuple[tuple[int, int], ...]


def _spatial(name: str, x: Value) -> int:
    """The number of spatial dimensions."""
    if x.type.rank < 3 or x.type.dtype is DType.BOOL:
        raise ShapeError(f"{name} takes [N, spatial..., channels], not {x.type}")
    return x.type.rank - 2


def _sizes(
    name: str, x: Value, size: SpatialSize, stride: SpatialSize | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Size and stride in each dimension."""
    sizes = per_dimension("size", size, _spatial(name, x))
    return sizes, sizes if stride is None else per_dimension("stride", stride, len(sizes))


def _pairs(name: str, x: Value, sizes: tuple[int, ...], strides: tuple[int, ...], pad: Padding) -> Pairs:
    """Padding in pairs, whatever form it has in the language."""
    padding = normalize_padding(pad, sizes)
    if isinstance(padding, tuple):
        return padding
    return window_of(name, x.type.shape[1:-1], sizes, {"strides": strides, "padding": padding}).padding


def _rounded_up(spatial: tuple[int, ...], sizes: tuple[int, ...], strides: tuple[int, ...], padding: Pairs) -> Pairs:
    """Padding with as much more behind as a last, incomplete window needs.

    As in PyTorch, there is one only if it begins inside the input or in the padding before.
    """
    wider = []
    for extent, size, stride, (before, after) in zip(spatial, sizes, strides, padding, strict=True):
        count = -(-(extent + before + after - size) // stride) + 1
        if (count - 1) * stride >= extent + before:
            count -= 1
        wider.append((before, max(after, (count - 1) * stride + size - extent - before)))
    return tuple(wider)


@layer("max_pool")
def max_pool(
    b: LayerBuilder,
    x: Value,
    size: SpatialSize,
    stride: SpatialSize | None = None,
    pad: Padding = "valid",
    ceil: bool = False,
    dilation: SpatialSize = 1,
) -> Value:
    """Largest element of each window; the stride is the size unless given; `ceil` keeps a last, incomplete window.

    Elements of a window stand `dilation` apart.
    """
    sizes, strides = _sizes("max_pool", x, size, stride)
    padding = normalize_padding(pad, sizes)
    dilations = per_dimension("dilation", dilation, len(sizes))
    extents = dilated(sizes, dilations)
    if ceil and padding != "same":
        pairs = _pairs("max_pool", x, extents, strides, pad if pad != "valid" else 0)
        padding = _rounded_up(x.type.shape[1:-1], extents, strides, pairs)
    if extents != sizes:
        return _dilated(
            b,
            x,
            sizes,
            dilations,
            window_of("max_pool", x.type.shape[1:-1], extents, {"strides": strides, "padding": padding}),
        )
    return b.emit("max_pool", x, size=sizes, strides=strides, padding=padding)


def _dilated(b: LayerBuilder, x: Value, sizes: tuple[int, ...], dilations: tuple[int, ...], window: Window) -> Value:
    """Dense windows over what lies `dilations` apart, at each place, of which every stride-th stays."""
    if any(max(pair) >= extent for pair, extent in zip(window.padding, window.kernel, strict=True)):
        raise ShapeError(f"max_pool: padding {list(window.padding)} must be smaller than {list(window.kernel)}")
    spaces = zip(window.size, window.padding, dilations, strict=True)
    padding = tuple((before, after + -(size + before + after) % step) for size, (before, after), step in spaces)
    lowest = -math.inf if x.type.dtype.is_float else int(np.iinfo(str(x.type.dtype.numpy)).min)
    value = lowest if any(map(any, window.padding)) else x.type.zero_point  # what fills up blocks meets no window
    apart = b.emit("space_to_batch_nd", x, block_shape=dilations, padding=padding, value=value)
    y = b.emit("max_pool", apart, size=sizes, strides=(1,) * len(sizes), padding="valid")
    y = b.emit("batch_to_space_nd", y, block_shape=dilations, crops=((0, 0),) * len(sizes))
    shape = (x.type.shape[0], *window.output, x.type.shape[-1])
    strides = (1, *(step if n > 1 else 1 for step, n in zip(window.strides, window.output, strict=True)), 1)
    rules = {"begin": (0,) * len(shape), "size": shape}
    return b.emit("slice", y, **rules) if max(strides) == 1 else b.emit("strided_slice", y, **rules, strides=strides)


@layer("avg_pool")
def avg_pool(
    b: LayerBuilder,
    x: Value,
    size: SpatialSize,
    stride: SpatialSize | None = None,
    pad: Padding = "valid",
    ceil: bool = False,
    count_padding: bool = False,
) -> Value:
    """Mean of each window; padding counts (as zeros) if told so, what `ceil` adds behind it never does."""
    sizes, strides = _sizes("avg_pool", x, size, stride)
    padding = normalize_padding(pad, sizes)
    if ceil or count_padding:
        counted = _pairs("avg_pool", x, sizes, strides, pad if pad != "valid" else 0)
        wider = _rounded_up(x.type.shape[1:-1], sizes, strides, counted) if ceil and pad != "same" else counted
        padding = wider
        if count_padding and any(map(any, counted)):
            if any(max(p) >= k for p, k in zip(counted, sizes, strict=True)):
                raise ShapeError(f"avg_pool: padding {list(counted)} must be smaller than {list(sizes)}")
            x = b.emit("pad", x, padding=((0, 0), *counted, (0, 0)), value=0.0)
            padding = tuple((0, all_ - own) for (_, all_), (_, own) in zip(wider, counted, strict=True))
    return b.emit("avg_pool", x, size=sizes, strides=strides, padding=padding)


@layer("lp_pool")
def lp_pool(
    b: LayerBuilder,
    x: Value,
    size: SpatialSize,
    p: float = 2.0,
    stride: SpatialSize | None = None,
    ceil: bool = False,
) -> Value:
    """(k * mean of |x|^p)^(1/p) of each window of k elements, which is the length of the window for p = 2.

    The gradient is 0 where a window holds nothing but zeros.
    """
    if not p > 0 or not x.type.dtype.is_float:
        raise ShapeError(f"lp_pool takes floats and p > 0, not {x.type} and {p}")
    sizes, _ = _sizes("lp_pool", x, size, stride)
    power = b.emit("mul", x, x) if p == 2 else b.emit("abs", x)
    mean = avg_pool(b, power if p in (1, 2) else b.emit("pow", power, _number(b, p, x)), size, stride, ceil=ceil)
    total = b.emit("mul", mean, _number(b, math.prod(sizes), x))
    if p == 1:
        return total
    # The root has no derivative at 0, so that its operand never is 0.
    zero = _number(b, 0, x)
    is_zero = b.emit("equal", total, zero)
    above = b.emit("select", is_zero, _number(b, 1, x), total)
    root = b.emit("sqrt", above) if p == 2 else b.emit("pow", above, _number(b, 1 / p, x))
    return b.emit("select", is_zero, zero, root)


def _number(b: LayerBuilder, value: float, x: Value) -> Value:
    return b.emit("constant", value=np.array(value, x.type.dtype.numpy))


# ---- results of a given size ----------------------------------------------------------------------------------------


def even_parts(extent: int, count: int) -> list[tuple[int, int]]:
    """(First, end) of `count` parts of a dimension that cover it evenly; they may overlap by one element."""
    return [(i * extent // count, -(-(i + 1) * extent // count)) for i in range(count)]


def _adaptive(b: LayerBuilder, name: str, x: Value, size: SpatialSize) -> Value:
    """One pooling operator if all parts are alike, else reductions of slices, one dimension after the other."""
    spatial = _spatial(name, x)
    sizes = per_dimension("size", size, spatial)
    parts = [even_parts(extent, count) for extent, count in zip(x.type.shape[1:-1], sizes, strict=True)]
    windows = [_window(each) for each in parts]
    pool, reduction = ("avg_pool", "reduce_mean") if name == "adaptive_avg_pool" else ("max_pool", "reduce_max")
    if all(window is not None for window in windows):
        kernel, strides = zip(*(window for window in windows if window is not None), strict=True)
        return b.emit(pool, x, size=kernel, strides=strides, padding="valid")
    for axis, each in enumerate(parts, 1):
        x = _in_parts(b, x, axis, each, reduction)
    return x


def _window(parts: list[tuple[int, int]]) -> tuple[int, int] | None:
    """Size and stride of equal parts at equal distances; None if they differ."""
    first, *others = parts
    size, stride = first[1] - first[0], others[0][0] if others else 1
    alike = all((begin, end) == (i * stride, i * stride + size) for i, (begin, end) in enumerate(parts))
    return (size, stride) if alike and stride and size else None


def _in_parts(b: LayerBuilder, x: Value, axis: int, parts: list[tuple[int, int]], reduction: str) -> Value:
    """Reduce parts of one dimension and join the results."""
    rank, found = x.type.rank, []
    for first, end in parts:
        begin = tuple(first if d == axis else 0 for d in range(rank))
        size = tuple(end - first if d == axis else s for d, s in enumerate(x.type.shape))
        found.append(b.emit(reduction, b.emit("slice", x, begin=begin, size=size), axes=(axis,), keepdims=True))
    return b.emit("concat", *found, axis=axis) if len(found) > 1 else found[0]


@layer("adaptive_avg_pool")
def adaptive_avg_pool(b: LayerBuilder, x: Value, size: SpatialSize) -> Value:
    """Means of parts that cover the input evenly, as many as the result has places (PyTorch's parts)."""
    return _adaptive(b, "adaptive_avg_pool", x, size)


@layer("adaptive_max_pool")
def adaptive_max_pool(b: LayerBuilder, x: Value, size: SpatialSize) -> Value:
    """Largest elements of parts that cover the input evenly, as many as the result has places (PyTorch's parts)."""
    return _adaptive(b, "adaptive_max_pool", x, size)


@layer("global_avg_pool")
def global_avg_pool(b: LayerBuilder, x: Value) -> Value:
    """Mean over all spatial dimensions: [N, spatial..., C] to [N, C]."""
    return b.emit("reduce_mean", x, axes=tuple(range(1, _spatial("global_avg_pool", x) + 1)), keepdims=False)


@layer("global_max_pool")
def global_max_pool(b: LayerBuilder, x: Value) -> Value:
    """Largest element over all spatial dimensions: [N, spatial..., C] to [N, C]."""
    return b.emit("reduce_max", x, axes=tuple(range(1, _spatial("global_max_pool", x) + 1)), keepdims=False)


@layer("max_unpool")
def max_unpool(
    b: LayerBuilder,
    y: Value,
    x: Value,
    size: SpatialSize,
    stride: SpatialSize | None = None,
    pad: Padding = "valid",
) -> Value:
    """Put elements of y where `max_pool` of x with the same windows found the largest ones, and 0 elsewhere."""
    sizes, strides = _sizes("max_unpool", x, size, stride)
    if any(step < extent for step, extent in zip(strides, sizes, strict=True)):
        raise ShapeError(f"max_unpool needs windows that don't overlap, not {list(sizes)} at {list(strides)}")
    attributes = {"size": sizes, "strides": strides, "padding": normalize_padding(pad, sizes)}
    index = b.emit("max_pool_index", x, b.emit("max_pool", x, **attributes), **attributes)
    return b.emit("max_pool_gradient", index, y, input_size=x.type.shape[1:-1], **attributes)
