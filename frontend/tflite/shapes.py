"""TFLite's operators that move elements, as operations of the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...compiler.graph.ir import Value
from ...compiler.ops.facets import reads
from ...compiler.types import DType
from .context import Context

Converter = Callable[[Context], Value | tuple[Value, ...]]

LONGEST_RANGE = 1 << 16
"""Most numbers that RANGE may count."""


def shape(c: Context) -> Value:
    """SHAPE: the sizes of a tensor, which are the same in every run."""
    return c.builder.constant(np.array(c.type(0).shape, c.output_type().dtype.numpy))


def rank(c: Context) -> Value:
    """RANK: the number of dimensions of a tensor."""
    return c.builder.constant(np.array(c.type(0).rank, c.output_type().dtype.numpy))


def range_(c: Context) -> Value:
    """RANGE: numbers from one to another, all known."""
    start, limit, delta = (c.constant(i).item() for i in range(3))
    if not delta or not (limit - start) / delta <= LONGEST_RANGE:
        c.unsupported(f"a range from {start} to {limit} in steps of {delta} is not supported")
    return c.builder.constant(np.arange(start, limit, delta).astype(c.output_type().dtype.numpy))


def fill(c: Context) -> Value:
    """FILL: a tensor of one number."""
    return c.emit("broadcast_to", c.value(1), shape=c.integers(0))


def broadcast_to(c: Context) -> Value:
    """BROADCAST_TO."""
    return c.emit("broadcast_to", c.value(0), shape=c.integers(1))


def _axis(c: Context, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        c.fail(f"there is no axis {axis} in a tensor of rank {rank}")
    return axis % rank


def reshape(c: Context) -> Value:
    """RESHAPE, SQUEEZE, EXPAND_DIMS: to the shape that the output says it has."""
    return c.emit("reshape", c.value(0), shape=c.output_type().shape)


def pad(c: Context) -> Value:
    """PAD with zeros, PADV2 with a constant; quantized zeros are the zero point."""
    numbers = c.integers(1)
    padding = tuple(zip(numbers[::2], numbers[1::2], strict=False))
    if c.has(2):
        fill = c.constant(2)
        value = fill.reshape(-1)[0].item() if fill.size == 1 else c.fail("the padding value must be one number")
    else:
        value = c.output_quantization().zero_point if c.is_quantized else 0
    return c.emit("pad", c.value(0), padding=padding, value=value)


def concatenation(c: Context) -> Value:
    """CONCATENATION; only u8 may have other scales than the result."""
    values = [c.value(i) for i in range(c.count)]
    axis = int(c.option("axis", 0))
    if not c.is_quantized:
        return c.activated(c.emit("concat", *values, axis=axis))
    if c.option("fused_activation_function", 0):
        c.unsupported("a fused activation is not supported")
    y, given = c.output_quantization(), tuple(c.quantization(i) for i in range(c.count))
    if set(given) == {y}:
        return c.emit("concat", *values, axis=axis)
    if c.output_type().dtype is not DType.U8:
        c.unsupported(f"joining {c.output_type().dtype} of different scales is not supported")
    return c.emit("q_concat", *values, axis=axis, inputs=given, y=y)


def pack(c: Context) -> Value:
    """PACK: tensors along a new axis."""
    rank = c.type(0).rank + 1
    axis = _axis(c, c.option("axis", 0), rank)
    shape = (*c.type(0).shape[:axis], 1, *c.type(0).shape[axis:])
    return c.emit("concat", *(c.emit("reshape", c.value(i), shape=shape) for i in range(c.count)), axis=axis)


def _pieces(c: Context, x: Value, axis: int, sizes: Sequence[int]) -> list[Value]:
    """X cut along an axis."""
    if sum(sizes) != x.type.shape[axis]:
        c.fail(f"pieces of {list(sizes)} don't make up dimension {axis} of {x.type}")
    begin, size = [0] * x.type.rank, list(x.type.shape)
    pieces = []
    for length in sizes:
        size[axis] = length
        pieces.append(c.emit("slice", x, begin=tuple(begin), size=tuple(size)))
        begin[axis] += length
    return pieces


def split(c: Context) -> tuple[Value, ...]:
    """SPLIT: into equal parts."""
    x = c.value(1)
    axis = _axis(c, c.integers(0)[0], x.type.rank)
    count = len(c.operator.outputs)
    if not count or x.type.shape[axis] % count:
        c.fail(f"{count} equal parts don't make up dimension {axis} of {x.type}")
    return tuple(_pieces(c, x, axis, [x.type.shape[axis] // count] * count))


def split_v(c: Context) -> tuple[Value, ...]:
    """SPLIT_V: into parts of given sizes, one of which may be -1."""
    x = c.value(0)
    axis = _axis(c, c.integers(2)[0], x.type.rank)
    sizes = list(c.integers(1))
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = x.type.shape[axis] - sum(sizes) - 1
    return tuple(_pieces(c, x, axis, sizes))


def unpack(c: Context) -> tuple[Value, ...]:
    """UNPACK: the slices along an axis, without that axis."""
    x = c.value(0)
    axis = _axis(c, c.option("axis", 0), x.type.rank)
    shape = x.type.shape[:axis] + x.type.shape[axis + 1 :]
    pieces = _pieces(c, x, axis, [1] * len(c.operator.outputs))
    return tuple(c.emit("reshape", piece, shape=shape) for piece in pieces)


def transpose(c: Context) -> Value:
    """TRANSPOSE."""
    return c.emit("transpose", c.value(0), permutation=c.integers(1))


def slice_(c: Context) -> Value:
    """SLICE; a size of -1 goes to the end."""
    begin = c.integers(1)
    sizes = zip(c.integers(2), c.type(0).shape, begin, strict=False)
    return c.emit("slice", c.value(0), begin=begin, size=tuple(d - b if s == -1 else s for s, d, b in sizes))


def strided_slice(c: Context) -> Value:
    """STRIDED_SLICE with strides of 1 and more, ellipsis and new axes (which appear with the result's shape)."""
    x = c.value(0)
    if c.option("offset", False):
        c.unsupported("an end that is counted from the beginning is not supported")
    for d, (begin, end, stride) in enumerate(_ranges(c, x.type.shape)):
        x = _every(c, x, d, begin, end, stride)
    return c.emit("reshape", x, shape=c.output_type().shape)


def _ranges(c: Context, shape: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """First, end and stride of each dimension."""
    begins, ends, strides = (c.integers(i) for i in (1, 2, 3))
    if not len(begins) == len(ends) == len(strides):
        c.fail(f"begin {begins}, end {ends} and strides {strides} have different lengths")
    masks = {name: int(c.option(f"{name}_mask", 0)) for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    new_axes = sum(masks["new_axis"] >> i & 1 for i in range(len(begins)))
    ranges: list[tuple[int, int, int]] = []
    for i, (begin, end, stride) in enumerate(zip(begins, ends, strides, strict=True)):
        if masks["ellipsis"] >> i & 1:
            skipped = max(len(shape) - (len(begins) - 1 - new_axes), 0)
            ranges += [(0, size, 1) for size in shape[len(ranges) : len(ranges) + skipped]]
            continue
        if masks["new_axis"] >> i & 1:
            continue
        if stride < 1:
            c.unsupported(f"a stride of {stride} is not supported")
        if len(ranges) >= len(shape):
            c.fail(f"{len(begins)} ranges don't fit {c.type(0)}")
        size = shape[len(ranges)]
        first = 0 if masks["begin"] >> i & 1 else min(max(begin + size * (begin < 0), 0), size)
        last = size if masks["end"] >> i & 1 else min(max(end + size * (end < 0), 0), size)
        ranges.append((first, first + 1 if masks["shrink_axis"] >> i & 1 else last, stride))
    return ranges


def _every(c: Context, x: Value, axis: int, begin: int, end: int, stride: int) -> Value:
    """Every element number `stride` from `begin` on along an axis."""
    shape = x.type.shape
    count = -(-(end - begin) // stride)
    if count < 1:
        c.unsupported(f"it takes nothing of dimension {axis} of {x.type}")
    if (begin, end, stride) == (0, shape[axis], 1):
        return x
    span = min(count * stride, shape[axis] - begin)
    x = _part(c, x, axis, begin, span)
    if stride == 1:
        return x
    if span < count * stride:  # what is added is cut off again
        padding = tuple((0, count * stride - span if d == axis else 0) for d in range(len(shape)))
        x = c.emit("pad", x, padding=padding, value=0)
    split = c.emit("reshape", x, shape=(*shape[:axis], count, stride, *shape[axis + 1 :]))
    firsts = _part(c, split, axis + 1, 0, 1)
    return c.emit("reshape", firsts, shape=(*shape[:axis], count, *shape[axis + 1 :]))


def _part(c: Context, x: Value, axis: int, begin: int, length: int) -> Value:
    """A range of one dimension."""
    starts = tuple(begin if d == axis else 0 for d in range(x.type.rank))
    sizes = tuple(length if d == axis else size for d, size in enumerate(x.type.shape))
    return c.emit("slice", x, begin=starts, size=sizes)


def _blocks(c: Context) -> tuple[tuple[int, ...], int]:
    """Shape of the operand and size of its blocks."""
    (size,) = c.positive("block_size")
    shape = c.type(0).shape
    if len(shape) != 4:
        c.fail(f"it takes [N, H, W, C], not {c.type(0)}")
    return shape, size


def space_to_depth(c: Context) -> Value:
    """SPACE_TO_DEPTH: blocks of places become channels."""
    (n, h, w, channels), size = _blocks(c)
    if h % size or w % size:
        c.fail(f"blocks of {size} don't divide {c.type(0)}")
    blocks = c.emit("reshape", c.value(0), shape=(n, h // size, size, w // size, size, channels))
    turned = c.emit("transpose", blocks, permutation=(0, 1, 3, 2, 4, 5))
    return c.emit("reshape", turned, shape=(n, h // size, w // size, size * size * channels))


def depth_to_space(c: Context) -> Value:
    """DEPTH_TO_SPACE: channels become blocks of places."""
    (n, h, w, channels), size = _blocks(c)
    if channels % (size * size):
        c.fail(f"blocks of {size} don't divide the channels of {c.type(0)}")
    blocks = c.emit("reshape", c.value(0), shape=(n, h, w, size, size, channels // (size * size)))
    turned = c.emit("transpose", blocks, permutation=(0, 1, 3, 2, 4, 5))
    return c.emit("reshape", turned, shape=(n, h * size, w * size, channels // (size * size)))


def tile(c: Context) -> Value:
    """TILE."""
    return c.emit("tile", c.value(0), multiples=c.integers(1))


def gather(c: Context) -> Value:
    """GATHER along an axis, which is brought to the front for it."""
    if c.option("batch_dims", 0) != 0:
        c.unsupported("gathering in batches is not supported")
    x, indices = c.value(0), c.value(1)
    axis = _axis(c, c.option("axis", 0), x.type.rank)
    if axis:
        others = [d for d in range(x.type.rank) if d != axis]
        x = c.emit("transpose", x, permutation=(axis, *others))
    picked = c.emit("gather_nd", x, c.emit("reshape", indices, shape=(*indices.type.shape, 1)))
    if not axis:
        return picked
    front = range(indices.type.rank)
    rest = range(indices.type.rank, picked.type.rank)
    return c.emit("transpose", picked, permutation=(*rest[:axis], *front, *rest[axis:]))


def gather_nd(c: Context) -> Value:
    """GATHER_ND."""
    return c.emit("gather_nd", c.value(0), c.value(1))


def _resize(name: str) -> Converter:
    def convert(c: Context) -> Value:
        return c.emit(
            name,
            c.value(0),
            size=c.integers(1),
            align_corners=bool(c.option("align_corners", False)),
            half_pixel_centers=bool(c.option("half_pixel_centers", False)),
        )

    return convert


def _position(name: str) -> Callable[[Context], Value]:
    """ARG_MAX and ARG_MIN: i32 or i64 positions."""

    def convert(c: Context) -> Value:
        axis = _axis(c, c.integers(1)[0], c.type(0).rank)
        dtype = c.output_type().dtype
        if dtype not in (DType.I32, DType.I64):
            c.unsupported(f"its form for positions of type {dtype} is not supported")
        return c.cast(c.emit(name, c.value(0), axis=axis), dtype)

    return convert


reads(shape, "SHAPE")
reads(rank, "RANK")
reads(range_, "RANGE")
reads(fill, "FILL")
reads(broadcast_to, "BROADCAST_TO")
reads(reshape, "RESHAPE", "SQUEEZE", "EXPAND_DIMS")
reads(pad, "PAD", "PADV2")
reads(concatenation, "CONCATENATION")
reads(pack, "PACK")
reads(unpack, "UNPACK")
reads(split, "SPLIT")
reads(split_v, "SPLIT_V")
reads(transpose, "TRANSPOSE")
reads(slice_, "SLICE")
reads(strided_slice, "STRIDED_SLICE")
reads(space_to_depth, "SPACE_TO_DEPTH")
reads(depth_to_space, "DEPTH_TO_SPACE")
reads(tile, "TILE")
reads(gather, "GATHER")
reads(gather_nd, "GATHER_ND")
reads(_resize("resize_bilinear"), "RESIZE_BILINEAR")
reads(_resize("resize_nearest"), "RESIZE_NEAREST_NEIGHBOR")
reads(_position("argmax"), "ARG_MAX")
reads(_position("argmin"), "ARG_MIN")
