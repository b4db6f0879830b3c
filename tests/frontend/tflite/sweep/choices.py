"""Operators that take, place or choose elements by indices, or by how they compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..draw import Draw
from . import Generator
from .parts import Options, file, scale_of


def _indices(d: Draw, shape: Sequence[int], size: int, kind: Any) -> int:
    """Places in a dimension: a constant or an input."""
    if d.flip():
        return d.input(shape, kind, None, (0, size - 1))
    return d.constant(np.array([d.r.randrange(size) for _ in range(int(np.prod(shape)))], kind).reshape(shape))


def _gather(d: Draw, dtype: Any) -> bytes:
    shape = d.shape(d.r.randint(1, 4))
    axis = d.r.randrange(len(shape))
    batch = d.r.randint(0, axis)
    places = (*shape[:batch], *d.shape(d.r.randint(0, 2)))
    result = (*shape[:axis], *places[batch:], *shape[axis + 1 :])
    given, kind = scale_of(d, dtype), d.r.choice((np.int32, np.int64, np.int16))
    inputs = [d.input(shape, dtype, given), _indices(d, places, shape[axis], kind)]
    fields = {"Axis": axis - len(shape) if d.flip() else axis, "BatchDims": batch}
    if batch and batch < len(places) and d.r.random() < 0.3:
        fields["BatchDims"] = batch - len(places)
    return file(d, "GATHER", inputs, [d.tensor(result, dtype, given)], ("GatherOptions", fields))


def _gather_nd(d: Draw, dtype: Any) -> bytes:
    shape = d.shape(d.r.randint(1, 4))
    depth, lead = d.r.randint(1, len(shape)), d.shape(d.r.randint(0, 2))
    numbers = [[d.r.randrange(n) for n in shape[:depth]] for _ in range(int(np.prod(lead)))]
    places = np.array(numbers, d.r.choice((np.int32, np.int64, np.int16))).reshape(*lead, depth)
    given = scale_of(d, dtype)
    x = d.input(shape, dtype, given)
    if d.flip():
        where = d.constant(places)
    else:
        where = d.input(places.shape, places.dtype.type, None, (0, min(shape[:depth]) - 1))
    y = d.tensor((*lead, *shape[depth:]), dtype, given)
    return file(d, "GATHER_ND", [x, where], [y], ("GatherNdOptions", {}))


def _scatter_nd(d: Draw, dtype: Any) -> bytes:
    shape = d.shape(d.r.randint(1, 4))
    depth, count = d.r.randint(1, len(shape)), d.shape(d.r.choice((1, 1, 2)))
    numbers = [[d.r.randrange(n) for n in shape[:depth]] for _ in range(int(np.prod(count)))]
    places = d.constant(np.array(numbers, np.int32).reshape(*count, depth))
    given = scale_of(d, dtype)
    x = d.input((*count, *shape[depth:]), dtype, given, "finite")
    size, y = d.constant(np.array(shape, np.int32)), d.tensor(shape, dtype, given)
    return file(d, "SCATTER_ND", [places, x, size], [y], ("ScatterNdOptions", {}))


def _one_hot(d: Draw, dtype: Any) -> bytes:
    shape, depth, kind = d.shape(d.r.randint(0, 3)), d.r.randint(1, 6), d.r.choice((np.int32, np.int64))
    axis, given = d.r.randint(-1, len(shape)), scale_of(d, dtype)
    place = len(shape) if axis < 0 else axis
    x = d.input(shape, kind, None, (-1, depth))
    values = [d.constant(np.array(v, np.float32).astype(dtype), given) for v in d.r.choice(((1, 0), (5, -3), (0, 1)))]
    if d.r.random() < 0.3:
        values = [d.input((), dtype, given, "finite") for _ in range(2)]
    y = d.tensor((*shape[:place], depth, *shape[place:]), dtype, given)
    return file(
        d, "ONE_HOT", [x, d.constant(np.array(depth, np.int32)), *values], [y], ("OneHotOptions", {"Axis": axis})
    )


def _top_k(d: Draw, dtype: Any) -> bytes:
    shape, given = (*d.shape(d.r.randint(0, 3)), d.r.randint(1, 40)), scale_of(d, dtype)
    count, kind = d.r.randint(1, shape[-1]), d.r.choice((np.int32, np.int16))
    x = d.input(shape, dtype, given, "finite")
    result = (*shape[:-1], count)
    outputs = [d.tensor(result, dtype, given), d.tensor(result, kind, None)]
    return file(d, "TOPK_V2", [x, d.constant(np.array(count, kind))], outputs, ("TopKV2Options", {}))


def _reverse_sequence(d: Draw, dtype: Any) -> bytes:
    shape, given = d.shape(d.r.randint(2, 4)), scale_of(d, dtype)
    time, batch = d.r.sample(range(len(shape)), 2)
    kind = d.r.choice((np.int32, np.int64))
    lengths = (
        d.input((shape[batch],), kind, None, (1, shape[time]))
        if d.flip()
        else d.constant(np.array([d.r.randint(1, shape[time]) for _ in range(shape[batch])], kind))
    )
    inputs = [d.input(shape, dtype, given), lengths]
    options = ("ReverseSequenceOptions", {"SeqDim": time, "BatchDim": batch})
    return file(d, "REVERSE_SEQUENCE", inputs, [d.tensor(shape, dtype, given)], options)


def _diagonal(name: str) -> Generator:
    def make(d: Draw, dtype: Any) -> bytes:
        lead, given = d.shape(d.r.randint(0, 2)), scale_of(d, dtype)
        if name == "MATRIX_DIAG":
            n = d.r.randint(1, 5)
            x, y = d.input((*lead, n), dtype, given), d.tensor((*lead, n, n), dtype, given)
            return file(d, name, [x], [y], ("MatrixDiagOptions", {}))
        h, w = d.r.randint(1, 5), d.r.randint(1, 5)
        inputs = [d.input((*lead, h, w), dtype, given), d.input((*lead, min(h, w)), dtype, given)]
        return file(d, name, inputs, [d.tensor((*lead, h, w), dtype, given)], ("MatrixSetDiagOptions", {}))

    return make


def _segments(name: str, table: str) -> Generator:
    def make(d: Draw, dtype: Any) -> bytes:
        rows, rest, count = d.r.randint(1, 6), d.shape(d.r.randint(0, 2)), d.r.randint(1, 4)
        numbers = np.array([d.r.randrange(count) for _ in range(rows)], np.int32)
        given = scale_of(d, dtype)
        x = d.input((rows, *rest), dtype, given, (-3, 3))
        if name == "SEGMENT_SUM":
            numbers.sort()
            count = int(numbers[-1]) + 1
            inputs = [x, d.constant(numbers)]
        else:
            inputs = [x, d.constant(numbers), d.constant(np.array(count, np.int32))]
        return file(d, name, inputs, [d.tensor((count, *rest), dtype, given)], (table, {}))

    return make


def _sparse_to_dense(d: Draw, dtype: Any) -> bytes:
    shape = d.shape(d.r.randint(1, 4), 4)
    places = [np.unravel_index(p, shape) for p in sorted(d.r.sample(range(int(np.prod(shape))), 1))]
    count, kind, given = len(places), d.r.choice((np.int32, np.int64)), scale_of(d, dtype)
    where, size = d.constant(np.array(places, kind)), d.constant(np.array(shape, kind))
    x = d.input((count,) if d.flip() else (), dtype, given, "finite")
    other = d.constant(np.array(d.r.randint(0, 3), np.float32).astype(dtype), given)
    options = ("SparseToDenseOptions", {"ValidateIndices": False})
    return file(d, "SPARSE_TO_DENSE", [where, size, x, other], [d.tensor(shape, dtype, given)], options)


def _dynamic_update_slice(d: Draw, dtype: Any) -> bytes:
    shape, given = d.shape(d.r.randint(1, 4)), scale_of(d, dtype)
    part = [d.r.randint(1, n) for n in shape]
    kind = d.r.choice((np.int32, np.int64))
    start = d.input((len(shape),), kind, None, (-2, 6)) if d.flip() else d.constant(np.array([0] * len(shape), kind))
    inputs = [d.input(shape, dtype, given), d.input(part, dtype, given), start]
    options: Options = ("DynamicUpdateSliceOptions", {})
    return file(d, "DYNAMIC_UPDATE_SLICE", inputs, [d.tensor(shape, dtype, given)], options)


def _bucketize(d: Draw, dtype: Any) -> bytes:
    shape = d.shape(d.r.randint(0, 4))
    boundaries = sorted(float(np.float32(d.r.uniform(-3, 3))) for _ in range(d.r.randint(1, 6)))
    x, y = d.input(shape, dtype, scale_of(d, dtype), (-4, 4)), d.tensor(shape, np.int32, None)
    return file(d, "BUCKETIZE", [x], [y], ("BucketizeOptions", {"Boundaries": [np.float32(x) for x in boundaries]}))


def _embedding_lookup(d: Draw, dtype: Any) -> bytes:
    rows, rest, count = d.r.randint(1, 6), d.shape(d.r.randint(1, 3)), d.r.randint(1, 5)
    given = scale_of(d, dtype)
    places, x = _indices(d, (count,), rows, np.int32), d.input((rows, *rest), dtype, given)
    return file(d, "EMBEDDING_LOOKUP", [places, x], [d.tensor((count, *rest), dtype, given)])


def _suppression(name: str) -> Generator:
    """NON_MAX_SUPPRESSION_V4 and V5."""

    def make(d: Draw, dtype: Any) -> bytes:
        count, most = d.r.randint(1, 20), d.r.randint(1, 12)
        soft = name.endswith("V5")
        boxes = d.input((count, 4), dtype, None, (0, 1))
        if d.r.random() < 0.5:  # several equal ones
            steps, scores = d.input((count,), np.int8, (0.125, 0), (0, 8)), d.tensor((count,), dtype, None)
            d.m.operator("DEQUANTIZE", [steps], [scores], None, version=2)
        else:
            scores = d.input((count,), dtype, None, (0, 1))
        iou = d.r.choice((d.r.uniform(0.1, 0.9), 0, 1))
        numbers = [np.array(most, np.int32), np.float32(iou), np.float32(d.r.choice((0, 0.3)))]
        numbers += [np.float32(d.r.choice((0, 0.5, 3)))] if soft else []
        inputs = [boxes, scores, *(d.constant(np.array(n)) for n in numbers)]
        outputs = [d.tensor((most,), np.int32, None), *([d.tensor((most,), np.float32, None)] if soft else [])]
        outputs.append(d.tensor((), np.int32, None))
        table = f"NonMaxSuppressionV{name[-1]}Options"
        return file(d, name, inputs, outputs, (table, {}))

    return make


def _where(d: Draw, dtype: Any) -> bytes:
    shape = d.shape(d.r.randint(1, 3))
    x, y = d.input(shape, dtype, scale_of(d, dtype)), d.tensor((-1, len(shape)), np.int64, None)
    return file(d, "WHERE", [x], [y], ("WhereOptions", {}))


GENERATORS: Mapping[str, Generator] = {
    "BUCKETIZE": _bucketize,
    "DYNAMIC_UPDATE_SLICE": _dynamic_update_slice,
    "EMBEDDING_LOOKUP": _embedding_lookup,
    "GATHER": _gather,
    "GATHER_ND": _gather_nd,
    "MATRIX_DIAG": _diagonal("MATRIX_DIAG"),
    "MATRIX_SET_DIAG": _diagonal("MATRIX_SET_DIAG"),
    "NON_MAX_SUPPRESSION_V4": _suppression("NON_MAX_SUPPRESSION_V4"),
    "NON_MAX_SUPPRESSION_V5": _suppression("NON_MAX_SUPPRESSION_V5"),
    "ONE_HOT": _one_hot,
    "REVERSE_SEQUENCE": _reverse_sequence,
    "SCATTER_ND": _scatter_nd,
    "SEGMENT_SUM": _segments("SEGMENT_SUM", "SegmentSumOptions"),
    "SPARSE_TO_DENSE": _sparse_to_dense,
    "TOPK_V2": _top_k,
    "WHERE": _where,
    **{
        f"UNSORTED_SEGMENT_{name}": _segments(f"UNSORTED_SEGMENT_{name}", f"UnsortedSegment{name.title()}Options")
        for name in ("MAX", "MIN", "PROD", "SUM")
    },
}
"""What draws each of them."""
