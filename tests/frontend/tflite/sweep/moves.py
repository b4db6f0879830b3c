"""Operators that move, join and repeat elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..draw import Draw
from . import Generator
from .parts import NARROW, Options, any_shape, broadcast, file, scale_of


def _moved(
    d: Draw,
    name: str,
    dtype: Any,
    shape: Sequence[int],
    results: Sequence[Sequence[int]],
    *numbers: Any,
    options: Options = None,
    before: bool = False,
    kind: Any = np.int32,
) -> bytes:
    """Constants behind (or before) the operand."""
    given = scale_of(d, dtype)
    x, constants = d.input(shape, dtype, given), [d.constant(np.array(n, kind)) for n in numbers]
    outputs = [d.tensor(result, dtype, given) for result in results]
    return file(d, name, [*constants, x] if before else [x, *constants], outputs, options)


def _concatenation(d: Draw, dtype: Any) -> bytes:
    shape, y = d.r.choice(((1, 256, 1), (2, 16, 8), d.shape(d.r.randint(1, 5)))), scale_of(d, dtype)
    axis = d.r.randrange(len(shape))
    sizes = [d.r.randint(1, 4) if place else shape[axis] for place in range(d.r.randint(1, 4))]
    free = d.r.random() < (0.8 if dtype is np.uint8 else 0.15)
    scales = [scale_of(d, dtype, y[0]) if y is not None and free else y for _ in sizes]
    inputs = [
        d.input((*shape[:axis], size, *shape[axis + 1 :]), dtype, given)
        for size, given in zip(sizes, scales, strict=True)
    ]
    result = d.tensor((*shape[:axis], sum(sizes), *shape[axis + 1 :]), dtype, y)
    place = axis - len(shape) if d.flip() else axis
    return file(d, "CONCATENATION", inputs, [result], ("ConcatenationOptions", {"Axis": place}))


def _pad(name: str) -> Generator:
    def make(d: Draw, dtype: Any) -> bytes:
        shape = d.shape(d.r.randint(1, 5))
        padding = [(d.r.randint(0, 2), d.r.randint(0, 2)) for _ in shape]
        given = scale_of(d, dtype)
        result = [n + before + after for n, (before, after) in zip(shape, padding, strict=True)]
        inputs = [d.input(shape, dtype, given), d.constant(np.array(padding, d.r.choice((np.int32, np.int64))))]
        if name == "PADV2":
            value = np.array([d.r.uniform(-9, 9)], np.float32).astype(dtype)
            inputs.append(d.constant(d.integers(dtype, (1,)) if dtype in NARROW else value, given))
        options: Options = ("PadOptions" if name == "PAD" else "PadV2Options", {})
        return file(d, name, inputs, [d.tensor(result, dtype, given)], options)

    return make


def _mirror_pad(d: Draw, dtype: Any) -> bytes:
    shape, mode = d.shape(d.r.randint(1, 5)), d.r.randrange(2)
    padding = [[d.r.randint(0, n - 1 + mode) for _ in range(2)] for n in shape]
    result = [n + sum(sides) for n, sides in zip(shape, padding, strict=True)]
    kind = d.r.choice((np.int32, np.int64))
    options = ("MirrorPadOptions", {"Mode": mode})
    return _moved(d, "MIRROR_PAD", dtype, shape, [result], padding, options=options, kind=kind)


def _transpose(d: Draw, dtype: Any) -> bytes:
    shape = d.shape(d.r.randint(1, 6), 4)
    order = d.r.sample(range(len(shape)), len(shape))
    return _moved(d, "TRANSPOSE", dtype, shape, [[shape[i] for i in order]], order)


def _reshape(d: Draw, dtype: Any) -> bytes:
    shape = any_shape(d, dtype)
    result = (int(np.prod(shape)), 1)
    given = (-1, 1) if d.flip() else result
    return _moved(d, "RESHAPE", dtype, shape, [result], given, options=("ReshapeOptions", {}))


def _squeeze(d: Draw, dtype: Any) -> bytes:
    shape = d.shape(d.r.randint(1, 5))
    ones = [i for i, n in enumerate(shape) if n == 1]
    gone = d.r.sample(ones, d.r.randint(0, len(ones)))
    result = [n for i, n in enumerate(shape) if i not in (gone or ones)]
    given = scale_of(d, dtype)
    x, y = d.input(shape, dtype, given), d.tensor(result, dtype, given)
    dims = [i - len(shape) if d.flip() else i for i in gone]
    return file(
        d, "SQUEEZE", [x], [y], ("SqueezeOptions", {"SqueezeDims": [np.int32(n) for n in dims]} if dims else {})
    )


def _expand_dims(d: Draw, dtype: Any) -> bytes:
    shape = d.shape(d.r.randint(0, 4))
    axis = d.r.randint(0, len(shape))
    place = axis - len(shape) - 1 if d.flip() else axis
    result = (*shape[:axis], 1, *shape[axis:])
    return _moved(d, "EXPAND_DIMS", dtype, shape, [result], place, options=("ExpandDimsOptions", {}))


def _slice(d: Draw, dtype: Any) -> bytes:
    shape = d.shape(d.r.randint(1, 5))
    begin = [d.r.randrange(n) for n in shape]
    size = [d.r.randint(1, n - b) for n, b in zip(shape, begin, strict=True)]
    given = [-1 if s == n - b and d.flip() else s for s, n, b in zip(size, shape, begin, strict=True)]
    return _moved(d, "SLICE", dtype, shape, [size], begin, given, kind=d.r.choice((np.int32, np.int64)))


def _strided_slice(d: Draw, dtype: Any) -> bytes:
    """Forward and backward, with all masks; NumPy says what the result's shape is."""
    rank = d.r.randint(1, 4)
    shape = d.shape(rank)
    begin: list[int] = []
    end: list[int] = []
    strides: list[int] = []
    masks = dict.fromkeys(("Begin", "End", "Ellipsis", "NewAxis", "ShrinkAxis"), 0)
    taken: list[Any] = []
    used, offset = 0, d.r.random() < 0.2
    ellipsis = d.r.choice((None, d.r.randint(0, rank - 1))) if not offset else None
    count = rank if offset else d.r.randint(1, rank) if ellipsis is None else d.r.randint(ellipsis, rank - 1)
    while used < count or len(begin) == ellipsis:
        i, kind = len(begin), d.r.random()
        if i == ellipsis:
            masks["Ellipsis"] |= 1 << i
            place: Any = Ellipsis
            numbers = (0, 0, 1)
        elif kind < 0.15 and rank + len(begin) < 5 and not offset:
            masks["NewAxis"] |= 1 << i
            place, numbers = None, (d.r.randint(-1, 1), 0, 1)
        else:
            n = shape[used] if ellipsis is None or i < ellipsis else shape[rank - count + used]
            place, numbers = _range(d, n, i, masks, offset=offset)
            used += 1
        taken.append(place)
        for row, number in zip((begin, end, strides), numbers, strict=True):
            row.append(number)
        if len(begin) > 8:
            break
    result = np.empty(shape)[tuple(taken)].shape
    fields: dict[str, Any] = {f"{name}Mask": mask for name, mask in masks.items()}
    options = ("StridedSliceOptions", fields | {"Offset": offset})
    return _moved(d, "STRIDED_SLICE", dtype, shape, [result], begin, end, strides, options=options)


