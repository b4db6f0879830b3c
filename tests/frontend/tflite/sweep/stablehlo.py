"""Operators of StableHLO that move elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..draw import Draw
from ..small_models import Model
from . import Generator
from .parts import file, scale_of


def _number(d: Draw, dtype: Any) -> int:
    """A constant scalar."""
    if np.dtype(dtype).kind in "fb":
        return d.constant(np.array(d.r.uniform(-9, 9)).astype(dtype))
    return d.constant(np.array(d.integers(dtype, ()), dtype))


def _pad(d: Draw, dtype: Any) -> bytes:
    shape, given = d.shape(d.r.randint(1, 4)), scale_of(d, dtype)
    between = [d.r.choice((0, 0, 1, 2)) for _ in shape]
    whole = [(n - 1) * (k + 1) + 1 for n, k in zip(shape, between, strict=True)]
    sides = [[d.r.choice((0, 1, 2, -1 if n > 2 else 0)) for n in whole] for _ in range(2)]
    result = [n + a + b for n, a, b in zip(whole, *sides, strict=True)]
    fields = {"EdgePaddingLow": sides[0], "EdgePaddingHigh": sides[1], "InteriorPadding": between}
    inputs = [d.input(shape, dtype, given), _number(d, dtype)]
    return file(d, "STABLEHLO_PAD", inputs, [d.tensor(result, dtype, given)], ("StablehloPadOptions", fields))


def _dilate(d: Draw, dtype: Any) -> bytes:
    shape, given = d.shape(d.r.randint(1, 4)), scale_of(d, dtype)
    steps = [d.r.choice((1, 1, 2, 3)) for _ in shape]
    result = [(n - 1) * step + 1 for n, step in zip(shape, steps, strict=True)]
    inputs = [d.input(shape, dtype, given), d.constant(np.array(steps, np.int32)), _number(d, dtype)]
    return file(d, "DILATE", inputs, [d.tensor(result, dtype, given)], ("DilateOptions", {}))


def _interleaved(d: Draw, batch: Sequence[int], inner: Sequence[int]) -> tuple[list[int], list[int]]:
    """A shape of both, in which the order of each stays, and the places of the latter."""
    rank = len(batch) + len(inner)
    places = sorted(d.r.sample(range(rank), len(inner))) if d.flip() else list(range(len(batch), rank))
    first, second = iter(batch), iter(inner)
    return [next(second) if i in places else next(first) for i in range(rank)], places


def _indices(d: Draw, batch: Sequence[int], depth: int, high: int) -> tuple[int, int]:
    """Vectors of indices, some of them beyond the tensor, along a dimension."""
    kind = d.r.choice((np.int32, np.int64))
    axis = d.r.choice((len(batch), d.r.randint(0, len(batch))))
    if depth == 1 and d.flip():
        return d.input(batch, kind, None, (0, high)), len(batch)
    return d.input((*batch[:axis], depth, *batch[axis:]), kind, None, (0, high)), axis


def _gather(d: Draw, dtype: Any) -> bytes:
    shape, batch, given = d.shape(d.r.randint(1, 4)), d.shape(d.r.randint(0, 2), 4), scale_of(d, dtype)
    begun = d.r.sample(range(len(shape)), d.r.randint(1, len(shape)))
    sizes = [d.r.choice((1, n, d.r.randint(1, n))) for n in shape]
    collapsed = [i for i, size in enumerate(sizes) if size == 1 and d.flip()]
    kept = [size for i, size in enumerate(sizes) if i not in collapsed]
    result, places = _interleaved(d, batch, kept)
    x = d.input(shape, dtype, given)
    vectors, axis = _indices(d, batch, len(begun), 7)
    fields = {"OffsetDims": places, "CollapsedSliceDims": collapsed, "StartIndexMap": begun}
    fields |= {"IndexVectorDim": axis, "SliceSizes": sizes}
    options = ("StablehloGatherOptions", {k: _whole(v) for k, v in fields.items()})
    return file(d, "STABLEHLO_GATHER", [x, vectors], [d.tensor(result, dtype, given)], options)


def _scatter(kind: str | None) -> Generator:
    def make(d: Draw, dtype: Any) -> bytes:
        # LiteRT runs a graph for each element, which takes a while.
        shape, batch, given = d.shape(d.r.randint(1, 4), 4), d.shape(d.r.randint(0, 2), 3), scale_of(d, dtype)
        begun = d.r.sample(range(len(shape)), d.r.randint(1, len(shape)))
        sizes = [d.r.choice((1, n, d.r.randint(1, n))) for n in shape]
        inserted = [i for i, size in enumerate(sizes) if size == 1 and d.flip()]
        updates, places = _interleaved(d, batch, [s for i, s in enumerate(sizes) if i not in inserted])
        x = d.input(shape, dtype, given, "finite")
        vectors, axis = _indices(d, batch, len(begun), 7)
        more = d.input(updates, dtype, given, "finite")
        fields = {"UpdateWindowDims": places, "InsertedWindowDims": inserted, "ScatterDimsToOperandDims": begun}
        fields |= {"IndexVectorDim": axis, "UpdateComputationSubgraphIndex": 1}
        options = ("StablehloScatterOptions", {k: _whole(v) for k, v in fields.items()})
        y = d.tensor(shape, dtype, given)
        d.m.operator("STABLEHLO_SCATTER", [x, vectors, more], [y], options)
        region = Model()
        a, b = (region.tensor(name, (), dtype) for name in ("old", "new"))
        result = b
        if kind is not None:
            result = region.tensor("result", (), dtype)
            region.operator(kind, (a, b), (result,))
        return d.m.data(d.inputs, [y], [(region, (a, b), (result,))])

    return make


_FUNCTIONS = ("STABLEHLO_ADD", "MUL", "STABLEHLO_MINIMUM", "MAXIMUM", "STABLEHLO_AND", "LOGICAL_OR")
_NUMBERS = (1, 2, 3, 4, 5, 6)


def _window(d: Draw, shape: Sequence[int]) -> tuple[list[int], list[int], list[int], list[int]]:
    """Sizes, steps and dilations of windows that fit a shape, and how many there are."""
    size = [d.r.choice((1, n, d.r.randint(1, n))) for n in shape]
    strides = [d.r.choice((1, 1, 2, 3)) for _ in shape]
    dilations = [d.r.choice((1, 1, 2)) if (k - 1) * 2 < n else 1 for n, k in zip(shape, size, strict=True)]
    ends = zip(shape, size, strides, dilations, strict=True)
    return size, strides, dilations, [(n - (k - 1) * step - 1) // s + 1 for n, k, s, step in ends]


def _start(d: Draw, dtype: Any) -> int:
    """What a window begins with: often what changes nothing."""
    if np.dtype(dtype).kind == "b" or d.flip():
        return d.constant(np.array(d.r.choice((0, 1))).astype(dtype))
    return _number(d, dtype)


def _reduce_window(d: Draw, dtype: Any) -> bytes:
    shape, given = d.shape(d.r.randint(1, 4), 9), scale_of(d, dtype)
    size, strides, dilations, result = _window(d, shape)
    inputs = [d.input(shape, dtype, given, "finite"), _start(d, dtype)]
    inputs += [d.constant(np.array(n, np.int64)) for n in (size, strides, dilations)]
    number = d.r.choice(_NUMBERS if dtype is not np.bool_ else _NUMBERS[1:])
    options = ("ReduceWindowOptions", {"ReduceFunction": number})
    return file(d, "REDUCE_WINDOW", inputs, [d.tensor(result, dtype, given)], options)


def _stablehlo_reduce_window(d: Draw, dtype: Any) -> bytes:
    shape, given = d.shape(d.r.randint(1, 4), 7), scale_of(d, dtype)
    steps = [d.r.choice((1, 1, 2)) for _ in shape]
    whole = [(n - 1) * step + 1 for n, step in zip(shape, steps, strict=True)]
    sides = [[d.r.choice((0, 1, 2, -1 if n > 2 else 0)) for n in whole] for _ in range(2)]
    padded = [n + a + b for n, a, b in zip(whole, *sides, strict=True)]
    size, strides, dilations, result = _window(d, padded)
    x, start, y = d.input(shape, dtype, given, "finite"), _start(d, dtype), d.tensor(result, dtype, given)
    padding = [n for pair in zip(*sides, strict=True) for n in pair]
    fields: dict[str, Any] = {"WindowDimensions": size, "WindowStrides": strides, "BaseDilations": steps}
    fields |= {"WindowDilations": dilations, "Padding": padding, "BodySubgraphIndex": 1}
    options = ("StablehloReduceWindowOptions", {k: _whole(v) for k, v in fields.items()})
    d.m.operator("STABLEHLO_REDUCE_WINDOW", [x, start], [y], options)
    region = Model()
    a, b, total = (region.tensor(name, (), dtype) for name in ("old", "new", "result"))
    region.operator(d.r.choice(_FUNCTIONS if dtype is not np.bool_ else _FUNCTIONS[1:]), (a, b), (total,))
    return d.m.data(d.inputs, [y], [(region, (a, b), (total,))])


def _whole(value: Any) -> Any:
    """Vectors of 64 bits, also if they are empty."""
    return np.array(value, np.int64) if isinstance(value, list) else value


GENERATORS: Mapping[str, Generator] = {
    "DILATE": _dilate,
    "REDUCE_WINDOW": _reduce_window,
    "STABLEHLO_GATHER": _gather,
    "STABLEHLO_PAD": _pad,
    "STABLEHLO_REDUCE_WINDOW": _stablehlo_reduce_window,
    "STABLEHLO_SCATTER": _scatter(None),
    "STABLEHLO_SCATTER of sums": _scatter("STABLEHLO_ADD"),
    "STABLEHLO_SCATTER of maxima": _scatter("STABLEHLO_MAXIMUM"),
    "STABLEHLO_SCATTER of minima": _scatter("STABLEHLO_MINIMUM"),
    "STABLEHLO_SCATTER of products": _scatter("STABLEHLO_MULTIPLY"),
}
"""What draws each of them."""
