"""Signal processing of TensorFlow Lite for Microcontrollers: what turns sound into features of keyword spotters.

Source: tflite-micro's signal/src and signal/micro/kernels. Their integers are exact. Unsigned ones of 32 and 64 bits,
which netc's graphs lack, are held by i64 between these operators: all numbers that occur have less than 63 bits.
"""

from __future__ import annotations

import numpy as np

from ...errors import NetcError
from ...graph.ir import Value
from ...types import DType
from ..custom import CustomCall, custom_operator
from ..expressions import Formula
from ..opaque import UNSIGNED

WORD = (1 << 32) - 1
SHORT = 32767
TYPES = {0: DType.F32, 2: DType.I32, 7: DType.I16}
"""Codes of element types in options."""
LARGEST = 1 << 22
"""Most weights of bands."""
LOG_STEPS = 128
SNR_BITS, GAIN_BITS = 12, 6
"""Fractional bits of a signal's share of its noise, and of what PCAN gives."""


def operand_types(call: CustomCall, *wanted: DType, results: int = 1) -> None:
    """Raise `NetcError` unless the operands have these types, and the number of results is right."""
    given = [v.type for v in call.operands]
    if [t.dtype for t in given] != list(wanted) or len(call.operation.results) != results:
        raise NetcError(f"its form for {', '.join(map(str, given)) or 'no operands'} is not supported")


def integer_option(call: CustomCall, name: str, low: int, high: int) -> int:
    """An option that is an integer of a range.

    Raises `NetcError` for other numbers.
    """
    number = call.number(name)
    if not low <= number <= high or number != int(number):
        raise NetcError(f"its option `{name}` can't be {number}")
    return int(number)


def _right(x: Formula, bits: int | Formula) -> Formula:
    return x.emit("right_shift", bits)


def _left(x: Formula, bits: int | Formula) -> Formula:
    return x.emit("left_shift", bits)


def _word(x: Formula) -> Formula:
    """The lowest 32 bits."""
    return x.emit("bitwise_and", WORD)


def _width(x: Formula) -> Formula:
    """How many bits numbers of up to 62 bits take: the place of the highest that is set, from 1 on."""
    powers = x.constant(np.left_shift(1, np.arange(62, dtype=np.int64)))
    passed = powers.emit("less_equal", x.reshape(*x.shape, 1))
    return passed.cast("i64").emit("reduce_sum", axes=(-1,))


def _where(condition: Formula, x: Formula, other: Formula | float) -> Formula:
    return x.where(condition.value, other)


# ---- windows --------------------------------------------------------------------------------------------------------


@custom_operator("SignalWindow")
def window(call: CustomCall) -> Value:
    """Samples i16 [..., N] times weights i16 [N], shifted to the right."""
    operand_types(call, DType.I16, DType.I16)
    x, weights = (call.formula(place).cast("i32") for place in range(2))
    if len(weights.shape) != 1 or not x.shape or x.shape[-1] != weights.shape[0]:
        raise NetcError(f"weights {call.operands[1].type} don't fit {call.operands[0].type}")
    product = _right(x * weights, integer_option(call, "shift", 0, 31))
    return product.maximum(-SHORT - 1).minimum(SHORT).cast("i16").value


@custom_operator("SignalFftAutoScale")
def scale(call: CustomCall) -> tuple[Value, ...]:
    """Samples i16 [N] shifted to the left until the largest takes all bits, and by how many bits, as i32 []."""
    operand_types(call, DType.I16, results=2)
    x = call.formula(0).cast("i64")
    if len(x.shape) != 1:
        raise NetcError(f"its form for {call.operands[0].type} is not supported")
    bits = (15 - _width(_largest(x))).maximum(0)
    return _left(x, bits).cast("i16").value, bits.cast("i32").reshape().value


def _largest(x: Formula) -> Formula:
    """The largest magnitude [], or 2^16 after which no shift is left.

    The kernel keeps it in 16 bits, which don't hold that of -32768: this one begins the search anew, at itself. What
    follows is kept with its sign while it grows below 0.
    """
    count = x.shape[0]
    places = x.constant(np.arange(count))
    restart = _where(x.emit("equal", -SHORT - 1), places, -1).emit("reduce_max", axes=(0,))
    is_after = places.emit("greater", restart)
    before = x.constant(np.full(1, -SHORT - 1)).emit("concat", x, axis=0).emit("slice", begin=(0,), size=(count,))
    is_signed = restart.emit("greater_equal", 0).emit("logical_and", x.emit("less", 0))
    is_signed = is_signed.emit("logical_and", x.emit("greater", before))
    is_end = is_after.emit("logical_and", is_signed.emit("logical_not"))
    first = _where(is_end, places, count).emit("reduce_min", axes=(0,))
    magnitudes = _where(places.emit("greater_equal", first), x.emit("abs"), 0).emit("reduce_max", axes=(0,))
    return _where(first.emit("equal", count), magnitudes.constant(1 << 16), magnitudes)


