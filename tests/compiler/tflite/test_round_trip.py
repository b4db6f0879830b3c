"""Other people's models, read and written again: LiteRT's reference kernels give the same bytes for both."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from netc.compiler.tflite import to_tflite
from netc.frontend.tflite.model import read_model
from netc.frontend.tflite.reader import load_tflite

FOLDER = Path(os.environ.get("NETC_EDGETPU", Path(__file__).resolve().parents[4] / "shared" / "edgetpu")) / "models"
MODELS = [
    "bright_128x128.tflite",
    "looming_128x128_3x3.tflite",
    "mobilenet_v1_0.25_128_quant.tflite",
    "model_size_channel82_quant.tflite",
    "split_concat.tflite",
    "tf2_mobilenet_v2_1.0_224_ptq.tflite",
]


def outputs(litert: object, data: bytes) -> list[NDArray[np.generic]]:
    reference = litert.OpResolverType.BUILTIN_REF  # type: ignore[attr-defined]
    interpreter = litert.Interpreter(  # type: ignore[attr-defined]
        model_content=data, experimental_op_resolver_type=reference
    )
    interpreter.allocate_tensors()
    random = np.random.default_rng(0)
    for given in interpreter.get_input_details():
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
