"""TFLite's operators that work element by element, on floats, plain integers and quantized integers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...compiler.graph.ir import Array, Value
from ...compiler.ops.facets import reads
from ...compiler.ops.functions.activations import ALONE
from ...compiler.ops.quantized.base import INTEGERS
from ...compiler.ops.quantized.comparison import compares_integers, orders_shorts
from ...compiler.ops.quantized.shorts import power_of_two
from ...compiler.types import DType, Quantization
from .context import Context
from .fourier import real

Converter = Callable[[Context], Value]

_SIGNED = (DType.I8, DType.I16)
_LARGEST_SHIFT = 15
"""By more bits, the kernel's shift of 16-bit numbers is not defined."""
_LARGEST_POWER = 8
"""Powers up to this one are products."""


def _binary(name: str) -> Converter:
    """ADD, SUB, MUL: quantized, or plain with a fused activation."""

    def convert(c: Context) -> Value:
        a, b = c.value(0), c.value(1)
        if not c.is_quantized:
            return c.activated(c.emit(name, a, b))
        scales = {"a": c.quantization(0), "b": c.quantization(1), "y": c.output_quantization()}
        shifts = {"shifts": True} if name in ("add", "sub") and _shifts(c) else {}
        return c.emit(f"q_{name}", a, b, **scales, **shifts, **c.fused_range())

    return convert


def _shifts(c: Context) -> bool:
    """True if a sum of 16-bit numbers is one of the older kind, for scales that are powers of two."""
    if c.output_type().dtype is not DType.I16 or not c.option("pot_scale_int16", False):
        return False
    powers = [power_of_two(s.scale) for s in (c.quantization(0), c.quantization(1), c.output_quantization())]
    known = [p for p in powers if p is not None]
    if len(known) == len(powers) and max(known) - min(known) > _LARGEST_SHIFT:
        c.unsupported(f"its form with powers of two shifts numbers of 16 bits by {max(known) - min(known)}")
    return len(known) == len(powers)


def _raw(name: str, operands: int) -> Converter:
    """Operators whose kernels take quantized numbers for the integers that they are, whatever their scales."""

    def convert(c: Context) -> Value:
        return c.emit(name, *(c.value(i) for i in range(operands)))

    return convert


def _comparison(name: str) -> Converter:
    """LESS and its kin."""

    def convert(c: Context) -> Value:
        a, b = c.value(0), c.value(1)
        if c.type(0).quantization is None and c.type(1).quantization is None:
            return c.emit(name, a, b)
        scales = {"a": c.quantization(0), "b": c.quantization(1)}
        if scales["a"] == scales["b"] and compares_integers(name, a.type.dtype, scales["a"]):
            return c.emit(name, a, b)
        if orders_shorts(name, a.type.dtype):
            return c.emit(name, a, b)
        return c.emit("q_compare", a, b, by=name, **scales)

    return convert


def _plain(name: str, operands: int) -> Converter:
    """Operators without options and without a quantized form of their own."""

    def convert(c: Context) -> Value:
        if c.is_quantized:
            c.unsupported("its quantized form is not supported")
        return c.emit(name, *(c.value(i) for i in range(operands)))

    return convert


def select(c: Context) -> Value:
    """SELECT_V2, and SELECT, whose condition may have one element for each row; integers are chosen as they are."""
    condition, *values = (c.value(i) for i in range(3))
    rank = values[0].type.rank
    if c.operator.name == "SELECT" and condition.type.rank == 1 < rank:
        condition = c.emit("reshape", condition, shape=(*condition.type.shape, *(1,) * (rank - 1)))
    result = c.emit("select", condition, *values)
    shape = c.output_type().shape
    is_single = result.type.size == math.prod(shape) == 1  # whose rank the file states
    return c.emit("reshape", result, shape=shape) if is_single and result.type.shape != shape else result


def right_shift(c: Context) -> Value:
    """RIGHT_SHIFT; its kernel shifts by 0 at least and by all bits but one at most."""
    a, b = c.value(0), c.value(1)
    dtype = b.type.dtype
    if dtype is DType.U8:
        return c.emit("right_shift", a, c.emit("minimum", b, c.builder.scalar(7, dtype)))
    return c.emit("right_shift", a, c.emit("maximum", b, c.builder.scalar(0, dtype)))


