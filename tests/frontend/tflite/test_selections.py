"""Operators that choose, scatter and look up, where files of one operator drawn at random don't lead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.graph import Graph, evaluate
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.reading import read_model
from netc.frontend.tflite import graph_of

from .small_models import Model


def _graph(m: Model, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> Graph:
    return graph_of(read_model(m.data(inputs, outputs)), "case")


def _reason(graph: Graph) -> str:
    (reason,) = (op.attributes["reason"] for op in graph.operations if op.name == "opaque")
    return str(reason)


def _sliced(shape: tuple[int, ...], result: tuple[int, ...], numbers: list[list[int]], **fields: Any) -> Graph:
    m = Model()
    x, y = m.tensor("x", shape, np.float32), m.tensor("y", result, np.float32)
    constants = [m.constant(f"n{i}", np.array(n, np.int32)) for i, n in enumerate(numbers)]
    m.operator("STRIDED_SLICE", (x, *constants), (y,), ("StridedSliceOptions", fields))
    return _graph(m, (x,), (y,))


def test_an_ellipsis_for_no_dimension_is_opaque() -> None:
    graph = _sliced((4,), (2,), [[0, 1], [0, 3], [1, 1]], EllipsisMask=1)
    assert _reason(graph) == "an ellipsis that stands for no dimension is not supported"


def test_offsets_for_some_dimensions_are_opaque() -> None:
    graph = _sliced((4, 3), (2, 3), [[1], [2], [1]], Offset=True)
    assert _reason(graph) == "offsets for some of the dimensions are not supported"


def test_offsets_for_all_dimensions_are_added_to_the_beginning() -> None:
    graph = _sliced((4, 3), (2, 2), [[1, -2], [2, 2], [1, 1]], Offset=True)
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.testing.assert_array_equal(evaluate(graph, [x])[0], x[1:3, 1:3])


@pytest.mark.parametrize("scales", [(0.5,), (0.5, 0.25, 2.0, 1.0)])
def test_rows_of_bytes_are_looked_up_as_floats(scales: tuple[float, ...]) -> None:
    m = Model()
    rows = np.arange(-8, 8, dtype=np.int8).reshape(4, 2, 2)
    places, y = m.tensor("places", (3,), np.int32), m.tensor("y", (3, 2, 2), np.float32)
    table = m.constant("rows", rows, scale=scales)
    m.operator("EMBEDDING_LOOKUP", (places, table), (y,))
    data = m.data((places,), (y,))
    graph, at = graph_of(read_model(data), "case"), np.array([3, 0, 3], np.int32)
    expected = rows[at].astype(np.float32) * np.broadcast_to(np.array(scales, np.float32), (4,))[at][:, None, None]
    np.testing.assert_array_equal(evaluate(graph, [at])[0], expected)
    again = graph_of(read_model(to_tflite(graph)), "again")
    np.testing.assert_array_equal(evaluate(again, [at])[0], expected)


def test_where_a_slice_begins_is_brought_inside() -> None:
    m = Model()
    x, part, y = (m.tensor(n, s, np.float32) for n, s in (("x", (4, 3)), ("part", (2, 2)), ("y", (4, 3))))
    start = m.tensor("start", (2,), np.int64)
    m.operator("DYNAMIC_UPDATE_SLICE", (x, part, start), (y,), ("DynamicUpdateSliceOptions", {}))
    graph = _graph(m, (x, part, start), (y,))
    zeros, ones = np.zeros((4, 3), np.float32), np.ones((2, 2), np.float32)
    for begin, corner in (((9, -1), (2, 0)), ((1, 1), (1, 1))):
        expected = zeros.copy()
        expected[corner[0] : corner[0] + 2, corner[1] : corner[1] + 2] = 1
        np.testing.assert_array_equal(evaluate(graph, [zeros, ones, np.array(begin)])[0], expected)


@pytest.mark.parametrize("inputs", [0, 1])
def test_places_of_sparse_elements_may_be_computed(inputs: int) -> None:
    """Of several elements at one place the last one counts."""
    m = Model()
    numbers = np.array([[0, 1], [2, 0], [0, 1]], np.int32)
    places = m.tensor("places", (3, 2), np.int32) if inputs else m.constant("places", numbers)
    values, y = m.tensor("values", (3,), np.float32), m.tensor("y", (3, 2), np.float32)
    shape, rest = m.constant("shape", np.array([3, 2], np.int32)), m.constant("rest", np.array(-1, np.float32))
    m.operator("SPARSE_TO_DENSE", (places, shape, values, rest), (y,), ("SparseToDenseOptions", {}))
    graph = _graph(m, (places, values) if inputs else (values,), (y,))
    given = [numbers, np.array([5, 6, 7], np.float32)][0 if inputs else 1 :]
    np.testing.assert_array_equal(evaluate(graph, given)[0], [[-1, 7], [-1, -1], [6, -1]])


def test_rows_with_negative_numbers_belong_to_no_segment() -> None:
    m = Model()
    x, ids, y = (m.tensor(n, s, t) for n, s, t in (("x", (4,), np.int32), ("i", (4,), np.int32), ("y", (3,), np.int32)))
    count = m.constant("count", np.array(3, np.int32))
    m.operator("UNSORTED_SEGMENT_SUM", (x, ids, count), (y,), ("UnsortedSegmentSumOptions", {}))
    graph = _graph(m, (x, ids), (y,))
    rows, numbers = np.array([1, 2, 4, 8], np.int32), np.array([0, -1, 2, 0], np.int32)
    np.testing.assert_array_equal(evaluate(graph, [rows, numbers])[0], [9, 0, 4])


def test_boxes_overlap_from_the_threshold_on() -> None:
    """Corners may stand in any order; the rest are zeros."""
    m = Model()
    boxes, scores = m.tensor("boxes", (3, 4), np.float32), m.tensor("scores", (3,), np.float32)
    numbers = [m.constant(f"n{i}", np.array(n)) for i, n in enumerate((np.int32(3), np.float32(0.5), np.float32(0)))]
    chosen, count = m.tensor("chosen", (3,), np.int32), m.tensor("count", (), np.int32)
    m.operator("NON_MAX_SUPPRESSION_V4", (boxes, scores, *numbers), (chosen, count), ("NonMaxSuppressionV4Options", {}))
    graph = _graph(m, (boxes, scores), (chosen, count))
    given = np.array([[0, 0, 2, 1], [1, 1, 0, 0], [5, 5, 6, 6]], np.float32)  # the second one is half of the first
    found, number = evaluate(graph, [given, np.array([0.3, 0.9, 0.2], np.float32)])
    np.testing.assert_array_equal(found, [1, 2, 0])
    assert number == 2


def test_overlaps_lower_scores() -> None:
    """Numbers that LiteRT gives; of equal scores the first box isn't always the first."""
    m = Model()
    boxes, scores = m.tensor("boxes", (7, 4), np.float32), m.tensor("scores", (7,), np.float32)
    given = (np.int32(7), np.float32(0.9), np.float32(0.25), np.float32(0.5))
    numbers = [m.constant(f"n{i}", np.array(n)) for i, n in enumerate(given)]
    made = [m.tensor("chosen", (7,), np.int32), m.tensor("kept", (7,), np.float32), m.tensor("count", (), np.int32)]
    m.operator("NON_MAX_SUPPRESSION_V5", (boxes, scores, *numbers), made, ("NonMaxSuppressionV5Options", {}))
    graph = _graph(m, (boxes, scores), made)
    rows = [[0, 0, 2, 1], [0, 0, 2, 2], [0, 0, 2, 1], [5, 5, 6, 6], [0, 0, 1, 1], [9, 9, 8, 8], [7, 7, 8, 8]]
    inputs = [np.array(rows, np.float32), np.full(7, 0.5, np.float32)]
    program = netc.compile(graph, threads=1)
    for found, kept, number in (evaluate(graph, inputs), program(*inputs)):
        np.testing.assert_array_equal(found, [0, 5, 6, 3, 1, 4, 0])
        np.testing.assert_allclose(kept, [0.5, 0.5, 0.5, 0.5, 0.3894004, 0.36580783, 0], rtol=1e-6)
        assert number == 6


def test_zero_points_that_kernels_ignore_are_not_computed_with() -> None:
    m = Model()
    x, y = (m.tensor(n, (1, 4, 4, 2), np.int8, scale=0.1) for n in "xy")
    w = m.constant("w", np.ones((1, 3, 3, 2), np.int8), scale=0.1, zero=5, axis=3)
    options = {"StrideW": 1, "StrideH": 1, "DepthMultiplier": 1}
    m.operator("DEPTHWISE_CONV_2D", (x, w, -1), (y,), ("DepthwiseConv2DOptions", options), version=3)
    assert _reason(_graph(m, (x,), (y,))) == "weights of i8 whose zero points aren't 0 are not supported"
