"""Other people's models, read and written again: LiteRT's reference kernels give the same bytes for both."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from netc.compiler.errors import NetcError
from netc.compiler.graph import parse_graph
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.reading import read_model
from netc.frontend.tflite.reader import graph_of, load_tflite

from ...frontend.tflite.small_models import Model

RNG = np.random.default_rng(6)

FOLDER = Path(os.environ.get("NETC_EDGETPU", Path(__file__).resolve().parents[4] / "shared" / "edgetpu")) / "models"
MODELS = [
    "bright_128x128.tflite",
    "deeplab_mobilenet_edgetpu_slim_cityscapes_quant.tflite",
    "deeplabv3_mnv2_pascal_quant.tflite",
    "keras_lstm_mnist_ptq.tflite",
    "looming_128x128_3x3.tflite",
    "mobilenet_v1_0.25_128_quant.tflite",
    "mobilenet_v2_1.0_224_quant.tflite",
    "model_size_channel82_quant.tflite",
    "movenet_single_pose_lightning_ptq.tflite",
    "split_concat.tflite",
    "tf2_mobilenet_v2_1.0_224_ptq.tflite",
]


def outputs(
    litert: object, data: bytes, arguments: Sequence[NDArray[np.generic]] | None = None
) -> list[NDArray[np.generic]]:
    """What LiteRT's reference kernels give, on random integers unless there are arguments."""
    reference = litert.OpResolverType.BUILTIN_REF  # type: ignore[attr-defined]
    interpreter = litert.Interpreter(  # type: ignore[attr-defined]
        model_content=data, experimental_op_resolver_type=reference
    )
    interpreter.allocate_tensors()
    random = np.random.default_rng(0)
    for i, given in enumerate(interpreter.get_input_details()):
        if arguments is not None:
            interpreter.set_tensor(given["index"], arguments[i])
            continue
        values = random.integers(-100, 100, given["shape"])
        interpreter.set_tensor(given["index"], (values + 100 * (given["dtype"] is np.uint8)).astype(given["dtype"]))
    interpreter.invoke()
    return [interpreter.get_tensor(o["index"]) for o in interpreter.get_output_details()]


@pytest.mark.parametrize("name", MODELS)
def test_litert_runs_what_was_read_and_written_alike(name: str) -> None:
    if not (FOLDER / name).is_file():
        pytest.skip(f"there is no {FOLDER / name}")
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    again = to_tflite(load_tflite(FOLDER / name))
    for wanted, got in zip(outputs(litert, (FOLDER / name).read_bytes()), outputs(litert, again), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_custom_operators_are_kept() -> None:
    path = FOLDER / "posenet_mobilenet_v1_075_353_481_16_quant_decoder.tflite"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    graph = load_tflite(path)
    data = to_tflite(graph)
    wanted = next(op for op in graph.operations if op.name == "opaque").attributes
    custom = [op for op in read_model(data).operators if op.is_custom]
    assert [(op.name, op.custom_options) for op in custom] == [(wanted["operator"], wanted["options"].tobytes())]


def unknown() -> bytes:
    """Operators with options that netc keeps as they are, and with an input left out and a state."""
    m = Model()
    x = m.tensor("x", (1, 8), np.float32)
    total = m.tensor("total", (1, 8), np.float32)
    noise = m.tensor("noise", (1, 8), np.float32)
    shape = m.tensor("shape", (2,), np.int32)
    m.operator("RANDOM_UNIFORM", (shape,), (noise,), ("RandomOptions", {"Seed": 1, "Seed2": 2}))
    m.operator("ADD", (x, noise), (total,), ("AddOptions", {}))
    weight = m.constant("weight", RNG.standard_normal((4, 8)).astype(np.float32))
    times = m.constant("times", RNG.standard_normal((4, 3)).astype(np.float32))
    state = m.variable("state", (1, 12), np.float32)
    y = m.tensor("y", (1, 4), np.float32)
    options = ("SVDFOptions", {"Rank": 1, "FusedActivationFunction": 1})
    m.operator("SVDF", (total, weight, times, -1, state), (y,), options)
    return m.data((x, shape), (y,))


def test_builtin_operators_that_netc_lacks_are_kept() -> None:
    graph = graph_of(read_model(unknown()), "unknown")
    assert [op.attributes["operator"] for op in graph.operations if op.name == "opaque"] == ["RANDOM_UNIFORM"]
    assert str(parse_graph(str(graph))) == str(graph)
    operators = read_model(to_tflite(graph)).operators
    assert [op.name for op in operators] == ["RANDOM_UNIFORM", "ADD", "SVDF"]
    assert dict(operators[0].options.values) == {"seed": 1, "seed2": 2}
    assert operators[2].inputs[3] == -1


def test_litert_runs_operators_that_netc_lacks() -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    data = unknown()
    again = to_tflite(graph_of(read_model(data), "unknown"))
    arguments = [RNG.standard_normal((1, 8)).astype(np.float32), np.array([1, 8], np.int32)]
    (wanted,), (got,) = outputs(litert, data, arguments), outputs(litert, again, arguments)
    assert np.abs(wanted).max() > 0
    np.testing.assert_array_equal(got, wanted)


def test_control_flow_that_is_not_known_is_not_written() -> None:
    m = Model()
    p, x, y = m.tensor("p", (), np.bool_), *(m.tensor(n, (1,), np.float32) for n in "xy")
    m.operator("IF", (p, x), (y,), ("IfOptions", {"ThenSubgraphIndex": 1, "ElseSubgraphIndex": 1}))
    unknown = Model()
    a, b = (unknown.tensor(n, (1,), np.float32) for n in "ab")
    unknown.operator("DELEGATE", (a,), (b,))
    graph = graph_of(read_model(m.data((p, x), (y,), [(unknown, (a,), (b,))])), "choice")
    with pytest.raises(NetcError, match="IF can't be written again"):
        to_tflite(graph)
