"""Operators that move elements without changing them."""

from __future__ import annotations

import numpy as np

from ...graph.ir import Operation
from ...ops.differentiation import StopGradient
from ...ops.facets import TFLITE, Narrow, TfliteForm
from ...ops.moves.indexing import Tile
from ...ops.moves.shape import BroadcastTo, Concat, Identity, Pad, Reshape, Slice, Transpose
from ...ops.pictures.resize import ResizeBilinear, ResizeNearest
from ...ops.quantized.concatenation import QConcat
from ...ops.quantized.conversion import Reinterpret
from ...ops.reductions.reduction import normalize_axis
from ...ops.rules import version
from ..emitter import Emitter

PAD_RANK = 5
"""Dimensions that PAD takes."""


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
    """PAD with zeros (on integers: the zero point), PADV2 with other numbers; a single number stays as it is."""
    x = op.operands[0].type
    if not x.rank:
        reshape(c, op)
        return
    if x.rank > PAD_RANK:
        c.fail(op, f"there is no TFLite form of pad with more than {PAD_RANK} dimensions", "merge dimensions before it")
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


def _resize(name: str, table: str) -> TfliteForm:
    def emit(c: Emitter, op: Operation) -> None:
        flags = {key: bool(op.attributes[key]) for key in ("align_corners", "half_pixel_centers")}
        number = 3 if flags["half_pixel_centers"] else version(op, 1, 2)
        inputs = [c.place(op.operands[0]), c.vector(op.attributes["size"])]
        c.node(name, inputs, [c.result(op)], table, number, **flags)

    return TfliteForm(emit, name, narrow=Narrow.ALIKE)


TFLITE.add(TfliteForm(reshape, "RESHAPE", narrow=Narrow.COPIED), Identity, StopGradient, Reinterpret, Reshape)
TFLITE.add(TfliteForm(transpose, "TRANSPOSE", narrow=Narrow.COPIED), Transpose)
TFLITE.add(TfliteForm(broadcast_to, "BROADCAST_TO", narrow=Narrow.COPIED), BroadcastTo)
TFLITE.add(TfliteForm(pad, ("PAD", "PADV2"), narrow=Narrow.ALIKE), Pad)
TFLITE.add(TfliteForm(concat, "CONCATENATION", narrow=Narrow.ALIKE), Concat, QConcat)
TFLITE.add(TfliteForm(slice_, "SLICE", narrow=Narrow.COPIED), Slice)
TFLITE.add(TfliteForm(tile, "TILE", narrow=Narrow.COPIED), Tile)
TFLITE.add(_resize("RESIZE_BILINEAR", "ResizeBilinearOptions"), ResizeBilinear)
TFLITE.add(
    _resize("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
    ResizeNearest,
)
