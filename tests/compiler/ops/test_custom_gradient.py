"""Gradients that users give: what they mean, at every order, and which ones don't fit."""

from __future__ import annotations

import numpy as np
import pytest

from netc.compiler import passes
from netc.compiler.errors import InternalError, NetcError, ShapeError
from netc.compiler.graph import Graph, GraphBuilder, evaluate, parse_graph, verify
from netc.compiler.passes import differentiate, jvp
from netc.compiler.types import parse_type

POWER = """\
graph @f(%x: f64[], %n: f64[]) -> (f64[]) {
  %0 = log(%x) : f64[]
  %1 = mul(%0, %n) : f64[]
  %2 = exp(%1) : f64[]
  %3 = custom_gradient(%2, %x, %n) {gradient = graph @power.gradient(%y: f64[], %x: f64[], %n: f64[], %dy: f64[]) -> (f64[], f64[]) {
    %0 = div(%y, %x) : f64[]  // f.net:7:1
    %1 = mul(%n, %0) : f64[]
    %2 = mul(%dy, %1) : f64[]
    %3 = log(%x) : f64[]
    %4 = mul(%y, %3) : f64[]
    %5 = mul(%dy, %4) : f64[]
    return %2, %5
  }} : f64[]  // f.net:3:1
  return %3
}
"""  # noqa: E501 (an operation stands on one line)
"""x to the power of n, with the derivatives written down."""


def at(graph: Graph, *values: float) -> list[float]:
    return [float(v) for v in evaluate(graph, [np.array(v, np.float64) for v in values])]


def test_it_prints_and_parses() -> None:
    graph = parse_graph(POWER)
    verify(graph)
    assert str(graph) == POWER


def test_it_is_its_first_operand() -> None:
    assert at(parse_graph(POWER), 2, 3) == pytest.approx([8])
    assert [op.name for op in passes.run(parse_graph(POWER), "decompose").operations] == ["log", "mul", "exp"]


def test_derivatives_of_every_order_come_from_the_rule() -> None:
    first = differentiate(parse_graph(POWER), 0, ["x"])
    second = differentiate(first, "x.grad", ["x"])
    third = differentiate(second, "x.grad2", ["x"])
    assert at(third, 2, 4) == pytest.approx([16, 32, 48, 48])
    # A negative base has powers, but no logarithm: what stands behind the operator isn't differentiated.
    y, dx = at(first, -2, 3)
    assert np.isnan(y)
    assert np.isnan(dx)


def test_the_rule_is_used_and_not_what_stands_behind_it() -> None:
    wrong = parse_graph(POWER.replace("mul(%n, %0)", "add(%n, %0)"))
    assert at(differentiate(wrong, 0, ["x"]), 2, 3)[1] == pytest.approx(3 + 8 / 2)


def test_forward_mode_uses_the_rule_too() -> None:
    _, tangent = at(jvp(parse_graph(POWER), ["x", "n"]), 2, 3, 1, 10)
    assert tangent == pytest.approx(12 + 10 * 8 * np.log(2))


def test_gradients_of_the_rule_have_its_locations() -> None:
    graph = differentiate(parse_graph(POWER), 0, ["x"])
    assert [str(op.location) for op in graph.operations if op.name == "div"] == ["f.net:7:1"]


def rule(*inputs: str, outputs: str) -> Graph:
    """A rule with the given types whose results are its first inputs that have theirs."""
    b = GraphBuilder("rule")
    values = [b.input(f"v{i}", parse_type(t)) for i, t in enumerate(inputs)]
    return b.finish(next(v for v in values if str(v.type) == t) for t in outputs.split())


@pytest.mark.parametrize(
    ("gradient", "message"),
    [
        (rule("f32[2]", "f32[3]", outputs="f32[3]"), r"@rule must take \(f32\[2\], f32\[3\], f32\[2\]\), not"),
        (rule("f32[2]", "f32[3]", "f32[2]", outputs="f32[2]"), r"@rule must return \(f32\[3\]\), not \(f32\[2\]\)"),
    ],
)
def test_rules_that_do_not_fit(gradient: Graph, message: str) -> None:
    b = GraphBuilder("g")
    y, x = b.input("y", parse_type("f32[2]")), b.input("x", parse_type("f32[3]"))
    with pytest.raises(ShapeError, match=message):
        b.emit("custom_gradient", y, x, gradient=gradient)


def test_a_rule_holds_no_parameters() -> None:
    b = GraphBuilder("rule")
    vector = parse_type("f32[2]")
    for name in ("y", "x", "dy"):
        b.input(name, vector)
    gradient = b.finish([b.emit("param", shape=(2,), name="p")])
    g = GraphBuilder("g")
    x = g.input("x", vector)
    with pytest.raises(ShapeError, match="can't hold parameters"):
        g.emit("custom_gradient", x, x, gradient=gradient)


def test_the_verifier_looks_into_rules() -> None:
    b = GraphBuilder("rule")
    vector = parse_type("f32[2]")
    _, _, dy = (b.input(name, vector) for name in ("y", "x", "dy"))
    b.emit("neg", dy)
    sound = b.finish([b.emit("neg", dy)])
    unsound = Graph("rule", sound.inputs, sound.operations[:1], sound.outputs)
    g = GraphBuilder("g")
    x = g.input("x", vector)
    graph = g.finish([g.emit("custom_gradient", x, x, gradient=unsound)])
    with pytest.raises(InternalError, match="custom_gradient: output 0 is not defined"):
        verify(graph)


def test_rules_nest_only_so_deep() -> None:
    inner = "graph @g() -> () { return }"
    for _ in range(40):
        inner = f"graph @g(%x: f32[]) -> () {{ %0 = custom_gradient(%x) {{gradient = {inner}}} : f32[] return }}"
    with pytest.raises(NetcError, match="graphs nest more than 32 deep"):
        parse_graph(inner)


def test_what_stands_behind_it_need_not_be_differentiable() -> None:
    rounded = """\
    graph @f(%x: f64[]) -> (f64[]) {
      %0 = cast(%x) {dtype = "i32"} : i32[]
      %1 = cast(%0) {dtype = "f64"} : f64[]
      %2 = custom_gradient(%1, %x) {gradient = graph @straight(%y: f64[], %x: f64[], %dy: f64[]) -> (f64[]) {
        return %dy
      }} : f64[]
      return %2
    }
    """
    assert at(differentiate(parse_graph(rounded), 0, ["x"]), 2.7) == [2, 1]
