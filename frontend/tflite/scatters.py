"""TFLite's operators that put elements at places, and those that look up rows or choose boxes."""

from __future__ import annotations

import numpy as np

from ...compiler.graph.ir import Value
from ...compiler.ops.facets import reads
from ...compiler.ops.moves.scattering import replaced
from ...compiler.types import DType
from .context import Context, Converter


def scatter_nd(c: Context) -> Value:
    """SCATTER_ND; truth values that meet are true if one is, and quantized numbers are added as they are."""
    places, updates, shape = c.value(0), c.value(1), c.integers(2)
    if updates.type.dtype is not DType.BOOL:
        return c.emit("scatter_nd", places, updates, shape=shape)
    count = c.emit("scatter_nd", places, c.cast(updates, DType.I32), shape=shape)
    return c.emit("not_equal", count, c.builder.scalar(0, DType.I32))


def segment_sum(c: Context) -> Value:
    """SEGMENT_SUM: rows of the same number added up."""
    numbers = c.known(1)
    count = c.stated_shape()[0] if numbers is None else int(numbers.max(initial=-1)) + 1
    return _added(c, c.value(0), c.value(1), (count, *c.type(0).shape[1:]))


def _added(c: Context, data: Value, segments: Value, shape: tuple[int, ...]) -> Value:
    places = c.emit("reshape", segments, shape=(*segments.type.shape, 1))
    return c.emit("scatter_nd", places, data, shape=shape)


def _segments(c: Context) -> tuple[int, ...]:
    """The shape of a number of segments."""
    (count,) = c.integers(2)
    return (count, *c.type(0).shape[c.type(1).rank :])


def _segment_places(c: Context, shape: tuple[int, ...]) -> Value:
    """The segment of each row; numbers below 0 belong nowhere: they go to a segment that is cut off."""
    segments = c.value(1)
    zero, last = (c.builder.scalar(n, segments.type.dtype) for n in (0, shape[0]))
    places = c.emit("select", c.emit("less", segments, zero), last, segments)
    return c.emit("reshape", places, shape=(*segments.type.shape, 1))


def unsorted_segment_sum(c: Context) -> Value:
    """UNSORTED_SEGMENT_SUM."""
    shape = _segments(c)
    more = (shape[0] + 1, *shape[1:])
    total = c.emit("scatter_nd", _segment_places(c, shape), c.value(0), shape=more)
    return c.emit("slice", total, begin=(0,) * len(shape), size=shape)


def _unsorted(join: str, floats: float, integers: int) -> Converter:
    """UNSORTED_SEGMENT_MAX and its kin; segments without rows hold what changes nothing."""

    def convert(c: Context) -> Value:
        data, shape = c.value(0), _segments(c)
        dtype = data.type.dtype
        start = c.builder.scalar(floats if dtype.is_float else integers, dtype)
        found = c.emit("broadcast_to", start, shape=(shape[0] + 1, *shape[1:]))
        if data.type.size:
            found = c.emit("scatter_combine", found, _segment_places(c, shape), data, by=join)
        return c.emit("slice", found, begin=(0,) * len(shape), size=shape)

    return convert


def sparse_to_dense(c: Context) -> Value:
    """SPARSE_TO_DENSE: elements at places, of which the last one counts, and one number everywhere else."""
    shape, default, values = c.integers(1), c.value(3), c.value(2)
    default = c.emit("reshape", default, shape=())
    given = c.known(0)
    if given is None:
        places = c.emit("reshape", c.value(0), shape=(-1, len(shape)))
        count = places.type.shape[0]
        updates = c.emit("broadcast_to", values, shape=(count,))
        return replaced(c.builder, c.emit("broadcast_to", default, shape=shape), places, updates)
    which = np.full(shape, -1, np.int32)
    for number, place in enumerate(given.reshape(-1, len(shape)).astype(np.int64)):
        which[tuple(place)] = number
    if values.type.rank:
        values = c.emit("gather", values, c.builder.constant(np.maximum(which, 0)), axis=0)
    return c.emit("broadcast_to", c.emit("select", c.builder.constant(which >= 0), values, default), shape=shape)


def embedding_lookup(c: Context) -> Value:
    """EMBEDDING_LOOKUP of rows as they are, or of rows of i8 as the floats that they stand for."""
    rows, result = c.type(1), c.output_type()
    if rows.dtype is result.dtype:
        return c.emit("gather", c.value(1), c.value(0), axis=0)
    given, array = rows.quantization, c.known(1)
    if result.dtype is not DType.F32 or rows.dtype is not DType.I8 or given is None or array is None:
        c.unsupported(f"rows of type {rows.dtype} for {result.dtype} are not supported")
    if any(given.zero_points) or given.axis not in (None, 0):
        c.unsupported("only rows with the zero point 0 and one scale, or one for each row, are supported")
    picked = c.emit("gather", c.builder.constant(array), c.value(0), axis=0)
    scales = np.array(given.scales, np.float32)
    if given.is_per_tensor:
        scale = c.builder.scalar(given.scale, DType.F32)
    else:
        chosen = c.emit("gather", c.builder.constant(scales), c.value(0), axis=0)
        scale = c.emit("reshape", chosen, shape=(*chosen.type.shape, *(1,) * (rows.rank - 1)))
    return c.emit("mul", c.cast(picked, DType.F32), scale)


