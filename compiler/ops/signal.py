"""Signal processing of TensorFlow Lite for Microcontrollers: what turns sound into features of keyword spotters.

Source: tflite-micro's signal/src and signal/micro/kernels. Their integers are exact. Unsigned ones of 32 and 64 bits,
which netc's graphs lack, are held by i64 between these operators: all numbers that occur have less than 63 bits.
"""

from __future__ import annotations

import numpy as np

from ..errors import NetcError
from ..graph.ir import Array, Value
from ..types import DType
from .custom import CustomCall, custom_operator
from .expressions import Formula, stacked
from .opaque import UNSIGNED

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
    """An option that is an integer of a range."""
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


# ---- windows and their spectrum -------------------------------------------------------------------------------------


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


@custom_operator("SignalRfft")
def real_fft(call: CustomCall) -> Value:
    """Spectrum of real numbers [..., N], filled with zeros to L: pairs [..., L + 2]; fixed point divides it by L.

    Source of the fixed point: kissfft, in steps of four and of two.
    """
    length = integer_option(call, "fft_length", 4, 1 << 14)
    dtype = _transform_type(call, length)
    x = call.formula(0)
    *lead, width = x.shape
    if width > length:
        raise NetcError(f"{width} samples are more than a window of {length}")
    padded = x.emit("pad", padding=(*((0, 0) for _ in lead), (0, length - width)))
    if dtype is DType.F32:
        turns = np.exp(-2j * np.pi * np.outer(np.arange(length), np.arange(length // 2 + 1)) / length)
        wide = padded.reshape(-1, length).cast("f64")
        parts = [wide.emit("matmul", wide.constant(part)).cast("f32") for part in (turns.real, turns.imag)]
    else:
        parts = [part.cast(str(dtype)) for part in _Fixed(dtype).of_reals(padded)]
    return stacked(parts, axis=-1).reshape(*lead, length + 2).value


def _transform_type(call: CustomCall, length: int) -> DType:
    """The element type of a transform of so many numbers. Raises `NetcError` for lengths that aren't powers of two."""
    dtype = TYPES.get(integer_option(call, "T", 0, 100))
    if dtype is None or length & (length - 1):
        raise NetcError(f"{length} elements of type {call.number('T'):g} are not supported")
    operand_types(call, dtype)
    return dtype


@custom_operator("SignalIrfft")
def inverse_fft(call: CustomCall) -> Value:
    """Real numbers [..., L] of a spectrum, pairs [..., L + 2]; in fixed point as kissfft has it, else divided by L."""
    length = integer_option(call, "fft_length", 4, 1 << 14)
    dtype = _transform_type(call, length)
    *lead, width = call.formula(0).shape
    if width != length + 2:
        raise NetcError(f"{width} numbers are no spectrum of {length}")
    pairs = call.formula(0).reshape(-1, length // 2 + 1, 2)
    re, im = pairs.column(0), pairs.column(1)
    if dtype is not DType.F32:
        return _Fixed(dtype, inverse=True).to_reals((re, im)).cast(str(dtype)).reshape(*lead, length).value
    turns = np.exp(2j * np.pi * np.outer(np.arange(length // 2 + 1), np.arange(length)) / length) / length
    turns[1:-1] *= 2  # and their mirror images
    wide = [x.cast("f64") for x in (re, im)]
    parts = [x.emit("matmul", x.constant(m)) for x, m in zip(wide, (turns.real, -turns.imag), strict=True)]
    return (parts[0] + parts[1]).cast("f32").reshape(*lead, length).value


Pair = tuple[Formula, Formula]
"""Complex numbers: real and imaginary parts."""


class _Fixed:
    """Fourier transforms in fixed point of 16 or 32 bits."""

    def __init__(self, dtype: DType, *, inverse: bool = False) -> None:
        self.sign = 1 if inverse else -1
        """Of the angles by which numbers are turned."""
        self.dtype = str(dtype)
        self.fraction = 8 * dtype.itemsize - 1
        self.one = (1 << self.fraction) - 1

    def of_reals(self, x: Formula) -> Pair:
        """[..., L] to [..., L / 2 + 1]: one transform of half the length on pairs of neighbours, taken apart."""
        *lead, length = x.shape
        half, turned = length // 2, x.reshape(-1, length // 2, 2)
        re, im = self.transform((turned.column(0), turned.column(1)))
        ahead = self._picked((re, im), np.arange(half // 2 + 1))
        there = self.divided(ahead[0], 2), self.divided(ahead[1], 2)
        back = self._picked((re, im), (half - np.arange(half // 2 + 1)) % half)
        mirrored = self.divided(back[0], 2), self.divided(self.kept(back[1] * -1), 2)
        total, rest = (self._each(there, mirrored, sign) for sign in (1, -1))
        turn = self.times(rest, self.sign * np.pi * (np.arange(half // 2 + 1) / half + 0.5))
        low = tuple(self.kept(_right(a + b, 1)) for a, b in zip(total, turn, strict=True))
        high = self.kept(_right(total[0] - turn[0], 1)), self.kept(_right(turn[1] - total[1], 1))
        first = self._ends(re, im)
        return tuple(  # type: ignore[return-value]
            self._joined(first[p], low[p], high[p], half).reshape(*lead, half + 1) for p in range(2)
        )

    def to_reals(self, x: Pair) -> Formula:
        """[B, L / 2 + 1] to [B, L]: what `of_reals` does, from its end to its beginning."""
        re, im = x
        half = re.shape[1] - 1
        first, last = (self._at(re, np.array([k])).cast("i64") for k in (0, half))
        ends = [self.divided(self.kept(first + last * sign), 2) for sign in (1, -1)]
        places = np.arange(1, half // 2 + 1)
        low, high = (self._picked((re.cast("i64"), im.cast("i64")), p) for p in (places, half - places))
        there = self.divided(low[0], 2), self.divided(low[1], 2)
        mirrored = self.divided(high[0], 2), self.divided(self.kept(high[1] * -1), 2)
        even, odd = (self._each(there, mirrored, sign) for sign in (1, -1))
        turn = self.times(odd, self.sign * np.pi * (places / half + 0.5))
        up, down = (self._each(even, turn, sign) for sign in (1, -1))
        down = down[0], self.kept(down[1] * -1)
        parts = []
        for p in range(2):  # the middle counts once, as the last of those that go down
            before = [self._at(up[p], places[: half - half // 2 - 1] - 1)] if half > 2 else []
            parts.append(ends[p].emit("concat", *before, self._at(down[p], places[::-1] - 1), axis=1))
        return stacked(list(self.transform((parts[0], parts[1]))), axis=-1).reshape(re.shape[0], 2 * half)

    def _ends(self, re: Formula, im: Formula) -> tuple[tuple[Formula, Formula], tuple[Formula, Formula]]:
        """The first and the last result, which are real."""
        a, b = (self.divided(p.emit("slice", begin=(0, 0), size=(p.shape[0], 1)), 2) for p in (re, im))
        return (self.kept(a + b), self.kept(a - b)), ((a * 0), (a * 0))

    def _joined(self, ends: tuple[Formula, Formula], low: Formula, high: Formula, half: int) -> Formula:
        """The results in order: the first, those of the lower half, those of the upper one, which counts down."""
        count = low.shape[0]
        parts = [ends[0]]
        lower = np.arange(1, half - half // 2)
        if lower.size:
            parts.append(self._at(low, lower))
        parts.append(self._at(high, np.arange(half // 2, 0, -1)))
        whole = parts[0].emit("concat", *parts[1:], ends[1], axis=1)
        assert whole.shape == (count, half + 1)
        return whole

    def _at(self, x: Formula, places: Array) -> Formula:
        return x.emit("gather", Formula(x.b, x.b.emit("constant", value=places.astype(np.int32))), axis=1)

    def _picked(self, x: Pair, places: Array) -> Pair:
        return self._at(x[0], places), self._at(x[1], places)

    def _each(self, x: Pair, y: Pair, sign: int) -> Pair:
        first, second = (self.kept(a + b * sign) for a, b in zip(x, y, strict=True))
        return first, second

    def kept(self, x: Formula) -> Formula:
        """Numbers as memory of that type keeps them, as i64."""
        return x.cast(self.dtype).cast("i64")

    def rounded(self, x: Formula) -> Formula:
        """A product of two fractions as a fraction."""
        return self.kept(_right(x + (1 << (self.fraction - 1)), self.fraction))

    def divided(self, x: Formula, by: int) -> Formula:
        """A part of a number."""
        return self.rounded(x * (self.one // by))

    def times(self, x: Pair, angles: Array) -> Pair:
        """Numbers turned by angles."""
        cos, sin = (np.floor(0.5 + self.one * f(angles)).astype(np.int64) for f in (np.cos, np.sin))
        re, im = x
        a, b = re.constant(cos), re.constant(sin)
        return self.rounded(re * a - im * b), self.rounded(re * b + im * a)

    def transform(self, x: Pair) -> Pair:
        """The transform of each row of [B, n], divided by n."""
        re, im = (part.cast("i64") for part in x)
        rows, n = re.shape
        if n == 1:
            return re, im
        p = 4 if n % 4 == 0 else 2
        parts = [part.reshape(rows, n // p, p).emit("transpose", permutation=(0, 2, 1)) for part in (re, im)]
        inner = self.transform((parts[0].reshape(rows * p, n // p), parts[1].reshape(rows * p, n // p)))
        steps = [part.reshape(rows, p, n // p) for part in inner]
        taken = [tuple(self._row(part, k) for part in steps) for k in range(p)]
        divided = [(self.divided(a, p), self.divided(b, p)) for a, b in taken]
        turned = [divided[0]]
        turned += [self.times(divided[k], self.sign * 2 * np.pi * k * np.arange(n // p) / n) for k in range(1, p)]
        results = self._four(turned) if p == 4 else self._two(turned)
        joined = [stacked([r[part] for r in results], axis=1).reshape(rows, n) for part in range(2)]
        return joined[0], joined[1]

    def _row(self, x: Formula, k: int) -> Formula:
        rows, _, n = x.shape
        return x.emit("slice", begin=(0, k, 0), size=(rows, 1, n)).reshape(rows, n)

    def _two(self, x: list[Pair]) -> list[Pair]:
        return [self._each(x[0], x[1], 1), self._each(x[0], x[1], -1)]

    def _four(self, x: list[Pair]) -> list[Pair]:
        even, odd = self._each(x[0], x[2], 1), self._each(x[0], x[2], -1)
        total, rest = self._each(x[1], x[3], 1), self._each(x[1], x[3], -1)
        turned = self.kept(rest[1] * -self.sign), self.kept(rest[0] * self.sign)
        return [
            self._each(even, total, 1),
            self._each(odd, turned, 1),
            self._each(even, total, -1),
            self._each(odd, turned, -1),
        ]


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
