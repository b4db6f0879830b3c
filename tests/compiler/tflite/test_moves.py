"""Operators that move elements, on every element type: written, read back, and byte for byte what LiteRT does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from netc.compiler.errors import NetcError
from netc.compiler.graph import Graph, GraphBuilder, Value, evaluate
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.reading import read_model
from netc.compiler.types import DType, TensorType, parse_type
from netc.frontend.tflite import graph_of

from ...frontend.tflite.litert import LiteRT, RefusedError

PICTURE = (2, 4, 6, 8)
Make = Callable[[GraphBuilder, Value], Value]


def one(name: str, **attributes: Any) -> Make:
    """One operator of one operand."""
    return lambda b, x: b.emit(name, x, **attributes)


def by_indices(name: str, indices: Any, dtype: Any = np.int32, **attributes: Any) -> Make:
    """An operator of a tensor and known indices."""
    return lambda b, x: b.emit(name, x, b.constant(np.array(indices, dtype)), **attributes)


def strides(begin: Any, size: Any, steps: Any) -> Make:
    return one("strided_slice", begin=begin, size=size, strides=steps)


MOVES: dict[str, tuple[Make, str]] = {
    "every other": (strides((0, 1, 5, 0), (2, 2, 3, 8), (1, 2, -2, 1)), "STRIDED_SLICE"),
    "backward to the first": (strides((0, 3, 0, 0), (2, 4, 6, 8), (1, -1, 1, 1)), "REVERSE_V2"),
    "backward by three": (strides((0, 0, 0, 6), (2, 4, 6, 3), (1, 1, 1, -3)), "STRIDED_SLICE"),
    "flip of two": (strides((0, 3, 5, 0), (2, 4, 6, 8), (1, -1, -1, 1)), "REVERSE_V2"),
    "flip of two apart": (strides((1, 0, 5, 0), (2, 4, 6, 8), (-1, 1, -1, 1)), "STRIDED_SLICE"),
    "reflect": (one("mirror_pad", padding=((0, 0), (3, 1), (0, 5), (1, 0)), mode="reflect"), "MIRROR_PAD"),
    "symmetric": (one("mirror_pad", padding=((1, 1), (4, 1), (0, 6), (0, 0)), mode="symmetric"), "MIRROR_PAD"),
    "space to depth": (one("space_to_depth", block_size=2), "SPACE_TO_DEPTH"),
    "depth to space": (one("depth_to_space", block_size=2), "DEPTH_TO_SPACE"),
    "batch to space": (one("batch_to_space_nd", block_shape=(2, 1), crops=((1, 2), (0, 0))), "BATCH_TO_SPACE_ND"),
    "tile": (one("tile", multiples=(1, 2, 1, 3)), "TILE"),
    "gather": (by_indices("gather", [[0, -1], [2, 2]], axis=3), "GATHER"),
    "gather of the first": (by_indices("gather", 1, np.int64), "GATHER"),
    "gather in batches": (by_indices("gather", [[3, 0], [-2, 1]], axis=2, batch_dims=1), "GATHER"),
    "gather_nd": (by_indices("gather_nd", [[0, 3], [-1, -1], [1, 0]]), "GATHER_ND"),
    "take_along_axis": (by_indices("take_along_axis", np.full((2, 4, 2, 8), 3), axis=2), "GATHER_ND"),
}
TYPES = ("f32", "i8<0.05:-3>", "u8<0.05:128>", "i16<0.001>", "i8", "u8", "i16", "i32", "i64", "i1")


def typed(spelling: str, shape: tuple[int, ...]) -> TensorType:
    """A type such as i8<0.05:-3> with a shape."""
    element, _, scale = spelling.partition("<")
    return parse_type(f"{element}[{','.join(map(str, shape))}]" + (f"<{scale}" if scale else ""))


def drawn(type_: TensorType) -> Any:
    random = np.random.default_rng(3)
    if type_.dtype is DType.BOOL:
        return random.random(type_.shape) < 0.5
    if type_.dtype.is_float:
        return random.standard_normal(type_.shape).astype(type_.dtype.numpy)
    info = np.iinfo(str(type_.dtype.numpy))
    return random.integers(info.min, info.max, type_.shape, type_.dtype.numpy, endpoint=True)


def check(graph: Graph, kind: str, litert: LiteRT) -> bool:
    """Hold file and what is read back against the meaning; False where LiteRT has no kernel."""
    try:
        data = to_tflite(graph)
    except NetcError as error:
        assert "LiteRT has no kernel of" in str(error)  # noqa: PT017
        return False
    model = read_model(data)
    assert kind in [operator.name for operator in model.operators]
    again = graph_of(model, "again")
    assert not [op for op in again.operations if op.name == "opaque"]
    given = [drawn(v.type) for v in graph.inputs]
    (wanted,) = evaluate(graph, given)
    np.testing.assert_array_equal(evaluate(again, given)[0], wanted)
    assert again.outputs[0].type == graph.outputs[0].type
    try:
        (got,) = litert.first(data, [given])
    except RefusedError as error:
        assert "aborts" not in str(error)  # noqa: PT017
        return False
    assert got[0].dtype == wanted.dtype
    np.testing.assert_array_equal(got[0], wanted)
    return True


@pytest.mark.parametrize("spelling", TYPES)
@pytest.mark.parametrize("name", MOVES)
def test_litert_moves_the_same_bytes(name: str, spelling: str, litert: LiteRT) -> None:
    make, kind = MOVES[name]
    b = GraphBuilder("net")
    x = b.input("x", typed(spelling, PICTURE))
    has_kernel = check(b.finish([make(b, x)]), kind, litert)
    assert has_kernel or spelling not in TYPES[:2], "LiteRT has kernels for floats and for 8 bits"


@pytest.mark.parametrize("spelling", ["f32", "i8<0.05:-3>", "u8<0.05:128>"])
def test_space_to_batch_pads_with_zeros(spelling: str, litert: LiteRT) -> None:
    b = GraphBuilder("net")
    x = b.input("x", typed(spelling, PICTURE))
    attributes = {"block_shape": (2, 4), "padding": ((1, 1), (0, 2)), "value": x.type.zero_point}
    assert check(b.finish([b.emit("space_to_batch_nd", x, **attributes)]), "SPACE_TO_BATCH_ND", litert)
    ones = GraphBuilder("net")
    y = ones.emit("space_to_batch_nd", ones.input("x", x.type), **{**attributes, "value": 1})
    with pytest.raises(NetcError, match="TFLite's SPACE_TO_BATCH_ND pads with zeros"):
        to_tflite(ones.finish([y]))


@pytest.mark.parametrize("spelling", ["f32", "i32", "i64", "i8"])
def test_scatter_nd_adds(spelling: str, litert: LiteRT) -> None:
    b = GraphBuilder("net")
    places = b.constant(np.array([[0, 3], [-1, 1], [0, 3], [0, 3]], np.int64))
    graph = b.finish([b.emit("scatter_nd", places, b.input("x", typed(spelling, (4, 6))), shape=(4, 5, 6))])
    assert check(graph, "SCATTER_ND", litert)


@pytest.mark.parametrize("spelling", ["f32", "i32", "i8", "i8<0.05:-3>"])
def test_scatter_nd_of_a_single_number(spelling: str, litert: LiteRT) -> None:
    b = GraphBuilder("net")
    places = b.constant(np.array([3, -1], np.int64))
    graph = b.finish([b.emit("scatter_nd", places, b.input("x", typed(spelling, ())), shape=(4, 5))])
    assert check(graph, "SCATTER_ND", litert)


@pytest.mark.parametrize("spelling", ["f32", "i32", "i64", "i8", "u8"])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("labels", ["i32", "i64", "u8"])
def test_one_hot(axis: int, spelling: str, labels: str, litert: LiteRT) -> None:
    b = GraphBuilder("net")
    x = b.input("x", typed(labels, (3, 4)))
    y = b.emit("one_hot", x, depth=90, dtype=spelling, axis=axis, on=3, off=1)
    assert check(b.finish([y]), "ONE_HOT", litert)