def _bits(number: str, truth: str) -> Converter:
    """Operators of StableHLO on two tensors of one shape, which compute modulo 2^bits, or with truth values."""

    def convert(c: Context) -> Value:
        if c.type(0).shape != c.type(1).shape:
            c.unsupported("its kernel reads operands of different shapes beyond their ends")
        a, b = c.value(0), c.value(1)
        if a.type.dtype is DType.BOOL:
            return c.emit(truth, a, b)
        if number in ("add", "mul") and a.type.dtype in INTEGERS:  # which TFLite's own kernels take for quantized
            return c.cast(c.emit(number, c.cast(a, DType.I32), c.cast(b, DType.I32)), a.type.dtype)
        return c.emit(number, a, b)

    return convert


def _clipped(activation: str) -> Converter:
    """RELU and its kin, which may change the scale too."""

    def convert(c: Context) -> Value:
        x = c.value(0)
        if not c.is_quantized:
            low, high = ALONE[activation]
            return c.emit("relu", x) if high == math.inf else c.emit("clamp", x, low=low, high=high)
        given, y, limits = c.quantization(0), c.output_quantization(), c.range_of(activation)
        if given == y:
            return c.emit("clamp", x, **limits)
        return c.emit("q_relu", x, dtype=str(c.output_type().dtype), x=given, y=y, **limits)

    return convert


def atan2(c: Context) -> Value:
    """ATAN2, whose kernel doesn't broadcast."""
    if c.type(0).shape != c.type(1).shape:
        c.unsupported("operands of different shapes are not supported")
    return c.emit("atan2", c.value(0), c.value(1))


def add_n(c: Context) -> Value:
    """ADD_N: sums of several tensors, from the first on."""
    total = c.value(0)
    for place in range(1, c.count):
        total = c.emit("add", total, c.value(place))
    return total


def fake_quant(c: Context) -> Value:
    """FAKE_QUANT: floats rounded to a grid of 2^bits numbers that holds 0 and goes about from min to max."""
    if c.is_quantized:
        c.unsupported(f"its kernel reads the bytes of {c.output_type().dtype} as floats")
    low, high, bits = np.float32(c.option("min", 0.0)), np.float32(c.option("max", 0.0)), int(c.option("num_bits", 0))
    if not (1 <= bits <= 16 and low < high) or c.option("narrow_range", False):
        c.unsupported(f"{bits} bits from {low} to {high} are not supported")
    most = np.float32((1 << bits) - 1)
    scale = (high - low) / most
    zero = np.float32(min(max(math.floor(-low / scale + 0.5), 0), int(most)))
    bottom, top = -zero * scale, (most - zero) * scale

    def scalar(value: np.float32 | float) -> Value:
        return c.builder.scalar(float(value), DType.F32)

    inside = c.emit("clamp", c.value(0), low=float(bottom), high=float(top))
    steps = c.emit("mul", c.emit("sub", inside, scalar(bottom)), scalar(np.float32(1) / scale))
    whole = c.emit("floor", steps)
    upper = c.emit("greater_equal", c.emit("sub", steps, whole), scalar(0.5))  # halves are rounded up
    nearest = c.emit("add", whole, c.cast(upper, DType.F32))
    return c.emit("add", c.emit("mul", nearest, scalar(scale)), scalar(bottom))


def _function(name: str, plain: Callable[[Context], Value], types: tuple[DType, ...] = INTEGERS) -> Converter:
    """A function of one number: by the table of its results where they are quantized, else made of operators."""

    def convert(c: Context) -> Value:
        if not c.is_quantized:
            return plain(c)
        c.check_form(0, types)
        return c.emit(name, c.value(0), x=c.quantization(0), y=c.output_quantization())

    return convert


def squared_difference(c: Context) -> Value:
    """SQUARED_DIFFERENCE: (a - b)^2."""
    a, b = c.value(0), c.value(1)
    if c.is_quantized:
        return _q_binary(c, "q_squared_difference", a, b)
    return c.emit("squared_difference", a, b)


def _q_binary(c: Context, name: str, a: Value, b: Value) -> Value:
    c.check_form(0)
    scales = {"a": c.quantization(0), "b": c.quantization(1), "y": c.output_quantization()}
    return c.emit(name, a, b, **scales)


