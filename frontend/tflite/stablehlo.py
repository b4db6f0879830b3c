"""Operators of StableHLO that TFLite's kernels run, with dimensions named by numbers; for their meaning see its
specification.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...compiler.graph.ir import Value
from ...compiler.ops.facets import reads
from ...compiler.ops.moves.scattering import replaced
from ...compiler.ops.quantized.base import INTEGERS
from ...compiler.types import DType
from .context import Context


def _numbers(c: Context, name: str, largest: int, count: int | None = None) -> tuple[int, ...]:
    """A vector of the options with numbers from 0 to `largest`."""
    found = vector(c, name)
    if not all(0 <= n <= largest for n in found) or (count is not None and len(found) != count):
        c.fail(f"{name} can't be {list(found)}")
    return found


def vector(c: Context, name: str) -> tuple[int, ...]:
    """A vector of the options; nothing if it is missing."""
    given = c.option(name, None)
    return () if given is None else tuple(int(n) for n in given)


def _strides(shape: Sequence[int]) -> list[int]:
    return [math.prod(shape[d + 1 :]) for d in range(len(shape))]


def _index_vectors(c: Context, indices: Value) -> Value:
    """Indices [..., K], whose vectors lie along `index_vector_dim`; behind the last dimension, of one element."""
    rank = indices.type.rank
    axis = int(c.option("index_vector_dim", 0))
    if not 0 <= axis <= rank:
        c.fail(f"index_vector_dim can't be {axis}")
    if axis == rank:
        return c.emit("reshape", indices, shape=(*indices.type.shape, 1))
    order = (*(d for d in range(rank) if d != axis), axis)
    return indices if order == tuple(range(rank)) else c.emit("transpose", indices, permutation=order)


def _constant(c: Context, numbers: Sequence[int], like: Value) -> Value:
    return c.builder.constant(np.array(numbers, like.type.dtype.numpy))


def gather(c: Context) -> Value:
    """STABLEHLO_GATHER: blocks of a tensor, each of which begins at a vector of indices, moved inside if need be."""
    x, vectors = c.value(0), _index_vectors(c, c.value(1))
    shape, (*batch, depth) = x.type.shape, vectors.type.shape
    rank = len(shape)
    sizes = _numbers(c, "slice_sizes", max(shape, default=0), rank)
    collapsed = _numbers(c, "collapsed_slice_dims", rank - 1)
    begun = _numbers(c, "start_index_map", rank - 1, depth)
    kept = [d for d in range(rank) if d not in collapsed]
    places = _numbers(c, "offset_dims", len(batch) + len(kept) - 1, len(kept))
    if any(size > n for size, n in zip(sizes, shape, strict=True)) or any(sizes[d] != 1 for d in collapsed):
        c.fail(f"slice_sizes {list(sizes)} don't fit {x.type}")
    rows = 0  # whole dimensions at the end, which are fetched at once
    result = len(batch) + len(kept)
    while rows < len(kept) and kept[-1 - rows] == rank - 1 - rows and places[-1 - rows] == result - 1 - rows:
        if sizes[rank - 1 - rows] != shape[rank - 1 - rows] or rank - 1 - rows in begun:
            break
        rows += 1
    outer, inner = shape[: rank - rows], shape[rank - rows :]
    strides = _strides(outer)
    low, high = _constant(c, [0] * depth, vectors), _constant(c, [shape[d] - sizes[d] for d in begun], vectors)
    inside = c.emit("maximum", c.emit("minimum", vectors, high), low)
    weighed = c.emit("mul", inside, _constant(c, [strides[d] for d in begun], vectors))
    first = c.emit("reduce_sum", weighed, axes=(-1,), keepdims=False)
    steps = [np.arange(sizes[d]) * strides[d] for d in kept[: len(kept) - rows]]
    offsets = sum(np.meshgrid(*steps, indexing="ij"), np.zeros((), np.int64)) if steps else np.zeros((), np.int64)
    spread = c.emit("reshape", first, shape=(*batch, *(1 for _ in steps)))
    where = c.emit("add", spread, c.builder.constant(np.asarray(offsets).astype(vectors.type.dtype.numpy)))
    where = c.emit("transpose", where, permutation=_order(len(batch), places[: len(steps)], len(batch) + len(steps)))
    return c.emit("gather", c.emit("reshape", x, shape=(math.prod(outer), *inner)), where, axis=0)


def _order(batch: int, places: Sequence[int], rank: int) -> tuple[int, ...]:
    """The permutation that brings the dimensions behind the batch's to places of the result."""
    rest = iter(range(batch))
    return tuple(batch + places.index(d) if d in places else next(rest) for d in range(rank))


