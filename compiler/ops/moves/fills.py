"""Layers that make tensors of known numbers, and those that keep a triangle of a matrix."""

from __future__ import annotations

import math

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Value
from ...types import DType
from ..conversion import element_type
from ..layer import LayerBuilder, layer
from .indexing import iota

LONGEST = 1 << 20
"""Most numbers of arange and linspace."""


def _constant(b: LayerBuilder, name: str, numbers: Array, dtype: DType) -> Value:
    """Whole numbers or f64 as a constant; raises `ShapeError` where they don't fit the element type."""
    if numbers.size and not (dtype.holds(numbers.min().item()) and dtype.holds(numbers.max().item())):
        raise ShapeError(f"{name}: elements of type {dtype} can't be {numbers.min():g} to {numbers.max():g}")
    return b.emit("constant", value=numbers.astype(dtype.numpy))


@layer("arange")
def arange(
    b: LayerBuilder, start: float, stop: float | None = None, step: float = 1, dtype: str | None = None
) -> Value:
    """start, start + step ... below `stop`; of one number: 0, 1 ... below it. i32 for whole numbers, else f32."""
    first, last = (0, start) if stop is None else (start, stop)
    if not step:
        raise ShapeError("arange: the step can't be 0")
    count = max(math.ceil((last - first) / step), 0)
    if count > LONGEST:
        raise ShapeError(f"arange makes up to {LONGEST} numbers, not {count}")
    whole = all(isinstance(number, int) for number in (first, step))
    kind = element_type("arange", dtype or ("i32" if whole else "f32"))
    numbers = np.arange(count) * step + first
    if not whole and not kind.is_float:
        numbers = np.trunc(numbers)
    return _constant(b, "arange", numbers, kind)


@layer("linspace")
def linspace(b: LayerBuilder, start: float, stop: float, count: int, dtype: str = "f32") -> Value:
    """`count` numbers at equal distances from `start` to `stop`, both included."""
    kind = element_type("linspace", dtype)
    if not kind.is_float:
        raise ShapeError(f"linspace gives floats, not {kind}", hint="use arange")
    if not 0 <= count <= LONGEST:
        raise ShapeError(f"linspace makes 0 to {LONGEST} numbers, not {count}")
    return b.emit("constant", value=np.linspace(start, stop, count).astype(kind.numpy))


@layer("full")
def full(b: LayerBuilder, shape: tuple[int, ...], value: float, dtype: str = "f32") -> Value:
    """A tensor of one number (TFLite's FILL)."""
    kind = element_type("full", dtype)
    if any(size < 0 for size in shape):
        raise ShapeError(f"full: {list(shape)} is not a shape")
    if not kind.holds(value):
        raise ShapeError(f"full: elements of type {kind} can't be {value}")
    return b.emit("constant", value=np.broadcast_to(np.array(value, kind.numpy), shape))


@layer("tensor")
def tensor(b: LayerBuilder, value: object, dtype: str = "f32") -> Value:
    """A constant of the numbers in a list, or in a list of lists."""
    kind = element_type("tensor", dtype)
    try:
        numbers = np.array(value)
    except ValueError:
        raise ShapeError("tensor: the lists in a list have different lengths") from None
    if numbers.size and numbers.dtype.kind not in "biuf":
        raise ShapeError("tensor takes numbers, and lists of them")
    if kind is DType.BOOL and numbers.size and numbers.dtype.kind != "b":
        raise ShapeError("tensor: elements of type i1 are true or false")
    if not kind.is_float and numbers.dtype.kind == "f" and numbers.size:
        raise ShapeError(f"tensor: elements of type {kind} are whole numbers")
    if kind is not DType.BOOL and numbers.dtype.kind == "b":
        raise ShapeError(f"tensor: elements of type {kind} are numbers, not true or false")
    return _constant(b, "tensor", numbers, kind)


@layer("zeros")
def zeros(b: LayerBuilder, shape: tuple[int, ...], dtype: str = "f32") -> Value:
    """A tensor of zeros."""
    return full(b, shape, 0, dtype)


@layer("ones")
def ones(b: LayerBuilder, shape: tuple[int, ...], dtype: str = "f32") -> Value:
    """A tensor of ones."""
    return full(b, shape, 1, dtype)


@layer("full_like")
def full_like(b: LayerBuilder, x: Value, value: float) -> Value:
    """A tensor of one number, of the shape and type of x."""
    return full(b, x.type.shape, value, str(x.type.dtype))


@layer("zeros_like")
def zeros_like(b: LayerBuilder, x: Value) -> Value:
    """Zeros of the shape and type of x."""
    return full_like(b, x, 0)


@layer("ones_like")
def ones_like(b: LayerBuilder, x: Value) -> Value:
    """Ones of the shape and type of x."""
    return full_like(b, x, 1)


def _triangle(b: LayerBuilder, name: str, comparison: str, x: Value, diagonal: int) -> Value:
    """The elements of matrices whose column compares so with row + diagonal, zeros elsewhere."""
    if x.type.rank < 2:
        raise ShapeError(f"{name} takes [..., rows, columns], not {x.type}")
    rows, columns = x.type.shape[-2:]
    row, column = iota(b, rows, 0, 2, DType.I32), iota(b, columns, 1, 2, DType.I32)
    offset = b.emit("constant", value=np.array(max(min(diagonal, columns), -rows), np.int32))
    mask = b.emit(comparison, column, b.emit("add", row, offset))
    return b.emit("select", mask, x, b.emit("constant", value=np.zeros((), x.type.dtype.numpy)))


@layer("tril")
def tril(b: LayerBuilder, x: Value, diagonal: int = 0) -> Value:
    """The lower triangles of matrices [..., rows, columns], up to and including a diagonal; zeros above it."""
    return _triangle(b, "tril", "less_equal", x, diagonal)


@layer("triu")
def triu(b: LayerBuilder, x: Value, diagonal: int = 0) -> Value:
    """The upper triangles of matrices [..., rows, columns], from a diagonal on; zeros below it."""
    return _triangle(b, "triu", "greater_equal", x, diagonal)