def power(c: Context) -> Value:
    """POW; small whole exponents of floats and one half are products and a root, as in the language."""
    if c.is_quantized:
        c.unsupported("its quantized form is not supported")
    if not c.type(0).dtype.is_float:
        return c.emit("pow", c.value(0), c.value(1))
    array, x = c.known(1), c.value(0)
    exponent = float(array.reshape(-1)[0]) if array is not None and array.size == 1 and array.ndim <= x.type.rank else 0
    if exponent == 0.5:
        return c.emit("sqrt", x)
    if exponent not in range(1, _LARGEST_POWER + 1):
        return c.emit("pow", x, c.value(1))
    result = x
    for _ in range(int(exponent) - 1):
        result = c.emit("mul", result, x)
    return result


def sqrt(c: Context) -> Value:
    """SQRT; of quantized numbers the root of the float, cut to a whole number of steps of the result's scale."""
    x = c.value(0)
    if not c.is_quantized:
        return c.emit("sqrt", x)
    c.check_form(0, _SIGNED)
    given, y, dtype = c.quantization(0), c.output_quantization(), c.output_type().dtype
    low = c.builder.scalar(0, DType.I32)
    whole = c.emit("sub", c.cast(x, DType.I32), c.builder.scalar(given.zero_point, DType.I32))
    floats = c.cast(c.emit("maximum", whole, low), DType.F32)  # LiteRT stops at numbers below 0
    root = c.emit("sqrt", c.emit("mul", floats, c.builder.scalar(given.scale, DType.F32)))
    limits = np.iinfo(str(dtype.numpy))
    steps = c.emit("div", root, c.builder.scalar(y.scale, DType.F32))
    steps = c.cast(c.emit("clamp", steps, low=0.0, high=float(1 << 17)), DType.I32)
    placed = c.emit("add", steps, c.builder.scalar(y.zero_point, DType.I32))
    return c.cast(c.emit("clamp", placed, low=int(limits.min), high=int(limits.max)), dtype)


def quantize(c: Context) -> Value:
    """QUANTIZE: from floats, which may get a scale for each channel, or from one scale to another."""
    x, given, dtype = c.value(0), c.output_type().quantization, c.output_type().dtype
    if x.type.dtype is DType.F32 and given is not None and not given.is_per_tensor:
        return _quantized_by_channel(c, x, given, dtype)
    y = c.output_quantization()
    if x.type.dtype.is_float:
        return c.emit("quantize", x, dtype=str(dtype), y=y)
    return c.emit("requantize", x, dtype=str(dtype), x=c.quantization(0), y=y)


def _quantized_by_channel(c: Context, x: Value, given: Quantization, dtype: DType) -> Value:
    """Floats by scales of their channels, rounded in steps of 1 to 16 bits, then with their zero points."""
    scales, zero_points = _by_channel(given, x.type.rank)
    steps = c.emit("div", x, c.builder.constant(scales))
    whole = c.emit("quantize", steps, dtype="i16", y=Quantization.of(1.0))
    whole = c.emit("cast", whole, dtype="i32")
    limits = np.iinfo(str(dtype.numpy))
    placed = c.emit("add", whole, c.builder.constant(zero_points))
    return c.cast(c.emit("clamp", placed, low=int(limits.min), high=int(limits.max)), dtype)


def _by_channel(given: Quantization, rank: int) -> tuple[Array, Array]:
    """Scales (f32) and zero points (i32) of channels, in a shape that broadcasts."""
    shape = [1] * rank
    if given.axis is not None:
        shape[given.axis] = -1
    return np.array(given.scales, np.float32).reshape(shape), np.array(given.zero_points, np.int32).reshape(shape)


def dequantize(c: Context) -> Value:
    """DEQUANTIZE, of one scale or of scales for each channel; constants are turned into floats at once."""
    given, array, x = c.type(0).quantization, c.known(0), c.type(0)
    if given is None and not x.dtype.is_float:
        c.unsupported("its kernel takes the scale of whole numbers that have none for 0")
    if given is None and array is None:
        return c.cast(c.value(0), DType.F32)
    if given is None:
        return c.builder.constant(c.constant(0).astype(np.float32))
    if array is None and given.is_per_tensor:
        return c.emit("dequantize", c.value(0), x=c.quantization(0))
    scales, zero_points = _by_channel(given, x.rank)
    if array is None:
        whole = c.emit("sub", c.emit("cast", c.value(0), dtype="i32"), c.builder.constant(zero_points))
        return c.emit("mul", c.cast(whole, DType.F32), c.builder.constant(scales))
    offset = (array - zero_points.astype(np.int64)).astype(np.float32).reshape(array.shape)
    return c.builder.constant(offset * (scales if x.rank else scales.reshape(())))