def pad(c: Context) -> Value:
    """STABLEHLO_PAD: margins, which may be negative, and elements between neighbours."""
    x, rank = c.value(0), c.type(0).rank
    names = ("edge_padding_low", "edge_padding_high", "interior_padding")
    low, high, between = (vector(c, name) for name in names)
    if {len(low), len(high), len(between)} != {rank} or any(n < 0 for n in between):
        c.fail(f"its padding doesn't fit {x.type}")
    value = filling(c, 1)
    return with_margins(c, apart(c, x, [n + 1 for n in between], value), low, high, value)


def with_margins(c: Context, x: Value, low: Sequence[int], high: Sequence[int], value: int | float) -> Value:
    """X with margins of a number; those below 0 take elements away."""
    sizes = [n + a + b for n, a, b in zip(x.type.shape, low, high, strict=True)]
    if min(sizes, default=1) < 1 or not x.type.size:
        c.unsupported("a result or an operand without elements is not supported")
    begin = [max(-a, 0) for a in low]
    inner = [n - first - max(-b, 0) for n, first, b in zip(x.type.shape, begin, high, strict=True)]
    if min(inner, default=1) < 1:
        c.unsupported("margins that take all elements away are not supported")
    x = c.emit("slice", x, begin=tuple(begin), size=tuple(inner))
    margins = tuple((max(a, 0), max(b, 0)) for a, b in zip(low, high, strict=True))
    return c.emit("pad", x, padding=margins, value=value)


def dilate(c: Context) -> Value:
    """DILATE: elements between neighbours."""
    steps = c.integers(1)
    if len(steps) != c.type(0).rank or min(steps, default=1) < 1:
        c.fail(f"dilations can't be {list(steps)} for {c.type(0)}")
    return apart(c, c.value(0), steps, filling(c, 2))


def filling(c: Context, place: int) -> int | float:
    """The constant number that stands where there are no elements."""
    fill = c.constant(place)
    if fill.size != 1:
        c.fail("the padding value must be one number")
    value: int | float = fill.reshape(-1)[0].item()
    return value


def apart(c: Context, x: Value, steps: Sequence[int], value: int | float) -> Value:
    """X with its elements `steps` apart in each dimension."""
    for axis, step in enumerate(steps):
        shape = x.type.shape
        if step == 1 or not x.type.size:
            continue
        before, n, behind = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
        split = c.emit("reshape", x, shape=(before, n, 1, behind))
        wide = c.emit("pad", split, padding=((0, 0), (0, 0), (0, step - 1), (0, 0)), value=value)
        rows = c.emit("reshape", wide, shape=(before, n * step, behind))
        size = (n - 1) * step + 1
        rows = c.emit("slice", rows, begin=(0, 0, 0), size=(before, size, behind))
        x = c.emit("reshape", rows, shape=(*shape[:axis], size, *shape[axis + 1 :]))
    return x


_UPDATES = {
    (): "update",
    ("STABLEHLO_ADD",): "add",
    ("STABLEHLO_MULTIPLY",): "mul",
    ("STABLEHLO_MAXIMUM",): "max",
    ("STABLEHLO_MINIMUM",): "min",
}
"""What the operators of a scatter's subgraph do with an element and its update."""
_TRUTH = {"add": "max", "mul": "min"}
"""What sums and products of truth values, which are 0 and 1, amount to."""
_JOINS = {"mul": "mul", "max": "maximum", "min": "minimum"}


