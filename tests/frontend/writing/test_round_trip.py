"""Text of graphs gives the graphs again: that of shipped nets, of pieces with traps, and of what has no structure."""

from __future__ import annotations

import numpy as np
import pytest

import netc
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.types import DType, Quantization, TensorType
from netc.frontend.loading import load_text
from netc.frontend.writing import written
from netc.frontend.writing.literals import UnsayableError
from netc.frontend.writing.matching import DifferentError, correspondence
from netc.frontend.writing.naming import block_name
from netc.runtime.weights import initial_weights

NETS = {"resnet50": 35, "mobilenet_v2": 40, "densenet121": 25, "convnext_tiny": 40, "efficientnet_b0": 50, "vgg16": 15}
"""Nets, and how many lines their texts have at most."""


def same(text: str) -> str:
    """The text of the graph of a text, whose parameters must keep their names."""
    graph = load_text(text, "t.net")
    result = written(graph)
    for name, op in result.sources.items():
        assert name == op.result.name
    return result.text


@pytest.mark.parametrize("name", NETS)
def test_shipped_nets_become_short_texts_with_the_names_of_their_parameters(name: str) -> None:
    graph = netc.load(name)
    result = written(graph, "net")
    network, _, settings = result.text.partition("\npreprocess ")
    assert settings
    assert len(network.splitlines()) <= NETS[name]
    assert {n: op.result.name for n, op in result.sources.items()} == {n: n for n in result.sources}
    assert {op.result.name for op in graph.parameters} == set(result.sources)


def test_the_text_computes_the_same() -> None:
    graph = netc.load("mobilenet_v3_small")
    result = written(graph)
    weights = initial_weights(graph, 3)
    x = np.random.default_rng(0).standard_normal(graph.inputs[0].type.shape).astype(np.float32)
    given = {name: weights[op.result.name or ""] for name, op in result.sources.items()}
    (one,), (other,) = evaluate(graph, [x], weights), evaluate(result.graph, [x], given)
    np.testing.assert_array_equal(one, other)


def test_rows_become_loops_and_what_differs_becomes_a_table() -> None:
    text = same(
        """
        block unit(x, filters, stride) { return x |> conv@conv(filters, 3, stride) |> batch_norm@bn |> relu }
        net t(image: f32[N, 32, 32, 3]) {
          for (i, (f, s)) in enumerate([[8, 1], [16, 2], [24, 2], [24, 1]]) { image = unit@"stage{i}.0"(image, f, s) }
          return image |> global_avg_pool |> dense@fc(10)
        }
        """
    )
    assert "for stage in [" in text
    assert text.count("conv@") == 1


def test_a_tensor_that_plays_two_roles_is_told_apart() -> None:
    same(
        """
        net t(x: f32[N, 8]) {
          h = x
          for i in range(4) { h = tanh(dense@"a{i}"(h, 8) + dense@"b{i}"(x, 8)) }
          return h
        }
        """
    )


def test_results_on_the_way_are_kept() -> None:
    same(
        """
        net t(x: f32[N, 16, 16, 4]) {
          taps = []
          for i in range(4) {
            x = x |> conv@"c{i}.conv"(4 * (i + 1), 3) |> batch_norm@"c{i}.bn" |> relu
            taps += [global_avg_pool(x)]
          }
          return taps
        }
        """
    )


def test_a_shared_parameter_stays_one() -> None:
    text = same(
        """
        block tower(x) { return x |> conv@c(8, 3) |> relu |> global_avg_pool |> dense@d(3) }
        net t(a: f32[N, 8, 8, 1], b: f32[N, 8, 8, 1]) { s = share@tower(tower); return s(a) - s(b) }
        """
    )
    assert text.count("param(") == 4


@pytest.mark.parametrize(
    "body",
    [
        "return x * 2 - 1 / (x - 3) ** 2",
        "return -(x - (x - 1)) / (x / (x + 1))",
        "return where(x > 0.1, x, x * 1e-30)",
        "return x ** 3 + x ** 0.5 + x ** 2.5",
        'return cast(cast(x, "i32") * 3 % 7, "f32")',
        "return x - tensor([0.5, -1, 3, 1e-7])",
        "a, b = split(x, 2); return {small: a, large: b + b}",
        "return x[:, ::-2] + x[:, 1:3]",
        "return gather(x, arange(4), axis = 1)",
        "return full([2, 3], -0.0) + full([2, 1], 7)",
    ],
)
def test_expressions_mean_the_same(body: str) -> None:
    same(f"net t(x: f32[2, 4]) {{ {body} }}")