def _range(d: Draw, n: int, i: int, masks: dict[str, int], *, offset: bool) -> tuple[Any, tuple[int, int, int]]:
    """What is taken of a dimension, and the numbers that say so."""
    low = d.r.randrange(n)
    if d.r.random() < 0.2:
        masks["ShrinkAxis"] |= 1 << i
        return low, (low - n if d.flip() else low, low + 1, 1)
    high, step = d.r.randint(low + 1, n), d.r.randint(1, 3)
    if d.flip() or offset:
        masks["Begin"] |= int(low == 0 and d.flip() and not offset) << i
        masks["End"] |= int(high == n and d.flip() and not offset) << i
        last = high - low if offset else high + (d.r.randint(0, 5) if high == n else 0)
        return slice(low, high, step), (low if d.flip() or offset else low - n, last, step)
    masks["Begin"] |= int(high == n and d.flip()) << i
    masks["End"] |= int(low == 0) << i
    stop = low - 1
    return slice(high - 1, stop if stop >= 0 else None, -step), (high - 1, max(stop, 0), -step)


def _split(d: Draw, dtype: Any) -> bytes:
    shape, parts = list(d.shape(d.r.randint(1, 4), 3)), d.r.randint(1, 3)
    axis = d.r.randrange(len(shape))
    part = shape.copy()
    shape[axis] *= parts
    options = ("SplitOptions", {"NumSplits": parts})
    place = axis - len(shape) if d.flip() else axis
    return _moved(d, "SPLIT", dtype, shape, [part] * parts, place, options=options, before=True)


