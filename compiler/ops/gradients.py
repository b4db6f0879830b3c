"""What gradient rules share: undoing broadcasting, masks, multiples.

A rule turns the cotangent of a result (the derivative of some number with respect to it, a tensor of the same type)
into those of the operands. It must be linear in the cotangent: forward mode is made by transposing rules.
"""

from __future__ import annotations

from ..graph.ir import Builder, Emits, Value


def sum_to(b: Builder, value: Value, shape: tuple[int, ...]) -> Value:
    """Undo broadcasting from `shape`: sum over the dimensions that it added or stretched."""
    given = value.type.shape
    added = len(given) - len(shape)
    summed = tuple(d for d in range(len(given)) if d < added or shape[d - added] == 1)
    if any(given[d] != 1 for d in summed):
        value = b.emit("reduce_sum", value, axes=summed)
    return reshaped(b, value, shape)


def reshaped(b: Emits, value: Value, shape: tuple[int, ...]) -> Value:
    """The value in another shape, itself if it has it already."""
    return value if value.type.shape == shape else b.emit("reshape", value, shape=shape)


def scaled(b: Builder, value: Value, factor: float) -> Value:
    """`factor` times the value."""
    return b.emit("mul", value, b.scalar(factor, value.type.dtype))


def where(b: Builder, condition: Value, value: Value) -> Value:
    """The value where the condition holds, else 0."""
    return b.emit("select", condition, value, b.scalar(0.0, value.type.dtype))


def where_above(b: Builder, x: Value, limit: float, value: Value) -> Value:
    """The value where x > limit, else 0."""
    return where(b, b.emit("greater", x, b.scalar(limit, x.type.dtype)), value)


def where_between(b: Builder, x: Value, low: float, high: float, value: Value) -> Value:
    """The value where low < x < high, else 0."""
    below = where(b, b.emit("less", x, b.scalar(high, x.type.dtype)), value)
    return where_above(b, x, low, below)
