"""differentiate and jvp: on random networks against differences, what they promise, and what they refuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from netc.compiler import passes
from netc.compiler.backends import lower, optimize
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.errors import InternalError, NetcError
from netc.compiler.graph import Array, Graph, GraphBuilder, Value, evaluate, parse_graph, verify
from netc.compiler.graph.ir import Builder, Operation
from netc.compiler.ops.functions.exponential import Exp
from netc.compiler.passes import differentiate, jvp
from netc.compiler.types import DType, TensorType
from netc.runtime.program import Program
from tests.derivatives import Point, check_derivatives, in_f64, with_loss
from tests.random_networks import random_case

SMOOTH_SEEDS = pytest.mark.parametrize("seed", range(40))


def random_point(seed: int, operations: int = 12) -> tuple[Graph, Point, list[str]]:
    """The loss of a random network in f64, where to take it, and all that it can be differentiated by."""
    case = random_case(seed, operations)
    inputs = {k: v.astype(np.float64) for k, v in case.inputs.items()}
    params = {k: v.astype(np.float64) for k, v in case.params.items()}
    return with_loss(in_f64(case.graph), seed), Point(inputs, params), [*inputs, *params]


@SMOOTH_SEEDS
def test_random_networks(seed: int) -> None:
    loss, point, wrt = random_point(seed)
    check_derivatives(loss, point, wrt, tolerance=1e-5)


@pytest.mark.parametrize("seed", range(10))
def test_second_derivatives_of_random_networks(seed: int) -> None:
    loss, point, wrt = random_point(seed, operations=6)
    first = differentiate(loss, 0, wrt)
    verify(first)
    check_derivatives(with_loss(first, seed), point, wrt, tolerance=1e-4)


@pytest.mark.parametrize("seed", range(8))
def test_gradients_survive_the_pipeline_and_compile(seed: int) -> None:
    case = random_case(seed, 12)
    names = [op.result.name or "" for op in case.graph.parameters]
    graph = differentiate(with_loss(case.graph, seed), 0, [*case.inputs, *names])
    expected = evaluate(graph, case.inputs, case.params)
    for result, wanted in zip(execute(graph, case.inputs, case.params), expected, strict=True):
        scale = max(1.0, float(np.abs(wanted).max(initial=0)))
        np.testing.assert_allclose(result / scale, wanted / scale, atol=1e-4, rtol=0)


def execute(graph: Graph, inputs: dict[str, Array], params: dict[str, Array]) -> Sequence[Array]:
    target = host_target()
    module = lower(optimize(graph, passes.pipelines.INFERENCE, target), target, 2)
    with Program(module, object_code(emit_module(module, target), target), target, 2, params) as program:
        results: Any = program(**inputs)
    return results if isinstance(results, tuple) else (results,)


# ---- what it promises ----

NET = parse_graph("""\
graph @net(%x: f32[2,3], %k: i32[]) -> (f32[2,4], f32[]) {
  %w = param : f32[3,4]  // net.net:1:1
  %mean = param {trainable = false} : f32[4]  // net.net:1:1
  %b = param : f32[4]  // net.net:1:1
  %0 = dense(%x, %w) : f32[2,4]  // net.net:2:2
  %1 = sub(%0, %mean) : f32[2,4]  // net.net:3:3
  %y = tanh(%1) : f32[2,4]  // net.net:4:4
  %2 = mul(%y, %b) : f32[2,4]  // net.net:5:5
  %loss = reduce_sum(%2) : f32[]  // net.net:6:6
  return %y, %loss
}
""")


def names(values: Sequence[Value]) -> list[str | None]:
    return [v.name for v in values]


def test_gradients_of_all_trainable_parameters_come_behind_the_outputs() -> None:
    graph = differentiate(NET, "loss")
    assert names(graph.outputs) == ["y", "loss", "w.grad", "b.grad"]
    assert [v.type for v in graph.outputs[2:]] == [p.result.type for p in NET.parameters if p.result.name != "mean"]
    assert graph.inputs == NET.inputs


def test_an_output_is_given_by_name_number_or_value() -> None:
    texts = {str(differentiate(NET, of, ["x"])) for of in ("loss", 1, "1", NET.outputs[1])}
    assert len(texts) == 1


def test_sources_are_given_by_name_or_value_in_any_order() -> None:
    graph = differentiate(NET, 1, ["x", NET.parameters[0].result, "mean", "x"])
    assert names(graph.outputs[2:]) == ["x.grad", "w.grad", "mean.grad", "x.grad"]


def test_values_in_the_middle_can_be_differentiated_by() -> None:
    graph = differentiate(NET, "loss", ["y"])
    b = next(op.result for op in graph.parameters if op.result.name == "b")
    (x, k, w) = np.ones((2, 3), np.float32), np.int32(0), np.ones((3, 4), np.float32)
    vector = np.arange(4, dtype=np.float32)
    params = {"w": w, "mean": vector, b.name or "": vector}
    np.testing.assert_array_equal(evaluate(graph, [x, np.asarray(k)], params)[2], np.tile(vector, (2, 1)))


def test_outputs_with_several_elements_are_summed() -> None:
    one = differentiate(NET, "y", ["x"])
    x = np.ones((2, 3), np.float32)
    params = {"w": np.full((3, 4), 0.1, np.float32), "mean": np.zeros(4, np.float32)}
    params["b"] = params["mean"]
    y, _, gradient = evaluate(one, [x, np.asarray(0, np.int32)], params)
    np.testing.assert_allclose(gradient, (1 - y * y) @ params["w"].T, rtol=1e-5)


def test_gradient_operations_have_the_locations_of_what_they_come_from() -> None:
    graph = differentiate(NET, "loss")
    places = {op.name: str(op.location) for op in graph.operations[len(NET.operations) :]}
    assert places["matmul"] == "net.net:2:2"
    assert places["broadcast_to"] == "net.net:6:6"
    assert all(op.location is not None for op in graph.operations)


def test_only_what_is_needed_is_differentiated() -> None:
    graph = parse_graph("""\
