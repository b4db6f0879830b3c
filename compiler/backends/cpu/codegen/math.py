"""exp, log and tanh in loop-IR arithmetic, so that every vector width and machine has them without a C library.

Method and coefficients are those of S. Moshier's Cephes library (single: `expf`, `logf`, `tanhf`; double: `exp`,
`log`, `tanh`): argument reduction with a two-part ln 2 (Cody and Waite), then a polynomial, or in double a rational
function. Errors stay within 2 units in the last place; infinities, NaN, zero and subnormal numbers are handled.
Half precision is computed in single.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ....loops.ir import Binary, Bitcast, Cast, Const, Expr, Fma, Select, Unary, binary, const, maximum, minimum
from ....types import DType

Let = Callable[[Expr], Expr]
"""Compute a value once and return an expression that refers to it."""


@dataclass(frozen=True, slots=True)
class _Format:
    """What the methods need to know about a float format."""

    integer: DType
    mantissa: int
    bias: int
    exp_range: tuple[float, float]
    """Beyond it exp is zero or infinite."""
    normal_range: tuple[float, float]
    """Within it exp is a normal number; above it one that is nearly infinite, or is."""

    @property
    def magic(self) -> float:
        """Adding it rounds to a whole number, which then stands in the low bits."""
        return 1.5 * 2.0**self.mantissa


_FORMATS = {
    DType.F32: _Format(DType.I32, 23, 127, (-105.0, 89.0), (-87.0, 88.72)),
    DType.F64: _Format(DType.I64, 52, 1023, (-746.0, 710.0), (-708.0, 709.78)),
}

_LN2_HIGH = 0.693359375  # few bits, so that its product with an exponent is exact
_LN2_LOW = -2.121944400546905827679e-4

_EXP32 = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_EXP64_P = (1.26177193074810590878e-4, 3.02994407707441961300e-2, 9.99999999999999999910e-1)
_EXP64_Q = (3.00198505138664455042e-6, 2.52448340349684104192e-3, 2.27265548208155028766e-1, 2.0)
_LOG32 = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
_LOG64_P = (
    1.01875663804580931796e-4,
    4.97494994976747001425e-1,
    4.70579119878881725854e0,
    1.44989225341610930846e1,
    1.79368678507819816313e1,
    7.70838733755885391666e0,
)
_LOG64_Q = (
    1.0,
    1.12873587189167450590e1,
    4.52279145837532221105e1,
    8.29875266912776603211e1,
    7.11544750618563894466e1,
    2.31251620126765340583e1,
)
_TANH32 = (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
_TANH_END = 80.0
"""From half of it on, tanh is 1."""
_TANH64_P = (-9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3)
_TANH64_Q = (1.0, 1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3)


def expand(op: str, x: Expr, let: Let) -> Expr:
    """The value of `op` (exp, log or tanh) of x."""
    if x.type.dtype is DType.F16:
        return Cast(expand(op, let(Cast(x, DType.F32)), let), DType.F16)
    return _METHODS[op](let(x), let)


def _polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    """Horner's rule, highest power first."""
    total: Expr = const(coefficients[0], x.type)
    for c in coefficients[1:]:
        total = Fma(total, x, const(c, x.type))
    return total


def _integer(value: int, x: Expr) -> Const:
    return Const(value, _FORMATS[x.type.dtype].integer, x.type.lanes)


def power_of_two(exponent: Expr, like: Expr) -> Expr:
    """2 to a whole power within the normal range."""
    form = _FORMATS[like.type.dtype]
    return Bitcast(Binary("shl", exponent + form.bias, _integer(form.mantissa, like)), like.type.dtype)


def _exp(x: Expr, let: Let) -> Expr:
    form = _FORMATS[x.type.dtype]
    low, high = form.exp_range
    x = let(minimum(maximum(x, low), high))
    shifted, near = _reduced(x, let)
    n = let(Bitcast(shifted, form.integer) - Bitcast(const(form.magic, x.type), form.integer))
    half = let(Binary("shr", n, _integer(1, x)))
    return near * power_of_two(half, x) * power_of_two(let(n - half), x)


def _reduced(x: Expr, let: Let) -> tuple[Expr, Expr]:
    """A number in whose low bits n stands, and y, so that exp(x) is 2^n * y with y in [sqrt(1/2), sqrt(2)]."""
    form = _FORMATS[x.type.dtype]
    shifted = let(Fma(x, const(1 / math.log(2), x.type), const(form.magic, x.type)))
    whole = let(shifted - form.magic)
    r = let(Fma(whole, const(-_LN2_HIGH, x.type), x))
    r = let(Fma(whole, const(-_LN2_LOW, x.type), r))
    return shifted, let(exp_near_zero(r, let))


