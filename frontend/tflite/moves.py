"""TFLite's operators that pick, scatter, mirror and rearrange elements, as operations of the graph."""

from __future__ import annotations

import numpy as np

from ...compiler.graph.ir import Value
from ...compiler.ops.facets import reads
from ...compiler.ops.moves.blocks import picture
from ...compiler.ops.moves.moves import sliced
from ...compiler.ops.moves.striding import MIRRORS
from ...compiler.types import DType
from .context import Context, Converter


def axis_of(c: Context, axis: int, rank: int) -> int:
    """An axis counted from the front."""
    if not -rank <= axis < rank:
        c.fail(f"there is no axis {axis} in a tensor of rank {rank}")
    return axis % rank


def strided_slice(c: Context) -> Value:
    """STRIDED_SLICE with all its masks; new axes appear, and those that go disappear, at the end."""
    x = c.value(0)
    places, kept = _places(c, x.type.shape)
    y = sliced(c.builder, x, places)
    shape = tuple(1 if d < 0 else y.type.shape[d] for d in (*kept, *range(len(places), y.type.rank)))
    return y if y.type.shape == shape else c.emit("reshape", y, shape=shape)


def _only(c: Context, dimension: int, size: int, place: int, stride: int) -> slice:
    """The one element of a dimension that goes."""
    only = place + size * (place < 0)
    if not 0 <= only < size:
        c.unsupported(f"there is no element {place} in dimension {dimension} of {c.type(0)}")
    if stride < 0:
        c.unsupported("its kernel leaves an element unset that is taken by a negative stride")
    return slice(only, only + 1)


def _places(c: Context, shape: tuple[int, ...]) -> tuple[list[slice], list[int]]:
    """What is taken of each dimension, and the dimensions of the result among them; -1 for new ones."""
    begins, ends, strides = (c.integers(i) for i in (1, 2, 3))
    if not len(begins) == len(ends) == len(strides):
        c.fail(f"begin {begins}, end {ends} and strides {strides} have different lengths")
    masks = {name: int(c.option(f"{name}_mask", 0)) for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    new_axes = sum((masks["new_axis"] & ~masks["ellipsis"]) >> i & 1 for i in range(len(begins)))
    if c.option("offset", False) and (masks["ellipsis"] or new_axes or len(begins) < len(shape)):
        c.unsupported("offsets for some of the dimensions are not supported")
    places: list[slice] = []
    kept: list[int] = []
    for i, (begin, end, stride) in enumerate(zip(begins, ends, strides, strict=True)):
        if masks["ellipsis"] >> i & 1:
            skipped = len(shape) - (len(begins) - 1 - new_axes)
            if skipped < 1:  # which kernels take for one dimension
                c.unsupported("an ellipsis that stands for no dimension is not supported")
            kept += range(len(places), len(places) + skipped)
            places += [slice(None)] * skipped
            continue
        if masks["new_axis"] >> i & 1:
            kept.append(-1)
            continue
        if not stride:
            c.fail("a stride can't be 0")
        if len(places) >= len(shape):
            c.fail(f"{len(begins)} ranges don't fit {c.type(0)}")
        size = shape[len(places)]
        if masks["shrink_axis"] >> i & 1:
            places.append(_only(c, len(places), size, 0 if masks["begin"] >> i & 1 else begin, stride))
            continue
        if c.option("offset", False) and not masks["begin"] >> i & 1:
            end += begin + size * (begin < 0)
        first, last = (None if masks[m] >> i & 1 else n for m, n in (("begin", begin), ("end", end)))
        kept.append(len(places))
        places.append(slice(first, last, stride))
    return places, kept


def reverse(c: Context) -> Value:
    """REVERSE_V2."""
    rank = c.type(0).rank
    turned = {axis_of(c, axis, rank) for axis in c.integers(1)}
    return sliced(c.builder, c.value(0), [slice(None, None, -1 if d in turned else None) for d in range(rank)])


def mirror_pad(c: Context) -> Value:
    """MIRROR_PAD."""
    numbers = c.integers(1)
    padding = tuple(zip(numbers[::2], numbers[1::2], strict=False))
    return c.emit("mirror_pad", c.value(0), padding=padding, mode=c.operator.coded("mode", MIRRORS))


def _blocks(name: str) -> Converter:
    def convert(c: Context) -> Value:
        (size,) = c.positive("block_size")
        picture(name, c.type(0), size)
        return c.emit(name, c.value(0), block_size=size)

    return convert


def _pairs(c: Context, place: int) -> tuple[tuple[int, int], ...]:
    numbers = c.integers(place)
    return tuple(zip(numbers[::2], numbers[1::2], strict=False))


def space_to_batch(c: Context) -> Value:
    """SPACE_TO_BATCH_ND, padded with zeros: on quantized integers with the zero point."""
    value = c.output_quantization().zero_point if c.is_quantized else 0
    blocks = {"block_shape": c.integers(1), "padding": _pairs(c, 2)}
    return c.emit("space_to_batch_nd", c.value(0), **blocks, value=value)


def batch_to_space(c: Context) -> Value:
    """BATCH_TO_SPACE_ND."""
    return c.emit("batch_to_space_nd", c.value(0), block_shape=c.integers(1), crops=_pairs(c, 2))


def gather(c: Context) -> Value:
    """GATHER along an axis, in batches if they are given."""
    x, indices = c.value(0), c.value(1)
    batch = int(c.option("batch_dims", 0))
    batch += indices.type.rank * (batch < 0)
    return c.emit("gather", x, indices, axis=axis_of(c, c.option("axis", 0), x.type.rank), batch_dims=batch)


def gather_nd(c: Context) -> Value:
    """GATHER_ND."""
    return c.emit("gather_nd", c.value(0), c.value(1))


def zeros_like(c: Context) -> Value:
    """ZEROS_LIKE."""
    type_ = c.type(0)
    if type_.quantization is not None or type_.dtype is DType.BOOL:
        c.unsupported(f"its form for {type_} is not supported")
    return c.builder.constant(np.broadcast_to(np.zeros((), type_.dtype.numpy), type_.shape))


def densify(c: Context) -> Value:
    """DENSIFY: a sparse constant as a dense one."""
    return c.builder.constant(c.constant(0), quantization=c.type(0).quantization)


reads(densify, "DENSIFY")
reads(strided_slice, "STRIDED_SLICE")
reads(reverse, "REVERSE_V2")
reads(mirror_pad, "MIRROR_PAD")
reads(_blocks("space_to_depth"), "SPACE_TO_DEPTH")
reads(_blocks("depth_to_space"), "DEPTH_TO_SPACE")
reads(space_to_batch, "SPACE_TO_BATCH_ND")
reads(batch_to_space, "BATCH_TO_SPACE_ND")
reads(gather, "GATHER")
reads(gather_nd, "GATHER_ND")
reads(zeros_like, "ZEROS_LIKE")
