"""Names of weights: those of the file, or of the modules that its nodes belong to."""

from __future__ import annotations

from typing import Any

import pytest

onnx = pytest.importorskip("onnx")

from netc.frontend.onnx.naming import weight_name  # noqa: E402


def node(operator: str, name: str, scopes: str | None = None) -> Any:
    proto = onnx.NodeProto(op_type=operator, name=name)
    if scopes is not None:
        proto.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=scopes)
    return proto


@pytest.mark.parametrize(
    ("proto", "place", "name", "wanted"),
    [
        (node("Conv", "c"), 1, "layer1.0.conv1.weight", "layer1.0.conv1.weight"),
        (node("Conv", "c"), 1, "model/conv1/kernel:0", "model.conv1.kernel"),
        (node("Conv", "/layer1/layer1.0/conv1/Conv"), 1, "onnx::Conv_193", "layer1.0.conv1.weight"),
        (node("Conv", "/layer1/layer1.0/downsample/downsample.0/Conv"), 2, "9", "layer1.0.downsample.0.bias"),
        (node("Conv", "n", "['', 'layer1', 'layer1.0.bn1', 'norm']"), 1, "w", "layer1.0.bn1.weight"),
        (node("BatchNormalization", "/bn/B"), 4, "w", "bn.running_var"),
        (node("Add", "/layer1/Add"), 1, "onnx::Add_1", None),
        (node("Add", "/Add"), 1, "pos_embed", "pos_embed"),
        (node("Add", "/Add"), 1, "val_12", None),
        (node("Conv", "Conv_0"), 1, "193", None),
        (node("Conv", "n", "['', 'a"), 1, "w", None),
        (node("Conv", "/a b/Conv"), 1, "w", None),
    ],
)
def test_names_of_weights(proto: Any, place: int, name: str, wanted: str | None) -> None:
    assert weight_name(proto, place, name) == wanted