def cast(c: Context) -> Value:
    """CAST; the types of the tensors say from what to what. Of complex numbers the real part is taken."""
    if c.output().is_complex:
        c.unsupported("a form that gives COMPLEX64 is not supported")
    x = real(c) if c.tensor(0).is_complex else c.value(0)
    return c.emit("cast", x, dtype=str(c.output_type().dtype))


def leaky_relu(c: Context) -> Value:
    """LEAKY_RELU."""
    alpha = float(c.option("alpha", 0.0))
    if c.is_quantized:
        c.check_form(0, INTEGERS)
        return c.emit("q_leaky_relu", c.value(0), x=c.quantization(0), y=c.output_quantization(), alpha=alpha)
    return c.emit("leaky_relu", c.value(0), alpha=alpha)


reads(_binary("add"), "ADD")
reads(_binary("sub"), "SUB")
reads(_binary("mul"), "MUL")
reads(_binary("div"), "DIV")
reads(_raw("floor_div", 2), "FLOOR_DIV")
reads(_raw("maximum", 2), "MAXIMUM")
reads(_raw("minimum", 2), "MINIMUM")
reads(squared_difference, "SQUARED_DIFFERENCE")
reads(power, "POW")
reads(_comparison("less"), "LESS")
reads(_comparison("less_equal"), "LESS_EQUAL")
reads(_comparison("greater"), "GREATER")
reads(_comparison("greater_equal"), "GREATER_EQUAL")
reads(_comparison("equal"), "EQUAL")
reads(_comparison("not_equal"), "NOT_EQUAL")
reads(select, "SELECT", "SELECT_V2")
reads(_clipped("relu"), "RELU")
reads(_clipped("relu6"), "RELU6")
reads(_clipped("relu_n1_to_1"), "RELU_N1_TO_1")
reads(_function("q_logistic", _plain("sigmoid", 1)), "LOGISTIC")
reads(_function("q_tanh", _plain("tanh", 1)), "TANH")
reads(leaky_relu, "LEAKY_RELU")
reads(sqrt, "SQRT")
reads(_function("q_rsqrt", _plain("rsqrt", 1), _SIGNED), "RSQRT")
reads(_function("q_exp", _plain("exp", 1), _SIGNED), "EXP")
reads(_function("q_log", _plain("log", 1), _SIGNED), "LOG")
reads(_plain("sign", 1), "SIGN")
reads(_plain("sin", 1), "SIN")
reads(_plain("cos", 1), "COS")
reads(_raw("neg", 1), "NEG")
reads(_bits("add", "logical_or"), "STABLEHLO_ADD")
reads(_bits("mul", "logical_and"), "STABLEHLO_MULTIPLY")
reads(_bits("bitwise_and", "logical_and"), "STABLEHLO_AND")
reads(_bits("bitwise_or", "logical_or"), "STABLEHLO_OR")
reads(_bits("maximum", "logical_or"), "STABLEHLO_MAXIMUM")
reads(_bits("minimum", "logical_and"), "STABLEHLO_MINIMUM")
reads(_bits("left_shift", "left_shift"), "STABLEHLO_SHIFT_LEFT")
reads(_raw("bitwise_xor", 2), "BITWISE_XOR")
reads(right_shift, "RIGHT_SHIFT")
reads(_raw("floor_mod", 2), "FLOOR_MOD")
reads(_function("q_abs", _plain("abs", 1), _SIGNED), "ABS")
reads(quantize, "QUANTIZE")
reads(dequantize, "DEQUANTIZE")
reads(cast, "CAST")
for _kind in ("SQUARE", "FLOOR", "CEIL", "ROUND", "LOGICAL_NOT"):
    reads(_plain(_kind.lower(), 1), _kind)
for _kind in ("LOGICAL_AND", "LOGICAL_OR"):
    reads(_plain(_kind.lower(), 2), _kind)
reads(_clipped("relu_0_to_1"), "RELU_0_TO_1")
reads(atan2, "ATAN2")
reads(add_n, "ADD_N")
reads(fake_quant, "FAKE_QUANT")
