"""Operators that work element by element, and conversions between floats and integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...graph.ir import Operation
from ...graph.registry import lookup
from ...ops.conversion import Cast
from ...ops.facets import TFLITE, Narrow, TfliteForm
from ...ops.functions.activations import ACTIVATIONS
from ...ops.functions.arithmetic import Abs, Add, Div, Maximum, Minimum, Mul, Neg, Sign, Sqrt, Sub
from ...ops.functions.clipping import Clamp, LeakyRelu, Relu, Relu6
from ...ops.functions.exponential import Exp, Log
from ...ops.functions.logic import LeftShift
from ...ops.functions.selection import Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual, Select
from ...ops.functions.sigmoid import Sigmoid, Tanh
from ...ops.functions.trigonometry import Cos, Sin
from ...ops.moves.indexing import FloorDiv
from ...ops.quantized.activation import QLeakyRelu, QLogistic, QTanh
from ...ops.quantized.base import INTEGERS, integer_range
from ...ops.quantized.broadcasting import QSquaredDifference
from ...ops.quantized.comparison import QCompare
from ...ops.quantized.conversion import Dequantize, QRelu, Quantize, Requantize
from ...ops.quantized.division import QDiv
from ...ops.quantized.elementwise import QAdd, QMul, QSub
from ...ops.quantized.tables import QAbs, QExp, QHardSwish, QLog, QRsqrt
from ...ops.rules import tflite_unary, version
from ...types import DType, Quantization, TensorType
from ..emitter import NONE, Emitter
from ..serialize import element_code
from .common import CODES, activation, activation_of_range

_OF_SHORTS = ("relu", "relu6")
"""Activations that TFLite has for 16 bits, too."""
_SHORTS = frozenset({DType.I16})
_SIGNED = frozenset({DType.I8, DType.I16})
_NARROW = frozenset(INTEGERS)


def _binary(
    name: str,
    table: str,
    fuses: bool = True,
    narrow: Narrow = Narrow.MISREAD,
    plain: frozenset[DType] = frozenset(),
    raw: frozenset[DType] = frozenset(),
) -> TfliteForm:
    def emit(c: Emitter, op: Operation) -> None:
        fields: dict[str, Any] = {"fused_activation_function": activation(c, op)} if fuses else {}
        if "shifts" in op.attributes and op.result.type.dtype is DType.I16:
            fields["pot_scale_int16"] = op.attributes["shifts"]
        inputs = [c.place(v) for v in op.operands]
        c.node(name, inputs, [c.result(op)], table, _binary_version(op), **fields)

    return TfliteForm(emit, name, fuses, narrow, plain, raw)


def _comparison(
    name: str, table: str, plain: frozenset[DType] = frozenset(), raw: frozenset[DType] = frozenset()
) -> TfliteForm:
    return _binary(name, table, fuses=False, narrow=Narrow.COMPARED, plain=plain, raw=raw)


def _binary_version(op: Operation) -> int:
    if op.name == "q_mul":
        a, b, y = (op.attributes[key].scale for key in ("a", "b", "y"))
        return version(op, 1, 3 if a * b / y >= 1 else 2)
    return version(op, 1, 2)


def relu(c: Emitter, op: Operation) -> None:
    """RELU of floats; of plain integers MAXIMUM."""
    if op.result.type.dtype.is_float:
        c.node("RELU", [c.place(op.operands[0])], [c.result(op)])
    else:
        _limited(c, op, low=0)


def relu6(c: Emitter, op: Operation) -> None:
    """RELU6 of floats; of plain integers MAXIMUM and MINIMUM."""
    if op.result.type.dtype.is_float:
        c.node("RELU6", [c.place(op.operands[0])], [c.result(op)])
    else:
        _limited(c, op, low=0, high=6)


def clamp(c: Emitter, op: Operation) -> None:
    """RELU or one of its kin where it has these bounds, else MAXIMUM and MINIMUM."""
    y, activation = op.result.type, _activation_of_clamp(op)
    if activation is not None and not (activation not in _OF_SHORTS and y.dtype is DType.I16):  # which LiteRT lacks
        _bounded(c, op, activation)
        return
    bounds = Clamp.limits(y.dtype, op.attributes)
    _limited(c, op, low=bounds[0], high=bounds[1])


def _limited(c: Emitter, op: Operation, **limits: float) -> None:
    """MAXIMUM with `low`, then MINIMUM with `high` if there is one."""
    x, name = op.operands[0].type, c.names[op.result]
    place = c.place(op.operands[0])
    for end, bound in limits.items():
        limit = c.constant(np.array(bound, x.dtype.numpy), f"{name}/bound", x.quantization)
        last = end == list(limits)[-1]
        result = c.result(op) if last else c.intermediate(x, f"{name}/{end}")
        tflite = {"low": "MAXIMUM", "high": "MINIMUM"}[end]
        c.node(tflite, [place, limit], [result], "MaximumMinimumOptions", version(op, 1, 2))
        place = result


def _activation_of_clamp(op: Operation) -> str | None:
    """The activation that a clamp names, or else one that has its bounds."""
    low, high, name = (op.attributes[key] for key in ("low", "high", "activation"))
    for candidate in ("relu6", "relu", "relu_n1_to_1") if name is None else ():
        if (low, high) == _bounds(candidate, op.result.type):
            return candidate
    return None if name is None else str(name)


def _bounds(activation: str, y: TensorType) -> tuple[float, float] | None:
    """What a clamp of this type does where it is an activation; None for plain integers, which have none."""
    if y.quantization is not None:
        return integer_range(*ACTIVATIONS[activation], y.dtype, y.quantization)
    return ACTIVATIONS[activation] if y.dtype.is_float else None


def _bounded(c: Emitter, op: Operation, activation: str) -> None:
    """An activation as an operator of its own."""
    number = version(op, 1, 2 if activation in _OF_SHORTS else 1)
    c.node(activation.upper(), [c.place(op.operands[0])], [c.result(op)], None, number)


def q_relu(c: Emitter, op: Operation) -> None:
    """RELU or one of its kin onto another scale."""
    activation = op.attributes["activation"]
    if activation is None:
        code = activation_of_range(c, op)
        if code == NONE:
            c.fail(op, "TFLite finds the ratio of scales in f32 for activations only", "use requantize")
        activation = next(name for name, number in CODES.items() if number == code)
    _bounded(c, op, activation)


def compare(c: Emitter, op: Operation) -> None:
    """LESS or one of its kin."""
    form = TFLITE.of(lookup(op.attributes["by"]))
    if form is not None:
        form.emit(c, op)


def leaky_relu(c: Emitter, op: Operation) -> None:
    """LEAKY_RELU."""
    x = c.place(op.operands[0])
    c.node("LEAKY_RELU", [x], [c.result(op)], "LeakyReluOptions", version(op, 1, 2), alpha=op.attributes["alpha"])


def select(c: Emitter, op: Operation) -> None:
    """SELECT_V2."""
    c.node("SELECT_V2", [c.place(v) for v in op.operands], [c.result(op)], "SelectV2Options")


def cast(c: Emitter, op: Operation) -> None:
    """CAST."""
    codes = {
        "in_data_type": element_code(op.operands[0].type.dtype),
        "out_data_type": element_code(op.result.type.dtype),
    }
    c.node("CAST", [c.place(op.operands[0])], [c.result(op)], "CastOptions", **codes)


def quantize(c: Emitter, op: Operation) -> None:
    """QUANTIZE of floats, or from one scale to another."""
    number = 1 if op.operands[0].type.dtype.is_float else 2
    c.node("QUANTIZE", [c.place(op.operands[0])], [c.result(op)], "QuantizeOptions", number)


def dequantize(c: Emitter, op: Operation) -> None:
    """DEQUANTIZE."""
    number = 2 if is_quantized_operand(op) else 1
    c.node("DEQUANTIZE", [c.place(op.operands[0])], [c.result(op)], "DequantizeOptions", number)


def is_quantized_operand(op: Operation) -> bool:
    """True if operand 0 is made of signed 8-bit numbers that stand for others."""
    x = op.operands[0].type
    return isinstance(x.quantization, Quantization) and str(x.dtype) == "i8"


def left_shift(c: Emitter, op: Operation) -> None:
    """STABLEHLO_SHIFT_LEFT of operands of one shape, and 0 where the kernel's shift is not defined."""
    b, type_ = op.operands[1], op.result.type
    if type_.dtype not in (DType.I8, DType.I16, DType.I32):
        c.fail(op, f"TFLite's STABLEHLO_SHIFT_LEFT has no form for {type_.dtype}", "cast it to i32 first")
    if any(v.type.shape != type_.shape for v in op.operands):
        c.fail(op, "TFLite has no such operator on operands of different shapes", "broadcast them first")
    bits, places = 8 * type_.dtype.itemsize, [c.place(v) for v in op.operands]
    producer = c.graph.producers.get(b)
    known = producer.attributes["value"] if producer is not None and producer.name == "constant" else None
    if known is not None and known.min(initial=0) >= 0 and known.max(initial=0) < bits:
        c.node("STABLEHLO_SHIFT_LEFT", places, [c.result(op)])
        return
    shape, stem = type_.shape, c.names[op.result]
    steps = c.intermediate(TensorType(DType.I32, shape), f"{stem}/bits")
    codes = {"in_data_type": element_code(type_.dtype), "out_data_type": element_code(DType.I32)}
    c.node("CAST", [places[1]], [steps], "CastOptions", **codes)
    ends = [c.constant(np.array(n, np.int32), f"bits/{n}") for n in (0, bits)]
    inside = [c.intermediate(TensorType(DType.BOOL, shape), f"{stem}/inside{n}") for n in range(3)]
    c.node("GREATER_EQUAL", [steps, ends[0]], [inside[0]], "GreaterEqualOptions")
    c.node("LESS", [steps, ends[1]], [inside[1]], "LessOptions")
    c.node("LOGICAL_AND", inside[:2], [inside[2]], "LogicalAndOptions")
    shifted = c.intermediate(type_, f"{stem}/shifted")
    c.node("STABLEHLO_SHIFT_LEFT", places, [shifted])
    zero = c.constant(np.zeros(shape, type_.dtype.numpy), f"zero/{type_}", type_.quantization)
    c.node("SELECT_V2", [inside[2], shifted, zero], [c.result(op)], "SelectV2Options")


