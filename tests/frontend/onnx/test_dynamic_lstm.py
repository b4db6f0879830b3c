"""LSTMs whose weights are bytes (DynamicQuantizeLSTM of com.microsoft), against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph import evaluate

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import helper, numpy_helper  # noqa: E402

from netc.frontend.onnx import graph_of  # noqa: E402

from .small_models import model  # noqa: E402

STEPS, FEATURES, UNITS = 5, 6, 8
DOMAINS = {"com.microsoft": 1}


def weights(directions: int, dtype: Any, by_column: bool, with_peepholes: bool) -> dict[str, Any]:
    """Bytes, and their scales and zero points, by name."""
    draw, info = np.random.default_rng(0), np.iinfo(dtype)
    sizes = (directions, 4 * UNITS) if by_column else (directions,)
    found: dict[str, Any] = {}
    for name, rows in (("w", FEATURES), ("r", UNITS)):
        # Without dot products of bytes ONNX Runtime adds pairs of products of signed weights in 16 bits, if they fit.
        low, high = (-64, 64) if dtype is np.int8 else (info.min, info.max + 1)
        found[name] = draw.integers(low, high, (directions, rows, 4 * UNITS)).astype(dtype)
        found[f"{name}_scale"] = draw.uniform(0.002, 0.004, sizes).astype(np.float32)
        found[f"{name}_zero"] = np.full(sizes, 128 if dtype is np.uint8 else 0, dtype)
    found["b"] = draw.normal(size=(directions, 8 * UNITS)).astype(np.float32) / 8
    return {**found, **({"p": found["b"][:, : 3 * UNITS] * 2} if with_peepholes else {})}


def lstm(direction: str, samples: int, known: dict[str, Any], lengths: str = "") -> Any:
    directions = len(known["w"])
    names = [
        "x",
        "w",
        "r",
        "b",
        lengths,
        "h",
        "c",
        "p" if "p" in known else "",
        "w_scale",
        "w_zero",
        "r_scale",
        "r_zero",
    ]
    node = helper.make_node(
        "DynamicQuantizeLSTM", names, ["y", "yh", "yc"], domain="com.microsoft", direction=direction, hidden_size=UNITS
    )
    state = [directions, samples, UNITS]
    inputs = {"x": [STEPS, samples, FEATURES], "h": state, "c": state}
    made = model([node], inputs, ["y", "yh", "yc"], known, opset=17, domains=DOMAINS)
    for output in made.graph.output:
        output.CopyFrom(helper.make_tensor_value_info(output.name, onnx.TensorProto.FLOAT, None))
    return made


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("dtype", "by_column"), [(np.int8, False), (np.int8, True), (np.uint8, False)])
def test_bytes_as_the_network_runs(samples: int, direction: str, dtype: Any, by_column: bool) -> None:
    directions = 2 if direction == "bidirectional" else 1
    made = lstm(direction, samples, weights(directions, dtype, by_column, with_peepholes=samples == 1))
    draw = np.random.default_rng(1)
    sizes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in made.graph.input}
    row = {name: draw.normal(size=shape).astype(np.float32) for name, shape in sizes.items()}
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    got = netc.compile(graph_of(made, "m"), threads=1)(*row.values())
    for a, b in zip(session.run(None, row), got, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-6)


def test_zero_points_that_differ_by_column() -> None:
    known = weights(1, np.uint8, by_column=True, with_peepholes=False)
    draw = np.random.default_rng(2)
    known["r_zero"] = draw.integers(0, 256, known["r_zero"].shape).astype(np.uint8)
    graph = graph_of(lstm("forward", 2, known), "m")
    row = [draw.normal(size=v.type.shape).astype(np.float32) for v in graph.inputs]
    assert np.ptp(known["r"].astype(np.int32) - known["r_zero"][:, None]) > 255
    for found, wanted in zip(netc.compile(graph, threads=1)(*row), evaluate(graph, row), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_a_state_of_zeros() -> None:
    made = lstm("forward", 1, weights(1, np.int8, by_column=False, with_peepholes=False))
    x, state = np.zeros((STEPS, 1, FEATURES), np.float32), np.zeros((1, 1, UNITS), np.float32)
    assert np.isfinite(netc.compile(graph_of(made, "m"), threads=1)(x, state, state)[0]).all()


def test_sequences_of_different_lengths_are_refused() -> None:
    known = weights(1, np.int8, by_column=False, with_peepholes=False)
    made = lstm("forward", 1, known, "lengths")
    made.graph.initializer.append(numpy_helper.from_array(np.array([STEPS - 1], np.int32), "lengths"))
    with pytest.raises(NetcError, match="different lengths"):
        graph_of(made, "m")
