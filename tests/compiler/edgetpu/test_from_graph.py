"""Facts of netc graphs, before any training."""

from __future__ import annotations

import pytest

from netc.compiler.edgetpu import ModelFacts, model_facts, predict
from netc.compiler.graph import GraphBuilder, Value, parse_graph
from netc.compiler.types import DType, TensorType
from netc.loading import load


def kinds(facts: ModelFacts) -> list[str]:
    return [op.kind for op in facts.operators]


def facts_of(text: str) -> ModelFacts:
    return model_facts(parse_graph(text))


LAYER = """\
graph @net(%x: f32[1,8,8,4]) -> (f32[1,8,8,6]) {
  %w = param : f32[3,3,4,6]
  %g = param : f32[6]
  %0 = conv2d(%x, %w) {padding = "same", strides = [1,1], dilations = [1,1]} : f32[1,8,8,6]
  %1 = batch_norm(%0, %g, %g, %g, %g) : f32[1,8,8,6]
  %2 = relu6(%1) : f32[1,8,8,6]
  return %2
}
"""


def test_batch_norm_and_activation_belong_to_the_convolution() -> None:
    facts = facts_of(LAYER)
    (op,) = facts.operators
    weight, bias = op.input(1), op.input(2)
    assert op.kind == "CONV_2D"
    assert op.fused_activation == "RELU6"
    assert weight is not None
    assert bias is not None
    assert weight.shape == (6, 3, 3, 4)
    assert weight.per_channel
    assert bias.dtype == "INT32"
    assert facts.outputs == op.outputs
    assert len(facts.assumptions) == 3


def test_a_value_with_two_readers_is_not_fused() -> None:
    text = LAYER.replace(
        "%2 = relu6(%1) : f32[1,8,8,6]", "%3 = relu6(%1) : f32[1,8,8,6]\n  %2 = add(%1, %3) : f32[1,8,8,6]"
    )
    assert kinds(facts_of(text)) == ["CONV_2D", "RELU6", "ADD"]


def test_batch_norm_without_a_layer_in_front() -> None:
    text = LAYER.replace("batch_norm(%0,", "batch_norm(%9,").replace("%1 =", "%9 = tanh(%0) : f32[1,8,8,6]\n  %1 =")
    assert kinds(facts_of(text)) == ["CONV_2D", "TANH", "DEPTHWISE_CONV_2D"]


def pooled(name: str, padding: object, *, positive: bool = False) -> list[str]:
    b = GraphBuilder("net")
    x: Value = b.input("x", TensorType(DType.F32, (1, 8, 8, 4)))
    x = b.emit("relu", x) if positive else x
    y = b.emit(name, x, size=(3, 3), strides=(2, 2), padding=padding)
    return kinds(model_facts(b.finish([y])))


def test_padding() -> None:
    assert pooled("max_pool", "same") == ["MAX_POOL_2D"]
    assert pooled("max_pool", ((0, 1), (0, 1))) == ["MAX_POOL_2D"]
    assert pooled("max_pool", ((1, 1), (1, 1))) == ["PADV2", "MAX_POOL_2D"]
    assert pooled("max_pool", ((1, 1), (1, 1)), positive=True) == ["RELU", "PAD", "MAX_POOL_2D"]
    assert pooled("avg_pool", "valid") == ["AVERAGE_POOL_2D"]


def test_unknown_operators_keep_their_name_and_place() -> None:
    facts = facts_of(
        "graph @net(%x: f32[1,4]) -> (f32[1,4]) {\n  %0 = exp(%x) : f32[1,4]  // a.net:3:5\n  return %0\n}\n"
    )
    (cause,) = predict(facts).causes
    assert cause.placement.objection is not None
    assert cause.placement.objection.cause == "the Edge TPU has no exp"
    assert cause.operator.location == "a.net:3:5"


def test_quantized_types_are_taken_as_they_are() -> None:
    facts = facts_of("graph @net(%x: u8[1,4]) -> (u8[1,4]) {\n  %0 = maximum(%x, %x) : u8[1,4]\n  return %0\n}\n")
    assert facts.outputs[0].dtype == "UINT8"
    assert facts.assumptions == ()


@pytest.mark.parametrize(
    ("net", "operators", "mebibytes"),
    [
        ("resnet50", 77, 24.68),
        ("mobilenet_v2_tf", 64, 3.85),
        ("efficientnet_edgetpu_m", 83, 8.32),
        ("efficientnet_lite0", 60, 5.31),
    ],
)
def test_shipped_nets_map_wholly(net: str, operators: int, mebibytes: float) -> None:
    """A public log of ResNet-50 (release 2.0) has 77 operators and 6.25 + 18.43 MiB of parameters."""
    report = predict(model_facts(load(net)))
    assert len(report.mapped) == len(report.rows) == operators
    assert report.memory.file / (1 << 20) == pytest.approx(mebibytes, abs=0.005)
