"""TFLite's operators that move elements, as operations of the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...compiler.graph.ir import Value
from ...compiler.graph.types import DType
from .context import Context

Converter = Callable[[Context], Value | tuple[Value, ...]]


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
    """CONCATENATION; quantized inputs must have the scale of the output."""
    values = [c.value(i) for i in range(c.count)]
    if c.is_quantized:
        y, dtype = c.output_quantization(), str(c.output_type().dtype)
        if c.option("fused_activation_function", 0):
            c.unsupported("a fused activation is not supported")
        for place, value in enumerate(values):
            if c.quantization(place) != y:
                values[place] = c.emit("requantize", value, dtype=dtype, x=c.quantization(place), y=y)
        return c.emit("concat", *values, axis=c.option("axis", 0))
    return c.activated(c.emit("concat", *values, axis=c.option("axis", 0)))


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
    """STRIDED_SLICE with strides of 1 and without an ellipsis or new axes."""
    begin, end, strides = (list(c.integers(i)) for i in (1, 2, 3))
    shape = c.type(0).shape
    if any(s != 1 for s in strides) or c.option("ellipsis_mask", 0) or c.option("new_axis_mask", 0):
        c.unsupported("strides other than 1, ellipsis and new axes are not supported")
    if not len(begin) == len(end) == len(shape):
        c.fail(f"begin {begin} and end {end} don't fit {c.type(0)}")
    for d, length in enumerate(shape):
        begin[d] = 0 if c.option("begin_mask", 0) >> d & 1 else begin[d] + length * (begin[d] < 0)
        end[d] = length if c.option("end_mask", 0) >> d & 1 else min(end[d] + length * (end[d] < 0), length)
        if c.option("shrink_axis_mask", 0) >> d & 1:
            end[d] = begin[d] + 1
    size = tuple(e - b for b, e in zip(begin, end, strict=True))
    return c.emit("reshape", c.emit("slice", c.value(0), begin=tuple(begin), size=size), shape=c.output_type().shape)


def tile(c: Context) -> Value:
    """TILE."""
    return c.emit("tile", c.value(0), multiples=c.integers(1))


def gather(c: Context) -> Value:
    """GATHER along the first axis."""
    if c.option("axis", 0) != 0 or c.option("batch_dims", 0) != 0:
        c.unsupported("gathering along other axes than the first is not supported")
    indices = c.value(1)
    return c.emit("gather_nd", c.value(0), c.emit("reshape", indices, shape=(*indices.type.shape, 1)))


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


def arg_max(c: Context) -> Value:
    """ARG_MAX: i32 or i64 positions."""
    axis = _axis(c, c.integers(1)[0], c.type(0).rank)
    dtype = c.output_type().dtype
    if dtype not in (DType.I32, DType.I64):
        c.fail(f"positions can't be {dtype}")
    return c.cast(c.emit("argmax", c.value(0), axis=axis), dtype)


CONVERTERS: dict[str, Converter] = {
    "RESHAPE": reshape,
    "SQUEEZE": reshape,
    "EXPAND_DIMS": reshape,
    "PAD": pad,
    "PADV2": pad,
    "CONCATENATION": concatenation,
    "PACK": pack,
    "UNPACK": unpack,
    "SPLIT": split,
    "SPLIT_V": split_v,
    "TRANSPOSE": transpose,
    "SLICE": slice_,
    "STRIDED_SLICE": strided_slice,
    "TILE": tile,
    "GATHER": gather,
    "GATHER_ND": gather_nd,
    "RESIZE_BILINEAR": _resize("resize_bilinear"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("resize_nearest"),
    "ARG_MAX": arg_max,
}
