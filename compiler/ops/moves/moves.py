"""Layers that cut, join, turn and repeat tensors, made of `shape`, `striding`, `blocks`."""

from __future__ import annotations

import math
from itertools import accumulate

from ...errors import ShapeError
from ...graph.ir import Emits, Value
from ..gradients import reshaped
from ..layer import LayerBuilder, layer
from ..reductions.reduction import normalize_axis
from .blocks import Steps, picture, rearranged
from .movement import check_padding
from .striding import MIRRORS, part

Axes = int | tuple[int, ...]
PADDINGS = ("constant", *MIRRORS, "edge", "circular")


def _axes(name: str, axes: Axes, rank: int) -> tuple[int, ...]:
    """Axes counted from the front, each once."""
    given = (axes,) if isinstance(axes, int) else axes
    normal = tuple(normalize_axis(name, axis, rank) for axis in given)
    if len(set(normal)) != len(normal):
        raise ShapeError(f"{name}: an axis stands twice in {list(given)}")
    return normal


# ---- cutting ---------------------------------------------------------------------------------------------------------


@layer("split")
def split(b: LayerBuilder, x: Value, parts: int | tuple[int, ...], axis: int = -1) -> tuple[Value, ...]:
    """A list of parts along an axis: so many equal ones, or parts of the sizes in a list, one of which may be -1."""
    axis = normalize_axis("split", axis, x.type.rank)
    size = x.type.shape[axis]
    if isinstance(parts, int):
        if parts < 1 or size % parts:
            hint = "give a list of sizes, or use chunk"
            raise ShapeError(f"split: {parts} equal parts don't make up dimension {axis} of {x.type}", hint=hint)
        sizes = [size // parts] * parts
    else:
        sizes = list(parts)
        if sizes.count(-1) == 1:
            sizes[sizes.index(-1)] = size - sum(sizes) - 1
    if not sizes or min(sizes) < 0 or sum(sizes) != size:
        raise ShapeError(f"split: parts of {sizes} don't make up dimension {axis} of {x.type}")
    return _cut(b, x, axis, sizes)


def _cut(b: Emits, x: Value, axis: int, sizes: list[int]) -> tuple[Value, ...]:
    begins = accumulate(sizes[:-1], initial=0)
    return tuple(part(b, x, axis, begin, size) for begin, size in zip(begins, sizes, strict=True))


@layer("chunk")
def chunk(b: LayerBuilder, x: Value, count: int, axis: int = -1) -> tuple[Value, ...]:
    """A list of at most `count` parts along an axis, of equal size but for the last one (torch.chunk)."""
    axis = normalize_axis("chunk", axis, x.type.rank)
    if count < 1:
        raise ShapeError(f"chunk can't make {count} parts")
    size = x.type.shape[axis]
    step = max(-(-size // count), 1)
    return _cut(b, x, axis, [min(step, size - begin) for begin in range(0, size, step)] or [0])


@layer("unstack")
def unstack(b: LayerBuilder, x: Value, axis: int = 0) -> tuple[Value, ...]:
    """A list of the slices along an axis, without that axis."""
    axis = normalize_axis("unstack", axis, x.type.rank)
    shape = x.type.shape[:axis] + x.type.shape[axis + 1 :]
    return tuple(b.emit("reshape", piece, shape=shape) for piece in _cut(b, x, axis, [1] * x.type.shape[axis]))


Bounds = tuple[int | None, ...]


@layer("strided_slice")
def strided_slice(b: LayerBuilder, x: Value, begin: Bounds, end: Bounds, strides: Bounds = ()) -> Value:
    """x[begin:end:strides] as in NumPy: negative numbers count from the end, `none` stands for what is left out.

    Dimensions behind those given are taken whole. Bounds beyond a dimension are brought to its ends.
    """
    steps = (*strides, *(None,) * (len(begin) - len(strides)))
    if not len(begin) == len(end) == len(steps) or len(begin) > x.type.rank:
        given = f"begin {len(begin)}, end {len(end)} and strides {len(strides)}"
        raise ShapeError(f"strided_slice: {given} numbers don't fit {x.type}")
    if 0 in steps:
        raise ShapeError("strided_slice: a stride can't be 0")
    return sliced(b, x, [slice(*bounds) for bounds in zip(begin, end, steps, strict=True)])


def sliced(b: Emits, x: Value, places: list[slice]) -> Value:
    """X[places], for a slice of each of the first dimensions."""
    shape = x.type.shape
    ranges = [range(*s.indices(size)) for s, size in zip(places, shape, strict=False)]
    ranges += [range(size) for size in shape[len(ranges) :]]
    begin = tuple(r.start if len(r) else 0 for r in ranges)
    size = tuple(len(r) for r in ranges)
    strides = tuple(r.step if len(r) > 1 else 1 for r in ranges)
    if size == shape and all(step == 1 for step in strides):
        return x
    if all(step == 1 for step in strides):
        return b.emit("slice", x, begin=begin, size=size)
    return b.emit("strided_slice", x, begin=begin, size=size, strides=strides)


# ---- joining and repeating -------------------------------------------------------------------------------------------


@layer("stack")
def stack(b: LayerBuilder, *values: Value, axis: int = 0) -> Value:
    """Tensors of one shape one after the other along a new axis."""
    if not values:
        raise ShapeError("stack needs at least one tensor")
    shape = values[0].type.shape
    for value in values[1:]:
        if value.type.shape != shape or value.type.dtype is not values[0].type.dtype:
            raise ShapeError(f"stack can't join {values[0].type} and {value.type}")
    axis = normalize_axis("stack", axis, len(shape) + 1)
    wide = (*shape[:axis], 1, *shape[axis:])
    return b.emit("concat", *(b.emit("reshape", value, shape=wide) for value in values), axis=axis)


@layer("repeat")
def repeat(b: LayerBuilder, x: Value, count: int, axis: int = -1) -> Value:
    """Each element `count` times in a row along an axis (torch.repeat_interleave); for the whole in a row use tile."""
    axis = normalize_axis("repeat", axis, x.type.rank)
    if count < 1:
        raise ShapeError(f"repeat can't repeat {count} times")
    before, size, after = x.type.shape[:axis], x.type.shape[axis], x.type.shape[axis + 1 :]
    wide = b.emit("broadcast_to", reshaped(b, x, (*before, size, 1, *after)), shape=(*before, size, count, *after))
    return reshaped(b, wide, (*before, size * count, *after))


@layer("meshgrid")
def meshgrid(b: LayerBuilder, *vectors: Value) -> tuple[Value, ...]:
    """A list of the coordinates of a grid: one tensor for each vector, which varies along its own dimension ("ij")."""
    if any(v.type.rank != 1 for v in vectors):
        raise ShapeError(f"meshgrid takes vectors, not {', '.join(str(v.type) for v in vectors)}")
    shape = tuple(v.type.shape[0] for v in vectors)
    own = [tuple(size if d == i else 1 for d, size in enumerate(shape)) for i in range(len(shape))]
    return tuple(b.emit("broadcast_to", reshaped(b, v, one), shape=shape) for v, one in zip(vectors, own, strict=True))


# ---- dimensions ------------------------------------------------------------------------------------------------------


@layer("squeeze")
def squeeze(b: LayerBuilder, x: Value, axes: Axes | None = None) -> Value:
    """X without dimensions of size 1: all of them, or those given."""
    shape = x.type.shape
    gone = {d for d, s in enumerate(shape) if s == 1} if axes is None else set(_axes("squeeze", axes, len(shape)))
    if wrong := sorted(d for d in gone if shape[d] != 1):
        raise ShapeError(f"squeeze: dimension {wrong[0]} of {x.type} isn't 1")
    return b.emit("reshape", x, shape=tuple(s for d, s in enumerate(shape) if d not in gone))


@layer("unsqueeze")
def unsqueeze(b: LayerBuilder, x: Value, axes: Axes) -> Value:
    """X with new dimensions of size 1, which stand at these places of the result."""
    count = 1 if isinstance(axes, int) else len(axes)
    new, rest = set(_axes("unsqueeze", axes, x.type.rank + count)), iter(x.type.shape)
    return b.emit("reshape", x, shape=tuple(1 if d in new else next(rest) for d in range(x.type.rank + count)))


@layer("expand_dims")
def expand_dims(b: LayerBuilder, x: Value, axes: Axes) -> Value:
    """unsqueeze, as NumPy and TensorFlow call it."""
    return unsqueeze(b, x, axes)


@layer("swap_axes")
def swap_axes(b: LayerBuilder, x: Value, first: int, second: int) -> Value:
    """X with two dimensions exchanged."""
    order = list(range(x.type.rank))
    one, other = (normalize_axis("swap_axes", axis, x.type.rank) for axis in (first, second))
    order[one], order[other] = other, one
    return b.emit("transpose", x, permutation=tuple(order))


@layer("move_axis")
def move_axis(b: LayerBuilder, x: Value, source: int, target: int) -> Value:
    """X with one dimension at another place; the others keep their order."""
    one, other = (normalize_axis("move_axis", axis, x.type.rank) for axis in (source, target))
    order = [d for d in range(x.type.rank) if d != one]
    order.insert(other, one)
    return b.emit("transpose", x, permutation=tuple(order))


# ---- turning ---------------------------------------------------------------------------------------------------------


@layer("flip")
def flip(b: LayerBuilder, x: Value, axes: Axes) -> Value:
    """X in reverse order along some axes."""
    turned = _axes("flip", axes, x.type.rank)
    return sliced(b, x, [slice(None, None, -1 if d in turned else 1) for d in range(x.type.rank)])


@layer("roll")
def roll(b: LayerBuilder, x: Value, shifts: Axes, axes: Axes) -> Value:
    """X turned by some elements along axes: what leaves at the end comes in at the front (torch.roll)."""
    places = _axes("roll", axes, x.type.rank)
    steps = (shifts,) if isinstance(shifts, int) else shifts
    if len(steps) != len(places):
        raise ShapeError(f"roll: {list(steps)} don't give a shift for each axis in {list(places)}")
    for axis, step in zip(places, steps, strict=True):
        size = x.type.shape[axis]
        if size and step % size:
            cut = size - step % size
            x = b.emit("concat", part(b, x, axis, cut, size - cut), part(b, x, axis, 0, cut), axis=axis)
    return x


# ---- padding ---------------------------------------------------------------------------------------------------------


@layer("pad")
def pad(
    b: LayerBuilder, x: Value, padding: tuple[tuple[int, int], ...], value: float = 0.0, mode: str = "constant"
) -> Value:
    """X with (before, after) new elements around each dimension; `mode` says what they are.

    "constant": `value`; "reflect": the mirror image without the border element; "symmetric": with it; "edge": the
    border element; "circular": those of the other end.
    """
    if mode not in PADDINGS:
        raise ShapeError(f'pad: the mode can\'t be "{mode}"', hint=f"use {', '.join(PADDINGS)}")
    if mode == "constant":
        return b.emit("pad", x, padding=padding, value=value)
    if value:
        raise ShapeError(f'pad: the mode "{mode}" takes no value')
    if mode in MIRRORS:
        return b.emit("mirror_pad", x, padding=padding, mode=mode)
    check_padding("pad", x.type, padding)
    for axis, (before, after) in enumerate(padding):
        if before or after:
            x = (_edge if mode == "edge" else _circular)(b, x, axis, before, after)
    return x


def _edge(b: Emits, x: Value, axis: int, before: int, after: int) -> Value:
    size = x.type.shape[axis]
    if not size:
        raise ShapeError(f"pad: {x.type} has no edge along axis {axis}")

    def margin(place: int, count: int) -> Value:
        shape = tuple(count if d == axis else s for d, s in enumerate(x.type.shape))
        return b.emit("broadcast_to", part(b, x, axis, place, 1), shape=shape)

    front = (margin(0, before),) if before else ()
    back = (margin(size - 1, after),) if after else ()
    return b.emit("concat", *front, x, *back, axis=axis)


def _circular(b: Emits, x: Value, axis: int, before: int, after: int) -> Value:
    size = x.type.shape[axis]
    if not size:
        raise ShapeError(f"pad: {x.type} can't be continued around a circle along axis {axis}")
    if max(before, after) > size:
        turns = math.ceil(before / size)  # in front of the first element
        count = turns + 1 + math.ceil(after / size)
        x = b.emit("tile", x, multiples=tuple(count if d == axis else 1 for d in range(x.type.rank)))
        return part(b, x, axis, turns * size - before, before + size + after)
    front = (part(b, x, axis, size - before, before),) if before else ()
    back = (part(b, x, axis, 0, after),) if after else ()
    return b.emit("concat", *front, x, *back, axis=axis)


# ---- blocks ----------------------------------------------------------------------------------------------------------


@layer("depth_to_space")
def depth_to_space(b: LayerBuilder, x: Value, block_size: int, mode: str = "DCR") -> Value:
    """Channels as blocks of places, the block before the depth among channels ("DCR") or behind it ("CRD")."""
    if mode not in ("DCR", "CRD"):
        raise ShapeError(f'depth_to_space: the mode can\'t be "{mode}"', hint="use DCR or CRD")
    return b.emit("depth_to_space", x, block_size=block_size) if mode == "DCR" else pixel_shuffle(b, x, block_size)


@layer("pixel_shuffle")
def pixel_shuffle(b: LayerBuilder, x: Value, factor: int) -> Value:
    """[N, H, W, C*f*f] to [N, H*f, W*f, C], channels in PyTorch's order: that of depth_to_space with mode "CRD"."""
    n, h, w, channels = picture("pixel_shuffle", x.type, factor)
    if channels % (factor * factor):
        raise ShapeError(f"pixel_shuffle: {factor} * {factor} places don't divide the channels of {x.type}")
    depth = channels // (factor * factor)
    return rearranged(
        b, x, Steps((n, h, w, depth, factor, factor), (0, 1, 4, 2, 5, 3), (n, h * factor, w * factor, depth))
    )


@layer("pixel_unshuffle")
def pixel_unshuffle(b: LayerBuilder, x: Value, factor: int) -> Value:
    """[N, H*f, W*f, C] to [N, H, W, C*f*f]: the inverse of pixel_shuffle."""
    n, h, w, channels = picture("pixel_unshuffle", x.type, factor)
    if h % factor or w % factor:
        raise ShapeError(f"pixel_unshuffle: blocks of {factor} don't divide {x.type}")
    apart = (n, h // factor, factor, w // factor, factor, channels)
    return rearranged(b, x, Steps(apart, (0, 1, 3, 5, 2, 4), (n, h // factor, w // factor, channels * factor * factor)))


@layer("channel_shuffle")
def channel_shuffle(b: LayerBuilder, x: Value, groups: int) -> Value:
    """Channels of `groups` groups in turn: the first of each, then the second of each (ShuffleNet)."""
    if not x.type.rank or groups < 1 or x.type.shape[-1] % groups:
        raise ShapeError(f"channel_shuffle: {groups} groups don't divide the channels of {x.type}")
    *outer, channels = x.type.shape
    places = math.prod(outer)
    return rearranged(b, x, Steps((places, groups, channels // groups), (0, 2, 1), (*outer, channels)))
