"""Scan and Loop as loops in one kernel, and recurrent layers, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.graph import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.tflite.reading import read_model
from netc.compiler.tflite.writer import to_tflite
from netc.frontend.tflite import graph_of as tflite_graph
from netc.frontend.writing.text import written
from netc.passes import differentiate
from netc.runtime.program import all_outputs

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from netc.frontend.onnx import graph_of  # noqa: E402

STEPS, SAMPLES, UNITS = 5, 3, 8
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
RNG = np.random.default_rng(0)
WEIGHT = (RNG.standard_normal((UNITS, UNITS)) / 3).astype(np.float32)


def info(name: str, shape: Sequence[int] | None, kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def made(nodes: list[Any], inputs: dict[str, list[int]], outputs: list[str], known: dict[str, Any]) -> Any:
    graph = helper.make_graph(
        nodes,
        "g",
        [info(name, shape) for name, shape in inputs.items()],
        [info(name, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in known.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def agree(model: Any) -> Graph:
    """Compare with ONNX Runtime on random inputs; the graph."""
    graph = graph_of(model, "m")
    row = {v.name: RNG.standard_normal(v.type.shape).astype(np.float32) for v in graph.inputs}
    wanted = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, row)
    with netc.compile(graph, threads=1) as program:
        compiled = all_outputs(program(*row.values()))
    for found in (evaluate(graph, list(row.values())), compiled):
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-6)
    return graph


def count(graph: Graph, name: str) -> int:
    return sum(op.name == name for op in graph.operations)


def scan_body() -> Any:
    """h' = tanh(h W + x), with h' and h' - x for each step; the weight is taken from outside."""
    nodes = [
        helper.make_node("MatMul", ["h", "W"], ["m"]),
        helper.make_node("Add", ["m", "x"], ["s"]),
        helper.make_node("Tanh", ["s"], ["h_next"]),
        helper.make_node("Identity", ["h_next"], ["y"]),
        helper.make_node("Sub", ["h_next", "x"], ["z"]),
    ]
    state = [SAMPLES, UNITS]
    outputs = [info("h_next", state), info("y", state), info("z", state)]
    return helper.make_graph(nodes, "body", [info("h", state), info("x", state)], outputs)


@pytest.mark.parametrize(
    ("attributes", "looped"),
    [
        ({}, True),
        ({"scan_input_axes": [1], "scan_output_axes": [1, -1]}, True),
        ({"scan_input_directions": [1], "scan_output_directions": [1, 1]}, True),
        ({"scan_input_directions": [1]}, False),
        ({"scan_output_directions": [1, 0]}, False),
    ],
)
def test_scan(attributes: dict[str, list[int]], looped: bool) -> None:
    given = {**attributes, "body": scan_body(), "num_scan_inputs": 1}
    node = helper.make_node("Scan", ["h0", "xs"], ["last", "ys", "zs"], **given)
    shape = [STEPS, SAMPLES, UNITS]
    shape = [SAMPLES, STEPS, UNITS] if "scan_input_axes" in attributes else shape
    graph = agree(made([node], {"h0": [SAMPLES, UNITS], "xs": shape}, ["last", "ys", "zs"], {"W": WEIGHT}))
    assert count(graph, "scan") == looped


def test_a_scan_of_one_sequence_along_its_last_axis() -> None:
    """Transposes stand around an operation of two operands and two results, which is no product."""
    size, whole = [SAMPLES], [SAMPLES, STEPS]
    add = helper.make_node("Add", ["h", "x"], ["h_next"])
    nodes = [add, helper.make_node("Mul", ["h_next", "x"], ["y"])]
    body = helper.make_graph(nodes, "b", [info("h", size), info("x", size)], [info("h_next", size), info("y", size)])
    for axis in (1, -1):
        given = {"body": body, "num_scan_inputs": 1, "scan_input_axes": [axis], "scan_output_axes": [axis]}
        node = helper.make_node("Scan", ["h0", "xs"], ["last", "ys"], **given)
        assert count(agree(made([node], {"h0": size, "xs": whole}, ["last", "ys"], {})), "scan") == 1


def loop(nodes: list[Any], state: list[int], known: dict[str, Any]) -> Any:
    """A loop of STEPS turns over `h`, whose body has these nodes, from `h` and the number `i` to `h_next`."""
    body = helper.make_graph(
        [*nodes, helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["h_next"], ["y"])],
        "body",
        [info("i", [], INT64), info("go", [], TensorProto.BOOL), info("h", state)],
        [info("go_on", [], TensorProto.BOOL), info("h_next", None), info("y", None)],
    )
    node = helper.make_node("Loop", ["turns", "", "h0"], ["last", "ys"], body=body)
    inputs = {"h0": state, "xs": [STEPS, SAMPLES, UNITS]}
    return made([node], inputs, ["last", "ys"], {"turns": np.array(STEPS), **known})


def test_a_loop_that_finds_its_element_is_a_scan() -> None:
    nodes = [
        helper.make_node("Gather", ["xs", "i"], ["x"], axis=0),
        helper.make_node("MatMul", ["h", "W"], ["m"]),
        helper.make_node("Add", ["m", "x"], ["s"]),
        helper.make_node("Tanh", ["s"], ["h_next"]),
    ]
    assert count(agree(loop(nodes, [SAMPLES, UNITS], {"W": WEIGHT})), "scan") == 1


