"""Counting layers, parameters and multiply-accumulates."""

from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.ir import Graph
from netc.compiler.types import DType, TensorType
from netc.summary import layers, parameter_bytes, total_macs, trainable_parameters


def shared_dense() -> Graph:
    """Two dense layers with one weight, and a statistic that is not trained."""
    builder = GraphBuilder("shared")
    x = builder.input("x", TensorType(DType.F32, (2, 8)))
    weight = builder.emit("param", name="body.fc.weight", shape=(8, 8))
    shift = builder.emit("param", name="body.mean", shape=(8,), trainable=False)
    y = builder.emit("dense", builder.emit("dense", x, weight), weight)
    return builder.finish([builder.emit("add", y, shift)])


def test_shared_and_untrained_parameters_count_once() -> None:
    graph = shared_dense()
    assert trainable_parameters(graph) == 64
    assert parameter_bytes(graph) == 4 * (64 + 8)
    assert total_macs(graph) == 2 * 2 * 8 * 8
    rows = [(layer.name, layer.operator, layer.parameters, layer.macs) for layer in layers(graph)]
    assert rows == [("body.fc", "dense", 64, 128), ("body.fc", "dense", 0, 128), ("body", "add", 0, 0)]
