"""Small ONNX models for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str | None]


def model(
    nodes: Sequence[Any],
    inputs: Mapping[str, Shape],
    outputs: Sequence[str],
    weights: Mapping[str, Any] | None = None,
    *,
    opset: int = 20,
    kinds: Mapping[str, int] | None = None,
    functions: Sequence[Any] = (),
    domains: Mapping[str, int] | None = None,
) -> Any:
    """A ModelProto of nodes; inputs are f32 unless `kinds` says otherwise, outputs of any type."""
    kinds = kinds or {}
    given = [helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), s) for n, s in inputs.items()]
    results = [onnx.ValueInfoProto(name=name) for name in outputs]
    known = [numpy_helper.from_array(np.asarray(a), n) for n, a in (weights or {}).items()]
    graph = helper.make_graph(nodes, "small", given, results, known)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, v) for d, v in (domains or {}).items())]
    return helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=10)


def classifier(side: int = 8) -> Any:
    """Convolution, pooling, flattening, dense: with channels in front."""
    rng = np.random.default_rng(0)
    weights = {
        "conv.weight": rng.standard_normal((6, 3, 3, 3)).astype(np.float32),
        "conv.bias": rng.standard_normal(6).astype(np.float32),
        "fc.weight": rng.standard_normal((5, 6 * (side // 2) ** 2)).astype(np.float32),
        "fc.bias": rng.standard_normal(5).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "conv.weight", "conv.bias"], ["c"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["scores"], transB=1),
    ]
    return model(nodes, {"image": ["batch", 3, side, side]}, ["scores"], weights)