graph @g(%image: f32[1,5,5,2]) -> (f32[1,5,5,3]) {
  %w = param : f32[3,3,2,3]
  %0 = conv2d(%image, %w) {strides = [1,1], padding = "same", dilations = [1,1]} : f32[1,5,5,3]
  return %0
}
""")
    emitted = [op.name for op in differentiate(graph).operations]
    assert "conv2d_weight_gradient" in emitted
    assert "conv2d_input_gradient" not in emitted


def test_fan_out_costs_one_addition_for_each_reader() -> None:
    b = GraphBuilder("doubling")
    value = x = b.input("x", TensorType(DType.F64, ()))
    for _ in range(40):
        value = b.emit("add", value, value)
    graph = differentiate(b.finish([value]), 0, [x])
    assert len(graph.operations) == 2 * 40 + 1
    assert evaluate(graph, [np.array(1.0)])[1] == 2.0**40


def test_names_of_gradients_do_not_clash() -> None:
    twice = differentiate(differentiate(NET, "loss", ["x"]), "loss", ["x"])
    assert names(twice.outputs) == ["y", "loss", "x.grad", "x.grad2"]
    verify(twice)


def test_the_passes_have_text_forms() -> None:
    text = "differentiate{of=loss,wrt=w+b}"
    assert str(passes.parse_pipeline(text)[0]) == text
    assert str(passes.run(NET, text)) == str(differentiate(NET, "loss", ["w", "b"]))
    assert str(passes.run(NET, "differentiate{of=1}")) == str(differentiate(NET, "loss"))
    assert str(passes.run(NET, "jvp{wrt=x}")) == str(jvp(NET, ["x"]))


def test_jvp_takes_tangents_of_sources_and_gives_those_of_outputs() -> None:
    graph = jvp(NET, ["x", "w"])
    verify(graph)
    assert names(graph.inputs) == ["x", "k", "x.tangent", "w.tangent"]
    assert names(graph.outputs) == ["y", "loss", "y.tangent", "loss.tangent"]


def test_jvp_of_outputs_that_do_not_depend_on_the_source_is_zero() -> None:
    graph = parse_graph("""\
