"""Optimisers, which stand in graphs of training steps."""

from __future__ import annotations

from ....compiler.graph.ir import Value
from ....compiler.ops.expressions import Formula
from ..node import Node
from ..registry import onnx

DOMAIN = "ai.onnx.preview.training"


def _columns(c: Node, count: int) -> list[list[Formula]]:
    """Inputs behind the rate and the step: weights, gradients, states, as many of each."""
    given = [Formula(c, c.value(i)) for i in range(2, c.count)]
    size = len(given) // count
    return [given[i * size : (i + 1) * size] for i in range(count)]


def _step(c: Node, x: Formula) -> tuple[Formula, Formula]:
    """Rate and number of the step as numbers of the type of the weights."""
    dtype = x.value.type.dtype
    rate, step = (c.reshape(c.cast(c.value(i), dtype), ()) for i in range(2))
    return Formula(c, rate), Formula(c, step)


@onnx("Adagrad", domain=DOMAIN)
def adagrad(c: Node) -> tuple[Value, ...]:
    """Steps divided by the root of the sum of all squares of gradients (Duchi et al., 2011)."""
    weights, gradients, sums = _columns(c, 3)
    epsilon, decay = float(c.attribute("epsilon", 1e-6)), float(c.attribute("decay_factor", 0.0))
    share = float(c.attribute("norm_coefficient", 0.0))
    new, squares = [], []
    for x, g, h in zip(weights, gradients, sums, strict=True):
        rate, step = _step(c, x)
        g = g + x * share
        h = h + g * g
        new.append((x - g * (rate / (step * decay + 1)) / (h.emit("sqrt") + epsilon)).value)
        squares.append(h.value)
    return (*new, *squares)


@onnx("Adam", domain=DOMAIN)
def adam(c: Node) -> tuple[Value, ...]:
    """Steps by moving means of gradients and of their squares (Kingma and Ba, 2014)."""
    weights, gradients, means, squares = _columns(c, 4)
    alpha, beta = float(c.attribute("alpha", 0.9)), float(c.attribute("beta", 0.999))
    epsilon, share = float(c.attribute("epsilon", 1e-6)), float(c.attribute("norm_coefficient", 0.0))
    after = float(c.attribute("norm_coefficient_post", 0.0))
    new, new_means, new_squares = [], [], []
    for x, g, v, h in zip(weights, gradients, means, squares, strict=True):
        rate, step = _step(c, x)
        g = g + x * share
        v = v * alpha + g * (1 - alpha)
        h = h * beta + g * g * (1 - beta)
        first, second = (1 - x.constant(base).emit("pow", step) for base in (alpha, beta))
        adjusted = (rate * second.emit("sqrt") / first).where(step.emit("greater", 0.0).value, rate)
        new.append(((x - v * adjusted / (h.emit("sqrt") + epsilon)) * (1 - after)).value)
        new_means.append(v.value)
        new_squares.append(h.value)
    return (*new, *new_means, *new_squares)


@onnx("Momentum", domain=DOMAIN)
def momentum(c: Node) -> tuple[Value, ...]:
    """Steps that keep a share of the one before."""
    weights, gradients, steps = _columns(c, 3)
    alpha, beta = float(c.needed("alpha")), float(c.needed("beta"))
    share, nesterov = float(c.needed("norm_coefficient")), c.choice("mode", "", "standard", "nesterov") == "nesterov"
    new, moved = [], []
    for x, g, v in zip(weights, gradients, steps, strict=True):
        rate, step = _step(c, x)
        g = g + x * share
        factor = (step * 0 + beta).where(step.emit("greater", 0.0).value, 1)
        v = v * alpha + g * factor
        new.append((x - (g + v * alpha if nesterov else v) * rate).value)
        moved.append(v.value)
    return (*new, *moved)
