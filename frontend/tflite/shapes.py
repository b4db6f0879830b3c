"""TFLite's operators that move elements, as operations of the graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ...compiler.graph.ir import Value
from ...compiler.ops.facets import reads
from ...compiler.types import DType
from .context import Context, Converter
from .moves import axis_of

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


def broadcast_args(c: Context) -> Value:
    """BROADCAST_ARGS: the shape to which two known ones broadcast."""
    shape = np.broadcast_shapes(c.integers(0), c.integers(1))
    return c.builder.constant(np.array(shape, c.output_type().dtype.numpy))


def reshape(c: Context) -> Value:
    """RESHAPE: to the shape of the second input or of the options, of which one size may be -1."""
    if c.has(1) and c.type(1).rank == 1:
        wanted = c.stated_shape() if c.known(1) is None else c.integers(1)
    else:
        option = c.option("new_shape")
        wanted = c.stated_shape() if option is None else tuple(option.tolist())
        if wanted == (0,):  # how old writers spell a scalar
            wanted = ()
    return _reshaped(c, _completed(c, wanted))


def _sizes(c: Context) -> tuple[int, ...]:
    """The shape of the first input in the file's terms, where a complex number is one element."""
    shape = c.type(0).shape
    return shape[:-1] if c.tensor(0).is_complex else shape


def _reshaped(c: Context, shape: Sequence[int]) -> Value:
    """The first input in a shape of the file's terms."""
    return c.emit("reshape", c.value(0), shape=(*shape, *((2,) if c.tensor(0).is_complex else ())))


def _completed(c: Context, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes of which one may be -1: what is left of the elements."""
    known, count = math.prod(s for s in sizes if s != -1), math.prod(_sizes(c))
    if sizes.count(-1) != 1:
        return sizes
    if known < 1 or count % known:
        c.fail(f"{c.type(0)} can't take the shape {list(sizes)}")
    return tuple(count // known if s == -1 else s for s in sizes)


def squeeze(c: Context) -> Value:
    """SQUEEZE: without the dimensions of size 1 that are named, or without all."""
    shape, option = _sizes(c), c.option("squeeze_dims")
    named = set() if option is None else {axis_of(c, axis, len(shape)) for axis in option.tolist()}
    gone = named or {d for d, size in enumerate(shape) if size == 1}
    return _reshaped(c, [size for d, size in enumerate(shape) if d not in gone])


def expand_dims(c: Context) -> Value:
    """EXPAND_DIMS: with one more dimension."""
    shape = _sizes(c)
    axis = axis_of(c, c.integers(1)[0], len(shape) + 1)
    return _reshaped(c, (*shape[:axis], 1, *shape[axis:]))


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
    if c.output_type().dtype is DType.I16:  # whose kernel copies them as they are
        same = (v if q == y else c.emit("reinterpret", v, y=y) for v, q in zip(values, given, strict=True))
        return c.emit("concat", *same, axis=axis)
    if c.output_type().dtype is not DType.U8:
        c.unsupported(f"joining {c.output_type().dtype} of different scales is not supported")
    return c.emit("q_concat", *values, axis=axis, inputs=given, y=y)


def pack(c: Context) -> Value:
    """PACK: tensors along a new axis."""
    rank = c.type(0).rank + 1
    axis = axis_of(c, c.option("axis", 0), rank)
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
    axis = axis_of(c, c.integers(0)[0], x.type.rank)
    count = len(c.operator.outputs)
    if not count or x.type.shape[axis] % count:
        c.fail(f"{count} equal parts don't make up dimension {axis} of {x.type}")
    return tuple(_pieces(c, x, axis, [x.type.shape[axis] // count] * count))


def split_v(c: Context) -> tuple[Value, ...]:
    """SPLIT_V: into parts of given sizes, one of which may be -1."""
    x = c.value(0)
    axis = axis_of(c, c.integers(2)[0], x.type.rank)
    sizes = list(c.integers(1))
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = x.type.shape[axis] - sum(sizes) - 1
    return tuple(_pieces(c, x, axis, sizes))


def unpack(c: Context) -> tuple[Value, ...]:
    """UNPACK: the slices along an axis, without that axis."""
    x = c.value(0)
    axis = axis_of(c, c.option("axis", 0), x.type.rank)
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


def tile(c: Context) -> Value:
    """TILE."""
    return c.emit("tile", c.value(0), multiples=c.integers(1))


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
        axis = axis_of(c, c.integers(1)[0], c.type(0).rank)
        dtype = c.output_type().dtype
        if dtype not in (DType.I32, DType.I64):
            c.unsupported(f"its form for positions of type {dtype} is not supported")
        x = c.value(0)
        x = c.cast(x, DType.U8) if x.type.dtype is DType.BOOL else x
        return c.cast(c.emit(name, x, axis=axis), dtype)

    return convert


reads(shape, "SHAPE")
reads(rank, "RANK")
reads(range_, "RANGE")
reads(fill, "FILL")
reads(broadcast_args, "BROADCAST_ARGS")
reads(broadcast_to, "BROADCAST_TO")
reads(reshape, "RESHAPE")
reads(squeeze, "SQUEEZE")
reads(expand_dims, "EXPAND_DIMS")
reads(pad, "PAD", "PADV2")
reads(concatenation, "CONCATENATION")
reads(pack, "PACK")
reads(unpack, "UNPACK")
reads(split, "SPLIT")
reads(split_v, "SPLIT_V")
reads(transpose, "TRANSPOSE")
reads(slice_, "SLICE")
reads(tile, "TILE")
reads(_resize("resize_bilinear"), "RESIZE_BILINEAR")
reads(_resize("resize_nearest"), "RESIZE_NEAREST_NEIGHBOR")
reads(_position("argmax"), "ARG_MAX")
reads(_position("argmin"), "ARG_MIN")
