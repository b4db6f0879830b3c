"""Operators that work element by element, and conversions between floats and integers."""

from __future__ import annotations

import numpy as np

from ...graph.ir import Operation
from ...graph.registry import lookup
from ...ops.conversion import Cast
from ...ops.elementwise import (
    Abs,
    Add,
    Clamp,
    Div,
    Exp,
    LeakyRelu,
    Log,
    Maximum,
    Minimum,
    Mul,
    Neg,
    Relu,
    Relu6,
    Sigmoid,
    Sign,
    Sqrt,
    Sub,
    Tanh,
)
from ...ops.facets import TFLITE, TfliteForm
from ...ops.indexing import FloorDiv
from ...ops.quantized.activation import QLeakyRelu, QLogistic, QTanh
from ...ops.quantized.broadcasting import QPrelu, QSquaredDifference
from ...ops.quantized.comparison import QCompare
from ...ops.quantized.conversion import Dequantize, QRelu, Quantize, Requantize
from ...ops.quantized.elementwise import QAdd, QMul, QSub
from ...ops.quantized.tables import QAbs, QExp, QHardSwish, QRsqrt
from ...ops.rules import tflite_unary, version
from ...ops.selection import Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual, Select
from ...ops.trigonometry import Cos, Sin
from ...types import DType, Quantization
from ..emitter import NONE, RELU, RELU6, RELU_N1_TO_1, Emitter
from ..serialize import element_code
from .common import activation, activation_of_range, integer_bounds


def _binary(name: str, table: str, fuses: bool = True) -> TfliteForm:
    def emit(c: Emitter, op: Operation) -> None:
        fields = {"fused_activation_function": activation(c, op)} if fuses else {}
        inputs = [c.place(v) for v in op.operands]
        c.node(name, inputs, [c.result(op)], table, _binary_version(op), **fields)

    return TfliteForm(emit, name, activated=fuses)


def _binary_version(op: Operation) -> int:
    if op.name == "q_mul":
        a, b, y = (op.attributes[key].scale for key in ("a", "b", "y"))
        return version(op, 1, 3 if a * b / y >= 1 else 2)
    return version(op, 1, 2)


def clamp(c: Emitter, op: Operation) -> None:
    """RELU, RELU6 or RELU_N1_TO_1 where one of them has these bounds, else MAXIMUM and MINIMUM."""
    x, y = op.operands[0].type, op.result.type
    low, high = op.attributes["low"], op.attributes["high"]
    for name, code in (("RELU6", RELU6), ("RELU", RELU), ("RELU_N1_TO_1", RELU_N1_TO_1)):
        given = y.quantization
        bounds = (
            integer_bounds(code, y, given) if given is not None else {RELU6: (0, 6), RELU_N1_TO_1: (-1, 1)}.get(code)
        )
        if (low, high) == bounds and not (code == RELU_N1_TO_1 and y.dtype is DType.I16):  # which LiteRT lacks
            c.node(
                name,
                [c.place(op.operands[0])],
                [c.result(op)],
                None,
                version(op, 1, 1 if code == RELU_N1_TO_1 else 2),
            )
            return
    between = c.intermediate(x, f"{c.names[op.result]}/low")
    limits = [
        c.constant(np.array(bound, x.dtype.numpy), f"{c.names[op.result]}/bound", x.quantization)
        for bound in Clamp.limits(x.dtype, op.attributes)
    ]
    c.node("MAXIMUM", [c.place(op.operands[0]), limits[0]], [between], "MaximumMinimumOptions", version(op, 1, 2))
    c.node("MINIMUM", [between, limits[1]], [c.result(op)], "MaximumMinimumOptions", version(op, 1, 2))


def q_relu(c: Emitter, op: Operation) -> None:
    """RELU, RELU6 or RELU_N1_TO_1 onto another scale."""
    code = activation_of_range(c, op)
    if code == NONE:
        c.fail(op, "TFLite finds the ratio of scales in f32 for activations only", "use requantize")
    name, number = {RELU: ("RELU", 2), RELU6: ("RELU6", 2), RELU_N1_TO_1: ("RELU_N1_TO_1", 1)}[code]
    c.node(name, [c.place(op.operands[0])], [c.result(op)], None, version(op, 1, number))


