"""Blocks whose gradient the user gives, and blocks as losses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from netc.compiler import passes
from netc.compiler.errors import NetcError
from netc.compiler.graph import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.passes import differentiate
from netc.compiler.types import parse_type
from netc.frontend import load_loss, load_text

X = np.array([[-2.0, 0.5, 3.0]])


def load(body: str, before: str = "") -> Graph:
    return load_text(f"{before}\nnet n(x: f64[N, 3]) {{ {body} }}\n", "n.net")


def slopes(graph: Graph, *, order: int = 1) -> list[float]:
    """The derivative of the sum of the output, at X."""
    for _ in range(order):
        graph = differentiate(graph, len(graph.outputs) - 1, ["x"])
    result: list[float] = evaluate(graph, [X])[-1].ravel().tolist()
    return result


# ---- gradients ------------------------------------------------------------------------------------------------------

CUBE = "block cube(x) { return x * x * x }"
RULE = "gradient cube(x, y, dy) { return 3 * y / x * dy }"


def test_user_blocks_are_differentiable_as_they_are() -> None:
    assert slopes(load("return cube(x)", CUBE)) == pytest.approx([12, 0.75, 27])


def test_a_gradient_replaces_the_derivative() -> None:
    assert slopes(load("return cube(x)", CUBE + RULE.replace("3", "5"))) == pytest.approx([20, 1.25, 45])


@pytest.mark.parametrize(("order", "expected"), [(1, [12, 0.75, 27]), (2, [-12, 3, 18]), (3, [6, 6, 6])])
def test_gradients_are_differentiated_again(order: int, expected: list[float]) -> None:
    assert slopes(load("return cube(x)", f"{CUBE}\n{RULE}"), order=order) == pytest.approx(expected)


def test_a_gradient_takes_hyperparameters_and_defaults() -> None:
    before = """
        block straight(x, low, high = 1) { return minimum(maximum(x, 0 * x + low), 0 * x + high) }
        gradient straight(x, low, high, y, dy) { return dy * (high - low) }
    """
    assert slopes(load("return straight(x, -1) + straight(x, 0, high = 5)", before)) == [7, 7, 7]


def test_a_gradient_sees_arguments_not_what_the_body_makes_of_them() -> None:
    before = "block f(x, k) { k = k * 100; x = x * k; return x }\ngradient f(x, k, y, dy) { return x * k * dy }"
    assert slopes(load("return f(x, 2)", before)) == [-4, 1, 6]


def test_none_is_nought() -> None:
    before = "block f(x, z) { return x * z }\ngradient f(x, z, y, dy) { return none, dy }"
    assert slopes(load("return f(x, 2 * x)", before)) == [2, 2, 2]


def test_free_sizes_are_known_in_a_gradient() -> None:
    before = "block f(x: f64[N, C]) { return x / C }\ngradient f(x: f64[N, C], y, dy) { return dy * (10 * C) }"
    assert slopes(load("return f(x)", before)) == [30, 30, 30]


def test_a_gradient_leaves_no_trace_in_inference() -> None:
    graph = passes.run(load("return cube(x)", f"{CUBE}\n{RULE}"), passes.pipelines.INFERENCE)
    assert "custom_gradient" not in str(graph)


def test_an_imported_block_keeps_its_gradient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cube.net").write_text(f"{CUBE}\n{RULE.replace('3', '5')}\n")
    assert slopes(load("return cube(x)", 'import "cube.net"')) == pytest.approx([20, 1.25, 45])


def test_a_gradient_that_does_not_fit_is_found_when_the_net_is_loaded() -> None:
    with pytest.raises(NetcError, match="the gradient of cube doesn't take what the block takes"):
        load("return cube(x)", CUBE + "gradient cube(dy) { return dy }")


# ---- losses ---------------------------------------------------------------------------------------------------------

SCORES = parse_type("f32[4,10]")


def loss(tmp_path: Path, text: str, name: str = "l", **options: object) -> Graph | None:
    (tmp_path / "l.net").write_text(text)
    return load_loss(tmp_path / "l.net", name, SCORES, options)


@pytest.mark.parametrize(
    ("parameters", "labels"),
    [
        ("p, t", "i32[4]"),
        ("p, t: f32[N, 10]", "f32[4,10]"),
        ("p: f32[B, C], t: f32[B, 2 * C]", "f32[4,20]"),
        ("p, t: tensor", "i32[4]"),
    ],
)
def test_type_of_labels(tmp_path: Path, parameters: str, labels: str) -> None:
    graph = loss(tmp_path, f"block l({parameters}) {{ return reduce_mean(p) }}")
    assert graph is not None
    assert [str(v.type) for v in graph.inputs] == ["f32[4,10]", labels]


def test_options_of_a_loss(tmp_path: Path) -> None:
    graph = loss(tmp_path, "block l(p, t, factor, shift = 0) { return reduce_sum(p) * factor + shift }", factor=3.0)
    assert graph is not None
    assert evaluate(graph, [np.ones((4, 10), np.float32), np.zeros(4, np.int32)])[0] == 120


def test_only_blocks_are_losses(tmp_path: Path) -> None:
    assert loss(tmp_path, "func l(p, t) { return 1 }") is None
    assert loss(tmp_path, "block l(p, t) { return p }", "softmax_cross_entropy") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("block l(p) { return p }", "a loss takes a prediction and labels, but l takes 1"),
        ("block l(p, t: f32[M]) { return p }", "nothing says how large M is"),
        ("block l(p: f32[N, 3], t) { return p }", "`p`"),
        ("block l(p, t) { return t }", "must return one tensor of real numbers, not a tensor i32"),
        ("block l(p, t) { return p, p }", "must return one tensor of real numbers, not the list"),
        ("block l(p, t) { return p |> dense(1) }", "can't hold parameters such as l_1.dense_1.weight"),
        ("block l(p, t, k) { return p }", "l needs a value for `k`"),
        ("block l(p, t) { return q }", "there is no name `q`"),
    ],
)
def test_blocks_that_are_no_losses(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(NetcError, match=message):
        loss(tmp_path, text)
