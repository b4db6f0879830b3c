"""Fourier transforms: TFLite's gives complex numbers, of which real and imaginary parts are taken."""

from __future__ import annotations

from ...graph.ir import Operation
from ...ops.facets import TFLITE, TfliteForm
from ...ops.signals.fourier import Rfft, Rfft2
from ...types import DType, TensorType
from ..emitter import Emitter

_KIND = "RFFT2D"


def rfft(c: Emitter, op: Operation) -> None:
    """Rows as pictures of one row."""
    x, length = op.operands[0].type, op.attributes["length"]
    rows = c.intermediate(TensorType(x.dtype, (*x.shape[:-1], 1, x.shape[-1])), f"{c.names[op.result]}/rows")
    c.node("RESHAPE", [c.place(op.operands[0]), c.vector(c.tensors[rows].type.shape)], [rows])
    pairs = c.intermediate(
        TensorType(x.dtype, (*x.shape[:-1], 1, *op.result.type.shape[-2:])), f"{c.names[op.result]}/pairs"
    )
    _transform(c, op, rows, (1, length), pairs)
    c.node("RESHAPE", [pairs, c.vector(op.result.type.shape)], [c.result(op)])


def rfft2(c: Emitter, op: Operation) -> None:
    """Pictures."""
    _transform(c, op, c.place(op.operands[0]), op.attributes["sizes"], c.result(op))


def _transform(c: Emitter, op: Operation, x: int, sizes: tuple[int, ...], y: int) -> None:
    """RFFT2D from tensor to tensor, and the parts of its result side by side."""
    if any(size & (size - 1) for size in sizes) or sizes[-1] == 1:
        c.fail(op, f"TFLite transforms rows of powers of two, from 2 up, not {' x '.join(map(str, sizes))} numbers")
    name, type_ = c.names[op.result], c.tensors[y].type
    whole, *parts = (
        c.intermediate(TensorType(DType.F32, type_.shape[:-1]), f"{name}/{what}")
        for what in ("complex", "real", "imag")
    )
    c.make_complex(whole)
    c.node("RFFT2D", [x, c.vector(sizes)], [whole], "Rfft2dOptions")
    for part, kind in zip(parts, ("REAL", "IMAG"), strict=True):
        c.node(kind, [whole], [part])
    c.node("PACK", parts, [y], "PackOptions", values_count=2, axis=len(type_.shape) - 1)


TFLITE.add(TfliteForm(rfft, _KIND), Rfft)
TFLITE.add(TfliteForm(rfft2, _KIND), Rfft2)