def compare(c: Emitter, op: Operation) -> None:
    """LESS or one of its kin."""
    form = TFLITE.of(lookup(op.attributes["by"]))
    if form is not None:
        form.emit(c, op)


def leaky_relu(c: Emitter, op: Operation) -> None:
    """LEAKY_RELU."""
    x = c.place(op.operands[0])
    c.node("LEAKY_RELU", [x], [c.result(op)], "LeakyReluOptions", version(op, 1, 2), alpha=op.attributes["alpha"])


def prelu(c: Emitter, op: Operation) -> None:
    """PRELU."""
    c.node("PRELU", [c.place(v) for v in op.operands], [c.result(op)])


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


TFLITE.add(_binary("ADD", "AddOptions"), Add, QAdd)
TFLITE.add(_binary("SUB", "SubOptions"), Sub, QSub)
TFLITE.add(_binary("MUL", "MulOptions"), Mul, QMul)
TFLITE.add(_binary("DIV", "DivOptions"), Div)
TFLITE.add(_binary("FLOOR_DIV", "FloorDivOptions", fuses=False), FloorDiv)
TFLITE.add(_binary("MAXIMUM", "MaximumMinimumOptions", fuses=False), Maximum)
TFLITE.add(_binary("MINIMUM", "MaximumMinimumOptions", fuses=False), Minimum)
TFLITE.add(TfliteForm(compare, ("LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL", "EQUAL", "NOT_EQUAL")), QCompare)
TFLITE.add(TfliteForm(q_relu, ("RELU", "RELU6", "RELU_N1_TO_1")), QRelu)
TFLITE.add(_binary("LESS", "LessOptions", fuses=False), Less)
TFLITE.add(_binary("LESS_EQUAL", "LessEqualOptions", fuses=False), LessEqual)
TFLITE.add(_binary("GREATER", "GreaterOptions", fuses=False), Greater)
TFLITE.add(_binary("GREATER_EQUAL", "GreaterEqualOptions", fuses=False), GreaterEqual)
TFLITE.add(_binary("EQUAL", "EqualOptions", fuses=False), Equal)
TFLITE.add(_binary("NOT_EQUAL", "NotEqualOptions", fuses=False), NotEqual)
TFLITE.add(tflite_unary("RELU"), Relu)
TFLITE.add(tflite_unary("RELU6"), Relu6)
TFLITE.add(TfliteForm(clamp, ("RELU", "RELU6", "RELU_N1_TO_1", "MAXIMUM", "MINIMUM")), Clamp)
TFLITE.add(TfliteForm(leaky_relu, "LEAKY_RELU"), LeakyRelu, QLeakyRelu)
TFLITE.add(TfliteForm(prelu, "PRELU"), QPrelu)
TFLITE.add(
    _binary("SQUARED_DIFFERENCE", "SquaredDifferenceOptions", fuses=False),
    QSquaredDifference,
)
TFLITE.add(tflite_unary("HARD_SWISH", "HardSwishOptions", int8=1), QHardSwish)
TFLITE.add(tflite_unary("EXP", "ExpOptions"), QExp, Exp)
TFLITE.add(tflite_unary("ABS", "AbsOptions"), QAbs, Abs)
TFLITE.add(tflite_unary("RSQRT"), QRsqrt)
TFLITE.add(tflite_unary("NEG", "NegOptions"), Neg)
TFLITE.add(tflite_unary("SQRT"), Sqrt)
TFLITE.add(tflite_unary("LOG"), Log)
TFLITE.add(tflite_unary("SIN"), Sin)
TFLITE.add(tflite_unary("COS", "CosOptions"), Cos)
TFLITE.add(tflite_unary("TANH"), Tanh, QTanh)
TFLITE.add(tflite_unary("LOGISTIC"), Sigmoid, QLogistic)
TFLITE.add(tflite_unary("SIGN", "SignOptions"), Sign)
TFLITE.add(TfliteForm(select, "SELECT_V2"), Select)
TFLITE.add(TfliteForm(cast, "CAST"), Cast)
TFLITE.add(TfliteForm(quantize, "QUANTIZE"), Quantize, Requantize)
TFLITE.add(TfliteForm(dequantize, "DEQUANTIZE"), Dequantize)
