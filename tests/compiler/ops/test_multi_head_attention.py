"""The layer multi_head_attention is PyTorch's MultiheadAttention, and reaches TFLite and 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.graph import evaluate
from netc.compiler.quantization import Calibration, observation_graph, prepare, quantize
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.reading import read_model
from netc.frontend import load_text
from netc.frontend.tflite import graph_of

TEXT = "net n(x: f32[N, 10, 24]) {{ return x |> multi_head_attention@attention(4{}) }}\n"


def random_weights(graph: Any) -> dict[str, Any]:
    rng = np.random.default_rng(2)
    params = [(op.result.name, op.result.type.shape) for op in graph.parameters]
    return {name: (rng.standard_normal(shape) * 0.2).astype(np.float32) for name, shape in params}


def picture() -> Any:
    return np.random.default_rng(0).standard_normal((1, 10, 24)).astype(np.float32)


@pytest.mark.parametrize("causal", [False, True])
def test_it_is_that_of_pytorch(causal: bool) -> None:
    torch = pytest.importorskip("torch")
    graph = load_text(TEXT.format(", causal = true" if causal else ""))
    module = torch.nn.MultiheadAttention(24, 4, batch_first=True)
    weights = random_weights(graph)
    state = {name.removeprefix("attention."): torch.from_numpy(w.T.copy()) for name, w in weights.items()}
    module.load_state_dict(state)
    x = picture()
    mask = torch.triu(torch.ones(10, 10, dtype=torch.bool), 1) if causal else None
    wanted = module(*[torch.from_numpy(x)] * 3, attn_mask=mask)[0].detach().numpy()
    np.testing.assert_allclose(evaluate(graph, [x], weights)[0], wanted, atol=2e-6)
    np.testing.assert_allclose(netc.compile(graph, weights=weights)(x), wanted, atol=2e-6)


def test_it_is_written_to_tflite() -> None:
    graph, x = load_text(TEXT.format("")), picture()
    weights = random_weights(graph)
    again = graph_of(read_model(to_tflite(graph, weights)), "again")
    names = [op.name for op in again.operations if op.name != "constant"]
    assert names.count("matmul") == 2
    assert names.count("softmax") == 1
    assert "opaque" not in names
    np.testing.assert_allclose(evaluate(again, [x])[0], evaluate(graph, [x], weights)[0], atol=1e-5)


def test_it_has_an_integer_form() -> None:
    graph, x = load_text(TEXT.format("")), picture()
    weights = random_weights(graph)
    prepared = prepare(graph, weights)
    calibration = Calibration(prepared)
    calibration.add([x], evaluate(observation_graph(prepared), [x]))
    integers = quantize(prepared, calibration.ranges("minmax"))
    names = [op.name for op in integers.operations]
    assert names.count("q_matmul") == 2
    given, y = integers.inputs[0].type.quantization, integers.outputs[0].type.quantization
    assert given is not None
    assert y is not None
    steps = np.clip(np.rint(x / given.scale) + given.zero_point, -128, 127).astype(np.int8)
    (result,) = evaluate(integers, [steps])
    wanted = evaluate(graph, [x], weights)[0]
    np.testing.assert_allclose(
        (result.astype(float) - y.zero_point) * y.scale, wanted, atol=0.06 * np.abs(wanted).max()
    )


def test_heads_must_divide_the_features() -> None:
    with pytest.raises(netc.NetcError, match=r"can't split the features of f32\[1,10,24\] among 5 heads"):
        load_text(TEXT.format("").replace("(4", "(5"))
