"""Signal processing of TensorFlow Lite for Microcontrollers: Fourier transforms of real numbers.

Source: tflite-micro's signal/src and signal/micro/kernels.
"""

from __future__ import annotations

import numpy as np

from ...errors import NetcError
from ...graph.ir import Array, Value
from ...types import DType
from ..custom import CustomCall, custom_operator
from ..expressions import Formula, stacked
from .signal import TYPES, integer_option, operand_types


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
        low = tuple(self.halved(a + b) for a, b in zip(total, turn, strict=True))
        high = self.halved(total[0] - turn[0]), self.halved(turn[1] - total[1])
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

    def halved(self, x: Formula) -> Formula:
        """Numbers shifted to the right by one place."""
        return self.kept(x.emit("right_shift", 1))

    def rounded(self, x: Formula) -> Formula:
        """A product of two fractions as a fraction."""
        return self.kept((x + (1 << (self.fraction - 1))).emit("right_shift", self.fraction))

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
