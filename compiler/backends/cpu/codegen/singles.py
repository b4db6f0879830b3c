"""Functions of singles and halves: how they are computed, where it differs from doubles.

As a rule a single is made a double and computed as one, so that it is rounded once (`functions`). What is slow so has a
method here: in double precision with fewer digits, or in single precision, to 2 units in the last place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ....loops.ir import Binary, Bitcast, Cast, Const, Expr, Fma, Select, Unary, binary, const, maximum, minimum
from ....types import DType
from .functions import METHODS, power_of_any
from .math import Let, expand, mantissa_and_exponent, polynomial, power, power_of_two

_MAGIC = 1.5 * 2.0**52
"""Adding it rounds a double to a whole number, which then stands in the low bits."""
_LOG2 = tuple(2 / math.log(2) / (2 * k + 1) for k in reversed(range(8)))
_EXP2 = tuple(math.log(2) ** k / math.factorial(k) for k in reversed(range(9)))
_QUOTIENT = -1 << 24
"""The bits of a double that are kept of a quotient: its product with a single is exact."""
_QUOTIENTS = 10
"""So many, of 28 bits each, make up the quotient of any two singles."""


def expand_function(op: str, operands: Sequence[Expr], let: Let) -> Expr:
    """The value of a function of `functions.METHODS` of floats of one type."""
    dtype = operands[0].type.dtype
    if dtype is DType.F16:
        return Cast(expand_function(op, [let(Cast(x, DType.F32)) for x in operands], let), dtype)
    if dtype is DType.F32 and op in _IN_SINGLE:
        return _IN_SINGLE[op](*operands, let)
    methods = _IN_DOUBLE if dtype is DType.F32 and op in _IN_DOUBLE else METHODS
    return Cast(methods[op](*(let(Cast(x, DType.F64)) for x in operands), let), dtype)


# ---- in single precision --------------------------------------------------------------------------------------------


def _log1p(x: Expr, let: Let) -> Expr:
    shifted = let(x + 1.0)
    lost = (x - (shifted - 1.0)) / shifted
    is_ordinary = Binary("and", binary("lt", -1.0, x), binary("lt", x, math.inf))
    result = let(expand("log", shifted, let))
    return Select(binary("eq", x, 0.0), x, Select(is_ordinary, result + lost, result))


# ---- in double precision, to the digits of a single -----------------------------------------------------------------


def _pow(x: Expr, y: Expr, let: Let) -> Expr:
    """2 to the power of y * log2(x): the exponent has an error below 2^-30."""
    size = let(Unary("abs", x))
    exponent = let(minimum(maximum(y * _log2(size, let), -160.0), 130.0))
    shifted = let(exponent + _MAGIC)
    near = polynomial(let(exponent - (shifted - _MAGIC)), _EXP2)
    n = let(Bitcast(shifted, DType.I64) - Bitcast(const(_MAGIC, x.type), DType.I64))
    return power_of_any(x, y, size, let(near * power_of_two(n, x)), let)


def _log2(size: Expr, let: Let) -> Expr:
    """Logarithm of what is a single and not negative, to 40 bits."""
    f, e = mantissa_and_exponent(size, let)
    s = let(f / (f + 2.0))
    result: Expr = Fma(s, polynomial(let(s * s), _LOG2), e)
    result = Select(binary("lt", size, math.inf), result, size)
    return Select(binary("eq", size, 0.0), const(-math.inf, size.type), result)


def _fmod(a: Expr, b: Expr, let: Let) -> Expr:
    """What is left of a / b, by parts of the quotient whose products are exact."""
    height, width = let(Unary("abs", a)), let(Unary("abs", b))
    inverse = let(1.0 / width)
    kept = Const(_QUOTIENT, DType.I64, a.type.lanes)
    rest = height
    for _ in range(_QUOTIENTS):
        quotient = Bitcast(Binary("and", Bitcast(rest * inverse, DType.I64), kept), DType.F64)
        rest = let(rest - Unary("trunc", quotient) * width)
    rest = let(Select(binary("lt", rest, 0.0), rest + width, rest))
    rest = let(Select(Binary("le", width, rest), rest - width, rest))
    size = let(Select(Binary("lt", height, width), height, rest))
    is_negative = Binary("lt", Bitcast(a, DType.I64), Const(0, DType.I64, a.type.lanes))
    return Select(is_negative, Unary("neg", size), size)


_IN_SINGLE: dict[str, Callable[..., Expr]] = {"exp2": power, "log1p": _log1p}
_IN_DOUBLE: dict[str, Callable[..., Expr]] = {"fmod": _fmod, "pow": _pow}
