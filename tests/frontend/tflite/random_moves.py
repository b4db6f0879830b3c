"""Random TFLite files of operators that move, join or choose quantized numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .draw import BYTES, Draw, Maker

TYPES = (*BYTES, np.int16)


def _resize(name: str, table: str) -> Maker:
    def make(d: Draw) -> bytes:
        dtype, (h, w), channels = d.dtype(), d.shape(2, 9), d.r.choice((1, 3))
        size = d.shape(2, 12)
        given = d.quantized(dtype)
        x, target = d.input((1, h, w, channels), dtype, given), d.constant(np.array(size, np.int32))
        fields = d.r.choice(({}, {"AlignCorners": True}, {"HalfPixelCenters": True}))
        return d.operator(name, [x, target], [d.tensor((1, *size, channels), dtype, given)], (table, fields), 3)

    return make


def _arg_max(d: Draw) -> bytes:
    dtype, shape = d.dtype(), d.shape(d.r.randint(1, 4))
    axis = d.r.randrange(len(shape))
    x, place = d.input(shape, dtype, d.quantized(dtype)), d.constant(np.array(axis, np.int32))
    y = d.tensor(shape[:axis] + shape[axis + 1 :], np.int32, None)
    return d.operator("ARG_MAX", [x, place], [y], ("ArgMaxOptions", {"OutputType": 2}), 2)


def _concatenation(d: Draw) -> bytes:
    """Operands of one scale, or, unsigned, of any."""
    dtype, shape = d.dtype(*TYPES), d.r.choice(((1, 256, 1), (2, 16, 8), d.shape(3)))
    axis, y = d.r.randrange(len(shape)), d.quantized(dtype)
    sizes = [d.r.randint(1, 4) if place else shape[axis] for place in range(d.r.randint(1, 4))]
    scales = [d.quantized(dtype, y[0]) if dtype is np.uint8 and d.r.random() < 0.8 else y for _ in sizes]
    inputs = [
        d.input((*shape[:axis], size, *shape[axis + 1 :]), dtype, given)
        for size, given in zip(sizes, scales, strict=True)
    ]
    result = d.tensor((*shape[:axis], sum(sizes), *shape[axis + 1 :]), dtype, y)
    return d.operator(
        "CONCATENATION", inputs, [result], ("ConcatenationOptions", {"Axis": axis}), 3 if dtype is np.int16 else 2
    )


def _pad(d: Draw) -> bytes:
    """PAD, or PADV2 with a value."""
    dtype, shape = d.dtype(*TYPES), d.shape(d.r.randint(1, 4))
    padding = [(d.r.randint(0, 2), d.r.randint(0, 2)) for _ in shape]
    given = d.quantized(dtype)
    result = [n + before + after for n, (before, after) in zip(shape, padding, strict=True)]
    inputs = [d.input(shape, dtype, given), d.constant(np.array(padding, np.int32))]
    y = d.tensor(result, dtype, given)
    if d.flip():
        inputs.append(d.constant(d.integers(dtype, (1,)), given))
        return d.operator("PADV2", inputs, [y], ("PadV2Options", {}), 4 if dtype is np.int16 else 2)
    return d.operator("PAD", inputs, [y], ("PadOptions", {}), 3 if dtype is np.int16 else 2)


def _moved(
    d: Draw,
    name: str,
    dtype: Any,
    shape: Sequence[int],
    results: Sequence[Sequence[int]],
    *numbers: Any,
    options: Any = None,
    before: bool = False,
    copies: int = 1,
) -> bytes:
    """Constants behind (or before) the operand, which is there `copies` times."""
    given = d.quantized(dtype)
    x, constants = d.input(shape, dtype, given), [d.constant(np.array(n, np.int32)) for n in numbers]
    outputs = [d.tensor(result, dtype, given) for result in results]
    operands = [*constants, x] if before else [*(x,) * copies, *constants]
    version = {"TRANSPOSE": 2, "SLICE": 2, "SPLIT": 2, "PACK": 2, "STRIDED_SLICE": 2, "GATHER": 2, "UNPACK": 2}
    if dtype is np.int16:
        version = {"TRANSPOSE": 4, "SLICE": 4, "SPLIT": 4, "PACK": 3, "STRIDED_SLICE": 4, "GATHER": 4, "UNPACK": 4}
    return d.operator(name, operands, outputs, options, version.get(name, 1))


def _transpose(d: Draw) -> bytes:
    shape = d.shape(d.r.randint(1, 5))
    order = d.r.sample(range(len(shape)), len(shape))
    return _moved(d, "TRANSPOSE", d.dtype(*TYPES), shape, [[shape[i] for i in order]], order)


def _reshape(d: Draw) -> bytes:
    shape = d.shape(d.r.randint(1, 4))
    result = (int(np.prod(shape)), 1)
    options: Any = ("ReshapeOptions", {})
    return _moved(d, "RESHAPE", d.dtype(*TYPES), shape, [result], result, options=options)


def _slice(d: Draw) -> bytes:
    shape = d.shape(d.r.randint(1, 4))
    begin = [d.r.randrange(n) for n in shape]
    size = [d.r.randint(1, n - b) for n, b in zip(shape, begin, strict=True)]
    return _moved(d, "SLICE", d.dtype(*TYPES), shape, [size], begin, size)


def _strided_slice(d: Draw) -> bytes:
    """Forward and backward, with bounds that count from either end or are left out."""
    shape = d.shape(d.r.randint(1, 4))
    begin, end, strides, result, masks = [], [], [], [], [0, 0]
    for i, n in enumerate(shape):
        low = d.r.randrange(n)
        high, step = d.r.randint(low + 1, n), d.r.randint(1, 3)
        first, last = (low, high) if d.flip() else (high - 1, low - 1)
        step = step if first < last else -step
        result.append(-(-(high - low) // abs(step)))
        out = last < 0 or (last == n and d.flip())
        masks[0] |= int(first == (0 if step > 0 else n - 1) and d.flip()) << i
        masks[1] |= int(out) << i
        begin.append(first - n if d.flip() else first)
        end.append(0 if out else last - n if d.flip() and last < n else last)
        strides.append(step)
    options = ("StridedSliceOptions", {"BeginMask": masks[0], "EndMask": masks[1]})
    return _moved(d, "STRIDED_SLICE", d.dtype(*TYPES), shape, [result], begin, end, strides, options=options)


def _split(d: Draw) -> bytes:
    shape, parts = list(d.shape(d.r.randint(1, 4), 3)), d.r.randint(1, 3)
    axis = d.r.randrange(len(shape))
    part = shape.copy()
    shape[axis] *= parts
    options = ("SplitOptions", {"NumSplits": parts})
    return _moved(d, "SPLIT", d.dtype(*BYTES), shape, [part] * parts, axis, options=options, before=True)


def _pack(d: Draw) -> bytes:
    shape, copies = d.shape(d.r.randint(1, 3)), d.r.randint(1, 3)
    axis = d.r.randint(0, len(shape))
    result = (*shape[:axis], copies, *shape[axis:])
    options = ("PackOptions", {"ValuesCount": copies, "Axis": axis})
    return _moved(d, "PACK", d.dtype(*BYTES), shape, [result], options=options, copies=copies)


def _unpack(d: Draw) -> bytes:
    shape = d.shape(d.r.randint(2, 4), 3)
    axis = d.r.randrange(len(shape))
    result = (*shape[:axis], *shape[axis + 1 :])
    options = ("UnpackOptions", {"Num": shape[axis], "Axis": axis})
    return _moved(d, "UNPACK", d.dtype(*BYTES), shape, [result] * shape[axis], options=options)


def _tile(d: Draw) -> bytes:
    shape = d.shape(d.r.randint(1, 4))
    times = [d.r.randint(1, 3) for _ in shape]
    result = [n * t for n, t in zip(shape, times, strict=True)]
    return _moved(d, "TILE", d.dtype(*BYTES), shape, [result], times)


def _gather(d: Draw) -> bytes:
    shape = d.shape(d.r.randint(1, 4))
    axis = d.r.randrange(len(shape))
    places = [d.r.randrange(shape[axis]) for _ in range(d.r.randint(1, 5))]
    result = (*shape[:axis], len(places), *shape[axis + 1 :])
    options = ("GatherOptions", {"Axis": axis})
    return _moved(d, "GATHER", d.dtype(*BYTES), shape, [result], places, options=options)


def _blocks(name: str, table: str) -> Maker:
    def make(d: Draw) -> bytes:
        size, (n, h, w, c) = d.r.randint(1, 3), d.shape(4, 3)
        wide, deep = (n, h * size, w * size, c), (n, h, w, c * size * size)
        shapes = (wide, deep) if name == "SPACE_TO_DEPTH" else (deep, wide)
        return _moved(d, name, d.dtype(*BYTES), shapes[0], shapes[1:], options=(table, {"BlockSize": size}))

    return make


def _reverse(d: Draw) -> bytes:
    shape = d.shape(d.r.randint(1, 4))
    first = d.r.randrange(len(shape))
    axes = list(range(first, d.r.randint(first + 1, len(shape))))
    return _moved(d, "REVERSE_V2", d.dtype(*TYPES), shape, [shape], axes, options=("ReverseV2Options", {}))


def _mirror_pad(d: Draw) -> bytes:
    shape, mode = d.shape(d.r.randint(1, 4)), d.r.randrange(2)
    padding = [[d.r.randint(0, n - 1 + mode) for _ in range(2)] for n in shape]
    result = [n + sum(sides) for n, sides in zip(shape, padding, strict=True)]
    options = ("MirrorPadOptions", {"Mode": mode})
    return _moved(d, "MIRROR_PAD", d.dtype(*BYTES), shape, [result], padding, options=options)


def _batches(name: str) -> Maker:
    def make(d: Draw) -> bytes:
        (n, h, w, c), block = d.shape(4, 3), d.shape(2, 3)
        small, whole = (n * block[0] * block[1], h, w, c), (n, h * block[0], w * block[1], c)
        margins = [[d.r.randint(0, (s - 1) // 2) for _ in range(2)] for s in whole[1:3]]
        wide = (n, *(s - sum(m) for s, m in zip(whole[1:3], margins, strict=True)), c)
        shapes = (wide, small) if name == "SPACE_TO_BATCH_ND" else (small, wide)
        return _moved(d, name, d.dtype(*BYTES), shapes[0], shapes[1:], block, margins)

    return make


def _select(d: Draw) -> bytes:
    dtype, shape = d.dtype(*TYPES), d.shape(d.r.randint(1, 4))
    given = d.quantized(dtype)
    inputs = [d.input(shape, np.bool_, None), d.input(shape, dtype, given), d.input(shape, dtype, given)]
    return d.operator("SELECT_V2", inputs, [d.tensor(shape, dtype, given)], ("SelectV2Options", {}), 1)


def _cast(d: Draw) -> bytes:
    dtype, shape = d.dtype(*TYPES), d.r.choice(((256,), (1, 16, 16, 1)))
    x = d.input(shape, dtype, d.quantized(dtype))
    y = d.tensor(shape, d.dtype(np.float32, np.int32), None)
    return d.operator("CAST", [x], [y], ("CastOptions", {}), 1)


MAKERS: Mapping[str, Maker] = {
    "ARG_MAX": _arg_max,
    "BATCH_TO_SPACE_ND": _batches("BATCH_TO_SPACE_ND"),
    "CAST": _cast,
    "CONCATENATION": _concatenation,
    "DEPTH_TO_SPACE": _blocks("DEPTH_TO_SPACE", "DepthToSpaceOptions"),
    "GATHER": _gather,
    "MIRROR_PAD": _mirror_pad,
    "PACK": _pack,
    "PAD": _pad,
    "RESHAPE": _reshape,
    "RESIZE_BILINEAR": _resize("RESIZE_BILINEAR", "ResizeBilinearOptions"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
    "REVERSE_V2": _reverse,
    "SELECT_V2": _select,
    "SLICE": _slice,
    "SPACE_TO_BATCH_ND": _batches("SPACE_TO_BATCH_ND"),
    "SPACE_TO_DEPTH": _blocks("SPACE_TO_DEPTH", "SpaceToDepthOptions"),
    "SPLIT": _split,
    "STRIDED_SLICE": _strided_slice,
    "TILE": _tile,
    "TRANSPOSE": _transpose,
    "UNPACK": _unpack,
}
"""What draws each operator that moves numbers."""