def _normal_exp(x: Expr, let: Let) -> Expr:
    """Exponential of x where it is neither infinite nor less than a normal number: n is added to the exponent of y."""
    form = _FORMATS[x.type.dtype]
    shifted, near = _reduced(x, let)
    n = Binary("shl", Bitcast(shifted, form.integer), _integer(form.mantissa, x))
    return Bitcast(Bitcast(near, form.integer) + n, x.type.dtype)


def exp_beside_one(x: Expr, let: Let) -> Expr:
    """Exponential of x, to be added to 1: there all that are less than a normal number are the same.

    The largest, which are above a quarter of the range's end, are infinite.
    """
    low, high = _FORMATS[x.type.dtype].normal_range
    y = let(_normal_exp(let(maximum(x, low)), let))
    return Select(binary("le", x, high), y, x * math.inf)  # NaN stays NaN


def exp_near_zero(r: Expr, let: Let, *, minus_one: bool = False) -> Expr:
    """Exponential of r for |r| <= ln 2 / 2; in double precision up to 1/2, and less 1 if that is wanted."""
    square = let(r * r)
    if r.type.dtype is DType.F32:
        return Fma(_polynomial(r, _EXP32), square, r) + 1.0
    p = let(r * _polynomial(square, _EXP64_P))
    q = _polynomial(square, _EXP64_Q)
    less_one = 2.0 * (p / (q - p))
    return less_one if minus_one else 1.0 + less_one


def mantissa_and_exponent(x: Expr, let: Let) -> tuple[Expr, Expr]:
    """(f, e) of a finite positive x = (1 + f) * 2^e with 1 + f in [sqrt(1/2), sqrt(2))."""
    form = _FORMATS[x.type.dtype]
    tiny = let(binary("lt", x, 2.0 ** (1 - form.bias)))
    scaled = let(Bitcast(Select(tiny, x * 2.0**form.mantissa, x), form.integer))
    root_half = Bitcast(const(math.sqrt(0.5), x.type), form.integer)
    offset = let(scaled - root_half)
    exponent = let(Binary("shr", offset, _integer(form.mantissa, x)))
    mantissa = Binary("and", offset, _integer((1 << form.mantissa) - 1, x)) + root_half
    f = let(Bitcast(mantissa, x.type.dtype) - 1.0)
    correction = Select(tiny, const(form.mantissa, x.type), const(0, x.type))
    return f, let(Cast(exponent, x.type.dtype) - correction)


def _log(x: Expr, let: Let) -> Expr:
    result = log_near_one(*mantissa_and_exponent(x, let), let)
    infinite = const(math.inf, x.type)
    result = Select(binary("lt", x, infinite), result, x)  # infinity and NaN are their own logarithms
    result = Select(binary("eq", x, 0.0), const(-math.inf, x.type), result)
    return Select(binary("lt", x, 0.0), const(math.nan, x.type), result)


def log_near_one(f: Expr, e: Expr, let: Let) -> Expr:
    """log(1 + f) + e * ln 2."""
    square = let(f * f)
    single = f.type.dtype is DType.F32
    tail = _polynomial(f, _LOG32) if single else _polynomial(f, _LOG64_P) / _polynomial(f, _LOG64_Q)
    y = let(Fma(e, const(_LN2_LOW, f.type), f * (square * tail)))
    y = let(Fma(const(-0.5, f.type), square, y))
    return Fma(e, const(_LN2_HIGH, f.type), f + y)


def _tanh(x: Expr, let: Let) -> Expr:
    size = let(Unary("abs", x))
    square = let(x * x)
    if x.type.dtype is DType.F32:
        series = _polynomial(square, _TANH32)
    else:
        series = _polynomial(square, _TANH64_P) / _polynomial(square, _TANH64_Q)
    near = Fma(x * square, series, x)
    twice = let(minimum(size + size, _TANH_END))
    far = let(1.0 - 2.0 / (_normal_exp(twice, let) + 1.0))
    return Select(binary("le", 0.625, size), _with_sign(far, x), near)  # NaN goes to what is near


def _with_sign(size: Expr, x: Expr) -> Expr:
    """A number that isn't negative, with the sign of x."""
    integer = _FORMATS[x.type.dtype].integer
    sign = Binary("and", Bitcast(x, integer), _integer(-(1 << (8 * integer.itemsize - 1)), x))
    return Bitcast(Binary("or", Bitcast(size, integer), sign), x.type.dtype)


_METHODS: dict[str, Callable[[Expr, Let], Expr]] = {"exp": _exp, "log": _log, "tanh": _tanh}
