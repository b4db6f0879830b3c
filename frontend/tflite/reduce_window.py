"""REDUCE_WINDOW and STABLEHLO_REDUCE_WINDOW: sums, products, bounds of the elements in windows of a tensor.

Windows are reduced dimension by dimension: neighbours are gathered, then reduced. Integers wrap around, so their order
doesn't count; sums and products of floats are rounded in another order than LiteRT's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...compiler.graph.ir import Value
from ...compiler.ops.facets import reads
from ...compiler.types import DType
from .context import Context
from .stablehlo import apart, filling, region, vector, with_margins

MAX_RANK = 6
FUNCTIONS = ("", "add", "mul", "min", "max", "all", "any")
"""What the numbers of the schema's ReduceWindowFunction stand for."""
_REGIONS = {
    **dict.fromkeys(("ADD", "STABLEHLO_ADD"), "add"),
    **dict.fromkeys(("MUL", "STABLEHLO_MULTIPLY"), "mul"),
    **dict.fromkeys(("MINIMUM", "STABLEHLO_MINIMUM"), "min"),
    **dict.fromkeys(("MAXIMUM", "STABLEHLO_MAXIMUM"), "max"),
    **dict.fromkeys(("LOGICAL_AND", "STABLEHLO_AND"), "all"),
    **dict.fromkeys(("LOGICAL_OR", "STABLEHLO_OR"), "any"),
}
"""What the operator of a subgraph does with two elements, bits or not."""
_OPERATORS = {
    "add": ("reduce_sum", "add"),
    "mul": ("reduce_prod", "mul"),
    "min": ("reduce_min", "minimum"),
    "max": ("reduce_max", "maximum"),
}
_AS_ARE = (DType.F32, DType.F64, DType.I32, DType.I64)
"""Element types that are reduced as they are."""


def reduce_window(c: Context) -> Value:
    """REDUCE_WINDOW, without margins."""
    kind = c.operator.coded("reduce_function", FUNCTIONS)
    if not kind:
        c.unsupported("its function is not stated")
    size, strides, dilations = (_positive(c, c.integers(place)) for place in (2, 3, 4))
    return _reduced(c, c.value(0), str(kind), size, strides, dilations)


def stablehlo_reduce_window(c: Context) -> Value:
    """STABLEHLO_REDUCE_WINDOW, on elements set apart, with margins of what a window begins with."""
    names = region(c, "body_subgraph_index")
    kind = _REGIONS.get(names[0]) if len(names) == 1 else None
    if kind is None:
        c.unsupported(f"windows that are reduced by {', '.join(names) or 'nothing'} are not supported")
    rank, value = c.type(0).rank, filling(c, 1)
    names = ("window_dimensions", "window_strides", "window_dilations", "base_dilations")
    size, strides, dilations, steps = (_positive(c, vector(c, name) or (1,) * rank) for name in names)
    padding = vector(c, "padding") or (0,) * 2 * rank
    if len(padding) != 2 * rank:
        c.fail(f"padding can't be {list(padding)} for {c.type(0)}")
    x = with_margins(c, apart(c, c.value(0), steps, value), padding[::2], padding[1::2], value)
    return _reduced(c, x, kind, size, strides, dilations)


def _positive(c: Context, numbers: Sequence[int]) -> Sequence[int]:
    """Numbers from 1 up, one for each dimension."""
    rank = c.type(0).rank
    if not 1 <= rank < MAX_RANK:
        c.unsupported(f"its form for {c.type(0)} is not supported")
    if len(numbers) != rank or min(numbers) < 1:
        c.fail(f"its window can't have {list(numbers)} in {c.type(0)}")
    return numbers


def _reduced(
    c: Context, x: Value, kind: str, size: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Value:
    dtype = x.type.dtype
    if dtype is DType.BOOL and kind == "add":
        c.unsupported("sums of truth values are not supported")
    start = c.builder.constant(np.array(filling(c, 1), dtype.numpy))
    is_logical = kind in ("all", "any")
    x, start = (_numbers(c, v, is_logical) for v in (x, start))
    reduction, pair = _OPERATORS[{"all": "min", "any": "max"}.get(kind, kind)]
    for axis, window in enumerate(zip(size, strides, dilations, strict=True)):
        x = _along(c, x, axis, reduction, *window)
    return c.cast(c.emit(pair, start, x), dtype)


def _numbers(c: Context, x: Value, is_logical: bool) -> Value:
    """What is reduced: floats and wide integers, or 0 and 1."""
    if is_logical and x.type.dtype is not DType.BOOL:
        x = c.emit("not_equal", x, c.builder.constant(np.zeros((), x.type.dtype.numpy)))
    return c.cast(x, DType.I32) if is_logical or x.type.dtype not in _AS_ARE else x


def _along(c: Context, x: Value, axis: int, reduction: str, size: int, stride: int, dilation: int) -> Value:
    """The windows of one dimension reduced."""
    count = (x.type.shape[axis] - (size - 1) * dilation - 1) // stride + 1
    if count < 1:
        c.unsupported("a result without elements is not supported")
    if size == stride == 1:
        return x
    places = np.arange(count)[:, None] * stride + np.arange(size) * dilation
    if size == 1:
        return c.emit("gather", x, c.builder.constant(places[:, 0].astype(np.int32)), axis=axis)
    windows = c.emit("gather", x, c.builder.constant(places.astype(np.int32)), axis=axis)
    return c.emit(reduction, windows, axes=(axis + 1,), keepdims=False)


reads(reduce_window, "REDUCE_WINDOW")
reads(stablehlo_reduce_window, "STABLEHLO_REDUCE_WINDOW")
