"""Operators that know shapes, and that give tensors other shapes: reshape, transpose, concat, slice, pad, resize."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ....compiler.graph.ir import Array, Value
from ....compiler.ops.moves import moves
from ....compiler.types import DType
from ..node import Node
from ..registry import onnx
from ..tensors import dtype_of
from ..values import UnsupportedError

# ---- numbers that shapes give ----------------------------------------------------------------------------------------


@onnx("Shape")
def shape(c: Node) -> Array:
    """The sizes of a tensor, or of some of its dimensions."""
    sizes = c.shape(0)
    return np.array(sizes[slice(c.attribute("start", 0), c.attribute("end"))], np.int64)


@onnx("Size")
def size(c: Node) -> Array:
    """The number of elements of a tensor."""
    return np.array(c.type(0).size, np.int64)


@onnx("Constant")
def constant(c: Node) -> Array:
    """The tensor, number or numbers of an attribute."""
    given = list(c.attributes)
    if len(given) != 1:
        c.unsupported("it should have one attribute")
    value = c.attribute(given[0])
    match given[0]:
        case "value":
            return c.array(value)
        case "value_float" | "value_floats":
            return np.array(value, np.float32)
        case "value_int" | "value_ints":
            return np.array(value, np.int64)
        case _:
            raise UnsupportedError(f"`{given[0]}` is not supported")


@onnx("ConstantOfShape")
def constant_of_shape(c: Node) -> Value:
    """A tensor of one number."""
    given = c.attribute("value")
    number = np.zeros(1, np.float32) if given is None else c.array(given)
    if number.size != 1:
        c.unsupported("`value` should be one number")
    sizes = c.integers(0)
    if any(s < 0 for s in sizes) or math.prod(sizes) > 1 << 40:
        c.unsupported(f"a tensor can't have the shape {list(sizes)}")
    return c.broadcast(c.made(number.reshape(())), sizes)


@onnx("Range")
def range_(c: Node) -> Array:
    """Numbers from one to another, all known."""
    start, limit, delta = (c.constant(i).reshape(())[()] for i in range(3))
    count = (float(limit) - float(start)) / float(delta) if delta else math.inf
    if not count <= 1 << 20:
        c.unsupported(f"a range from {start} to {limit} in steps of {delta} is not supported")
    number = max(math.ceil(count), 0)
    return (start + np.arange(number) * delta).astype(start.dtype)


@onnx("EyeLike")
def eye_like(c: Node) -> Array:
    """Ones on a diagonal, else zeros."""
    code = c.attribute("dtype")
    dtype = c.type(0).dtype if code is None else dtype_of(code)
    if c.type(0).rank != 2 or c.type(0).size > 1 << 24:
        c.unsupported("it takes matrices")
    rows, columns = c.shape(0)
    return np.eye(rows, columns, int(c.attribute("k", 0))).astype(dtype.numpy)


# ---- other shapes ----------------------------------------------------------------------------------------------------


@onnx("Reshape", since=5)
def reshape(c: Node) -> Value:
    """The elements in another shape; 0 stands for the old size unless `allowzero`, -1 for what is left."""
    x, wanted = c.value(0), c.integers(1)
    if not c.flag("allowzero"):
        if any(s == 0 and d >= x.type.rank for d, s in enumerate(wanted)):
            c.unsupported(f"{list(wanted)} takes sizes over that {x.type} doesn't have")
        wanted = tuple(x.type.shape[d] if s == 0 else s for d, s in enumerate(wanted))
    return c.reshape(x, _filled(c, wanted, x.type.size))


def _filled(c: Node, sizes: tuple[int, ...], total: int) -> tuple[int, ...]:
    """Sizes with what is left in place of -1."""
    if sizes.count(-1) != 1:
        return sizes
    others = math.prod(s for s in sizes if s != -1)
    if not others or total % others:
        c.unsupported(f"{total} elements don't fit {list(sizes)}")
    return tuple(total // others if s == -1 else s for s in sizes)


@onnx("Flatten")
def flatten(c: Node) -> Value:
    """A matrix: the dimensions before the axis, and those from it on."""
    x = c.value(0)
    axis = int(c.attribute("axis", 1))
    axis += x.type.rank if axis < 0 else 0
    if not 0 <= axis <= x.type.rank:
        c.unsupported(f"there is no axis {axis} in {x.type}")
    return c.reshape(x, (math.prod(x.type.shape[:axis]), math.prod(x.type.shape[axis:])))


@onnx("Squeeze")
def squeeze(c: Node) -> Value:
    """The elements without dimensions of size 1."""
    return _squeezed(c, c.attribute("axes"))


@onnx("Squeeze", since=13)
def squeeze_by_input(c: Node) -> Value:
    """The elements without dimensions of size 1."""
    return _squeezed(c, c.integers(1) if c.has(1) else None)


def _squeezed(c: Node, axes: Sequence[int] | None) -> Value:
    x = c.value(0)
    sizes = x.type.shape
    gone = [d for d, s in enumerate(sizes) if s == 1] if axes is None else c.axes(axes, len(sizes))
    if any(sizes[d] != 1 for d in gone):
        c.unsupported(f"dimensions {list(gone)} of {x.type} aren't all 1")
    return c.reshape(x, [s for d, s in enumerate(sizes) if d not in gone])


@onnx("Unsqueeze")
def unsqueeze(c: Node) -> Value:
    """The elements with new dimensions of size 1."""
    return _unsqueezed(c, c.needed("axes"))


@onnx("Unsqueeze", since=13)
def unsqueeze_by_input(c: Node) -> Value:
    """The elements with new dimensions of size 1."""
    return _unsqueezed(c, c.integers(1))


def _unsqueezed(c: Node, axes: Sequence[int]) -> Value:
    x = c.value(0)
    rank = x.type.rank + len(axes)
    new, rest = c.axes(axes, rank), iter(x.type.shape)
    return c.reshape(x, [1 if d in new else next(rest) for d in range(rank)])


@onnx("Transpose")
def transpose(c: Node) -> Value:
    """The dimensions in another order."""
    rank = c.type(0).rank
    order = tuple(c.attribute("perm", tuple(reversed(range(rank)))))
    if sorted(order) != list(range(rank)):
        c.unsupported(f"`perm` can't be {list(order)}")
    return c.turned(0, order)


@onnx("Expand")
def expand(c: Node) -> Value:
    """The elements repeated along dimensions of size 1, and new ones in front."""
    x = c.value(0)
    wanted = tuple(c.integers(1))
    return c.broadcast(x, np.broadcast_shapes(x.type.shape, wanted))


@onnx("Tile", since=6)
def tile(c: Node) -> Value:
    """The tensor repeated along its dimensions."""
    return c.emit("tile", c.value(0), multiples=c.integers(1))


@onnx("Concat", since=4)
def concat(c: Node) -> Value:
    """Tensors one after the other along an axis."""
    values = c.values()
    axis = c.axis(c.needed("axis"), values[0].type.rank)
    return values[0] if len(values) == 1 else c.emit("concat", *values, axis=axis)


@onnx("Split", since=2)
def split(c: Node) -> tuple[Value, ...]:
    """Parts along an axis, of sizes in an attribute or all alike."""
    return _parts(c, c.attribute("split"))


@onnx("Split", since=13)
def split_by_input(c: Node) -> tuple[Value, ...]:
    """Parts along an axis, of sizes in an input or all alike."""
    return _parts(c, c.integers(1) if c.has(1) else None)


@onnx("Split", since=18)
def split_by_number(c: Node) -> tuple[Value, ...]:
    """Parts along an axis; of equal ones the last may be smaller."""
    count = c.attribute("num_outputs")
    if count is None or c.has(1):
        return _parts(c, c.integers(1) if c.has(1) else None)
    length = c.shape(0)[c.axis(c.attribute("axis", 0), c.type(0).rank)]
    step = -(-length // int(count))
    return _parts(c, [max(min(step, length - i * step), 0) for i in range(int(count))])


def _parts(c: Node, sizes: Sequence[int] | None) -> tuple[Value, ...]:
    x = c.value(0)
    axis = c.axis(c.attribute("axis", 0), x.type.rank)
    count = len(c.outputs)
    return moves.split(c, x, count if sizes is None else tuple(sizes), axis)


@onnx("Slice")
def slice_by_attributes(c: Node) -> Value:
    """Elements between bounds, which are attributes."""
    starts, ends = c.needed("starts"), c.needed("ends")
    return _sliced(c, starts, ends, c.attribute("axes"), None)


@onnx("Slice", since=10)
def slice_(c: Node) -> Value:
    """Elements between bounds, which are inputs."""
    axes = c.integers(3) if c.has(3) else None
    return _sliced(c, c.integers(1), c.integers(2), axes, c.integers(4) if c.has(4) else None)


def _sliced(
    c: Node, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int] | None, steps: Sequence[int] | None
) -> Value:
    x = c.value(0)
    places = [slice(None)] * x.type.rank
    axes = range(len(starts)) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        c.unsupported("starts, ends, axes and steps don't fit each other")
    for start, end, axis, step in zip(starts, ends, c.axes(axes, x.type.rank), steps, strict=True):
        places[axis] = _bounded(start, end, step, x.type.shape[axis])
    return moves.sliced(c, x, places)


def _bounded(start: int, end: int, step: int, size: int) -> slice:
    """Bounds brought to the ends of a dimension; walking backward begins at an element, however low the bound is."""
    low, high = (0, size) if step > 0 else (-1, size - 1)
    first, last = (min(max(b + size * (b < 0), low), high) for b in (start, end))
    return slice(max(first, 0), None if last < 0 else last, step)


# ---- padding ---------------------------------------------------------------------------------------------------------

_MODES = {"constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "circular"}


@onnx("Pad", since=2)
def pad_by_attributes(c: Node) -> Value:
    """New elements around a tensor; how many is an attribute."""
    return _padded(c, c.needed("pads"), float(c.attribute("value", 0.0)), range(c.type(0).rank))


@onnx("Pad", since=11)
def pad(c: Node) -> Value:
    """New elements around a tensor; how many is an input."""
    value = c.one(2) if c.has(2) else 0
    axes = c.axes(c.integers(3), c.type(0).rank) if c.has(3) else range(c.type(0).rank)
    return _padded(c, c.integers(1), value, axes)


def _padded(c: Node, pads: Sequence[int], value: float, axes: Sequence[int]) -> Value:
    x = c.value(0)
    mode = _MODES[c.choice("mode", "constant", *_MODES)]
    count = len(axes)
    if len(pads) != 2 * count:
        c.unsupported(f"`pads` can't be {list(pads)} for {count} dimensions")
    padding = [(0, 0)] * x.type.rank
    for i, axis in enumerate(axes):
        padding[axis] = (pads[i], pads[count + i])
    if any(min(pair) < 0 for pair in padding):
        places = [slice(max(-b, 0), s - max(-a, 0)) for (b, a), s in zip(padding, x.type.shape, strict=True)]
        x = moves.sliced(c, x, places)
        padding = [(max(b, 0), max(a, 0)) for b, a in padding]
    if not any(map(any, padding)):
        return x
    if x.type.dtype is DType.BOOL:
        value = bool(value)
    number = float(value) if x.type.dtype.is_float else int(value)
    return moves.pad(c, x, tuple(padding), number if mode == "constant" else 0.0, mode)


@onnx("CenterCropPad")
def center_crop_pad(c: Node) -> Value:
    """Some dimensions brought to given sizes: cut off, or filled with zeros, evenly on both sides."""
    x, sizes = c.value(0), c.integers(1)
    axes = c.axes(c.attribute("axes", tuple(range(x.type.rank))), x.type.rank)
    for axis, size in zip(axes, sizes, strict=True):
        old = x.type.shape[axis]
        if size < old:
            first = (old - size) // 2
            places = [slice(first, first + size) if d == axis else slice(None) for d in range(x.type.rank)]
            x = moves.sliced(c, x, places)
        elif size > old:
            before = (size - old) // 2
            padding = tuple((before, size - old - before) if d == axis else (0, 0) for d in range(x.type.rank))
            x = c.emit("pad", x, padding=padding, value=0.0 if x.type.dtype.is_float else 0)
    return x


# ---- blocks ----------------------------------------------------------------------------------------------------------


@onnx("DepthToSpace")
def depth_to_space(c: Node) -> Value:
    """Channels as blocks of places."""
    mode = c.choice("mode", "DCR", "DCR", "CRD")
    x = c.channels_last(c.value(0))
    return c.channels_first(moves.depth_to_space(c, x, int(c.needed("blocksize")), mode))


@onnx("SpaceToDepth")
def space_to_depth(c: Node) -> Value:
    """Blocks of places as channels."""
    block = int(c.needed("blocksize"))
    if c.attribute("mode", "DCR") == "CRD":
        return c.channels_first(moves.pixel_unshuffle(c, c.channels_last(c.value(0)), block))
    return c.channels_first(c.emit("space_to_depth", c.channels_last(c.value(0)), block_size=block))
