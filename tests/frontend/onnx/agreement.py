"""Models against ONNX Runtime, and what is said of those that are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph import verify
from netc.compiler.graph.interpreter import evaluate
from netc.frontend.onnx import graph_of

X = np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)


def agrees(made: Any, *inputs: np.ndarray[Any, Any], **settings: Any) -> netc.Graph:
    """The graph of a model, which gives what ONNX Runtime gives."""
    graph = graph_of(made, "small", **settings)
    verify(graph)
    names = [info.name for info in made.graph.input]
    made.ir_version = 10
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = session.run(None, dict(zip(names, inputs, strict=True)))
    for result, expected in zip(evaluate(graph, list(inputs)), wanted, strict=True):
        assert result.dtype == expected.dtype
        np.testing.assert_allclose(result, expected, 1e-4, 1e-5)
    return graph


def problems(made: Any, **settings: Any) -> str:
    """What is said of a model that is refused."""
    with pytest.raises(NetcError) as raised:
        graph_of(made, "small", **settings)
    return str(raised.value)
