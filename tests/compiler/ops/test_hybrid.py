"""Contractions of floats with 8-bit weights: what they refuse, how they are lowered, what edges mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError, ShapeError
from netc.compiler.graph import Graph, GraphBuilder, evaluate
from netc.compiler.graph.registry import lookup
from netc.compiler.passes import differentiate, float_weights
from netc.compiler.types import DType, Quantization, TensorType, parse_type
from netc.pipeline import Request, build

HALF = Quantization.of(0.5)
WINDOW: dict[str, Any] = {"strides": (1, 1), "padding": "same", "dilations": (1, 1)}
IN_TURN = Quantization((0.5, 0.25), (0, 0), 0)


def dense(rows: int, inputs: int, units: int, **attributes: Any) -> Graph:
    b, rng = GraphBuilder("net"), np.random.default_rng(1)
    x = b.input("x", TensorType(DType.F32, (rows, inputs)))
    weight = b.constant(rng.integers(-127, 128, (inputs, units), np.int8), quantization=HALF)
    bias = b.constant(np.linspace(-1, 1, units, dtype=np.float32))
    return b.finish([b.emit("relu", b.emit("hybrid_dense", x, weight, bias, weight=HALF, **attributes))])


RNN = ("f32[1,2,3]", "f32[1,4]", "i8[3,4]", "i8[4,4]", "f32[4]")


@pytest.mark.parametrize(
    ("name", "types", "attributes", "said"),
    [
        ("hybrid_dense", ("f64[1,4]", "i8[4,2]"), {"weight": HALF}, r"takes floats \(f32\) and a weight of i8"),
        ("hybrid_dense", ("f32[1,4]", "u8[4,2]"), {"weight": HALF}, r"takes floats \(f32\) and a weight of i8"),
        ("hybrid_dense", ("f32[1,4]", "i8[4,2]"), {"weight": Quantization.of(0.5, 3)}, "the zero point 0"),
        ("hybrid_dense", ("f32[1,4]", "i8[2,4]"), {"weight": HALF}, "can't multiply"),
        ("hybrid_dense", ("f32[1,2]", "i8[2,2]"), {"weight": IN_TURN}, "one for each filter"),
        ("hybrid_dense", ("f32[1,4]", "i8[4,2]<0.25>"), {"weight": HALF}, "but the operand is quantized as <0.25>"),
        ("hybrid_dense", ("f32[3,0]", "i8[0,2]"), {"weight": HALF}, r"a row of f32\[3,0\] has no elements"),
        ("hybrid_conv2d", ("f32[1,4,4,3]", "i8[3,3,2,2]"), {**WINDOW, "weight": HALF}, "conv2d"),
        ("hybrid_rnn", (*RNN[:2], "f32[3,4]", *RNN[3:]), {"scales": (1.0, 1.0)}, "operand 2 should be of type i8"),
        ("hybrid_rnn", RNN, {"scales": (1.0,)}, "needs a scale for each"),
        ("hybrid_rnn", RNN, {"scales": (1.0, 0.0)}, "needs a scale for each"),
        ("hybrid_rnn", (*RNN[:4], "f32[5]"), {"scales": (1.0, 1.0)}, "can't begin with the state"),
        ("row_extremes", ("f32[2,3]",), {}, r"takes \[rows, parts, elements\]"),
        ("dynamic_parameters", ("f32[2,3,3]",), {}, r"takes \[rows, parts, 2\]"),
        ("dynamic_quantize", ("f32[2,3]", "f32[3,3]"), {}, "can't take"),
        ("dynamic_quantize", ("f32[2,3]", "f32[2,3]"), {"padding": ((1, 0), (0, 0))}, "have no parameters"),
        ("dynamic_rescale", ("f32[2,3]", "f32[2,3]", "i32[3]", "f32[3]"), {}, "can't take"),
        ("dynamic_rescale", ("i32[2,3]", "f32[2,3]", "f32[3]", "f32[3]"), {}, "can't scale"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, types: tuple[str, ...], attributes: dict[str, Any], said: str) -> None:
    b = GraphBuilder("net")
    inputs = [b.input(f"x{i}", parse_type(text)) for i, text in enumerate(types)]
    with pytest.raises(ShapeError, match=said):
        b.operation(lookup(name), tuple(inputs), attributes)


@pytest.mark.parametrize("rows", [1, 16])
@pytest.mark.parametrize("inputs", [64, 63])
def test_rows_with_scales_of_their_own_use_dot_products(rows: int, inputs: int) -> None:
    module = build(Request(dense(rows, inputs, 32), cpu="znver4", threads=1), "loops").module
    assert "dot4(" in str(module)


@pytest.mark.parametrize(
    "shape", [(16,), (1, 16), (4, 16), (2, 1, 16), (5, 1, 1, 16), (7, 1, 33), (2, 3, 16), (1, 2, 16)]
)
def test_three_units_have_results_of_the_shape_of_the_parameters(shape: tuple[int, ...]) -> None:
    b, rng = GraphBuilder("net"), np.random.default_rng(2)
    weight = b.constant(rng.integers(-127, 128, (shape[-1], 3), np.int8))
    y = b.emit("hybrid_dense", b.input("x", TensorType(DType.F32, shape)), weight, weight=HALF)
    graph, x = b.finish([y]), rng.standard_normal(shape, np.float32) + 0.3
    with netc.compile(graph, threads=1) as program:
        np.testing.assert_array_equal(program(x), evaluate(graph, (x,))[0])


def test_no_rows_give_no_results() -> None:
    graph = dense(0, 4, 2)
    assert evaluate(graph, [np.zeros((0, 4), np.float32)])[0].shape == (0, 2)
    assert netc.compile(graph, threads=1)(np.zeros((0, 4), np.float32)).shape == (0, 2)


@pytest.mark.parametrize("symmetric", [False, True])
def test_rows_of_zeros_give_the_bias(symmetric: bool) -> None:
    graph = dense(3, 5, 2, symmetric=symmetric)
    x = np.zeros((3, 5), np.float32)
    with netc.compile(graph, threads=1) as program:
        for found in (evaluate(graph, [x])[0], program(x)):
            np.testing.assert_array_equal(found, np.tile(np.float32([0, 1]), (3, 1)))


def test_layers_can_be_read_with_weights_of_floats() -> None:
    b = GraphBuilder("net")
    inputs = [b.input(f"x{i}", parse_type(text)) for i, text in enumerate(RNN)]
    layer = b.operation(lookup("hybrid_rnn"), tuple(inputs), {"scales": (0.5, 0.25)})
    graph = float_weights(b.finish(layer.results))
    assert [op.name for op in graph.operations if op.name.endswith("rnn")] == ["sequence_rnn"]


def test_gradients_need_weights_of_floats() -> None:
    graph = dense(2, 4, 3)
    with pytest.raises(NetcError, match="read the file with floats for weights"):
        differentiate(graph, wrt=["x"])
    assert differentiate(float_weights(graph), wrt=["x"]).outputs[-1].type.shape == (2, 4)
