"""exp, log and tanh in loop-IR arithmetic, so that every vector width and machine has them without a C library.

Method and coefficients are those of S. Moshier's Cephes library (single: `logf`, `tanhf`; double: `exp`, `log`,
`tanh`): argument reduction with a two-part ln 2 (Cody and Waite), then a polynomial, or in double a rational
function. Singles' exponentials have polynomials of their own, summed up in pairs (Estrin's scheme): a processor keeps
few elements in flight, so the longest chain of operations counts as much as their number. Errors stay within 2 units
in the last place; infinities, NaN, zero and subnormal numbers are handled. Half precision is computed in single.
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
    wide_range: tuple[float, float]
    """From a normal number of exp to one whose power of two is infinite."""
    whole_range: tuple[float, float]
    """Within it 2 to the nearest whole power is a normal number."""

    @property
    def magic(self) -> float:
        """Adding it rounds to a whole number, which then stands in the low bits."""
        return 1.5 * 2.0**self.mantissa


_FORMATS = {
    DType.F32: _Format(DType.I32, 23, 127, (-105.0, 89.0), (-87.0, 88.9), (-126.0, 127.0)),
    DType.F64: _Format(DType.I64, 52, 1023, (-746.0, 710.0), (-708.0, 710.0), (-1022.0, 1023.0)),
}

_LN2_HIGH = 0.693359375  # few bits, so that its product with an exponent is exact
_LN2_LOW = -2.121944400546905827679e-4

_EXP32 = (
    *(0.4999999403953552, 0.1666652113199234, 0.04166826605796814, 0.008368677459657192),
    0.0013820732710883021,
)
"""(exp(r) - 1 - r) / (r * r) for |r| <= ln 2 / 2, lowest power first, fitted: 3.1e-9 of exp(r) are lost."""
_POWER32 = (
    *(0.6931471824645996, 0.24022647738456726, 0.05550359562039375, 0.009618500247597694, 0.0013390975072979927),
    0.00015328804147429764,
)
"""(2^r - 1) / r for |r| <= 1/2, lowest power first, fitted: 3.0e-9 of 2^r are lost."""
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


def polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    """Horner's rule, highest power first."""
    total: Expr = const(coefficients[0], x.type)
    for c in coefficients[1:]:
        total = Fma(total, x, const(c, x.type))
    return total


def _sum_of_pairs(x: Expr, square: Expr, coefficients: Sequence[float], let: Let) -> Expr:
    """A polynomial by Estrin's scheme, lowest power first, of degree 4 or 5."""
    a, b, c, d, e, *f = (const(c, x.type) for c in coefficients)
    last = let(Fma(f[0], x, e)) if f else e
    return let(Fma(let(Fma(last, square, let(Fma(d, x, c)))), square, let(Fma(b, x, a))))


def _integer(value: int, x: Expr) -> Const:
    return Const(value, _FORMATS[x.type.dtype].integer, x.type.lanes)


def power_of_two(exponent: Expr, like: Expr) -> Expr:
    """2 to a whole power within the normal range."""
    form = _FORMATS[like.type.dtype]
    return Bitcast(Binary("shl", exponent + form.bias, _integer(form.mantissa, like)), like.type.dtype)


def _exp(x: Expr, let: Let) -> Expr:
    low, high = _FORMATS[x.type.dtype].exp_range
    return _scaled(*_reduced(let(minimum(maximum(x, low), high)), let), let)


def power(x: Expr, let: Let) -> Expr:
    """2 to the power of a single."""
    return _scaled(*_reduced_power(let(minimum(maximum(x, -160.0), 130.0)), let), let)


def _scaled(shifted: Expr, near: Expr, let: Let) -> Expr:
    """2^n * y, which may be subnormal or infinite: 2^n may, too, so that y is multiplied by two powers."""
    form = _FORMATS[near.type.dtype]
    n = let(Bitcast(shifted, form.integer) - Bitcast(const(form.magic, near.type), form.integer))
    half = let(Binary("shr", n, _integer(1, near)))
    return near * power_of_two(half, near) * power_of_two(let(n - half), near)