def _split_v(d: Draw, dtype: Any) -> bytes:
    shape, sizes = list(d.shape(d.r.randint(1, 4), 3)), [d.r.randint(1, 3) for _ in range(d.r.randint(1, 4))]
    axis = d.r.randrange(len(shape))
    shape[axis] = sum(sizes)
    results = [(*shape[:axis], n, *shape[axis + 1 :]) for n in sizes]
    given = sizes.copy()
    if d.flip():
        given[d.r.randrange(len(given))] = -1
    options = ("SplitVOptions", {"NumSplits": len(sizes)})
    return _moved(d, "SPLIT_V", dtype, shape, results, given, axis, options=options)


def _pack(d: Draw, dtype: Any) -> bytes:
    shape, copies = d.shape(d.r.randint(0, 4)), d.r.randint(1, 3)
    axis, given = d.r.randint(0, len(shape)), scale_of(d, dtype)
    result = d.tensor((*shape[:axis], copies, *shape[axis:]), dtype, given)
    place = axis - len(shape) - 1 if d.flip() else axis
    inputs = [d.input(shape, dtype, given) for _ in range(copies)]
    return file(d, "PACK", inputs, [result], ("PackOptions", {"ValuesCount": copies, "Axis": place}))


def _unpack(d: Draw, dtype: Any) -> bytes:
    shape = d.shape(d.r.randint(1, 4), 3)
    axis = d.r.randrange(len(shape))
    result = (*shape[:axis], *shape[axis + 1 :])
    place = axis - len(shape) if d.flip() else axis
    options = ("UnpackOptions", {"Num": shape[axis], "Axis": place})
    return _moved(d, "UNPACK", dtype, shape, [result] * shape[axis], options=options)


def _tile(d: Draw, dtype: Any) -> bytes:
    shape = d.shape(d.r.randint(1, 4))
    times = [d.r.randint(1, 3) for _ in shape]
    result = [n * t for n, t in zip(shape, times, strict=True)]
    return _moved(d, "TILE", dtype, shape, [result], times, kind=d.r.choice((np.int32, np.int64)))


def _reverse(d: Draw, dtype: Any) -> bytes:
    shape = d.shape(d.r.randint(1, 5))
    axes = d.r.sample(range(len(shape)), d.r.randint(1, len(shape)))
    if d.flip():
        axes = list(range(axes[0], d.r.randint(axes[0] + 1, len(shape))))
    return _moved(d, "REVERSE_V2", dtype, shape, [shape], axes, options=("ReverseV2Options", {}))


def _blocks(name: str, table: str) -> Generator:
    def make(d: Draw, dtype: Any) -> bytes:
        size, (n, h, w, c) = d.r.randint(1, 3), d.shape(4, 3)
        wide, deep = (n, h * size, w * size, c), (n, h, w, c * size * size)
        shapes = (wide, deep) if name == "SPACE_TO_DEPTH" else (deep, wide)
        return _moved(d, name, dtype, shapes[0], shapes[1:], options=(table, {"BlockSize": size}))

    return make