# ---- bands ----------------------------------------------------------------------------------------------------------


@custom_operator("SignalEnergy")
def energy(call: CustomCall) -> Value:
    """Squared magnitudes u32 of pairs i16 [2 * N]; 0 outside a range, where the kernel leaves what the memory held."""
    operand_types(call, DType.I16)
    x = call.formula(0)
    if len(x.shape) != 1 or x.shape[0] % 2:
        raise NetcError(f"its form for {call.operands[0].type} is not supported")
    count = x.shape[0] // 2
    start, end = (integer_option(call, f"{side}_index", 0, count) for side in ("start", "end"))
    pairs = x.cast("i64").reshape(count, 2)
    total = (pairs * pairs).emit("reduce_sum", axes=(1,))
    inside = (np.arange(count) >= start) & (np.arange(count) < end)
    return (total * total.constant(inside)).value


@custom_operator("SignalFilterBank")
def filter_bank(call: CustomCall) -> Value:
    """Sums u64 of energies u32 by bands; weights, their complements and three tables of places are constants i16.

    A band is what its own entry weighs, and what the entry before it leaves over.
    """
    operand_types(call, DType.I64, *[DType.I16] * 5)
    x, count = call.formula(0), integer_option(call, "num_channels", 1, 1 << 12)
    weights, rest, starts, places, widths = (call.constant(p).astype(np.int64) for p in range(1, 6))
    if len(x.shape) != 1 or any(len(t) <= count for t in (starts, places, widths)):
        raise NetcError(f"its tables don't hold {count} bands")
    if (count + 1) * x.shape[0] > LARGEST:
        raise NetcError(f"{count} bands of {x.shape[0]} numbers are too many")
    matrix = np.zeros((count + 1, 2, x.shape[0]), np.int64)
    for band, (first, place, width) in enumerate(zip(starts, places, widths, strict=True)):
        if band > count or min(first, place, width) < 0 or first + width > x.shape[0] or place + width > len(weights):
            raise NetcError(f"the places of band {band} lie outside")
        for row, share in enumerate((weights, rest)):
            matrix[band, row, first : first + width] += share[place : place + width]
    each = matrix[1:, 0] + matrix[:-1, 1]
    return (x.constant(each) * x.reshape(1, -1)).emit("reduce_sum", axes=(1,)).value


@custom_operator("SignalFilterBankSquareRoot")
def square_root(call: CustomCall) -> Value:
    """Rounded square roots u32 of numbers u64, shifted to the right by an operand i32 []."""
    operand_types(call, DType.I64, DType.I32)
    x, bits = call.formula(0), call.formula(1).cast("i64")
    root = x.cast("f64").emit("sqrt").cast("i64")
    root = _where((root * root).emit("greater", x), root - 1, root)
    root = _where(((root + 1) * (root + 1)).emit("less_equal", x), root + 1, root)
    largest = _where(x.emit("less_equal", WORD), root.constant(0xFFFF), WORD)
    is_up = (x - root * root).emit("greater", root).emit("logical_and", root.emit("less", largest))
    return _right(_where(is_up, root + 1, root), bits).value


@custom_operator("SignalFilterBankSpectralSubtraction")
def spectral_subtraction(call: CustomCall) -> tuple[Value, ...]:
    """Signals u32 [N] less an estimate of their noise, which follows them from run to run; then the noise."""
    operand_types(call, DType.I64, results=2)
    x = call.formula(0)
    names = ("smoothing", "one_minus_smoothing")
    own, alternate = ([integer_option(call, f"{kind}{n}", 0, SHORT) for n in names] for kind in ("", "alternate_"))
    bits, shift = (
        integer_option(call, "smoothing_bits", 0, 31),
        integer_option(call, "spectral_subtraction_bits", 0, 31),
    )
    least = integer_option(call, "min_signal_remaining", 0, SHORT)
    if len(x.shape) != 1 or x.shape[0] != call.number("num_channels"):
        raise NetcError(f"{call.number('num_channels'):g} bands are not those of {call.operands[0].type}")
    is_odd = np.arange(x.shape[0]) % 2 == 1
    new, old = (x.constant(np.where(is_odd, b, a)) for a, b in zip(own, alternate, strict=True))
    noise = Formula(x.b, call.state(np.zeros(x.shape, np.int64)))
    raised = _word(_left(x, bits))
    estimate = _word(_right(raised * new + noise * old, shift))
    bounded = estimate.minimum(raised)
    if call.options.get("clamping", False):
        estimate = bounded
    call.keep(noise.value, estimate.value)
    left = _right(raised - bounded, bits).maximum(_right(x * least, shift))
    return left.value, estimate.value