def test_a_loop_that_must_know_its_number_is_written_out() -> None:
    nodes = [
        helper.make_node("Unsqueeze", ["i", "zero"], ["begin"]),
        helper.make_node("Add", ["begin", "one"], ["end"]),
        helper.make_node("Slice", ["xs", "begin", "end", "zero"], ["x"]),
        helper.make_node("Squeeze", ["x", "zero"], ["row"]),
        helper.make_node("Add", ["h", "row"], ["h_next"]),
    ]
    graph = agree(loop(nodes, [SAMPLES, UNITS], {"zero": np.array([0]), "one": np.array([1])}))
    assert count(graph, "scan") == 0


@pytest.mark.parametrize("turns", [1 << 40, (1 << 63) - 1])
def test_a_condition_ends_a_loop_of_any_number_of_turns(turns: int) -> None:
    nodes = [helper.make_node("Less", ["i", "two"], ["go_on"]), helper.make_node("Add", ["h", "h"], ["h_next"])]
    body = helper.make_graph(
        nodes,
        "body",
        [info("i", [], INT64), info("go", [], TensorProto.BOOL), info("h", [UNITS])],
        [info("go_on", [], TensorProto.BOOL), info("h_next", None)],
    )
    node = helper.make_node("Loop", ["turns", "", "h0"], ["last"], body=body)
    known = {"turns": np.array(turns), "two": np.array(2)}
    graph = agree(made([node], {"h0": [UNITS]}, ["last"], known))
    assert count(graph, "add") == 3


def test_an_endless_loop_is_refused() -> None:
    nodes = [helper.make_node("Add", ["h", "h"], ["h_next"])]
    endless = loop(nodes, [UNITS], {})
    endless.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array((1 << 63) - 1), "turns"))
    with pytest.raises(netc.NetcError, match="a loop of more than 4096 turns"):
        graph_of(endless, "endless")


def layer(op: str, direction: str, lengths: bool, **attributes: Any) -> Any:
    """A recurrent layer with random weights."""
    directions, gates = 2 if direction == "bidirectional" else 1, {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    draw = np.random.default_rng(1)
    shapes = {"w": (gates * UNITS, 6), "r": (gates * UNITS, UNITS), "b": (2 * gates * UNITS,)}
    known = {n: (draw.standard_normal((directions, *s)) / 3).astype(np.float32) for n, s in shapes.items()}
    if lengths:
        known["lengths"] = np.array([STEPS, 1, 3], np.int32)
    states = ["h0", "c0"] if op == "LSTM" else ["h0"]
    names = ["x", *known, *([] if lengths else [""]), *states]
    node = helper.make_node(op, names, ["y", "h"], hidden_size=UNITS, direction=direction, **attributes)
    inputs = {"x": [STEPS, SAMPLES, 6], **{name: [directions, SAMPLES, UNITS] for name in states}}
    return made([node], inputs, ["y", "h"], known)


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_recurrent_layers(op: str, direction: str, lengths: bool) -> None:
    graph = agree(layer(op, direction, lengths))
    assert count(graph, "scan") == (2 if direction == "bidirectional" else 1)


@pytest.mark.parametrize("behind", [0, 1])
def test_a_gru_multiplies_the_state_once(behind: int) -> None:
    graph = agree(layer("GRU", "forward", lengths=False, linear_before_reset=behind))
    (scan,) = (op for op in graph.operations if op.name == "scan")
    types = tuple(v.type for v in scan.operands), tuple(v.type for v in scan.results)
    assert scan.operator.macs(*types, scan.attributes) == STEPS * SAMPLES * UNITS * 3 * UNITS


@pytest.mark.parametrize("op", ["LSTM", "GRU"])
def test_transposes_around_a_layer(op: str) -> None:
    model = layer(op, "bidirectional", lengths=False)
    (node,) = model.graph.node
    node.input[0], node.output[0] = "turned", "raw"
    before = helper.make_node("Transpose", ["x"], ["turned"], perm=[1, 0, 2])
    after = helper.make_node("Transpose", ["raw"], ["moved"], perm=[2, 0, 1, 3])
    flat = helper.make_node("Reshape", ["moved", "shape"], ["rows"])
    scores = helper.make_node("MatMul", ["rows", "scores"], ["y"])
    model.graph.node.insert(0, before)
    model.graph.node.extend([after, flat, scores])
    model.graph.input[0].CopyFrom(info("x", [SAMPLES, STEPS, 6]))
    known = {"shape": np.array([SAMPLES, STEPS, -1]), "scores": np.ones((2 * UNITS, 3), np.float32)}
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in known.items())
    agree(model)


def test_what_takes_no_loops_gets_the_steps() -> None:
    graph = graph_of(layer("GRU", "bidirectional", lengths=False), "m")
    row = [RNG.standard_normal(v.type.shape).astype(np.float32) for v in graph.inputs]
    wanted = evaluate(graph, row)
    assert "scan" not in written(graph).text
    for a, b in zip(evaluate(tflite_graph(read_model(to_tflite(graph)), "again"), row), wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert evaluate(differentiate(graph, 0, ["x"]), row)[-1].shape == graph.inputs[0].type.shape