graph @g(%x: f32[2], %y: f32[2]) -> (f32[2], f32[2], f32[2]) {
  %0 = exp(%y) : f32[2]
  return %0, %x, %x
}
""")
    one = np.ones(2, np.float32)
    *_, first, second, third = evaluate(jvp(graph, ["x"]), [one, one, 3 * one])
    assert [first.tolist(), second.tolist(), third.tolist()] == [[0, 0], [3, 3], [3, 3]]


# ---- what it refuses ----

ACCURACY = """\
graph @g(%x: f32[2,3], %labels: i32[2]) -> (f32[]) {
  %w = param : f32[3,4]
  %0 = dense(%x, %w) : f32[2,4]  // g.net:1:1
  %1 = argmax(%0) : i32[2]  // g.net:2:8
  %2 = equal(%1, %labels) : i1[2]  // g.net:3:3
  %3 = cast(%2) {dtype = "f32"} : f32[2]  // g.net:3:3
  %4 = reduce_mean(%3) : f32[]  // g.net:4:4
  return %4
}
"""


def test_a_path_through_positions_is_refused_with_its_place() -> None:
    with pytest.raises(NetcError, match=r"g.net:2:8: error: argmax can't be differentiated: its results are positions"):
        differentiate(parse_graph(ACCURACY))
    with pytest.raises(NetcError, match=r"g\.net:2:8"):
        jvp(parse_graph(ACCURACY))


def test_a_path_through_integers_is_refused_with_its_place() -> None:
    graph = parse_graph("""\
graph @g(%x: f32[2]) -> (f32[2]) {
  %0 = cast(%x) {dtype = "i32"} : i32[2]  // g.net:7:9
  %1 = cast(%0) {dtype = "f32"} : f32[2]
  return %1
}
""")
    with pytest.raises(NetcError, match=r"g.net:7:9: error: cast can't be differentiated: its result is i32"):
        differentiate(graph, 0, ["x"])


def test_fused_operations_are_refused() -> None:
    graph = passes.run(NET, "fuse")
    with pytest.raises(NetcError, match=r"fused can't be differentiated: .*before fusing"):
        differentiate(graph, 1, ["w"])


def test_stop_gradient_opens_a_path() -> None:
    text = ACCURACY.replace("argmax(%0)", "argmax(%s)").replace(
        "  %1 = argmax", "  %s = stop_gradient(%0) : f32[2,4]\n  %1 = argmax"
    )
    graph = differentiate(parse_graph(text))
    (zero,) = [op for op in graph.operations if op.result is graph.outputs[1]]
    assert not zero.attributes["value"].any()


def test_paths_that_nothing_is_asked_of_may_hold_anything() -> None:
    graph = parse_graph(ACCURACY)
    assert len(differentiate(graph, graph.operations[1].result, ["w"]).outputs) == 2


@pytest.mark.parametrize(
    ("of", "wrt", "message"),
    [
        ("los", None, "no value `los`.*\n.*did you mean loss"),
        (2, None, "has no output 2"),
        ("-1", None, "no value `-1`"),
        ("k", None, "only floating-point numbers can be differentiated, not i32"),
        ("loss", ["mea"], "no parameter or input `mea`.*\n.*did you mean mean"),
        ("loss", ["k"], r"no derivatives with respect to `k`, which is i32"),
        (Value(TensorType(DType.F32, (9,))), None, r"doesn't hold the value of type f32\[9\]"),
    ],
)
def test_wrong_names(of: Any, wrt: list[str] | None, message: str) -> None:
    with pytest.raises(NetcError, match=message):
        differentiate(NET, of, wrt)


class Crooked(Exp):
    """An operator whose gradient rule isn't linear."""

    name = "crooked"

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("exp", dy)


class Misshapen(Exp):
    """An operator whose gradient rule forgets the shape."""

    name = "misshapen"

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("reduce_sum", dy)


def one_operation(operator: Exp) -> Graph:
    b = GraphBuilder("g")
    x = b.input("x", TensorType(DType.F32, (3,)))
    return b.finish([b.operation(operator, [x]).result])


def test_rules_that_are_not_linear_are_found() -> None:
    with pytest.raises(InternalError, match="exp, which isn't linear in the cotangent"):
        jvp(one_operation(Crooked()), ["x"])


def test_rules_that_give_the_wrong_type_are_found() -> None:
    with pytest.raises(InternalError, match=r"the gradient rule of misshapen gives f32\[\] for f32\[3\]"):
        differentiate(one_operation(Misshapen()), 0, ["x"])
