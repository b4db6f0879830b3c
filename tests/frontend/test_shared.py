"""Blocks and layers that are called several times with the same parameters."""

from __future__ import annotations

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.reading import read_model
from netc.frontend import check_text, load_text
from netc.runtime.weights import initial_weights
from tests.derivatives import Point, check_derivatives, in_f64, with_loss

SIAMESE = """
block tower(x) { return x |> conv@c(2, 3) |> batch_norm@b |> relu |> global_avg_pool |> dense@d(3) }
net siamese(a: f32[N, 6, 6, 1], b: f32[N, 6, 6, 1]) {
  t = share@t(tower)
  d = t(a) - t(b)
  return reduce_sum(d * d, axes = [1])
}
"""


def names(graph: Graph) -> list[str | None]:
    return [p.result.name for p in graph.parameters]


def message(body: str, blocks: str = "") -> str:
    (found,) = check_text(f"{blocks}\nnet n(x: f32[N, 4, 4, 2]) {{ {body} }}")
    return f"{found.message} ({found.hint})"


def test_a_siamese_net_has_one_tower() -> None:
    graph = load_text(SIAMESE)
    assert names(graph)[:2] == ["t.c.weight", "t.c.bias"]
    assert sum(p.result.type.size for p in graph.parameters if p.attributes["trainable"]) == 33
    weights = initial_weights(graph)
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((1, 6, 6, 1), np.float32) for _ in range(2))
    program = netc.compile(graph, weights=weights)
    assert program(a, a) == 0
    np.testing.assert_allclose(program(a, b), program(b, a), rtol=1e-6)
    np.testing.assert_allclose(program(a, b), evaluate(graph, [a, b], weights)[0], rtol=1e-4)


def test_a_file_holds_one_buffer_of_shared_weights() -> None:
    graph = load_text(SIAMESE.replace(" |> batch_norm@b", ""))
    model = read_model(to_tflite(graph, initial_weights(graph)))
    assert sorted(t.shape for t in model.tensors if t.data is not None and len(t.shape) == 4) == [(2, 3, 3, 1)]


def test_an_unrolled_recurrent_net_and_its_gradient() -> None:
    text = """
block cell(x, h, hidden) { return tanh(dense@i(x, hidden) + dense@h(h, hidden)) }
net n(x: f32[N, 6]) {
  step, h = share@rnn(cell, hidden = 2), slice(x, begin = [0, 0], size = [1, 2]) * 0.0
  for t in range(3) { h = step(slice(x, begin = [0, 2 * t], size = [1, 2]), h) }
  return h
}"""
    graph = load_text(text)
    assert names(graph) == ["rnn.i.weight", "rnn.i.bias", "rnn.h.weight", "rnn.h.bias"]
    x = np.random.default_rng(1).standard_normal((1, 6))
    w = {name: np.asarray(value, np.float64) for name, value in initial_weights(graph, 3).items()}
    h = np.zeros((1, 2))
    for t in range(3):
        inner = x[:, 2 * t : 2 * t + 2] @ w["rnn.i.weight"] + w["rnn.i.bias"]
        h = np.tanh(inner + h @ w["rnn.h.weight"] + w["rnn.h.bias"])
    doubles = in_f64(graph)
    np.testing.assert_allclose(evaluate(doubles, [x], w)[0], h, rtol=1e-12)
    check_derivatives(with_loss(doubles), Point({"x": x}, w), ["x", *w])


def test_a_head_over_levels_of_several_sizes_with_statistics_of_their_own() -> None:
    text = """
block head(x, level) { return x |> conv@conv(4, 3) |> batch_norm@"bn{level}" |> relu }
net n(x: f32[N, 8, 8, 4]) {
  shared = share@head(head)
  return shared(x, 0) |> max_pool(2) |> shared(1)
}"""
    found = [n for n in names(load_text(text)) if n and not n.startswith("head.bn")]
    assert found == ["head.conv.weight", "head.conv.bias"]


def test_a_shared_layer_and_what_is_shared_within_what_is_shared() -> None:
    text = """
block tower(x) { c = share@c(conv, filters = 2, kernel = 3); return x |> c |> relu |> c }
net n(x: f32[N, 4, 4, 2]) { t = share(tower); return x |> t |> t }"""
    assert names(load_text(text)) == ["tower_1.c.weight", "tower_1.c.bias"]


def test_accidents_stay_errors() -> None:
    tower = "block tower(x) { return x |> conv@c(2, 3) |> conv@c(2, 3) }"
    assert "two parameters are called `t.c.weight`" in message("t = share@t(tower); return t(x)", tower)
    assert "write `f = share@name(block)`" in message("return conv@a(x, 2, 3) + conv@a(x, 2, 3)")
    twice = "f = share@a(conv, filters = 2, kernel = 3); g = share@a(conv, filters = 2, kernel = 3); return f(x) + g(x)"
    assert "two parameters are called `a.weight`" in message(twice)
    text = "f = share@a(conv, filters = 2, kernel = 3); return f(x) + f(concat(x, x))"
    assert "the shared parameter `a.weight` is [3, 3, 2, 2] in the first call" in message(text)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("f = share@a(relu); return f(x)", "share takes a block or a layer, not the operator relu"),
        ("f = share@a(dense, 3); return f(x)", "share takes one block or layer, not 2"),
        ("f = share@a(dense); g = share@b(f); return x", "the shared layer dense is shared already"),
        ("f = share@a(conv, filters = 2); return f@b(x, kernel = 3)", "a call of the shared layer conv has no label"),
        ("f = share@a(conv, filter = 2); return f(x, kernel = 3)", "conv has no argument `filter`"),
        ("return share(conv)", "must return tensors, not the shared layer conv"),
    ],
)
def test_misuse(body: str, expected: str) -> None:
    assert expected in message(body)


def test_blocks_with_a_gradient_of_their_own_use_no_shared_parameters() -> None:
    blocks = """
block f(x, inner: block) { return inner(x) }
gradient f(x, inner, y, dy) { return dy }"""
    body = "t = share@t(conv, filters = 2, kernel = 3); y = t(x); return f(y, t)"
    assert "can't hold parameters (t.weight)" in message(body, blocks)


def test_running_statistics_move_at_each_use_as_in_pytorch() -> None:
    torch = pytest.importorskip("torch")
    text = "net n(x: f32[N, 3]) { b = share@b(batch_norm); return b(b(x) * 2.0) }"
    x = np.random.default_rng(2).standard_normal((8, 3), np.float32)
    trainer = netc.compile_training(load_text(text, batch=8), loss="mean_squared_error", optimizer="sgd(lr=0)")
    trainer.step(x, np.zeros((8, 3), np.float32))
    layer = torch.nn.BatchNorm1d(3)
    layer(layer(torch.tensor(x)) * 2)
    for name in ("running_mean", "running_var"):
        np.testing.assert_allclose(trainer.weights()[f"b.{name}"], getattr(layer, name).numpy(), rtol=1e-4, atol=1e-5)


def test_check_finds_errors_in_shared_blocks() -> None:
    with pytest.raises(NetcError, match="there is no block, layer or function `con`"):
        load_text("block t(x) { return con(x) } net n(x: f32[N, 3]) { f = share@f(t); return f(x) }")
