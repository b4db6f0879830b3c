"""More functions in loop-IR arithmetic: exponentials, logarithms, hyperbolic and inverse functions, powers, angles.

These are the methods for doubles; `singles` has some that are short enough for singles. The formulas are the
textbook ones that keep small results (Kahan, "Branch cuts for complex elementary functions", 1987); the coefficients of
the arctangent are those of S. Moshier's Cephes library (`atan.c`). Errors stay within 4 units in the last place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ....loops.ir import Binary, Bitcast, Cast, Const, Expr, Select, Unary, binary, const, maximum, minimum
from ....types import DType
from .math import Let, exp_near_zero, expand, log_near_one, mantissa_and_exponent, power_of_two

_ATAN_P = (
    *(-8.750608600031904122785e-1, -1.615753718733365076637e1, -7.500855792314704667340e1),
    *(-1.228866684490136173410e2, -6.485021904942025371773e1),
)
_ATAN_Q = (
    *(1.0, 2.485846490142306297962e1, 1.650270098316988542046e2, 4.328810604912902668951e2),
    *(4.853903996359136964868e2, 1.945506571482613964425e2),
)
_PI_LOW = 1.2246467991473532e-16
"""What pi has beyond its double."""
_HUGE = 2.0**28
"""From here on 1 + x * x is x * x to the last bit."""
_HALF = (1 << 27) - 1
"""The low bits of a mantissa that are cut off so that products are exact."""
_TWO_THIRDS_LOW = 3.700743415417188e-17
_STEPS = 6
"""Divisions that a remainder takes, 52 bits each: enough for all singles."""
_LN2 = (0.693147180559945286, 2.3190468138462996e-17)


def _polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    total: Expr = const(coefficients[0], x.type)
    for c in coefficients[1:]:
        total = total * x + c
    return total


def _size(x: Expr, let: Let) -> Expr:
    return let(Unary("abs", x))


def _is_negative(x: Expr) -> Expr:
    """Whether the sign bit is set, that of a zero or NaN, too."""
    return Binary("lt", Bitcast(x, DType.I64), Const(0, DType.I64, x.type.lanes))


def _with_sign(size: Expr, x: Expr, let: Let) -> Expr:
    size = let(size)
    return Select(_is_negative(x), Unary("neg", size), size)


def _exp(x: Expr, let: Let) -> Expr:
    return let(expand("exp", let(x), let))


def _log(x: Expr, let: Let) -> Expr:
    return let(expand("log", let(x), let))


def _expm1(x: Expr, let: Let) -> Expr:
    near = exp_near_zero(let(minimum(maximum(x, -0.5), 0.5)), let, minus_one=True)
    return Select(binary("lt", _size(x, let), 0.5), near, _exp(x, let) - 1.0)


def _exp2(x: Expr, let: Let) -> Expr:
    x = let(minimum(maximum(x, -1080.0), 1030.0))
    whole = let(Unary("floor", x + 0.5))
    near = let(exp_near_zero(let((x - whole) * math.log(2)), let))
    n = let(Cast(whole, DType.I64))
    half = let(Binary("shr", n, Const(1, DType.I64, x.type.lanes)))
    return near * power_of_two(half, x) * power_of_two(let(n - half), x)


def _log1p(x: Expr, let: Let) -> Expr:
    shifted = let(x + 1.0)
    lost = (x - (shifted - 1.0)) / shifted
    is_ordinary = Binary("and", binary("lt", -1.0, x), binary("lt", x, math.inf))
    result = _log(shifted, let)
    return Select(is_ordinary, result + lost, result)


def _log2(x: Expr, let: Let) -> Expr:
    f, e = mantissa_and_exponent(x, let)
    result = log_near_one(f, const(0.0, x.type), let) * (1 / math.log(2)) + e
    is_ordinary = Binary("and", binary("lt", 0.0, x), binary("lt", x, math.inf))
    return Select(is_ordinary, result, _log(x, let))


def _log10(x: Expr, let: Let) -> Expr:
    return _log(x, let) * (1 / math.log(10))


def _sinh(x: Expr, let: Let) -> Expr:
    square = let(x * x)
    near = x * _polynomial(square, [1 / math.factorial(2 * k + 1) for k in reversed(range(10))])
    large = let(_half_exponential(x, let))
    far = _with_sign(large - 0.25 / large, x, let)
    return Select(binary("lt", _size(x, let), 1.0), near, far)


def _cosh(x: Expr, let: Let) -> Expr:
    large = let(_half_exponential(x, let))
    return large + 0.25 / large


def _half_exponential(x: Expr, let: Let) -> Expr:
    """exp(|x|) / 2, infinite only where the result is."""
    root = _exp(_size(x, let) * 0.5, let)
    return root * 0.5 * root


def _asinh(x: Expr, let: Let) -> Expr:
    size = _size(x, let)
    square = let(size * size)
    near = _log1p(let(size + square / (Unary("sqrt", square + 1.0) + 1.0)), let)
    far = _log(size, let) + math.log(2)
    return _with_sign(Select(binary("lt", size, _HUGE), near, far), x, let)


def _acosh(x: Expr, let: Let) -> Expr:
    above = let(x - 1.0)
    near = _log1p(let(above + Unary("sqrt", above * (above + 2.0))), let)
    result = Select(binary("lt", x, _HUGE), near, _log(x, let) + math.log(2))
    return Select(binary("lt", x, 1.0), const(math.nan, x.type), result)


def _atanh(x: Expr, let: Let) -> Expr:
    size = _size(x, let)
    return _with_sign(_log1p(let((size + size) / (1.0 - size)), let) * 0.5, x, let)


def _atan(x: Expr, let: Let) -> Expr:
    return _with_sign(_atan_of_size(_size(x, let), let), x, let)


def _atan_of_size(size: Expr, let: Let) -> Expr:
    """Arctangent of what is not negative."""
    large = let(binary("lt", 1 + math.sqrt(2), size))
    middle = let(binary("lt", 0.66, size))
    one = const(1.0, size.type)
    above = Select(large, Unary("neg", one), Select(middle, size - 1.0, size))
    below = Select(large, size, Select(middle, size + 1.0, one))
    rest = let(above / below)
    square = let(rest * rest)
    series = rest * (square * (_polynomial(square, _ATAN_P) / _polynomial(square, _ATAN_Q)))
    zero = const(0.0, size.type)
    low = Select(large, const(_PI_LOW / 2, size.type), Select(middle, const(_PI_LOW / 4, size.type), zero))
    high = Select(large, const(math.pi / 2, size.type), Select(middle, const(math.pi / 4, size.type), zero))
    return high + (rest + (series + low))


def _asin(x: Expr, let: Let) -> Expr:
    return _atan(let(x / Unary("sqrt", (1.0 - x) * (x + 1.0))), let)


def _acos(x: Expr, let: Let) -> Expr:
    return _atan_of_size(let(Unary("sqrt", (1.0 - x) / (x + 1.0))), let) * 2.0


def _atan2(y: Expr, x: Expr, let: Let) -> Expr:
    height, width = _size(y, let), _size(x, let)
    steep = let(Binary("lt", width, height))
    below = let(Select(steep, height, width))
    above = Select(steep, width, height)
    is_equal = Binary("eq", height, width)  # 0 / 0 and inf / inf are 0 and 1 here
    equal = Select(binary("eq", below, 0.0), below, const(1.0, x.type))
    angle = let(_atan_of_size(let(Select(is_equal, equal, above / below)), let))
    angle = let(Select(steep, (math.pi / 2 - angle) + _PI_LOW / 2, angle))
    angle = Select(_is_negative(x), (math.pi - angle) + _PI_LOW, angle)
    is_nan = Binary("ne", x + y, x + y)
    opposite = Binary("and", Binary("eq", width, width), Binary("eq", height, height))  # inf - inf is no NaN of these
    return Select(Binary("and", is_nan, Unary("not", opposite)), const(math.nan, x.type), _with_sign(angle, y, let))


# ---- powers, whose logarithm needs more digits than a double has ---------------------------------------------------


def _split(x: Expr, let: Let) -> tuple[Expr, Expr]:
    """A number as a sum of two with half as many digits, the first one rounded."""
    bits = Bitcast(x, DType.I64) + (_HALF + 1) // 2
    high = let(Bitcast(Binary("and", bits, Const(~_HALF, DType.I64, x.type.lanes)), DType.F64))
    return high, let(x - high)


def _exact_product(a: Expr, b: Expr, let: Let) -> tuple[Expr, Expr]:
    """A product and what its rounding lost (Dekker, 1971)."""
    (a1, a0), (b1, b0) = _split(a, let), _split(b, let)
    product = let(a * b)
    return product, let(((a1 * b1 - product) + a1 * b0 + a0 * b1) + a0 * b0)


def _exact_log(x: Expr, let: Let) -> tuple[Expr, Expr]:
    """Logarithm of a finite positive number in two parts: e ln 2 + 2 s + 2/3 s^3 + ..., s = f / (f + 2)."""
    f, e = mantissa_and_exponent(x, let)
    below = let(f + 2.0)
    below_rest = let(f - (below - 2.0))
    s = let(f / below)
    product, lost = _exact_product(s, below, let)
    s_rest = let(((f - product) - lost - s * below_rest) / below)
    square = let(s * s)
    cube, cube_rest = _two_thirds_of_cube(s, s_rest, let)
    tail = _polynomial(square, [2 / (2 * k + 1) for k in range(13, 1, -1)]) * square * square * s
    base, base_lost = _exact_product(e, const(_LN2[0], x.type), let)
    twice = let(s + s)
    total = let(base + twice)
    lost = Select(Binary("eq", e, const(0.0, x.type)), const(0.0, x.type), (base - total) + twice)
    rest = let(lost + (base_lost + e * _LN2[1] + s_rest * 2.0) + (cube_rest + tail))
    high = let(total + cube)
    rest = let(((total - high) + cube) + rest)
    result = let(high + rest)
    return result, let((high - result) + rest)


def _two_thirds_of_cube(s: Expr, s_rest: Expr, let: Let) -> tuple[Expr, Expr]:
    square, square_rest = _exact_product(s, s, let)
    cube, cube_rest = _exact_product(square, s, let)
    product, lost = _exact_product(cube, const(2 / 3, s.type), let)
    return product, let(lost + cube * _TWO_THIRDS_LOW + (cube_rest + square_rest * s) * (2 / 3) + s_rest * square * 2.0)


def _pow(x: Expr, y: Expr, let: Let) -> Expr:
    size = _size(x, let)
    plain = let(y * _log(size, let))
    high, low = _exact_log(let(minimum(maximum(size, 5e-324), 1.7e308)), let)
    bounded = let(minimum(maximum(y, -1e290), 1e290))
    product, lost = _exact_product(bounded, high, let)
    usable = let(binary("lt", Unary("abs", plain), 800.0))
    rest = Select(usable, lost + bounded * low, const(0.0, x.type))
    exponent = let(Select(usable, product, plain))
    root = _exp(exponent, let)
    result = let(root + Select(binary("lt", root, math.inf), root * rest, const(0.0, x.type)))
    return power_of_any(x, y, size, result, let)


def power_of_any(x: Expr, y: Expr, size: Expr, result: Expr, let: Let) -> Expr:
    """X to the power of y from the `result` for |x|, and what IEEE 754 says of negative x, of ones and zeros."""
    is_whole = let(Binary("eq", Unary("floor", y), y))
    is_odd = Binary("and", is_whole, Unary("not", Binary("eq", Unary("floor", y * 0.5) * 2.0, y)))
    result = let(Select(Binary("and", is_odd, _is_negative(x)), Unary("neg", result), result))
    is_finite = Binary("and", binary("lt", x, 0.0), binary("lt", -math.inf, x))
    is_undefined = Binary("and", is_finite, Unary("not", is_whole))
    result = Select(is_undefined, const(math.nan, x.type), result)
    is_one = Binary("or", binary("eq", x, 1.0), binary("eq", y, 0.0))
    endless = Binary("and", binary("eq", size, 1.0), binary("eq", Unary("abs", y), math.inf))
    return Select(Binary("or", is_one, endless), const(1.0, x.type), result)


def _fmod(a: Expr, b: Expr, let: Let) -> Expr:
    """What is left of a / b, by parts of the quotient; a - q * b is exact where q has as many digits as a double."""
    height, width = _size(a, let), _size(b, let)
    # Halves of the largest numbers would be infinite where they are rounded.
    factor = let(Select(binary("lt", maximum(height, width), 2.0**1000), const(1.0, a.type), const(2.0**-64, a.type)))
    rest, divisor = let(height * factor), let(width * factor)
    for _ in range(_STEPS):
        quotient = let(Unary("floor", rest / divisor))
        product, lost = _exact_product(quotient, divisor, let)
        rest = let(Select(binary("eq", quotient, 0.0), rest, (rest - product) - lost))
    rest = let(Select(binary("lt", rest, 0.0), rest + divisor, rest))
    return _with_sign(Select(Binary("lt", height, width), height, rest / factor), a, let)


METHODS: dict[str, Callable[..., Expr]] = {
    "expm1": _expm1,
    "exp2": _exp2,
    "log1p": _log1p,
    "log2": _log2,
    "log10": _log10,
    "sinh": _sinh,
    "cosh": _cosh,
    "asinh": _asinh,
    "acosh": _acosh,
    "atanh": _atanh,
    "asin": _asin,
    "acos": _acos,
    "atan": _atan,
    "atan2": _atan2,
    "fmod": _fmod,
    "pow": _pow,
}
"""What computes functions of one or two doubles."""