@custom_operator("SignalPCAN")
def gain_control(call: CustomCall) -> Value:
    """Signals u32 [N] by a gain that depends on their noise u32 [N], by a table i16, and is compressed."""
    operand_types(call, DType.I64, DType.I64, DType.I16)
    x, noise, table = (call.formula(place).cast("i64") for place in range(3))
    shift = integer_option(call, "snr_shift", 0, 31)
    if x.shape != noise.shape or table.shape != (4 * 32 - 3,):
        raise NetcError(f"its form for {', '.join(str(v.type) for v in call.operands)} is not supported")
    width = _width(noise)
    place = width * 4 - 6
    fraction = _where(
        width.emit("less", 11), _left(noise, (11 - width).maximum(0)), _right(noise, (width - 11).maximum(0))
    ).emit("bitwise_and", 0x3FF)
    base, linear, square = (table.emit("gather", (place + k).maximum(0), axis=0) for k in range(3))
    curve = _right((_right(square * fraction, 5) + _left(linear, 5)) * fraction + (1 << 14), 15) + base
    few = table.emit("gather", noise.minimum(2), axis=0)
    gain = _word(_where(noise.emit("less_equal", 2), few, curve).cast("i16").cast("i64"))
    ratio = _word(_right(x * gain, shift))
    small = _right(ratio * ratio, 2 + 2 * SNR_BITS - GAIN_BITS)
    large = _right(ratio, SNR_BITS - GAIN_BITS) - (1 << GAIN_BITS)
    return _where(ratio.emit("less", 2 << SNR_BITS), small, large).value


@custom_operator("SignalFilterBankLog")
def logarithm(call: CustomCall) -> Value:
    """Logarithms i16 of numbers u32 that are shifted to the left; in pieces that a table corrects."""
    operand_types(call, DType.I64)
    x = call.formula(0)
    factor = integer_option(call, "output_scale", 0, (1 << 31) - 1)
    scaled = _word(_left(x, integer_option(call, "input_correction_bits", 0, 31)))
    whole = (_width(scaled) - 1).maximum(0)
    over = scaled - _left(scaled.constant(1), whole)
    part = _where(whole.emit("less", 16), _left(over, (16 - whole).maximum(0)), _right(over, (whole - 16).maximum(0)))
    steps = np.arange(LOG_STEPS + 1) / LOG_STEPS
    table = scaled.constant(np.append(np.rint((np.log2(1 + steps) - steps) * 65536), 0).astype(np.int64))
    piece = _right(part, 9).minimum(LOG_STEPS - 1).maximum(0)
    low, high = (table.emit("gather", piece + k, axis=0) for k in range(2))
    binary = _left(whole, 16) + part + low + _right((high - low) * (part - _left(piece, 9)), 16)
    natural = _word(_right(binary * 45426 + (1 << 15), 16))  # ln 2 in units of 2^-16
    result = _right(_word(natural * factor + (1 << 15)), 16).minimum(SHORT)
    return _where(scaled.emit("greater", 1), result, 0).cast("i16").value


@custom_operator("CAST")
def cast(call: CustomCall) -> Value:
    """CAST from or to unsigned integers, which stays a custom matter as graphs have no such elements."""
    elements = call.operation.attributes["elements"]
    if len(call.operands) != 1 or len(elements) != 2:
        raise NetcError("its form is not supported")
    (source, goal), x = elements, call.formula(0)
    if any(name and name not in UNSIGNED for name in elements) or (source and x.value.type.dtype is not DType.I64):
        raise NetcError(f"its form from {source or x.value.type} to {goal or call.results[0]} is not supported")
    if not goal:
        return x.cast(str(call.results[0].dtype)).value
    wide = x.cast("i64")
    return _word(wide).value if UNSIGNED[goal] == 32 else wide.value
