"""Deformable convolution: windows whose pixels are taken from places that an input moves.

Source: Dai et al., Deformable Convolutional Networks (2017); Zhu et al., Deformable ConvNets v2 (2019), for the mask.
"""

from __future__ import annotations

import math

import numpy as np

from ....compiler.graph.ir import Value
from ....compiler.ops.expressions import Formula
from ....compiler.ops.pictures.grid_sample import sampled_at
from ....compiler.types import DType
from ..node import Node
from ..registry import onnx
from .convolutions import per_dimension


@onnx("DeformConv", since=19)
def deform_conv(c: Node) -> Value:
    """Convolution of [N, C, H, W] at pixels moved by offsets [N, groups * kernel * 2, H, W], which a mask weighs."""
    x, weight = c.value(0), c.turned(1, (2, 3, 1, 0)) if c.type(1).rank == 4 else c.value(1)
    if x.type.rank != 4 or weight.type.rank != 4:
        c.unsupported(f"it is for pictures alone, not for {x.type}")
    kernel, groups, parts = weight.type.shape[:2], int(c.attribute("group", 1)), int(c.attribute("offset_group", 1))
    if tuple(c.attribute("kernel_shape", kernel)) != kernel:
        c.unsupported("`kernel_shape` doesn't fit the weight")
    strides, dilations = per_dimension(c, "strides", 2), per_dimension(c, "dilations", 2)
    pads = tuple(c.attribute("pads", (0,) * 4))
    taps, (samples, channels) = math.prod(kernel), x.type.shape[:2]
    sizes = [
        (size + pads[d] + pads[d + 2] - (k - 1) * dilation - 1) // stride + 1
        for d, (size, k, dilation, stride) in enumerate(zip(x.type.shape[2:], kernel, dilations, strides, strict=True))
    ]
    if parts < 1 or channels % parts or c.shape(2) != (samples, parts * taps * 2, *sizes):
        c.unsupported(
            f"offsets {c.type(2)} don't fit {parts} groups of {taps} pixels at {sizes[0]} x {sizes[1]} places"
        )
    dtype = DType.F64 if x.type.dtype is DType.F64 else DType.F32
    offsets = c.reshape(c.cast(c.value(2), dtype), (samples, parts, taps, 2, *sizes))
    mask = c.reshape(c.value(4), (samples, parts, taps, *sizes, 1)) if c.has(4) else None
    pixels = _moved(c, c.channels_last(x), offsets, mask, _places(kernel, sizes, strides, dilations, pads))
    filters = c.reshape(weight, (taps, 1, 1, *weight.type.shape[2:]))
    bias = (c.value(3),) if c.has(3) else ()
    rules = {"strides": (1, 1, 1), "padding": ((0, 0),) * 3, "dilations": (1, 1, 1), "groups": groups}
    y = c.emit("conv3d", pixels, filters, *bias, **rules)
    return c.channels_first(c.reshape(y, (samples, *sizes, weight.type.shape[3])))


def _places(
    kernel: tuple[int, ...],
    sizes: list[int],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    pads: tuple[int, ...],
) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """Where the pixels of each window lie along each axis, [taps, H, W], before they are moved."""
    found = []
    for d in (0, 1):
        within = np.indices(kernel)[d].reshape(-1, 1, 1) * dilations[d]
        start = np.indices(sizes)[d] * strides[d] - pads[d]
        found.append((within + start).astype(np.float64))
    return found


def _moved(
    c: Node,
    x: Value,
    offsets: Value,
    mask: Value | None,
    places: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]],
) -> Value:
    """The pixels [N, taps, H, W, C] of x [N, H, W, C] that the windows take."""
    samples, parts, taps, _, *sizes = offsets.type.shape
    shape, width = (samples, taps, *sizes), x.type.shape[3] // parts
    batch = Formula(c, c.made(np.arange(samples, dtype=np.int32).reshape(-1, 1, 1, 1)))
    found = []
    for part in range(parts):

        def along(axis: int, part: int = part) -> Formula:
            one = c.emit("slice", offsets, begin=(0, part, 0, axis, 0, 0), size=(samples, 1, taps, 1, *sizes))
            moved = Formula(c, c.reshape(one, shape))
            return moved + moved.constant(places[axis])

        own = c.emit("slice", x, begin=(0, 0, 0, part * width), size=(*x.type.shape[:3], width))
        taken = sampled_at(c, own, [along(0), along(1)], batch, shape)
        if mask is not None:
            weights = c.emit("slice", mask, begin=(0, part, 0, 0, 0, 0), size=(samples, 1, taps, *sizes, 1))
            taken = c.emit("mul", taken, c.reshape(weights, (*shape, 1)))
        found.append(taken)
    return found[0] if parts == 1 else c.emit("concat", *found, axis=4)
