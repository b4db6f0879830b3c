"""Operations that nodes call by name, `Binary` and `Unary`: what they take, how they are written, what they mean.

A row of the table is all that printer, reader, verifier and interpreter know of an operation; code generation has a
rule of its own for it. What they mean:

- Floats follow IEEE 754; `min` and `max` are NaN where one side is, and either zero where -0 meets +0.
- Integers wrap; their quotient `div` is rounded toward zero, and 0 where the divisor is 0. `floordiv` and `mod` round
  toward minus infinity and are 0 where the divisor is 0. `shr` is arithmetic; shifts go by less than the number of
  bits.
- `round` takes halves to the even neighbour. `atan2`, `fmod` and `pow` take floats.
- With a NaN on either side only `ne` holds of the comparisons, which give booleans.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import add, and_, eq, le, lshift, lt, mul, ne, or_, rshift, sub, xor
from typing import Any

import numpy as np

from ..numerics import quotient
from ..types import DType
from .buffers import VectorType

Number = Any
"""An int for an index; else a NumPy scalar, or an array of as many elements as there are lanes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation on one or two values of one type, lane by lane."""

    operands: int
    meaning: Callable[..., Number]
    """In NumPy, and on Python's integers for indices; the result may have a wider type."""
    takes: str = "values"
    """Operands it takes: any "values", "numbers" (no booleans) or "integers" (no floats)."""
    compares: bool = False
    """The result is boolean; that of others has the operands' type."""
    closed: bool = False
    """NumPy gives the result the right type by itself."""
    python: str = ""
    """Python's expression for it on indices; none if it has none that is as short."""
    sign: str = ""
    """How index arithmetic writes it between its operands."""
    strength: int = 0
    """How closely the sign binds."""
    combines: bool = False
    """It may combine all lanes of a vector (`Reduce`)."""

    @property
    def folds(self) -> bool:
        """True if index arithmetic on constants computes it."""
        return bool(self.python) and not self.compares

    def refuses(self, kind: VectorType) -> bool:
        """True if it doesn't take operands of this type."""
        if self.takes == "numbers":
            return kind.dtype is DType.BOOL
        return self.takes == "integers" and kind.dtype.is_float


def _divide(a: Number, b: Number) -> Number:
    """Floats: the quotient; integers: rounded toward zero, as in C; by 0: 0."""
    if np.issubdtype(np.asarray(a).dtype, np.floating):
        return a / b
    return quotient(np.asarray(a), np.asarray(b))


def _floor_divide(a: Number, b: Number) -> Number:
    """Indices are Python's integers, which refuse division by 0; NumPy's give 0."""
    return 0 if isinstance(b, int) and b == 0 else a // b


def _modulo(a: Number, b: Number) -> Number:
    return 0 if isinstance(b, int) and b == 0 else a % b


def _minimum(a: Number, b: Number) -> Number:
    return min(a, b) if isinstance(a, int) else np.minimum(a, b)


def _maximum(a: Number, b: Number) -> Number:
    return max(a, b) if isinstance(a, int) else np.maximum(a, b)


def _negated(a: Number) -> Number:
    return ~a + 1 if np.asarray(a).dtype.kind in "iu" else -a


_arithmetic = partial(Operation, operands=2, takes="numbers")
_integer = partial(Operation, operands=2, takes="integers")
_comparison = partial(Operation, operands=2, compares=True, closed=True)
_function = partial(Operation, operands=1)

OPERATIONS: dict[str, Operation] = {
    "add": _arithmetic(meaning=add, closed=True, python="({} + {})", sign="+", strength=1, combines=True),
    "sub": _arithmetic(meaning=sub, closed=True, python="({} - {})", sign="-", strength=1),
    "mul": _arithmetic(meaning=mul, closed=True, python="({} * {})", sign="*", strength=2, combines=True),
    "div": _arithmetic(meaning=_divide),
    "min": _arithmetic(meaning=_minimum, python="min({}, {})", combines=True),
    "max": _arithmetic(meaning=_maximum, python="max({}, {})", combines=True),
    "floordiv": _integer(meaning=_floor_divide, python="({} // {})"),
    "mod": _integer(meaning=_modulo, python="({} % {})"),
    "and": _integer(meaning=and_, closed=True),
    "or": _integer(meaning=or_, closed=True),
    "xor": _integer(meaning=xor, closed=True),
    "shl": _integer(meaning=lshift),
    "shr": _integer(meaning=rshift),
    "lt": _comparison(meaning=lt, python="({} < {})"),
    "le": _comparison(meaning=le, python="({} <= {})"),
    "eq": _comparison(meaning=eq, python="({} == {})"),
    "ne": _comparison(meaning=ne, python="({} != {})"),
    "neg": _function(meaning=_negated),
    "abs": _function(meaning=np.abs),
    "sqrt": _function(meaning=np.sqrt),
    "floor": _function(meaning=np.floor),
    "exp": _function(meaning=np.exp),
    "log": _function(meaning=np.log),
    "tanh": _function(meaning=np.tanh),
    "not": _function(meaning=np.invert),
    "ceil": _function(meaning=np.ceil),
    "trunc": _function(meaning=np.trunc),
    "round": _function(meaning=np.rint),
    **{name: _function(meaning=getattr(np, name)) for name in ("expm1", "exp2", "log1p", "log2", "log10")},
    **{name: _function(meaning=getattr(np, name)) for name in ("sinh", "cosh")},
    **{f"a{name}": _function(meaning=getattr(np, f"arc{name}")) for name in ("sin", "cos", "tan")},
    **{f"a{name}": _function(meaning=getattr(np, f"arc{name}")) for name in ("sinh", "cosh", "tanh")},
    "fmod": _arithmetic(meaning=np.fmod),
    "atan2": _arithmetic(meaning=np.arctan2),
    "pow": _arithmetic(meaning=np.power),
}

COMPARISONS = frozenset(name for name, operation in OPERATIONS.items() if operation.compares)
"""Names of the comparisons."""