@pytest.mark.parametrize("corners", ["true", "false"])
@pytest.mark.parametrize("edge", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_points_between_pixels_stay_one_call(mode: str, edge: str, corners: str) -> None:
    for sizes, axes in (("5, 4", 2), ("1, 3", 2)) if mode == "bicubic" else (("5, 4", 2), ("3, 2, 4", 3)):
        settings = f'mode = "{mode}", padding = "{edge}", align_corners = {corners}'
        body = f"x = relu(x)\n  return relu(grid_sample(x, tanh(points), {settings}))"
        text = same(f"net t(x: f32[2, {sizes}, 3], points: f32[2, 6, 1, {axes}]) {{\n  {body}\n}}\n")
        assert text.count("grid_sample(") == 1
        assert len(text.splitlines()) <= 4


@pytest.mark.parametrize("options", ["2, stride = 1, dilation = 2", "2, stride = [9, 2], dilation = [3, 2]"])
@pytest.mark.parametrize("dtype", ["f32", "u8"])
def test_dilated_pooling_without_padding_can_be_written(dtype: str, options: str) -> None:
    same(f"net t(x: {dtype}[N, 9, 7, 3]) {{ return max_pool(x, {options}) }}")


def test_large_constants_become_parameters_of_their_type() -> None:
    b = GraphBuilder("t")
    x = b.input("x", TensorType(DType.I64, (5, 40)))
    table = np.arange(200).reshape(5, 40) ** 2
    graph = b.finish([b.emit("add", x, b.constant(table))])
    result = written(graph)
    (name,) = result.sources
    assert 'dtype = "i64"' in result.text
    np.testing.assert_array_equal(result.arrays()[name], table)


def test_names_that_mean_something_in_the_language_are_changed() -> None:
    b = GraphBuilder("conv")
    x, y = b.input("block", TensorType(DType.F32, (2,))), b.input("relu.1", TensorType(DType.F32, (2,)))
    graph = b.finish([b.emit("add", b.emit("relu", x), y)])
    assert written(graph).text.startswith("net conv_net(block_: f32[2], relu_1: f32[2])")


def test_what_the_language_has_no_words_for_is_refused_by_name() -> None:
    b = GraphBuilder("t")
    scales = Quantization((0.5, 0.25), (0, 0), 0)
    x = b.input("x", TensorType(DType.I8, (2,), quantization=scales))
    with pytest.raises(UnsayableError, match="no input with several scales, such as `x`"):
        written(b.finish([x]))


def test_state_that_begins_with_weights_is_refused() -> None:
    b = GraphBuilder("t", {"updates": ("count",)})
    x = b.input("x", TensorType(DType.F32, (2,)))
    count = b.emit("param", shape=(2,), name="count")
    total = b.emit("add", x, count)
    with pytest.raises(UnsayableError, match="no state that begins with weights, such as `count`"):
        written(b.finish([total, total]))


def test_graphs_that_differ_are_told_apart() -> None:
    def graph(body: str) -> Graph:
        return load_text(f"net t(x: f32[2, 4]) {{ return {body} }}", "t.net")

    correspondence(graph("x + 1"), graph("x + 1"))
    for other in ("1 + x", "x + 2", "x - 1", "relu(x) + 1"):
        with pytest.raises(DifferentError):
            correspondence(graph("x + 1"), graph(other))
    with pytest.raises(DifferentError):
        correspondence(graph("dense(x, 4) + dense(x, 4)"), load_text(SHARED, "t.net"))


SHARED = "net t(x: f32[2, 4]) { d = share@d(dense); return d(x, 4) + d(x, 4) }"


def test_the_batch_stays_open_where_it_was() -> None:
    one, two = (netc.load("vit_b_32", batch=n) for n in (1, 2))
    result = written(one, "v", two)
    assert "net v(image: f32[N, 224, 224, 3])" in result.text
    assert "shape(x)[0]" in result.text
    correspondence(load_text(result.text, "v.net", batch=2), two)


def test_a_batch_that_the_text_cannot_leave_open_is_fixed() -> None:
    def graph(batch: int) -> Graph:
        return load_text("net t(x: f32[N, 3]) { for _ in range(shape(x)[0]) { x = relu(x) }; return x }", batch=batch)

    assert "x: f32[1, 3]" in written(graph(1), "t", graph(2)).text


def test_a_block_is_not_called_like_the_rows_of_a_table() -> None:
    assert block_name([("stage2", "0"), ("stage3", "0")], []) == "stage_block"
    assert block_name([("branch",)], ["branch"]) == "branch_2"


def test_joins_that_grow_become_a_list_in_a_loop() -> None:
    text = same(
        """
        net t(x: f32[1, 8, 8, 4]) {
          parts = [x]
          for i in range(6) {
            y = if i == 0 then x else concat(parts, axis = 3)
            parts += [y |> conv@"layer{i}.conv"(4, 3) |> batch_norm@"layer{i}.norm" |> relu]
          }
          return concat(parts, axis = 3)
        }
        """
    )
    assert "for i in range(1, 6)" in text
    assert text.count("concat(") == 2


def test_joins_of_one_tensor_more_in_other_places_stay_apart() -> None:
    same(
        """
        net t(x: f32[2, 4], y: f32[2, 4]) {
          a = concat(x, y, axis = 1)
          b = concat(x, y, a, axis = 1)
          c = concat(x, y, a, b, axis = 1)
          return c, concat(x, y, a, relu(b), axis = 1), concat(x, y, a, b, c, axis = 0 + 1)
        }
        """
    )
