"""Operators that work element by element, and conversions between floats and integers."""

from __future__ import annotations

import numpy as np

from ...graph.ir import Operation
from ...ops.elementwise import Clamp
from ...ops.quantized.base import ACTIVATIONS, integer_range
from ...types import DType, Quantization
from ..emitter import NONE, RELU6, RELU_N1_TO_1, Emitter, Mapping_
from ..names import ACTIVATIONS as ACTIVATION_NAMES
from ..serialize import element_code
from .common import CODES, activation, activation_of_range, version


def _binary(name: str, table: str, fuses: bool = True) -> Mapping_:
    def emit(c: Emitter, op: Operation) -> None:
        fields = {"fused_activation_function": activation(c, op)} if fuses else {}
        inputs = [c.place(v) for v in op.operands]
        c.node(name, inputs, [c.result(op)], table, _binary_version(op), **fields)

    return emit


def _binary_version(op: Operation) -> int:
    if op.name == "q_mul":
        a, b, y = (op.attributes[key].scale for key in ("a", "b", "y"))
        return version(op, 1, 3 if a * b / y >= 1 else 2)
    return version(op, 1, 2)


def _unary(name: str, table: str | None = None, int8: int = 2, plain: int = 1) -> Mapping_:
    def emit(c: Emitter, op: Operation) -> None:
        c.node(name, [c.place(op.operands[0])], [c.result(op)], table, version(op, plain, int8))

    return emit


def clamp(c: Emitter, op: Operation) -> None:
    """RELU, RELU6 or RELU_N1_TO_1 where one of them has these bounds, else MAXIMUM and MINIMUM."""
    x, code = op.operands[0].type, _activation_of_clamp(op)
    if code != NONE and not (code == RELU_N1_TO_1 and x.dtype is DType.I16):  # which LiteRT lacks
        _bounded(c, op, code)
        return
    between = c.intermediate(x, f"{c.names[op.result]}/low")
    limits = [
        c.constant(np.array(bound, x.dtype.numpy), f"{c.names[op.result]}/bound", x.quantization)
        for bound in Clamp.limits(x.dtype, op.attributes)
    ]
    c.node("MAXIMUM", [c.place(op.operands[0]), limits[0]], [between], "MaximumMinimumOptions", version(op, 1, 2))
    c.node("MINIMUM", [between, limits[1]], [c.result(op)], "MaximumMinimumOptions", version(op, 1, 2))


def _activation_of_clamp(op: Operation) -> int:
    """The code of the activation that a clamp names, or else of one that has its bounds."""
    y, (low, high, name) = op.result.type, (op.attributes[key] for key in ("low", "high", "activation"))
    for candidate in ("relu6", "relu", "relu_n1_to_1") if name is None else ():
        bounds = ACTIVATIONS[candidate]
        if (low, high) == (bounds if y.quantization is None else integer_range(*bounds, y.dtype, y.quantization)):
            return CODES[candidate]
    return NONE if name is None else CODES[name]


def _bounded(c: Emitter, op: Operation, code: int) -> None:
    """An activation as an operator of its own."""
    number = version(op, 1, 1 if code == RELU_N1_TO_1 else 2)
    c.node(ACTIVATION_NAMES[code], [c.place(op.operands[0])], [c.result(op)], None, number)


def q_relu(c: Emitter, op: Operation) -> None:
    """RELU, RELU6 or RELU_N1_TO_1 onto another scale."""
    code = activation_of_range(c, op)
    if code == NONE:
        c.fail(op, "TFLite finds the ratio of scales in f32 for activations only", "use requantize")
    _bounded(c, op, code)


def compare(c: Emitter, op: Operation) -> None:
    """LESS or one of its kin."""
    MAPPINGS[op.attributes["by"]](c, op)


def hard_sigmoid(c: Emitter, op: Operation) -> None:
    """relu6(x + 3) / 6 as ADD and MUL."""
    x = op.operands[0].type
    three, sixth = (c.constant(np.array(v, x.dtype.numpy), f"constant/{v:.3f}") for v in (3.0, 1 / 6))
    between = c.intermediate(x, f"{c.names[op.result]}/relu6")
    c.node("ADD", [c.place(op.operands[0]), three], [between], "AddOptions", fused_activation_function=RELU6)
    c.node("MUL", [between, sixth], [c.result(op)], "MulOptions")


