"""Sizes, axes and paddings that a file computes from the shape of a tensor: they are constants, and LiteRT agrees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.graph import Graph, evaluate
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.reading import read_model
from netc.frontend.tflite import graph_of

from .calls import check
from .make_vectors import answers
from .operators import samples
from .small_models import Model

SHAPE = (1, 4, 6, 3)
Case = Callable[["Shapes"], int]


class Shapes(Model):
    """A model whose input x is f32[1,4,6,3]; methods add operators on vectors of i32."""

    def __init__(self) -> None:
        super().__init__()
        self.x = self.tensor("x", SHAPE, np.float32)
        self.shape = self.add("SHAPE", (self.x,), (4,), ("ShapeOptions", {"OutType": 2}))

    def add(
        self, name: str, inputs: Sequence[int], shape: Sequence[int], options: Any = None, dtype: Any = np.int32
    ) -> int:
        """An operator of one result, which is returned."""
        y = self.tensor(f"t{len(self.tensors)}", shape, dtype)
        self.operator(name, inputs, (y,), options, version=2 if name == "BROADCAST_TO" else 1)
        return y

    def numbers(self, *values: float, dtype: Any = np.int32) -> int:
        """A constant vector."""
        return self.constant(f"t{len(self.tensors)}", np.array(values, dtype))

    def number(self, value: float, dtype: Any = np.int32) -> int:
        """A constant of rank 0."""
        return self.constant(f"t{len(self.tensors)}", np.array(value, dtype))

    def size(self) -> int:
        """Height and width of x."""
        ends = (self.numbers(1), self.numbers(3), self.numbers(1))
        return self.add("STRIDED_SLICE", (self.shape, *ends), (2,), ("StridedSliceOptions", {}))

    def rank(self) -> int:
        """Number of dimensions of x."""
        return self.add("RANK", (self.x,), (), ("RankOptions", {}))

    def element(self, index: int) -> int:
        """One of the sizes of x."""
        return self.add("GATHER", (self.shape, self.number(index)), (), ("GatherOptions", {}))

    def y(self, name: str, inputs: Sequence[int], shape: Sequence[int], options: Any = None) -> int:
        """An operator of one float result."""
        return self.add(name, inputs, shape, options, np.float32)


def _twice(m: Shapes) -> int:
    return m.add("MUL", (m.size(), m.numbers(2)), (2,), ("MulOptions", {}))


def _twice_in_floats(m: Shapes) -> int:
    floats = m.add("CAST", (m.size(),), (2,), ("CastOptions", {"InDataType": 2}), np.float32)
    product = m.add("MUL", (floats, m.number(2.3, np.float32)), (2,), ("MulOptions", {}), np.float32)
    floor = m.add("FLOOR", (product,), (2,), None, np.float32)
    return m.add("CAST", (floor,), (2,), ("CastOptions", {"OutDataType": 2}))


def _packed(m: Shapes) -> int:
    sizes = [m.add("ADD", (m.element(d), m.number(1)), (), ("AddOptions", {})) for d in (1, 2)]
    return m.add("PACK", sizes, (2,), ("PackOptions", {"ValuesCount": 2}))


def _nearest(size: Callable[[Shapes], int], *result: int) -> Case:
    return lambda m: m.y(
        "RESIZE_NEAREST_NEIGHBOR", (m.x, size(m)), (1, *result, 3), ("ResizeNearestNeighborOptions", {})
    )


def _bilinear(m: Shapes) -> int:
    return m.y(
        "RESIZE_BILINEAR", (m.x, _twice(m)), (1, 8, 12, 3), ("ResizeBilinearOptions", {"HalfPixelCenters": True})
    )


def _fill(m: Shapes) -> int:
    filled = m.y("FILL", (m.shape, m.number(2.5, np.float32)), SHAPE, ("FillOptions", {}))
    return m.y("ADD", (m.x, filled), SHAPE, ("AddOptions", {}))


def _broadcast(m: Shapes) -> int:
    row = m.constant("row", np.arange(3, dtype=np.float32))
    wide = m.y("BROADCAST_TO", (row, m.shape), SHAPE, ("BroadcastToOptions", {}))
    return m.y("ADD", (m.x, wide), SHAPE, ("AddOptions", {}))


def _zeros(m: Shapes) -> int:
    return m.add("SUB", (m.shape, m.shape), (4,), ("SubOptions", {}))


def _slice(m: Shapes) -> int:
    half = m.add("FLOOR_DIV", (m.shape, m.numbers(1, 2, 2, 1)), (4,), ("FloorDivOptions", {}))
    return m.y("SLICE", (m.x, _zeros(m), half), (1, 2, 3, 3), ("SliceOptions", {}))


def _strided(m: Shapes) -> int:
    inputs = (m.x, _zeros(m), m.shape, m.numbers(1, 2, 3, 1))
    return m.y("STRIDED_SLICE", inputs, (1, 2, 2, 3), ("StridedSliceOptions", {}))


def _pad(m: Shapes) -> int:
    missing = m.add("SUB", (m.numbers(1, 8, 8, 4), m.shape), (4,), ("SubOptions", {}))
    pairs = m.add("PACK", (_zeros(m), missing), (4, 2), ("PackOptions", {"ValuesCount": 2, "Axis": 1}))
    return m.y("PAD", (m.x, pairs), (1, 8, 8, 4), ("PadOptions", {}))


def _tile(m: Shapes) -> int:
    ones = m.add("MINIMUM", (m.shape, m.numbers(2)), (4,), ("MaximumMinimumOptions", {}))
    return m.y("TILE", (m.x, ones), (1, 8, 12, 6), ("TileOptions", {}))


def _range(m: Shapes, start: int, dtype: Any = np.int32) -> int:
    inputs = (m.number(start), m.rank(), m.number(1))
    return m.add("RANGE", inputs, (4 - start,), ("RangeOptions", {}), dtype)


def _transpose(m: Shapes) -> int:
    order = m.add("CONCATENATION", (_range(m, 1), m.numbers(0)), (4,), ("ConcatenationOptions", {}))
    return m.y("TRANSPOSE", (m.x, order), (4, 6, 3, 1), ("TransposeOptions", {}))


def _mean(m: Shapes) -> int:
    return m.y("MEAN", (m.x, _range(m, 2)), (1, 4), ("ReducerOptions", {}))


def _flatten(m: Shapes) -> int:
    total = m.add("REDUCE_PROD", (m.shape, m.numbers(0)), (1,), ("ReducerOptions", {"KeepDims": True}))
    return m.y("RESHAPE", (m.x, total), (72,), None)


def _split(m: Shapes) -> int:
    last = m.add("SUB", (m.rank(), m.number(1)), (), ("SubOptions", {}))
    parts = [m.tensor(f"part{i}", (1, 4, 6, 1), np.float32) for i in range(3)]
    m.operator("SPLIT", (last, m.x), parts, ("SplitOptions", {"NumSplits": 3}))
    return parts[2]


def _chosen(m: Shapes) -> int:
    larger = m.add("GREATER", (m.size(), m.numbers(5)), (2,), ("GreaterOptions", {}), np.bool_)
    size = m.add("SELECT_V2", (larger, m.size(), m.numbers(5, 5)), (2,), ("SelectV2Options", {}))
    return m.y("RESIZE_NEAREST_NEIGHBOR", (m.x, size), (1, 5, 6, 3), ("ResizeNearestNeighborOptions", {}))


def _reshaped(sizes: Callable[[Shapes], int], *result: int) -> Case:
    """A reshape of x to a size that is computed; nothing states the shape of the result."""

    def case(m: Shapes) -> int:
        y = m.y("RESHAPE", (m.x, sizes(m)), result)
        m.tensors[y]["shape"] = None
        return m.y("NEG", (y,), result)

    return case


def _unpacked(m: Shapes) -> int:
    parts = [m.tensor(f"size{i}", (), np.int32) for i in range(4)]
    m.operator("UNPACK", (m.shape,), parts, ("UnpackOptions", {"Num": 4}))
    area = m.add("MUL", (parts[1], parts[2]), (), ("MulOptions", {}))
    rows = m.add("EXPAND_DIMS", (area, m.number(0)), (1,), ("ExpandDimsOptions", {}))
    return m.add("CONCATENATION", (rows, m.numbers(-1)), (2,), ("ConcatenationOptions", {}))


def _split_sizes(m: Shapes) -> int:
    parts = [m.tensor(f"size{i}", (2,), np.int32) for i in range(2)]
    m.operator("SPLIT", (m.number(0), m.shape), parts, ("SplitOptions", {"NumSplits": 2}))
    turned = m.add("REVERSE_V2", (parts[1], m.numbers(0)), (2,), ("ReverseV2Options", {}))
    return m.add("ADD_N", (parts[0], turned, m.numbers(2, 2)), (2,), ("AddNOptions", {}))


def _searched(m: Shapes) -> int:
    """The sizes above 3: WHERE gives their places, GATHER_ND them."""
    large = m.add("GREATER", (m.shape, m.numbers(3)), (4,), ("GreaterOptions", {}), np.bool_)
    places = m.add("WHERE", (large,), (2, 1), ("WhereOptions", {}), np.int64)
    sizes = m.add("GATHER_ND", (m.shape, places), (2,), ("GatherNdOptions", {}))
    return m.add("CONCATENATION", (sizes, m.numbers(3)), (3,), ("ConcatenationOptions", {}))


def _wide(m: Shapes) -> int:
    """By way of 64 bits and floats."""
    wide = m.add("CAST", (m.shape,), (4,), ("CastOptions", {"OutDataType": 4}), np.int64)
    floats = m.add("CAST", (wide,), (4,), ("CastOptions", {}), np.float32)
    half = m.add("DIV", (floats, m.number(2, np.float32)), (4,), ("DivOptions", {}), np.float32)
    up = m.add("FLOOR", (half,), (4,), None, np.float32)
    whole = m.add("CAST", (up,), (4,), ("CastOptions", {"OutDataType": 2}))
    return m.add("MAXIMUM", (whole, m.numbers(1, 12, 3, 2)), (4,), ("MaximumMinimumOptions", {}))


def _remainder(m: Shapes) -> int:
    """A tile of what is left: sizes by SQUEEZE, FLOOR_MOD, ABS, NEG, SUB, EQUAL and SELECT."""
    row = m.add("RESHAPE", (m.shape, m.numbers(1, 4)), (1, 4))
    flat = m.add("SQUEEZE", (row,), (4,), ("SqueezeOptions", {}))
    rest = m.add("FLOOR_MOD", (flat, m.numbers(5)), (4,), ("FloorModOptions", {}))
    less = m.add("ABS", (m.add("NEG", (rest,), (4,), ("NegOptions", {})),), (4,), ("AbsOptions", {}))
    same = m.add("EQUAL", (less, m.numbers(3)), (4,), ("EqualOptions", {}), np.bool_)
    chosen = m.add("SELECT_V2", (same, m.numbers(18), less), (4,), ("SelectV2Options", {}))
    return m.add("SLICE", (chosen, m.numbers(1), m.numbers(3)), (3,), ("SliceOptions", {}))


def _padded(m: Shapes) -> int:
    """Sizes that are padded, tiled and summed."""
    longer = m.add("PAD", (m.size(), m.constant("ends", np.array([[1, 0]], np.int32))), (3,), ("PadOptions", {}))
    twice = m.add("TILE", (longer, m.numbers(2)), (6,), ("TileOptions", {}))
    ends = (m.numbers(1), m.numbers(6), m.numbers(1))
    parts = m.add("STRIDED_SLICE", (twice, *ends), (5,), ("StridedSliceOptions", {}))
    total = m.add("SUM", (parts, m.numbers(0)), (1,), ("ReducerOptions", {"KeepDims": True}))
    more = m.add("SUB", (total, m.numbers(2)), (1,), ("SubOptions", {}))
    return m.add("CONCATENATION", (more, m.numbers(4)), (2,), ("ConcatenationOptions", {}))


def _broadcast_size(m: Shapes) -> int:
    """What two shapes broadcast to."""
    return m.add("BROADCAST_ARGS", (m.shape, m.numbers(3)), (4,), None)


CASES: dict[str, Case] = {
    "reshape, unpacked": _reshaped(_unpacked, 24, 3),
    "reshape, split": _reshaped(_split_sizes, 6, 12),
    "reshape, searched": _reshaped(_searched, 4, 6, 3),
    "reshape, wide": _reshaped(_wide, 1, 12, 3, 2),
    "reshape, remainder": _reshaped(_remainder, 4, 1, 18),
    "reshape, padded": _reshaped(_padded, 18, 4),
    "reshape, broadcast": _reshaped(_broadcast_size, 1, 4, 6, 3),
    "nearest": _nearest(_twice, 8, 12),
    "nearest, by floats": _nearest(_twice_in_floats, 9, 13),
    "nearest, packed": _nearest(_packed, 5, 7),
    "nearest, chosen": _chosen,
    "bilinear": _bilinear,
    "fill": _fill,
    "broadcast": _broadcast,
    "slice": _slice,
    "strided slice": _strided,
    "pad": _pad,
    "tile": _tile,
    "transpose": _transpose,
    "mean": _mean,
    "flatten": _flatten,
    "split": _split,
}


def made(case: Case) -> tuple[bytes, Graph]:
    m = Shapes()
    y = case(m)
    data = m.data((m.x,), (y,))
    return data, graph_of(read_model(data), "case")


def x() -> Any:
    return samples([(np.float32, SHAPE)])[0][0]


@pytest.mark.parametrize("name", CASES)
def test_what_is_computed_from_shapes_is_constant(name: str) -> None:
    data, graph = made(CASES[name])
    assert not [op for op in graph.operations if op.name == "opaque" or "i32" in str(op.results[0].type)]
    again = graph_of(read_model(to_tflite(graph)), "again")
    (wanted,) = evaluate(graph, [x()])
    np.testing.assert_array_equal(evaluate(again, [x()])[0], wanted)
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    np.testing.assert_allclose(answers(data)[0], wanted, rtol=1e-6, atol=1e-6)


def test_results_are_right_without_litert() -> None:
    image = x()
    expected = {
        "nearest": image.repeat(2, axis=1).repeat(2, axis=2),
        "fill": image + np.float32(2.5),
        "broadcast": image + np.arange(3, dtype=np.float32),
        "slice": image[:, :2, :3],
        "strided slice": image[:, ::2, ::3],
        "pad": np.pad(image, ((0, 0), (0, 4), (0, 2), (0, 1))),
        "tile": np.tile(image, (1, 2, 2, 2)),
        "transpose": image.transpose(1, 2, 3, 0),
        "flatten": image.reshape(-1),
        "split": image[..., 2:],
    }
    for name, wanted in expected.items():
        np.testing.assert_array_equal(evaluate(made(CASES[name])[1], [image])[0], wanted, err_msg=name)


def test_a_size_that_differs_from_run_to_run_leaves_its_operator_opaque() -> None:
    m = Shapes()
    size = m.tensor("size", (2,), np.int32)
    y = m.y("RESIZE_NEAREST_NEIGHBOR", (m.x, size), (1, 8, 12, 3), ("ResizeNearestNeighborOptions", {}))
    graph = graph_of(read_model(m.data((m.x, size), (y,))), "case")
    with pytest.raises(netc.NetcError, match=r"RESIZE_NEAREST_NEIGHBOR \(operator 1, .*input 1, tensor `size`, is not"):
        netc.compile(graph)


def test_a_shape_is_an_output() -> None:
    m = Shapes()
    graph = graph_of(read_model(m.data((m.x,), (m.shape,))), "case")
    np.testing.assert_array_equal(evaluate(graph, [x()])[0], np.array(SHAPE, np.int32))


def test_what_is_different_in_a_constant_is_folded() -> None:
    m = Model()
    x, y = m.tensor("x", (4, 2), np.float32), m.tensor("y", (5, 2), np.float32)
    u, i = m.tensor("u", None, np.int32), m.tensor("i", (5,), np.int32)
    m.operator("UNIQUE", (m.constant("k", np.array([3, 1, 3, 0, 1], np.int32)),), (u, i), ("UniqueOptions", {}))
    m.operator("GATHER", (x, i), (y,), ("GatherOptions", {}))
    check(m.data((x,), (y, u)))
