"""A batch_norm behind no convolution becomes a depthwise convolution in 8 bits, whose integers are LiteRT's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import netc
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.tflite.writer import to_tflite
from netc.runtime.weights import initial_weights

TEXT = (
    "net a(x: f32[N, 6, 6, 5]) { return x |> batch_norm@first |> relu |> conv(4, 3) |> max_pool(2) |> batch_norm@last }"
)


def test_integers(tmp_path: Path) -> None:
    path = tmp_path / "a.net"
    path.write_text(TEXT, encoding="utf-8")
    graph = netc.load(str(path))
    rng = np.random.default_rng(0)
    weights = {
        k: np.float32(np.abs(v + 0.3 * rng.standard_normal(v.shape)) + 0.1) for k, v in initial_weights(graph).items()
    }
    weights["first.weight"] = np.array([20, 1, 0.05, 1, 2], np.float32)  # each channel needs a scale of its own
    samples = rng.standard_normal((16, 6, 6, 5), np.float32)
    integers = netc.quantize(graph, calibration=netc.calibrate(graph, samples, weights=weights), method="minmax")
    names = [op.name for op in integers.operations if op.name != "constant"]
    assert names == ["q_conv2d", "q_conv2d", "max_pool", "q_conv2d"]
    image = rng.integers(-128, 128, (1, 6, 6, 5)).astype(np.int8)
    (meant,) = evaluate(integers, [image], {})
    np.testing.assert_array_equal(netc.compile(integers)(image), meant)
    module = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    reference = module.OpResolverType.BUILTIN_REF
    litert = module.Interpreter(model_content=to_tflite(integers), experimental_op_resolver_type=reference)
    litert.allocate_tensors()
    litert.set_tensor(litert.get_input_details()[0]["index"], image)
    litert.invoke()
    np.testing.assert_array_equal(litert.get_tensor(litert.get_output_details()[0]["index"]), meant)
