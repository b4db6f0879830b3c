"""Literals: constants and attributes of operations as the text says them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...compiler.errors import NetcError
from ...compiler.graph.ir import Array, Attribute, Operation
from ...compiler.types import DType, Quantization
from .items import Call, Slot, Var

SMALL = 16
"""Most numbers of a constant that is written out; larger ones become parameters."""


class UnsayableError(NetcError):
    """Something that the language has no words for."""


def plain(number: Any, dtype: DType) -> Any:
    """A number as the text says it; None for what it can't."""
    if dtype is DType.BOOL:
        return None
    if not dtype.is_float:
        return int(number)
    if not np.isfinite(number):
        return None
    short = float(str(np.float32(number))) if dtype is DType.F32 else float(number)
    return int(short) if short.is_integer() and abs(short) < 1 << 31 and (short or not np.signbit(number)) else short


def constant_call(op: Operation, var: Var) -> Call | None:
    """A small constant, or one of a single number, as a call; None for others."""
    array, dtype = op.attributes["value"], var.type.dtype
    numbers = [plain(n, dtype) for n in (array.reshape(-1) if array.size <= SMALL else array.reshape(-1)[:1])]
    if any(n is None for n in numbers):
        return None
    progression = _progression(array, str(dtype))
    if progression is not None:
        return Call("arange", (), (var,), progression)
    kind = Slot("dtype", str(dtype), "f32")
    if numbers and array.size and array.tobytes() == array.reshape(-1)[:1].tobytes() * array.size:
        shape = Slot("shape", array.shape, named=False)
        return Call("full", (), (var,), (shape, Slot("value", numbers[0], named=False), kind))
    if not 0 < array.size <= SMALL:
        return None
    return Call("tensor", (), (var,), (Slot("value", nested(iter(numbers), array.shape), named=False), kind))


def _progression(array: Array, dtype: str) -> tuple[Slot, ...] | None:
    """What `arange` takes to give a vector of integers; None for others."""
    if array.dtype.kind != "i" or array.ndim != 1 or array.size <= 2:
        return None
    first, step = int(array[0]), int(array[1]) - int(array[0])
    if not step or not np.array_equal(array, first + step * np.arange(array.size)):
        return None
    kind = Slot("dtype", dtype, "i32")
    if first == 0 and step == 1:
        return (Slot("start", array.size, named=False), kind)
    bounds = (Slot("start", first, named=False), Slot("stop", first + step * array.size, named=False))
    return (*bounds, Slot("step", step, 1), kind)


def nested(numbers: Iterator[Any], shape: Sequence[int]) -> Any:
    """Numbers in row-major order as lists in lists."""
    if not shape:
        return next(numbers)
    return tuple(nested(numbers, shape[1:]) for _ in range(shape[0]))


def sayable(op: Operation, key: str, value: Attribute, *, strict: bool = True) -> Any:
    """An attribute as a value of the language."""
    if isinstance(value, bool | int | str | None):
        return value
    if isinstance(value, float) and np.isfinite(value):
        return value
    if isinstance(value, Quantization) and value.is_per_tensor:
        return str(value)
    if isinstance(value, tuple):
        return tuple(sayable(op, key, v, strict=strict) for v in value)
    if strict:
        raise UnsayableError(f"the language can't say the attribute `{key}` of {op.name}: {str(value)[:80]}")
    return ...