def _reduced(x: Expr, let: Let) -> tuple[Expr, Expr]:
    """A number in whose low bits n stands, and y, so that exp(x) is 2^n * y with y in [sqrt(1/2), sqrt(2)]."""
    form = _FORMATS[x.type.dtype]
    shifted = let(Fma(x, const(1 / math.log(2), x.type), const(form.magic, x.type)))
    whole = let(shifted - form.magic)
    r = let(Fma(whole, const(-_LN2_HIGH, x.type), x))
    r = let(Fma(whole, const(-_LN2_LOW, x.type), r))
    return shifted, let(exp_near_zero(r, let))


def _reduced_power(x: Expr, let: Let) -> tuple[Expr, Expr]:
    """The same of 2 to the power of x, for singles."""
    magic = _FORMATS[x.type.dtype].magic
    shifted = let(x + magic)
    r = let(x - (shifted - magic))
    return shifted, let(Fma(_sum_of_pairs(r, let(r * r), _POWER32, let), r, const(1, x.type)))


def bounded(op: str, dtype: DType, bounds: tuple[float, float]) -> Callable[[Expr, Let], Expr] | None:
    """What computes exp or exp2 of numbers between bounds, or NaN, with less effort; None if nothing does."""
    low, high = _FORMATS[dtype].whole_range if dtype in _FORMATS else (math.inf, -math.inf)
    factor, reduced = (1 / math.log(2), _reduced) if op == "exp" else (1.0, _reduced_power)
    if (op == "exp2" and dtype is not DType.F32) or not low <= bounds[0] * factor <= bounds[1] * factor <= high:
        return None
    return lambda x, let: _scaled_within(*reduced(x, let))


def _scaled_within(shifted: Expr, near: Expr) -> Expr:
    """2^n * y where 2^n is a normal number, or infinite. The product keeps a NaN; a sum of bits might lose it."""
    form = _FORMATS[near.type.dtype]
    one = Bitcast(const(1.0, near.type), form.integer)
    bits = Binary("shl", Bitcast(shifted, form.integer), _integer(form.mantissa, near)) + one
    return near * Bitcast(bits, near.type.dtype)


def _normal_exp(x: Expr, let: Let) -> Expr:
    """Exponential of x where it is neither infinite nor less than a normal number: n is added to the exponent of y."""
    form = _FORMATS[x.type.dtype]
    shifted, near = _reduced(x, let)
    n = Binary("shl", Bitcast(shifted, form.integer), _integer(form.mantissa, x))
    return Bitcast(Bitcast(near, form.integer) + n, x.type.dtype)


def exp_beside_one(x: Expr, let: Let) -> Expr:
    """Exponential of x, to be added to 1: there all that are less than a normal number are the same.

    The largest, from two thirds of the range's end on, are infinite.
    """
    low, high = _FORMATS[x.type.dtype].wide_range
    return _scaled_within(*_reduced(let(minimum(maximum(x, low), high)), let))


def exp_near_zero(r: Expr, let: Let, *, minus_one: bool = False) -> Expr:
    """Exponential of r for |r| <= ln 2 / 2; in double precision up to 1/2, and less 1 if that is wanted."""
    square = let(r * r)
    if r.type.dtype is DType.F32:
        return Fma(_sum_of_pairs(r, square, _EXP32, let), square, r) + 1.0
    p = let(r * polynomial(square, _EXP64_P))
    q = polynomial(square, _EXP64_Q)
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
    tail = polynomial(f, _LOG32) if single else polynomial(f, _LOG64_P) / polynomial(f, _LOG64_Q)
    y = let(Fma(e, const(_LN2_LOW, f.type), f * (square * tail)))
    y = let(Fma(const(-0.5, f.type), square, y))
    return Fma(e, const(_LN2_HIGH, f.type), f + y)


def _tanh(x: Expr, let: Let) -> Expr:
    size = let(Unary("abs", x))
    square = let(x * x)
    if x.type.dtype is DType.F32:
        series = polynomial(square, _TANH32)
    else:
        series = polynomial(square, _TANH64_P) / polynomial(square, _TANH64_Q)
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
