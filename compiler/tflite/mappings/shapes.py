"""Operators that move elements without changing them."""

from __future__ import annotations

import numpy as np

from ...graph.ir import Operation
from ...ops.reduction import normalize_axis
from ..emitter import Emitter, Mapping_
from .common import version


def reshape(c: Emitter, op: Operation) -> None:
    """RESHAPE; also for operators that change what the elements stand for, or nothing."""
    shape = op.result.type.shape
    inputs = [c.place(op.operands[0]), c.vector(shape)]
    c.node("RESHAPE", inputs, [c.result(op)], "ReshapeOptions", new_shape=shape)


def transpose(c: Emitter, op: Operation) -> None:
    """TRANSPOSE."""
    inputs = [c.place(op.operands[0]), c.vector(op.attributes["permutation"])]
    c.node("TRANSPOSE", inputs, [c.result(op)], "TransposeOptions", version(op, 1, 2))


def broadcast_to(c: Emitter, op: Operation) -> None:
    """BROADCAST_TO."""
    inputs = [c.place(op.operands[0]), c.vector(op.attributes["shape"])]
    c.node("BROADCAST_TO", inputs, [c.result(op)], "BroadcastToOptions", version(op, 2, 3))


def pad(c: Emitter, op: Operation) -> None:
    """PAD with zeros (on integers: the zero point), PADV2 with other numbers."""
    x = op.operands[0].type
    value = op.attributes["value"]
    padding = op.attributes["padding"]
    pads = c.constant(np.array(padding, np.int32), "paddings/" + "_".join(str(n) for p in padding for n in p))
    if value == x.zero_point:
        c.node("PAD", [c.place(op.operands[0]), pads], [c.result(op)], "PadOptions", version(op, 1, 2))
        return
    fill = c.constant(np.array([value], x.dtype.numpy), f"{c.names[op.result]}/value", x.quantization)
    c.node("PADV2", [c.place(op.operands[0]), pads, fill], [c.result(op)], "PadV2Options", version(op, 1, 2))


def concat(c: Emitter, op: Operation) -> None:
    """CONCATENATION."""
    axis = normalize_axis(op.name, op.attributes["axis"], op.result.type.rank)
    inputs = [c.place(v) for v in op.operands]
    c.node("CONCATENATION", inputs, [c.result(op)], "ConcatenationOptions", version(op, 1, 2), axis=axis)


def slice_(c: Emitter, op: Operation) -> None:
    """SLICE."""
    inputs = [c.place(op.operands[0]), c.vector(op.attributes["begin"]), c.vector(op.attributes["size"])]
    c.node("SLICE", inputs, [c.result(op)], "SliceOptions", version(op, 1, 2))


def tile(c: Emitter, op: Operation) -> None:
    """TILE."""
    inputs = [c.place(op.operands[0]), c.vector(op.attributes["multiples"])]
    c.node("TILE", inputs, [c.result(op)], "TileOptions", version(op, 1, 2))


def gather_nd(c: Emitter, op: Operation) -> None:
    """GATHER_ND."""
    c.node("GATHER_ND", [c.place(v) for v in op.operands], [c.result(op)], "GatherNdOptions")


def _resize(name: str, table: str) -> Mapping_:
    def emit(c: Emitter, op: Operation) -> None:
        flags = {key: bool(op.attributes[key]) for key in ("align_corners", "half_pixel_centers")}
        number = 3 if flags["half_pixel_centers"] else version(op, 1, 2)
        inputs = [c.place(op.operands[0]), c.vector(op.attributes["size"])]
        c.node(name, inputs, [c.result(op)], table, number, **flags)

    return emit


MAPPINGS: dict[str, Mapping_] = {
    "identity": reshape,
    "stop_gradient": reshape,
    "reinterpret": reshape,
    "reshape": reshape,
    "transpose": transpose,
    "broadcast_to": broadcast_to,
    "pad": pad,
    "concat": concat,
    "q_concat": concat,
    "slice": slice_,
    "tile": tile,
    "gather_nd": gather_nd,
    "resize_bilinear": _resize("RESIZE_BILINEAR", "ResizeBilinearOptions"),
    "resize_nearest": _resize("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
}