def softplus(c: Emitter, op: Operation) -> None:
    """relu(x) + log(1 + exp(-abs(x))), which doesn't overflow."""
    x, name = op.operands[0].type, c.names[op.result]
    place = c.place(op.operands[0])
    one = c.constant(np.array(1, x.dtype.numpy), "constant/1.000")
    positive, size, negative, power, total, log = (
        c.intermediate(x, f"{name}/{part}") for part in ("relu", "abs", "neg", "exp", "add", "log")
    )
    c.node("RELU", [place], [positive])
    c.node("ABS", [place], [size], "AbsOptions")
    c.node("NEG", [size], [negative], "NegOptions")
    c.node("EXP", [negative], [power], "ExpOptions")
    c.node("ADD", [power, one], [total], "AddOptions")
    c.node("LOG", [total], [log])
    c.node("ADD", [positive, log], [c.result(op)], "AddOptions")


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


def _numbers_only(emit: Mapping_) -> Mapping_:
    """A mapping for elements that are the numbers themselves: TFLite's zero is the zero point of quantized ones."""

    def checked(c: Emitter, op: Operation) -> None:
        if op.operands[0].type.quantization is not None:
            c.fail(op, f"there is no TFLite form of {op.name} on quantized integers", "use clamp")
        emit(c, op)

    return checked


MAPPINGS: dict[str, Mapping_] = {
    "add": _binary("ADD", "AddOptions"),
    "sub": _binary("SUB", "SubOptions"),
    "mul": _binary("MUL", "MulOptions"),
    "div": _binary("DIV", "DivOptions"),
    "floor_div": _binary("FLOOR_DIV", "FloorDivOptions", fuses=False),
    "maximum": _binary("MAXIMUM", "MaximumMinimumOptions", fuses=False),
    "minimum": _binary("MINIMUM", "MaximumMinimumOptions", fuses=False),
    "q_add": _binary("ADD", "AddOptions"),
    "q_sub": _binary("SUB", "SubOptions"),
    "q_mul": _binary("MUL", "MulOptions"),
    "q_compare": compare,
    "q_relu": q_relu,
    "less": _binary("LESS", "LessOptions", fuses=False),
    "less_equal": _binary("LESS_EQUAL", "LessEqualOptions", fuses=False),
    "greater": _binary("GREATER", "GreaterOptions", fuses=False),
    "greater_equal": _binary("GREATER_EQUAL", "GreaterEqualOptions", fuses=False),
    "equal": _binary("EQUAL", "EqualOptions", fuses=False),
    "not_equal": _binary("NOT_EQUAL", "NotEqualOptions", fuses=False),
    "relu": _numbers_only(_unary("RELU")),
    "relu6": _numbers_only(_unary("RELU6")),
    "clamp": clamp,
    "leaky_relu": leaky_relu,
    "q_leaky_relu": leaky_relu,
    "q_prelu": prelu,
    "q_squared_difference": _binary("SQUARED_DIFFERENCE", "SquaredDifferenceOptions", fuses=False),
    "q_hard_swish": _unary("HARD_SWISH", "HardSwishOptions", int8=1),
    "q_exp": _unary("EXP", "ExpOptions"),
    "q_abs": _unary("ABS", "AbsOptions"),
    "q_rsqrt": _unary("RSQRT"),
    "neg": _unary("NEG", "NegOptions"),
    "abs": _unary("ABS", "AbsOptions"),
    "sqrt": _unary("SQRT"),
    "exp": _unary("EXP", "ExpOptions"),
    "log": _unary("LOG"),
    "sin": _unary("SIN"),
    "cos": _unary("COS", "CosOptions"),
    "tanh": _unary("TANH"),
    "sigmoid": _unary("LOGISTIC"),
    "q_tanh": _unary("TANH"),
    "q_logistic": _unary("LOGISTIC"),
    "sign": _unary("SIGN", "SignOptions"),
    "softplus": softplus,
    "hard_sigmoid": hard_sigmoid,
    "select": select,
    "cast": cast,
    "quantize": quantize,
    "requantize": quantize,
    "dequantize": dequantize,
}