TFLITE.add(TfliteForm(left_shift, "STABLEHLO_SHIFT_LEFT", narrow=Narrow.COPIED), LeftShift)
TFLITE.add(_binary("ADD", "AddOptions", plain=_SHORTS), Add, QAdd)
TFLITE.add(_binary("SUB", "SubOptions"), Sub, QSub)
TFLITE.add(_binary("MUL", "MulOptions", plain=_SHORTS), Mul, QMul)
TFLITE.add(_binary("DIV", "DivOptions"), Div, QDiv)
TFLITE.add(_binary("FLOOR_DIV", "FloorDivOptions", fuses=False, raw=_SIGNED), FloorDiv)
TFLITE.add(_binary("MAXIMUM", "MaximumMinimumOptions", fuses=False, raw=_NARROW), Maximum)
TFLITE.add(_binary("MINIMUM", "MaximumMinimumOptions", fuses=False, raw=_NARROW), Minimum)
TFLITE.add(TfliteForm(compare, ("LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL", "EQUAL", "NOT_EQUAL")), QCompare)
TFLITE.add(TfliteForm(q_relu, ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1")), QRelu)
TFLITE.add(_comparison("LESS", "LessOptions", raw=_SHORTS), Less)
TFLITE.add(_comparison("LESS_EQUAL", "LessEqualOptions", raw=_SHORTS), LessEqual)
TFLITE.add(_comparison("GREATER", "GreaterOptions", raw=_SHORTS), Greater)
TFLITE.add(_comparison("GREATER_EQUAL", "GreaterEqualOptions", raw=_SHORTS), GreaterEqual)
TFLITE.add(_comparison("EQUAL", "EqualOptions", plain=_SHORTS), Equal)
TFLITE.add(_comparison("NOT_EQUAL", "NotEqualOptions"), NotEqual)
TFLITE.add(TfliteForm(relu, "RELU", narrow=Narrow.ALIKE), Relu)
TFLITE.add(TfliteForm(relu6, "RELU6", narrow=Narrow.ALIKE), Relu6)
_CLAMPS = ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "MAXIMUM", "MINIMUM")
TFLITE.add(TfliteForm(clamp, _CLAMPS, narrow=Narrow.ALIKE), Clamp)
TFLITE.add(TfliteForm(leaky_relu, "LEAKY_RELU"), LeakyRelu, QLeakyRelu)
TFLITE.add(
    _binary("SQUARED_DIFFERENCE", "SquaredDifferenceOptions", fuses=False),
    QSquaredDifference,
)
TFLITE.add(tflite_unary("HARD_SWISH", "HardSwishOptions", int8=1), QHardSwish)
TFLITE.add(tflite_unary("EXP", "ExpOptions"), QExp, Exp)
TFLITE.add(tflite_unary("ABS", "AbsOptions", plain_integers=_SHORTS), QAbs, Abs)
TFLITE.add(tflite_unary("RSQRT"), QRsqrt)
TFLITE.add(tflite_unary("NEG", "NegOptions", int8=1, raw=_SIGNED), Neg)
TFLITE.add(tflite_unary("SQRT"), Sqrt)
TFLITE.add(tflite_unary("LOG"), Log, QLog)
TFLITE.add(tflite_unary("SIN"), Sin)
TFLITE.add(tflite_unary("COS", "CosOptions"), Cos)
TFLITE.add(tflite_unary("TANH"), Tanh, QTanh)
TFLITE.add(tflite_unary("LOGISTIC"), Sigmoid, QLogistic)
TFLITE.add(tflite_unary("SIGN", "SignOptions"), Sign)
TFLITE.add(TfliteForm(select, "SELECT_V2", narrow=Narrow.COPIED), Select)
TFLITE.add(TfliteForm(cast, "CAST", narrow=Narrow.COPIED), Cast)
TFLITE.add(TfliteForm(quantize, "QUANTIZE", narrow=Narrow.COPIED), Quantize, Requantize)
TFLITE.add(TfliteForm(dequantize, "DEQUANTIZE"), Dequantize)
