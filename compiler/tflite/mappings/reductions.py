"""Pooling, reductions over whole dimensions, softmax."""

from __future__ import annotations

from collections.abc import Callable

from ...graph.ir import Operation
from ...ops.conversion import ArgMax, ArgMin
from ...ops.facets import TFLITE, Narrow, TfliteForm
from ...ops.quantized.log_softmax import QLogSoftmax
from ...ops.quantized.pooling import QAvgPool, QMean
from ...ops.quantized.products import QReduceProd
from ...ops.quantized.softmax import QSoftmax
from ...ops.reductions.products import ReduceAll, ReduceAny, ReduceProd
from ...ops.reductions.reduction import LogSoftmax, ReduceMax, ReduceMean, ReduceMin, ReduceSum, Softmax, normalize_axis
from ...ops.rules import version
from ...ops.windows.pooling import AvgPool, MaxPool
from ..emitter import Emitter
from .common import VALID, activation, padded
from .contractions import scheme


def _pool(name: str, narrow: Narrow = Narrow.MISREAD) -> TfliteForm:
    def emit(c: Emitter, op: Operation) -> None:
        x = op.operands[0].type
        if x.rank != 4:
            c.fail(op, f"the TFLite form of {op.name} takes [N, H, W, C], not {x}")
        code, window = scheme(op.name, x, op.attributes["size"], op.attributes)
        place = c.place(op.operands[0])
        if code == VALID and any(p != (0, 0) for p in window.padding):
            if name != "MAX_POOL_2D":
                c.fail(op, f"TFLite has no mean of windows padded by {list(window.padding)}", 'use "same" or "valid"')
            zeros_lose_nothing = _never_negative(c, op)
            place = padded(c, op, place, x, ((0, 0), *window.padding, (0, 0)), lowest=not zeros_lose_nothing)
        c.node(
            name,
            [place],
            [c.result(op)],
            "Pool2DOptions",
            version(op, 1, 2),
            padding=code,
            stride_h=window.strides[0],
            stride_w=window.strides[1],
            filter_height=window.kernel[0],
            filter_width=window.kernel[1],
            fused_activation_function=activation(c, op),
        )

    return TfliteForm(emit, name, True, narrow)


def _never_negative(c: Emitter, op: Operation) -> bool:
    """True if no element of operand 0 can stand for less than zero, so that padding by zeros changes no maximum."""
    producer = c.graph.producers.get(op.operands[0])
    given = op.operands[0].type.quantization
    if given is not None:
        return given.zero_point <= {"i8": -128, "u8": 0}.get(str(op.operands[0].type.dtype), -(1 << 31))
    return producer is not None and producer.operator.bounds(producer.attributes)[0] >= 0


def _reduce(name: str, narrow: Narrow = Narrow.MISREAD) -> TfliteForm:
    def emit(c: Emitter, op: Operation) -> None:
        rank = op.operands[0].type.rank
        given = op.attributes["axes"]
        axes = range(rank) if given is None else sorted({normalize_axis(op.name, a, rank) for a in given})
        tflite = "SUM" if op.attributes.get("sum") else name
        inputs = [c.place(op.operands[0]), c.vector(axes)]
        c.node(
            tflite,
            inputs,
            [c.result(op)],
            "ReducerOptions",
            version(op, 1, 2),
            keep_dims=op.attributes["keepdims"],
        )

    return TfliteForm(emit, name, narrow=narrow)


def softmax(c: Emitter, op: Operation) -> None:
    """SOFTMAX over the last dimension."""
    x = op.operands[0]
    axis = op.attributes.get("axis", -1)
    if normalize_axis(op.name, axis, x.type.rank) != x.type.rank - 1:
        c.fail(op, "TFLite's softmax runs over the last dimension", "transpose the tensor first")
    beta = float(op.attributes.get("beta", 1.0))
    c.node("SOFTMAX", [c.place(x)], [c.result(op)], "SoftmaxOptions", version(op, 1, 2, 3), beta=beta)


def log_softmax(c: Emitter, op: Operation) -> None:
    """LOG_SOFTMAX over the last dimension."""
    x = op.operands[0]
    if normalize_axis(op.name, op.attributes.get("axis", -1), x.type.rank) != x.type.rank - 1:
        c.fail(op, "TFLite's log_softmax runs over the last dimension", "transpose the tensor first")
    c.node("LOG_SOFTMAX", [c.place(x)], [c.result(op)], "LogSoftmaxOptions", version(op, 1, 2))


def _position(kind: str, options: str) -> Callable[[Emitter, Operation], None]:
    """ARG_MAX or ARG_MIN with i32 positions."""

    def emit(c: Emitter, op: Operation) -> None:
        x = op.operands[0]
        if op.attributes["last"]:
            c.fail(op, f"TFLite's {kind} finds the first of several elements", "leave `last` out")
        axis = c.vector([normalize_axis(op.name, op.attributes["axis"], x.type.rank)])
        number = 2 if str(x.type.dtype) == "i8" else 1
        int32 = 2  # the schema's TensorType
        c.node(kind, [c.place(x), axis], [c.result(op)], options, number, output_type=int32)

    return emit


TFLITE.add(_pool("MAX_POOL_2D", Narrow.ALIKE), MaxPool)
TFLITE.add(_pool("AVERAGE_POOL_2D"), AvgPool)
TFLITE.add(_pool("AVERAGE_POOL_2D", Narrow.ALIKE), QAvgPool)
TFLITE.add(_reduce("MEAN"), ReduceMean, QMean)
TFLITE.add(_reduce("SUM"), ReduceSum)
TFLITE.add(_reduce("REDUCE_MAX", Narrow.ALIKE), ReduceMax)
TFLITE.add(_reduce("REDUCE_MIN", Narrow.ALIKE), ReduceMin)
TFLITE.add(_reduce("REDUCE_PROD"), ReduceProd, QReduceProd)
TFLITE.add(_reduce("REDUCE_ANY"), ReduceAny)
TFLITE.add(_reduce("REDUCE_ALL"), ReduceAll)
TFLITE.add(TfliteForm(softmax, "SOFTMAX"), Softmax, QSoftmax)
TFLITE.add(TfliteForm(log_softmax, "LOG_SOFTMAX"), LogSoftmax, QLogSoftmax)
TFLITE.add(TfliteForm(_position("ARG_MAX", "ArgMaxOptions"), "ARG_MAX", narrow=Narrow.ALIKE), ArgMax)
TFLITE.add(TfliteForm(_position("ARG_MIN", "ArgMinOptions"), "ARG_MIN", narrow=Narrow.ALIKE), ArgMin)
