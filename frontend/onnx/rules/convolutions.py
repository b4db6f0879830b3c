"""Convolution, transposed convolution and products of matrices.

ONNX has channels in front, netc behind: each rule transposes around netc's operator, and `layout` removes what meets
its inverse. Weights that are known are turned over while the file is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ....compiler.graph.ir import Value
from ....compiler.ops.windows.window import dilated
from ..node import Node
from ..registry import onnx

Pairs = tuple[tuple[int, int], ...]


def per_dimension(c: Node, name: str, count: int, default: int = 1) -> tuple[int, ...]:
    """An attribute with a number of 1 or more for each spatial dimension."""
    numbers = tuple(c.attribute(name, (default,) * count))
    if len(numbers) != count or min(numbers, default=1) < 1:
        c.unsupported(f"`{name}` can't be {list(numbers)} for {count} spatial dimensions")
    return numbers


def missing(sizes: Sequence[int], extents: Sequence[int], strides: Sequence[int]) -> list[int]:
    """What `auto_pad` SAME adds to each dimension, so that windows are ceil(size / stride); negative: what is over."""
    each = zip(sizes, extents, strides, strict=True)
    return [(-(-size // stride) - 1) * stride + extent - size for size, extent, stride in each]


def padding_of(c: Node, sizes: Sequence[int], extents: Sequence[int], strides: Sequence[int]) -> Pairs:
    """The padding before and behind each spatial dimension, for windows of such extents."""
    mode = c.choice("auto_pad", "NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
    given = tuple(c.attribute("pads", (0,) * 2 * len(sizes)))
    if mode == "VALID":
        return ((0, 0),) * len(sizes)
    if mode == "NOTSET":
        if len(given) != 2 * len(sizes):
            c.unsupported(f"`pads` can't be {list(given)} for {len(sizes)} spatial dimensions")
        return tuple(zip(given[: len(sizes)], given[len(sizes) :], strict=True))
    totals = [max(total, 0) for total in missing(sizes, extents, strides)]
    less, more = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return tuple(zip(less, more, strict=True) if mode == "SAME_UPPER" else zip(more, less, strict=True))


def _kernel(c: Node, weight: tuple[int, ...]) -> tuple[int, ...]:
    """The spatial extent of a weight, with which `kernel_shape` agrees."""
    kernel = weight[2:]
    given = tuple(c.attribute("kernel_shape", kernel))
    if given != kernel:
        c.unsupported(f"`kernel_shape` is {list(given)}, but the weight has {list(kernel)}")
    return kernel


def _spatial(c: Node) -> int:
    """The number of spatial dimensions, which input and weight agree on."""
    rank = c.type(0).rank
    if not 3 <= rank <= 5 or c.type(1).rank != rank:
        c.unsupported(f"weight {c.type(1)} doesn't fit {c.type(0)}; there are 1 to 3 spatial dimensions")
    return rank - 2


@onnx("Conv")
def conv(c: Node) -> Value:
    """Convolution of [N, C, spatial...] with a weight [F, C / groups, kernel...]."""
    spatial = _spatial(c)
    kernel = _kernel(c, c.shape(1))
    strides, dilations = per_dimension(c, "strides", spatial), per_dimension(c, "dilations", spatial)
    padding = padding_of(c, c.shape(0)[2:], dilated(kernel, dilations), strides)
    weight = c.turned(1, (*range(2, spatial + 2), 1, 0))
    bias = (c.value(2),) if c.has(2) else ()
    x = c.channels_last(c.value(0))
    if any(min(pair) < 0 for pair in padding):
        x = _cropped(c, x, padding)
        padding = tuple((max(before, 0), max(after, 0)) for before, after in padding)
    groups = int(c.attribute("group", 1))
    rules = {"strides": strides, "dilations": dilations, "padding": padding, "groups": groups}
    return c.channels_first(c.emit(f"conv{spatial}d", x, weight, *bias, **rules))


def _cropped(c: Node, x: Value, padding: Pairs) -> Value:
    """[N, spatial..., C] without what negative padding cuts off."""
    cut = ((0, 0), *((max(-before, 0), max(-after, 0)) for before, after in padding), (0, 0))
    size = tuple(s - before - after for s, (before, after) in zip(x.type.shape, cut, strict=True))
    return c.emit("slice", x, begin=tuple(before for before, _ in cut), size=size)


@onnx("ConvTranspose")
def conv_transpose(c: Node) -> Value:
    """Transposed convolution of [N, C, spatial...] with a weight [C, F / groups, kernel...]."""
    spatial = _spatial(c)
    kernel = _kernel(c, c.shape(1))
    strides, dilations = per_dimension(c, "strides", spatial), per_dimension(c, "dilations", spatial)
    extents = dilated(kernel, dilations)
    more = tuple(c.attribute("output_padding", (0,) * spatial))
    full = tuple(s * (n - 1) + o + e for s, n, o, e in zip(strides, c.shape(0)[2:], more, extents, strict=True))
    size, padding = _result(c, full, strides)
    groups = int(c.attribute("group", 1))
    weight = _transposed_weight(c, spatial, groups)
    x = c.channels_last(c.value(0))
    padding = tuple((before, max(after, 0)) for before, after in padding)  # what lies behind is added as zeros
    if any(before < 0 for before, _ in padding):
        c.unsupported("a negative padding in front is not supported")
    bias = (c.value(2),) if c.has(2) else ()
    rules = {"size": size, "strides": strides, "padding": padding, "dilations": dilations, "groups": groups}
    return c.channels_first(c.emit(f"transpose_conv{spatial}d", x, weight, *bias, **rules))


def _result(c: Node, full: tuple[int, ...], strides: tuple[int, ...]) -> tuple[tuple[int, ...], Pairs]:
    """The spatial size of a transposed convolution, and what is cut off before and behind."""
    spatial = len(full)
    mode = c.choice("auto_pad", "NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
    wanted = c.attribute("output_shape")
    pads = tuple(c.attribute("pads", (0,) * 2 * spatial))
    if wanted is None and mode.startswith("SAME"):
        wanted = tuple(n * s for n, s in zip(c.shape(0)[2:], strides, strict=True))
    if wanted is not None:
        size = tuple(wanted)[-spatial:]
        totals = [f - w for f, w in zip(full, size, strict=True)]
        if mode.startswith("SAME") and min(totals) < 0:
            c.unsupported(f"`auto_pad` {mode} would have to add places behind {list(full)}")
        less, more = [t // 2 for t in totals], [t - t // 2 for t in totals]
        first, last = (less, more) if mode == "SAME_UPPER" else (more, less)
        return size, tuple(zip(first, last, strict=True))
    if mode == "VALID":
        pads = (0,) * 2 * spatial
    padding = tuple(zip(pads[:spatial], pads[spatial:], strict=True))
    return tuple(f - before - after for f, (before, after) in zip(full, padding, strict=True)), padding


def _transposed_weight(c: Node, spatial: int, groups: int) -> Value:
    """[C, F / groups, kernel...] as netc has it: [kernel..., C / groups, F]."""
    order = (*range(2, spatial + 2), 0, 1)
    weight = c.turned(1, order)
    if groups == 1:
        return weight
    *kernel, channels, filters = weight.type.shape
    if channels % groups:
        c.unsupported(f"{groups} groups don't divide {channels} channels")
    apart = c.reshape(weight, (*kernel, groups, channels // groups, filters))
    rank = len(kernel)
    turned = c.transpose(apart, (*range(rank), rank + 1, rank, rank + 2))
    return c.reshape(turned, (*kernel, channels // groups, groups * filters))


# ---- matrices -------------------------------------------------------------------------------------------------------


@onnx("Gemm")
def gemm(c: Node) -> Value:
    """Alpha * A' * B' + beta * C, where A' and B' may be transposed."""
    if c.type(0).rank != 2 or c.type(1).rank != 2:
        c.unsupported("its operands should be matrices")
    alpha, beta = float(c.attribute("alpha", 1.0)), float(c.attribute("beta", 1.0))
    a = c.turned(0, (1, 0) if c.flag("transA") else (0, 1))
    turned = (1, 0) if c.flag("transB") else (0, 1)
    dtype = a.type.dtype
    if not dtype.is_float:
        c.unsupported(f"its form for {dtype} is not supported")
    c.ignore("broadcast")  # of operator set 6
    is_bias = c.has(2) and beta == 1 and alpha == 1 and c.shape(2) == c.turned(1, turned).type.shape[1:]
    bias = (c.value(2),) if is_bias else ()
    y = c.emit("dense", a, c.turned(1, turned), *bias)
    if alpha != 1:
        y = c.emit("mul", y, c.scalar(alpha, y))
    if c.has(2) and not is_bias:
        added = c.value(2)
        y = c.emit("add", y, added if beta == 1 else c.emit("mul", added, c.scalar(beta, added)))
    return y


@onnx("MatMul")
def matmul(c: Node) -> Value:
    """Products of matrices, as NumPy's matmul."""
    return product(c, c.value(0), c.value(1), is_weight=c.known(1) is not None)