def _batches(name: str) -> Generator:
    def make(d: Draw, dtype: Any) -> bytes:
        count = d.r.choice((1, 2))
        (n, *spatial, c), block = d.shape(2 + count, 3), d.shape(count, 3)
        small = (n * int(np.prod(block)), *spatial, c)
        whole = [s * b for s, b in zip(spatial, block, strict=True)]
        margins = [[d.r.randint(0, (s - 1) // 2) for _ in range(2)] for s in whole]
        wide = (n, *(s - sum(m) for s, m in zip(whole, margins, strict=True)), c)
        shapes = (wide, small) if name == "SPACE_TO_BATCH_ND" else (small, wide)
        return _moved(d, name, dtype, shapes[0], shapes[1:], block, margins)

    return make


def _broadcast_to(d: Draw, dtype: Any) -> bytes:
    first, _, result = broadcast(d)
    kind = d.r.choice((np.int32, np.int64))
    return _moved(d, "BROADCAST_TO", dtype, first, [result], result, kind=kind)


def _fill(d: Draw, dtype: Any) -> bytes:
    shape, given = d.shape(d.r.randint(0, 5)), scale_of(d, dtype)
    size, x = d.constant(np.array(shape, d.r.choice((np.int32, np.int64)))), d.input((), dtype, given)
    return file(d, "FILL", [size, x], [d.tensor(shape, dtype, given)], ("FillOptions", {}))


def _range_of(d: Draw, dtype: Any) -> bytes:
    start, count, step = d.r.randint(-5, 5), d.r.randint(1, 9), d.r.choice((1, 2, 3, -1, -2))
    inputs = [d.constant(np.array(n, np.float32).astype(dtype)) for n in (start, start + count * step, step)]
    # A file needs an input.
    x, y = d.input((count,), dtype, scale_of(d, dtype), "finite"), d.tensor((count,), dtype, None)
    d.m.operator("RANGE", inputs, [y], ("RangeOptions", {}))
    z = d.tensor((2 * count,), dtype, None)
    return file(d, "CONCATENATION", [x, y], [z], ("ConcatenationOptions", {"Axis": 0}))


def _shape_of(name: str) -> Generator:
    def make(d: Draw, dtype: Any) -> bytes:
        shape, kind = d.shape(d.r.randint(0, 5)), d.r.choice((np.int32, np.int64)) if name == "SHAPE" else np.int32
        x = d.input(shape, dtype, scale_of(d, dtype))
        y = d.tensor((len(shape),) if name == "SHAPE" else (), kind, None)
        options = (
            ("ShapeOptions", {"OutType": 2 if kind is np.int32 else 4}) if name == "SHAPE" else ("RankOptions", {})
        )
        return file(d, name, [x], [y], options)

    return make


def _broadcast_args(d: Draw, dtype: Any) -> bytes:
    first, second, result = broadcast(d)
    inputs = [d.constant(np.array(s, np.float32).astype(dtype)) for s in (first, second)]
    y = d.tensor((len(result),), dtype, None)
    d.m.operator("BROADCAST_ARGS", inputs, [y], None)
    x, z = d.input((len(result),), dtype, None, "finite"), d.tensor((2 * len(result),), dtype, None)
    return file(d, "CONCATENATION", [x, y], [z], ("ConcatenationOptions", {"Axis": 0}))


GENERATORS: Mapping[str, Generator] = {
    "BATCH_TO_SPACE_ND": _batches("BATCH_TO_SPACE_ND"),
    "BROADCAST_ARGS": _broadcast_args,
    "BROADCAST_TO": _broadcast_to,
    "CONCATENATION": _concatenation,
    "DEPTH_TO_SPACE": _blocks("DEPTH_TO_SPACE", "DepthToSpaceOptions"),
    "EXPAND_DIMS": _expand_dims,
    "FILL": _fill,
    "MIRROR_PAD": _mirror_pad,
    "PACK": _pack,
    "PAD": _pad("PAD"),
    "PADV2": _pad("PADV2"),
    "RANGE": _range_of,
    "RANK": _shape_of("RANK"),
    "RESHAPE": _reshape,
    "REVERSE_V2": _reverse,
    "SHAPE": _shape_of("SHAPE"),
    "SLICE": _slice,
    "SPACE_TO_BATCH_ND": _batches("SPACE_TO_BATCH_ND"),
    "SPACE_TO_DEPTH": _blocks("SPACE_TO_DEPTH", "SpaceToDepthOptions"),
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _strided_slice,
    "TILE": _tile,
    "TRANSPOSE": _transpose,
    "UNPACK": _unpack,
}
"""What draws each of them."""
