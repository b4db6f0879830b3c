"""Operators of single elements: arithmetic, comparison, logic, bits, conversion, selection."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from ....compiler.graph.ir import Array, Value
from ....compiler.types import DType
from ..converter import LARGEST
from ..node import Node
from ..registry import Rule, onnx
from ..tensors import dtype_of

_UNARY: Mapping[str, str] = MappingProxyType(
    {
        "Abs": "abs",
        "Acos": "acos",
        "Acosh": "acosh",
        "Asin": "asin",
        "Asinh": "asinh",
        "Atan": "atan",
        "Atanh": "atanh",
        "BitwiseNot": "bitwise_not",
        "Ceil": "ceil",
        "Cos": "cos",
        "Cosh": "cosh",
        "Erf": "erf",
        "Exp": "exp",
        "Floor": "floor",
        "HardSwish": "hard_swish",
        "IsNaN": "isnan",
        "Log": "log",
        "Neg": "neg",
        "Not": "logical_not",
        "Round": "round",
        "Sigmoid": "sigmoid",
        "Sign": "sign",
        "Sin": "sin",
        "Sinh": "sinh",
        "Softplus": "softplus",
        "Sqrt": "sqrt",
        "Tan": "tan",
        "Tanh": "tanh",
    }
)
_BINARY: Mapping[str, str] = MappingProxyType(
    {
        "Add": "add",
        "And": "logical_and",
        "BitwiseAnd": "bitwise_and",
        "BitwiseOr": "bitwise_or",
        "BitwiseXor": "bitwise_xor",
        "Div": "div",
        "Equal": "equal",
        "Greater": "greater",
        "GreaterOrEqual": "greater_equal",
        "Less": "less",
        "LessOrEqual": "less_equal",
        "Mul": "mul",
        "Or": "logical_or",
        "Sub": "sub",
        "Xor": "bitwise_xor",
    }
)


def _unary(operator: str) -> Rule:
    def rule(c: Node) -> Value:
        return c.emit(operator, c.value(0))

    return rule


def _binary(operator: str) -> Rule:
    def rule(c: Node) -> Value | Array:
        if operator in _COMPARISONS and (c.tensor(0).foreign or "").startswith("uint"):
            return _compared(c, _COMPARISONS[operator])
        a, b = c.value(0), c.value(1)
        if c.version < 7:
            b = _aligned(c, a, b)
        return c.emit(operator, a, b)

    return rule


_COMPARISONS: Mapping[str, np.ufunc] = MappingProxyType(
    {
        "equal": np.equal,
        "greater": np.greater,
        "greater_equal": np.greater_equal,
        "less": np.less,
        "less_equal": np.less_equal,
    }
)


def _compared(c: Node, compare: np.ufunc) -> Array:
    """Known numbers without a sign, which netc's types don't hold; whether they are equal is true or false."""
    a, b = c.constant(0), c.constant(1)
    if math.prod(np.broadcast_shapes(a.shape, b.shape)) > LARGEST:
        c.unsupported(f"arrays of {c.tensor(0).foreign} are not supported")
    return np.asarray(compare(a, b))


def _aligned(c: Node, a: Value, b: Value) -> Value:
    """Before operator set 7 the second operand is repeated if told so, and begins at an axis of the first."""
    axis = c.attribute("axis")
    if not c.flag("broadcast") or axis is None:
        return b
    behind = a.type.rank - c.axis(axis, a.type.rank) - b.type.rank
    return c.reshape(b, (*b.type.shape, *(1,) * max(behind, 0)))


for _name, _operator in _UNARY.items():
    onnx(_name)(_unary(_operator))
for _name, _operator in _BINARY.items():
    onnx(_name)(_binary(_operator))


@onnx("Relu")
def relu(c: Node) -> Value:
    """max(x, 0), of integers too."""
    x = c.value(0)
    return c.emit("relu", x) if x.type.dtype.is_float else c.emit("maximum", x, c.scalar(0, x))


@onnx("PRelu")
def prelu_of_channels(c: Node) -> Value:
    """X where positive, else slope * x; a slope for each channel, or one for all."""
    x, slope = c.value(0), c.value(1)
    wide = slope.type.rank == 1 and x.type.rank > 1
    return c.emit("prelu", x, c.reshape(slope, (-1, *(1,) * (x.type.rank - 2))) if wide else slope)


@onnx("PRelu", since=7)
def prelu(c: Node) -> Value:
    """X where positive, else slope * x."""
    x, slope = c.value(0), c.value(1)
    if x.type.dtype.is_float:
        return c.emit("prelu", x, slope)
    return c.emit("select", c.emit("less", x, c.scalar(0, x)), c.emit("mul", x, slope), x)


@onnx("Reciprocal")
def reciprocal(c: Node) -> Value:
    """1 / x."""
    x = c.value(0)
    return c.emit("div", c.scalar(1, x), x)


def _joined(operator: str) -> Rule:
    def rule(c: Node) -> Value:
        result, *others = c.values()
        for value in others:
            result = c.emit(operator, result, value)
        return result

    return rule


onnx("Pow")(_binary("pow"))
onnx("Sum")(_joined("add"))
onnx("Max")(_joined("maximum"))
onnx("Min")(_joined("minimum"))


@onnx("Mean")
def mean(c: Node) -> Value:
    """The mean of any number of tensors."""
    total = _joined("add")(c)
    assert isinstance(total, Value)
    return c.emit("div", total, c.scalar(c.count, total))


@onnx("Mod")
def mod(c: Node) -> Value:
    """The remainder: with the divisor's sign, or the dividend's if `fmod`."""
    a, b = c.value(0), c.value(1)
    if a.type.dtype.is_float and not c.flag("fmod") and c.version < 28:
        c.unsupported("floats need fmod = 1")
    return c.emit("fmod" if c.flag("fmod") else "floor_mod", a, b)


@onnx("Pow", since=7)
def power(c: Node) -> Value:
    """Powers; the exponent may have another element type, and the result has that of the base."""
    a = c.value(0)
    known = c.known(1)
    b = c.number(1, a.type.dtype) if a.type.dtype.is_float else c.value(1)
    if known is not None and known.size == 1 and known.reshape(-1)[0] == 2:
        return c.broadcast(c.emit("mul", a, a), np.broadcast_shapes(a.type.shape, b.type.shape))
    if a.type.dtype.is_float:
        return c.emit("pow", a, b)
    if not b.type.dtype.is_float:  # exactly; what is too large wraps around, as products do
        dtype = max(a.type.dtype, b.type.dtype, key=lambda d: d.itemsize)
        return c.cast(c.emit("pow", c.cast(a, dtype), c.cast(b, dtype)), a.type.dtype)
    wide = c.emit("pow", c.cast(a, DType.F64), c.cast(b, DType.F64))
    whole = c.emit("round", wide)
    # A whole number that a power reaches but for rounding must not lose 1 when its fraction is cut off.
    far = c.emit("abs", c.emit("sub", wide, whole))
    near = c.emit("less_equal", far, c.emit("mul", c.emit("abs", wide), c.scalar(1e-14, wide)))
    return c.cast(c.emit("select", near, whole, wide), a.type.dtype)


@onnx("BitShift")
def bit_shift(c: Node) -> Value:
    """The first operand shifted by as many bits as the second says."""
    word = c.choice("direction", "", "LEFT", "RIGHT")
    return c.emit("left_shift" if word == "LEFT" else "right_shift", c.value(0), c.value(1))


@onnx("Where")
def where(c: Node) -> Value:
    """X where the condition holds, else y."""
    return c.emit("select", c.value(0), c.value(1), c.value(2))


@onnx("IsInf")
def is_infinite(c: Node) -> Value:
    """True where x is infinite, of the signs that are asked for."""
    x = c.value(0)
    negative, positive = c.flag("detect_negative", True), c.flag("detect_positive", True)
    found = c.emit("isinf", x)
    if negative and positive:
        return found
    if not negative and not positive:
        return c.full(x.type.shape, 0, DType.BOOL)
    sign = c.emit("greater" if positive else "less", x, c.scalar(0, x))
    return c.emit("logical_and", found, sign)


@onnx("Clip")
def clip_by_attributes(c: Node) -> Value:
    """min(max(x, low), high), with bounds as attributes."""
    return _clipped(c, c.value(0), c.attribute("min", -math.inf), c.attribute("max", math.inf))


@onnx("Clip", since=11)
def clip(c: Node) -> Value:
    """min(max(x, low), high), with bounds as inputs."""
    x = c.value(0)
    bounds = [c.known(i) if c.has(i) else None for i in (1, 2)]
    if x.type.dtype.is_float and all(b is not None or not c.has(i) for i, b in enumerate(bounds, 1)):
        low, high = (
            default if b is None else float(b.reshape(-1)[0])
            for b, default in zip(bounds, (-math.inf, math.inf), strict=True)
        )
        return _clipped(c, x, low, high)
    for place, operator in ((1, "maximum"), (2, "minimum")):
        if c.has(place):
            x = c.emit(operator, x, c.reshape(c.value(place), ()))
    return x


def _clipped(c: Node, x: Value, low: float, high: float) -> Value:
    """Floats between two numbers, by the operator that says it most simply."""
    if (low, high) == (-math.inf, math.inf):
        return x
    if low > high:
        return c.broadcast(c.scalar(high, x), x.type.shape)
    if low == 0 and high in (6, math.inf):
        return c.emit("relu6" if high == 6 else "relu", x)
    if math.isfinite(low) and math.isfinite(high):
        return c.emit("clamp", x, low=low, high=high)
    return c.emit("maximum", x, c.scalar(low, x)) if high == math.inf else c.emit("minimum", x, c.scalar(high, x))


# ---- conversion -----------------------------------------------------------------------------------------------------


@onnx("Cast")
def cast(c: Node) -> Value:
    """The same numbers as another element type."""
    c.ignore("saturate", "round_mode")  # of 8-bit floats, which netc doesn't have
    return _cast(c, dtype_of(c.needed("to")))


@onnx("CastLike")
def cast_like(c: Node) -> Value:
    """The same numbers as the element type of another tensor."""
    c.ignore("saturate", "round_mode")
    return _cast(c, c.type(1).dtype)


def _cast(c: Node, dtype: DType) -> Value:
    if c.tensor(0).foreign is not None:
        return c.number(0, dtype)
    x = c.value(0)
    if dtype is DType.BOOL and x.type.dtype is not DType.BOOL:
        return c.emit("not_equal", x, c.scalar(0, x))
    return c.cast(x, dtype)


@onnx("Dropout")
def dropout(c: Node) -> tuple[Value | None, ...]:
    """The input itself, as while it isn't trained."""
    c.ignore("ratio", "is_test")
    return _passed(c)


@onnx("Dropout", since=12)
def dropout_with_mode(c: Node) -> tuple[Value | None, ...]:
    """The input itself, unless it is to be trained."""
    c.ignore("seed")
    if c.has(2) and c.one(2) and (rate := float(c.one(1)) if c.has(1) else 0.5):
        if c.converter.to_train and not c.wants(1):
            return (c.emit("dropout", c.value(0), rate=rate),)
        c.unsupported("dropout of training gives random numbers")
    return _passed(c)


def _passed(c: Node) -> tuple[Value | None, ...]:
    x = c.value(0)
    dtype = DType.BOOL if c.version >= 10 else x.type.dtype
    return x, c.full(x.type.shape, 1, dtype) if c.wants(1) else None