def product(c: Node, a: Value, b: Value, *, is_weight: bool = False) -> Value:
    """NumPy's matmul of two values; a weight of two dimensions is that of a dense layer."""
    dtype = a.type.dtype
    if not a.type.rank or not b.type.rank:
        c.unsupported("a number is no matrix")
    if not dtype.is_float:
        return _as_matmul(c, a, b, _whole_product)
    if b.type.rank == 2 and is_weight:
        wide = c.reshape(a, (1, *a.type.shape)) if a.type.rank == 1 else a
        y = c.emit("dense", wide, b)
        return c.reshape(y, y.type.shape[1:]) if a.type.rank == 1 else y
    return _as_matmul(c, a, b, lambda _, wide, tall: c.emit("matmul", wide, tall))


def _as_matmul(c: Node, a: Value, b: Value, multiply: Callable[[Node, Value, Value], Value]) -> Value:
    """A product of matrices, of which one dimension may be missing: a row in front, a column behind."""
    wide = c.reshape(a, (1, *a.type.shape)) if a.type.rank == 1 else a
    tall = c.reshape(b, (*b.type.shape, 1)) if b.type.rank == 1 else b
    y = multiply(c, wide, tall)
    shape = list(y.type.shape)
    if b.type.rank == 1:
        del shape[-1]
    if a.type.rank == 1:
        del shape[-1 if b.type.rank == 1 else -2]
    return c.reshape(y, shape)


def _whole_product(c: Node, wide: Value, tall: Value) -> Value:
    """The product of matrices of whole numbers: products of all pairs, added up in the type of the result."""
    outer = math.prod(np.broadcast_shapes(wide.type.shape[:-2], tall.type.shape[:-2]))
    if outer * wide.type.shape[-2] * math.prod(tall.type.shape[-2:]) > 1 << 24:
        c.unsupported("such large matrices of whole numbers are not supported")
    left = c.reshape(wide, (*wide.type.shape, 1))
    right = c.reshape(tall, (*tall.type.shape[:-2], 1, *tall.type.shape[-2:]))
    return c.emit("reduce_sum", c.emit("mul", left, right), axes=(-2,))
