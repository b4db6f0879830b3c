"""Compile-time arithmetic: operators and builtin functions over numbers, text and lists, all with stated limits."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ..compiler.errors import Location
from .budget import COPIED, ITEM_BYTES, Budget
from .tree import MAX_INTEGER
from .values import Builtin, Record, Tensor, describe, error, is_number, text

MAX_LIST = 10_000
"""Longest list."""
MAX_TEXT = 10_000
"""Longest text."""

Function = Callable[..., Any]

_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class BadArgumentError(ValueError):
    """Raised by builtin functions; the message is for people."""


def binary(symbol: str, left: Any, right: Any, location: Location, budget: Budget) -> Any:
    """`left symbol right` for compile-time values."""
    result = _binary(symbol, left, right, location)
    if isinstance(result, tuple | str):
        budget.make(result)
    return result


def _binary(symbol: str, left: Any, right: Any, location: Location) -> Any:
    if symbol == "+" and isinstance(left, tuple) and isinstance(right, tuple):
        return checked(_limited_length(len(left) + len(right), location) and left + right, location)
    if symbol == "+" and isinstance(left, str) and isinstance(right, str):
        return checked(left + right, location)
    if symbol == "*" and isinstance(left, tuple) and isinstance(right, int) and not isinstance(right, bool):
        return _limited_length(len(left) * right, location) and left * right
    if not (is_number(left) and is_number(right)):
        raise error(f"`{symbol}` can't combine {describe(left)} and {describe(right)}", location)
    if symbol == "**":
        _check_power(left, right, location)
    return guarded(lambda: _ARITHMETIC[symbol](left, right), location)


def _check_power(base: int | float, exponent: int | float, location: Location) -> None:
    if isinstance(base, int) and isinstance(exponent, int) and exponent > 64 and abs(base) > 1:
        raise error("this power is too large", location, "integers go up to 2**63 - 1")


def _limited_length(length: int, location: Location) -> bool:
    if length > MAX_LIST:
        raise error(f"a list of {length} items is too long", location, f"lists hold up to {MAX_LIST} items")
    return True


def unary(symbol: str, value: Any, location: Location) -> Any:
    """`-value`, `+value` or `not value` for compile-time values."""
    if symbol == "not":
        return not truth(value, location)
    if not is_number(value):
        raise error(f"`{symbol}` doesn't apply to {describe(value)}", location)
    return -value if symbol == "-" else value


def compare(symbol: str, left: Any, right: Any, location: Location, budget: Budget) -> bool:
    """`left symbol right`, a truth value."""
    if symbol in ("==", "!="):
        return _same(left, right, budget) is (symbol == "==")
    if is_number(left) and is_number(right):
        return _ORDER[symbol](left, right)
    raise error(f"`{symbol}` can't compare {describe(left)} and {describe(right)}", location)


def _same(left: Any, right: Any, budget: Budget) -> bool:
    """Whether two values are equal, item by item; lists may share lists, so looking through them is work."""
    pending = [(left, right)]
    while pending:
        one, other = pending.pop()
        if isinstance(one, tuple) and isinstance(other, tuple):
            if len(one) != len(other):
                return False
            budget.look_through(len(one))
            pending += zip(one, other, strict=True)
        elif isinstance(one, Record) and isinstance(other, Record):
            if one.fields.keys() != other.fields.keys():
                return False
            budget.look_through(len(one.fields))
            pending += ((value, other.fields[name]) for name, value in one.fields.items())
        elif isinstance(one, bool) is not isinstance(other, bool) or one != other:
            return False
    return True


def truth(value: Any, location: Location) -> bool:
    """The truth value of a condition; only true and false have one."""
    if isinstance(value, bool):
        return value
    hint = f"compare it, for example `{'x' if isinstance(value, Tensor) else text(value)} > 0`"
    if isinstance(value, Tensor):
        hint = "logical_and, logical_or and `not` combine masks"
    raise error(f"a condition must be true or false, not {describe(value)}", location, hint if len(hint) < 80 else None)


def call(builtin: Builtin, values: Sequence[Any], named: Mapping[str, Any], location: Location, budget: Budget) -> Any:
    """The result of a builtin function; lists among its arguments are work, and memory for the list that it makes."""
    lists = [v for v in (*values, *named.values()) if isinstance(v, tuple)]
    items = sum(map(len, lists)) + len(values)
    budget.work(items // COPIED)
    budget.keep(ITEM_BYTES * items)
    result = guarded(lambda: builtin.function(*values, **named), location)
    if isinstance(result, tuple | str):
        budget.make(result)
    return result


def guarded(function: Callable[[], Any], location: Location) -> Any:
    """Call `function`; arithmetic errors and results beyond the limits become errors at `location`."""
    try:
        return checked(function(), location)
    except ZeroDivisionError:
        raise error("division by zero", location) from None
    except OverflowError:
        raise error("the result is too large", location) from None
    except BadArgumentError as problem:
        raise error(str(problem), location) from None
    except ValueError:
        raise error("the result is not defined", location) from None


def checked(value: Any, location: Location) -> Any:
    """Return `value` if it is within the limits of the language."""
    if isinstance(value, complex):
        raise error("a root of a negative number is not defined", location)
    if isinstance(value, float) and not math.isfinite(value):
        raise error("the result is not a finite number", location)
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise error("the result is too large", location, "integers go up to 2**63 - 1")
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise error(f"this text is longer than {MAX_TEXT} characters", location)
    if isinstance(value, tuple):
        _limited_length(len(value), location)
    return value


# --- builtin functions; errors (BadArgumentError, OverflowError, ...) are given their place by `guarded`


def _range(*bounds: int) -> tuple[int, ...]:
    if not 1 <= len(bounds) <= 3:
        raise BadArgumentError("range takes 1 to 3 whole numbers")
    if len(bounds) == 3 and bounds[2] == 0:
        raise BadArgumentError("the step of a range can't be 0")
    numbers = range(*bounds)
    if len(numbers) > MAX_LIST:
        raise BadArgumentError(f"a range holds up to {MAX_LIST} numbers, not {len(numbers)}")
    return tuple(numbers)


def _zip(*lists: tuple[Any, ...]) -> tuple[tuple[Any, ...], ...]:
    lengths = {len(items) for items in lists}
    if len(lengths) > 1:
        raise BadArgumentError(f"zip takes lists of one length, not of {' and '.join(str(len(x)) for x in lists)}")
    return tuple(zip(*lists, strict=True))


def _enumerate(items: tuple[Any, ...], start: int = 0) -> tuple[tuple[int, Any], ...]:
    return tuple(enumerate(items, start))


def _reversed(items: tuple[Any, ...]) -> tuple[Any, ...]:
    return items[::-1]


def _len(items: tuple[Any, ...] | str) -> int:
    return len(items)


def _sum(items: tuple[float, ...]) -> float:
    return sum(items)


def _extreme(function: Function) -> Function:
    def extreme(*numbers: float) -> float:
        if not numbers:
            raise BadArgumentError("max and min need a number")
        result: float = function(numbers)
        return result

    return extreme


def _int(value: int | float | bool) -> int:
    return int(value)


def _float(value: int | float | bool) -> float:
    return float(value)


def _abs(value: float) -> float:
    return abs(value)


def _round(value: float, digits: int | None = None) -> float:
    return round(value, digits) if digits is None or abs(digits) < 400 else float(value)


def _str(value: object) -> str:
    return text(value)


def _of_one_number(function: Function) -> Function:
    def of_one_number(value: float) -> float:
        result: float = function(value)
        return result

    return of_one_number


BUILTINS: Mapping[str, Builtin] = MappingProxyType(
    {
        b.name: b
        for b in (
            Builtin("range", _range),
            Builtin("zip", _zip),
            Builtin("enumerate", _enumerate),
            Builtin("reversed", _reversed),
            Builtin("len", _len),
            Builtin("sum", _sum),
            Builtin("max", _extreme(max), "maximum"),
            Builtin("min", _extreme(min), "minimum"),
            Builtin("int", _int),
            Builtin("float", _float),
            Builtin("str", _str),
            Builtin("round", _round, "round"),
            Builtin("floor", _of_one_number(math.floor), "floor"),
            Builtin("ceil", _of_one_number(math.ceil), "ceil"),
            Builtin("abs", _abs, "abs"),
            Builtin("sqrt", _of_one_number(math.sqrt), "sqrt"),
            Builtin("exp", _of_one_number(math.exp), "exp"),
            Builtin("log", _of_one_number(math.log), "log"),
        )
    }
)
"""Functions of compile-time values. Those that name an operator take tensors too."""
