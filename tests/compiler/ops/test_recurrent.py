"""Recurrent layers against PyTorch: values, states and gradients with its weights, and derivatives by differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph import evaluate
from netc.compiler.passes import differentiate
from netc.frontend import load_text
from netc.runtime.weights import initial_weights
from tests.derivatives import Point, check_derivatives, in_f64, with_loss

BATCH, STEPS, FEATURES, UNITS = 2, 4, 3, 5


def text(kind: str, options: str, given: bool = False) -> str:
    names = ["h0", "c0"][: 2 if kind == "lstm" else 1] if given else []
    states = "".join(f", {name}: f32[D, {BATCH}, {UNITS}]" for name in names)
    arguments = "".join(f", {name} = {name}" for name in names)
    return (
        f"net n(x: f32[{BATCH}, {STEPS}, {FEATURES}]{states}) "
        f"{{ return {kind}@cell(x, {UNITS}, states = true{options}{arguments}) }}"
    )


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize(
    ("layers", "bidirectional", "bias", "given"),
    [(1, False, True, False), (2, True, True, True), (1, True, False, True), (2, False, True, False)],
)
def test_as_in_pytorch(kind: str, layers: int, bidirectional: bool, bias: bool, given: bool) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = getattr(torch.nn, kind.upper())(
        FEATURES, UNITS, layers, bias=bias, batch_first=True, bidirectional=bidirectional
    ).double()
    count = layers * (1 + bidirectional)
    flags = f", layers = {layers}, bidirectional = {bidirectional}, bias = {bias}".replace("T", "t").replace("F", "f")
    graph = in_f64(load_text(text(kind, flags, given), sizes={"D": count} if given else None))
    x = torch.randn(BATCH, STEPS, FEATURES, dtype=torch.float64, requires_grad=True)
    start = [torch.randn(count, BATCH, UNITS, dtype=torch.float64, requires_grad=True) for _ in graph.inputs[1:]]
    state: Any = None if not start else tuple(start) if kind == "lstm" else start[0]
    output, last = module(x, state)
    wanted = [output, *(last if kind == "lstm" else (last,))]
    weights = {
        f"cell.{name}": value.detach().numpy().T if value.ndim == 2 else value.detach().numpy()
        for name, value in module.named_parameters()
    }
    assert {p.result.name for p in graph.parameters} == weights.keys()
    arrays = [value.detach().numpy() for value in (x, *start)]
    for found, expected in zip(evaluate(graph, arrays, weights), wanted, strict=True):
        np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-10, atol=1e-12)

    rng = np.random.default_rng(0)
    factors = [rng.standard_normal(tuple(value.shape)) for value in wanted]
    sum((value * torch.tensor(f)).sum() for value, f in zip(wanted, factors, strict=True)).backward()
    loss = with_loss(graph)
    names = [v.name for v in graph.inputs] + list(weights)
    gradients = evaluate(differentiate(loss, 0, names), arrays, weights)[1:]
    known = dict(module.named_parameters())
    tensors = [x, *start, *(known[name.removeprefix("cell.")] for name in weights)]
    for name, gradient, tensor in zip(names, gradients, tensors, strict=True):
        expected = tensor.grad.numpy()
        np.testing.assert_allclose(gradient, expected.T if "weight" in name else expected, atol=1e-10)


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_derivatives(kind: str) -> None:
    graph = in_f64(load_text(text(kind, ", bidirectional = true")))
    weights = {k: np.asarray(v, np.float64) for k, v in initial_weights(graph).items()}
    x = np.random.default_rng(1).standard_normal((BATCH, STEPS, FEATURES))
    check_derivatives(with_loss(graph), Point({"x": x}, weights), ["x", *weights])


@pytest.mark.parametrize("kind", ["lstm", "gru", 'rnn(activation = "relu")'])
def test_machine_code(kind: str) -> None:
    name, _, options = kind.partition("(")
    rest = f", {options.removesuffix(')')}" if options else ""
    graph = load_text(
        f"net n(x: f32[N, 1, 3]) {{ return x |> {name}@cell(units = 4{rest}) |> {name}@more(units = 2) }}"
    )
    weights = initial_weights(graph)
    x = np.random.default_rng(1).standard_normal((1, 1, 3), np.float32)
    (meant,) = evaluate(graph, [x], weights)
    assert meant.shape == (1, 1, 2)
    np.testing.assert_allclose(netc.compile(graph, weights=weights)(x), meant, atol=1e-6)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("lstm(flatten(x), 3)", "a recurrent layer takes a sequence"),
        ("gru(x, 0)", "at least one unit and one layer, not 0"),
        ("rnn(x, 3, layers = 0)", "at least one unit and one layer, not 0"),
        ('rnn(x, 3, activation = "gelu")', "rnn has the activation tanh or relu, not gelu"),
        ("lstm(x, 3, h0 = x)", r"an initial state must be \[1,1,3\], not f32\[1,4,2\]"),
    ],
)
def test_misuse(body: str, message: str) -> None:
    with pytest.raises(NetcError, match=message):
        load_text(f"net n(x: f32[N, 4, 2]) {{ return {body} }}")