def hashtable_lookup(c: Context) -> tuple[Value, ...]:
    """HASHTABLE_LOOKUP: the rows of keys, zeros for keys that aren't there; and which are, as u8."""
    wanted, keys, rows = (c.value(place) for place in range(3))
    count = keys.type.size
    if keys.type.dtype is not DType.I32 or wanted.type.dtype is not DType.I32 or not count:
        c.unsupported("its form for these keys is not supported")
    same = c.emit("equal", c.emit("reshape", wanted, shape=(-1, 1)), c.emit("reshape", keys, shape=(1, count)))
    numbers = c.builder.constant(np.arange(count, dtype=np.int32))
    none = c.builder.scalar(-1, DType.I32)
    place = c.emit("reduce_max", c.emit("select", same, numbers, none), axes=(1,), keepdims=False)
    zero = c.builder.scalar(0, DType.I32)
    hit = c.emit("greater_equal", place, zero)
    found = c.emit("gather", rows, c.emit("maximum", place, zero), axis=0)
    is_hit = c.emit("reshape", hit, shape=(*hit.type.shape, *(1,) * (rows.type.rank - 1)))
    nothing = c.builder.constant(np.zeros((), rows.type.dtype.numpy), quantization=rows.type.quantization)
    return c.emit("select", is_hit, found, nothing), c.cast(hit, DType.U8)


COMBINERS = ("sum", "mean", "sqrtn")
"""What codes of the schema's CombinerType stand for."""


def embedding_lookup_sparse(c: Context) -> Value:
    """EMBEDDING_LOOKUP_SPARSE: weighted rows added up by all indices but the last, or their mean."""
    ids, places, weights, rows = (c.value(place) for place in (0, 1, 3, 4))
    lead, kind = c.integers(2)[:-1], c.operator.coded("combiner", COMBINERS)
    if len(lead) + 1 != places.type.shape[-1] or not lead or rows.type.rank < 2 or 0 in rows.type.shape:
        c.unsupported("its form for these indices is not supported")
    count, rest = ids.type.size, rows.type.shape[1:]
    shape = (*lead, *rest)
    spots = c.emit("slice", places, begin=(0, 0), size=(count, len(lead)))
    taken = c.emit("gather", rows, ids, axis=0)
    column = c.emit("reshape", weights, shape=(count, *(1,) * len(rest)))
    total = c.emit("scatter_nd", spots, c.emit("mul", taken, column), shape=shape)
    if kind == "sum":
        return total
    each = weights if kind == "mean" else c.emit("mul", weights, weights)
    share = c.emit("scatter_nd", spots, each, shape=lead)
    share = c.emit("sqrt", share) if kind == "sqrtn" else share
    there = c.emit("scatter_nd", spots, c.builder.constant(np.ones(count, np.int32)), shape=lead)
    is_there = c.emit("greater_equal", there, c.builder.scalar(1, DType.I32))
    share = c.emit("select", is_there, share, c.builder.scalar(1.0, DType.F32))
    return c.emit("div", total, c.emit("reshape", share, shape=(*lead, *(1,) * len(rest))))


def non_max_suppression(c: Context) -> tuple[Value, ...]:
    """NON_MAX_SUPPRESSION_V4 and V5: the boxes chosen, then zeros; V5 tells their scores, too; and their number."""
    is_soft = c.operator.name.endswith("V5")
    (count,), iou, least, *sigma = c.integers(2), *(float(c.constant(i).item()) for i in range(3, 6 if is_soft else 5))
    rules = {"count": count, "iou_threshold": iou, "score_threshold": least, "sigma": sigma[0] if sigma else 0.0}
    found = c.emit("soft_non_max_suppression", c.value(0), c.value(1), **rules)
    columns = [c.emit("slice", found, begin=(0, place), size=(count, 1)) for place in range(2)]
    chosen, scores = (c.emit("reshape", column, shape=(count,)) for column in columns)
    zero = c.builder.scalar(0.0, found.type.dtype)
    is_there = c.cast(c.emit("greater_equal", chosen, zero), DType.I32)
    number = c.emit("reduce_sum", is_there, axes=(0,), keepdims=False)
    places = c.cast(c.emit("maximum", chosen, zero), DType.I32)
    return (places, scores, number) if is_soft else (places, number)


_LIMITS = np.finfo(np.float32), np.iinfo(np.int32)

reads(scatter_nd, "SCATTER_ND")
reads(segment_sum, "SEGMENT_SUM")
reads(unsorted_segment_sum, "UNSORTED_SEGMENT_SUM")
reads(_unsorted("maximum", float(_LIMITS[0].min), int(_LIMITS[1].min)), "UNSORTED_SEGMENT_MAX")
reads(_unsorted("minimum", float(_LIMITS[0].max), int(_LIMITS[1].max)), "UNSORTED_SEGMENT_MIN")
reads(_unsorted("mul", 1.0, 1), "UNSORTED_SEGMENT_PROD")
reads(sparse_to_dense, "SPARSE_TO_DENSE")
reads(embedding_lookup, "EMBEDDING_LOOKUP")
reads(embedding_lookup_sparse, "EMBEDDING_LOOKUP_SPARSE")
reads(hashtable_lookup, "HASHTABLE_LOOKUP")
reads(non_max_suppression, "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5")