def scatter(c: Context) -> Value:
    """STABLEHLO_SCATTER: updates take the places of elements or are joined to them; those beyond it are left out."""
    x, vectors, updates = c.value(0), _index_vectors(c, c.value(1)), c.value(2)
    where = _update_places(c, x.type.shape, vectors, updates.type.shape)
    combined = region(c, "update_computation_subgraph_index")
    kind = _UPDATES.get(combined)
    if kind is None:
        c.unsupported(f"updates by {', '.join(combined)} are not supported")
    count, dtype = x.type.size, x.type.dtype
    places = c.emit("reshape", where, shape=(*where.type.shape, 1))
    if kind == "update":
        more = c.emit("pad", c.emit("reshape", x, shape=(count,)), padding=((0, 1),), value=0)
        found = replaced(c.builder, more, places, updates)
        return c.emit("reshape", c.emit("slice", found, begin=(0,), size=(count,)), shape=x.type.shape)
    if dtype is DType.BOOL:
        kind = _TRUTH.get(kind, kind)
    wide = DType.I32 if dtype in INTEGERS or dtype is DType.BOOL else dtype
    given, updates = c.cast(x, wide), c.cast(updates, wide)
    if kind == "add":
        total = c.emit("scatter_nd", places, updates, shape=(count + 1,))
        total = c.emit("reshape", c.emit("slice", total, begin=(0,), size=(count,)), shape=x.type.shape)
        return c.cast(c.emit("add", given, total), dtype)
    more = c.emit("pad", c.emit("reshape", given, shape=(count,)), padding=((0, 1),), value=0)
    if updates.type.size:
        more = c.emit("scatter_combine", more, places, updates, by=_JOINS[kind])
    joined = c.emit("slice", more, begin=(0,), size=(count,))
    return c.cast(c.emit("reshape", joined, shape=x.type.shape), dtype)


def _update_places(c: Context, shape: tuple[int, ...], vectors: Value, updates: tuple[int, ...]) -> Value:
    """For each update the number of its element; of those beyond the tensor one more than there are."""
    (*batch, depth), rank = vectors.type.shape, len(shape)
    windows = _numbers(c, "update_window_dims", len(updates) - 1)
    inserted = _numbers(c, "inserted_window_dims", rank - 1)
    begun = _numbers(c, "scatter_dims_to_operand_dims", rank - 1, depth)
    kept, others = [d for d in range(rank) if d not in inserted], [d for d in range(len(updates)) if d not in windows]
    if len(kept) != len(windows) or [updates[d] for d in others] != batch:
        c.fail(f"updates {list(updates)} don't fit indices of {list(batch)} and {list(shape)}")
    spread = tuple(n if d in others else 1 for d, n in enumerate(updates))
    where, inside = _constant(c, [0], vectors), c.builder.constant(np.array([True]))
    for d, stride in enumerate(_strides(shape)):
        at = _constant(c, [0], vectors)
        if d in begun:
            k = begun.index(d)
            one = c.emit("slice", vectors, begin=(*(0 for _ in batch), k), size=(*batch, 1))
            at = c.emit("reshape", one, shape=spread)
        if d in kept:
            place = windows[kept.index(d)]
            steps = np.arange(updates[place]).reshape([-1 if i == place else 1 for i in range(len(updates))])
            at = c.emit("add", at, c.builder.constant(steps.astype(vectors.type.dtype.numpy)))
        fits = c.emit("greater_equal", at, _constant(c, [0], vectors))
        fits = c.emit("logical_and", fits, c.emit("less", at, _constant(c, [shape[d]], vectors)))
        inside = c.emit("logical_and", inside, fits)
        where = c.emit("add", where, c.emit("mul", at, _constant(c, [stride], vectors)))
    where = c.emit("select", inside, where, _constant(c, [math.prod(shape)], vectors))
    return c.emit("broadcast_to", where, shape=updates) if updates else c.emit("reshape", where, shape=())


def region(c: Context, option: str) -> tuple[str, ...]:
    """The operators of the subgraph that combines two elements."""
    number = int(c.option(option, 0))
    if not 0 <= number < len(c.model.subgraphs):
        c.fail(f"there is no subgraph {number}")
    return tuple(operator.name for operator in c.model.subgraphs[number].operators)


reads(gather, "STABLEHLO_GATHER")
reads(pad, "STABLEHLO_PAD")
reads(scatter, "STABLEHLO_SCATTER")
reads(dilate, "DILATE")
