"""Operators that ONNX had on trial, against ONNX Runtime, which still has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper  # noqa: E402

from netc.frontend.onnx import graph_of  # noqa: E402

from .small_models import model  # noqa: E402


def experimental(operator: str, **attributes: Any) -> Any:
    made = model([helper.make_node(operator, ["x"], ["y"], **attributes)], {"x": [2, 3, 6, 8]}, ["y"], opset=7)
    made.ir_version = 3
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))
    return made


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("ImageScaler", {"scale": 0.5, "bias": [1.0, -2.0, 3.0]}),
        ("ImageScaler", {"bias": [1.0, -2.0, 3.0]}),
        ("Crop", {"border": [1, 2, 3, 0]}),
        ("Crop", {"border": [1, 2, 1, 1], "scale": [3, 4]}),
        ("Affine", {"alpha": 0.5, "beta": -2.0}),
        ("ScaledTanh", {"alpha": 0.5, "beta": -2.0}),
        ("ParametricSoftplus", {"alpha": 0.5, "beta": -2.0}),
    ],
)
def test_numbers(operator: str, attributes: dict[str, Any]) -> None:
    made = experimental(operator, **attributes)
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 8)).astype(np.float32)
    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(
        netc.compile(graph_of(made, "m"), threads=1)(x), session.run(None, {"x": x})[0], 1e-5, 1e-6
    )


@pytest.mark.parametrize(
    ("operator", "attributes", "message"),
    [
        ("ImageScaler", {"bias": [1.0]}, "for the channels of"),
        ("Crop", {"border": [0, 0, 8, 0]}, "is no part of"),
        ("Crop", {"border": [-1, 0, 0, 0]}, "is no part of"),
        ("HardSwish", {}, "there is no operator HardSwish in operator set 7"),
    ],
)
def test_what_is_refused(operator: str, attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(NetcError, match=message):
        graph_of(experimental(operator, **attributes), "m")
