"""Schedules and optimisers against their formulas in NumPy, where PyTorch has no counterpart."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice

import numpy as np
import pytest

from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.training import parse_optimizer, parse_schedule
from netc.compiler.training.formula import Formula
from netc.compiler.types import DType, TensorType

from .small_net import Array, wave

Rule = Callable[[Array, Array, dict[str, Array]], Array]


def factors(schedule: str, updates_per_epoch: float, count: int) -> list[float]:
    b = GraphBuilder("schedule")
    updates = b.input("updates", TensorType(DType.F64, ()))
    graph = b.finish([parse_schedule(schedule).factor(Formula(b, updates), updates_per_epoch).value])
    return [float(evaluate(graph, [np.array(float(i))])[0]) for i in range(count)]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1, 1, 1, 1, 1, 1]),
        ("constant(warmup=2)", [0.25, 0.5, 0.75, 1, 1, 1]),
        ("step(every=1, gamma=0.5)", [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ("step(every=1.5, gamma=0.5)", [1, 1, 1, 0.5, 0.5, 0.5]),
        ("step(at=[1, 2], gamma=0.5, warmup=1)", [0.5, 1, 0.5, 0.5, 0.25, 0.25]),
        ("exponential(gamma=0.25)", [1, 0.5, 0.25, 0.125, 0.0625, 0.03125]),
        ("polynomial(epochs=2)", [1, 0.75, 0.5, 0.25, 0, 0]),
        ("polynomial(epochs=3, warmup=1, power=2, final=0.5)", [0.5, 1, 1, 0.78125, 0.625, 0.53125]),
        ("cosine(epochs=3, warmup=1)", [0.5, 1, 1, (2 + math.sqrt(2)) / 4, 0.5, (2 - math.sqrt(2)) / 4]),
        ("cosine(epochs=1, final=0.5)", [1, 0.75, 0.5, 0.5, 0.5, 0.5]),
    ],
)
def test_schedule(schedule: str, expected: list[float]) -> None:
    np.testing.assert_allclose(factors(schedule, 2, 6), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("updates_per_epoch", [3, 7, 49, 390, 1251])
def test_steps_fall_on_epochs(updates_per_epoch: int) -> None:
    """Quotients of whole numbers are rounded; the rate must change with the epoch all the same."""
    for schedule in ("step(every=1, gamma=0.5)", "step(at=[1, 2, 3], gamma=0.5)"):
        b = GraphBuilder("schedule")
        updates = b.input("updates", TensorType(DType.F64, ()))
        graph = b.finish([parse_schedule(schedule).factor(Formula(b, updates), updates_per_epoch).value])
        for epoch in (1, 2, 3):
            before, after = (
                float(evaluate(graph, [np.array(epoch * updates_per_epoch + d, np.float64)])[0]) for d in (-1.0, 0.0)
            )
            assert before == pytest.approx(0.5 ** (epoch - 1))
            assert after == pytest.approx(0.5**epoch)


def rmsprop(w: Array, g: Array, s: dict[str, Array]) -> Array:
    g = g + 0.01 * w
    s["square"] = 0.8 * s.get("square", np.ones_like(w)) + 0.2 * g * g
    s["momentum"] = 0.7 * s.get("momentum", 0) + 0.1 * g / np.sqrt(s["square"] + 0.05)
    return w - s["momentum"]


def lars(w: Array, g: Array, s: dict[str, Array]) -> Array:
    size, slope = np.linalg.norm(w), np.linalg.norm(g)
    ratio = 0.02 * size / (slope + 0.01 * size + 1e-9) if w.ndim > 1 and size > 0 and slope > 0 else 1.0
    s["momentum"] = 0.7 * s.get("momentum", 0) + 0.1 * ratio * (g + 0.01 * w)
    return w - s["momentum"]


def lamb(w: Array, g: Array, s: dict[str, Array]) -> Array:
    s["count"] = s.get("count", np.array(0)) + 1
    s["mean"] = 0.8 * s.get("mean", 0) + 0.2 * g
    s["square"] = 0.9 * s.get("square", 0) + 0.1 * g**2
    r = s["mean"] / (1 - 0.8 ** s["count"]) / (np.sqrt(s["square"] / (1 - 0.9 ** s["count"])) + 1e-3) + 0.01 * w
    size, length = np.linalg.norm(w), np.linalg.norm(r)
    return w - 0.1 * (size / length if w.ndim > 1 and size > 0 and length > 0 else 1.0) * r


def muon(w: Array, g: Array, s: dict[str, Array]) -> Array:
    s["momentum"] = 0.7 * s.get("momentum", 0) + g
    step = g + 0.7 * s["momentum"]
    if w.ndim == 1:
        return w - 0.1 * step
    u, sizes, v = np.linalg.svd(step, full_matrices=False)
    sizes = sizes / (np.linalg.norm(sizes) + 1e-7)
    for _ in range(5):
        sizes = 3.4445 * sizes - 4.7750 * sizes**3 + 2.0315 * sizes**5
    orthogonal: Array = (u * sizes) @ v * math.sqrt(max(1, w.shape[1] / w.shape[0]))
    return w * (1 - 0.1 * 0.01) - 0.1 * orthogonal


RULES: dict[str, Rule] = {
    "rmsprop(lr=0.1, decay=0.8, momentum=0.7, eps=0.05, weight_decay=0.01)": rmsprop,
    "lars(lr=0.1, momentum=0.7, trust=0.02, weight_decay=0.01)": lars,
    "lamb(lr=0.1, beta1=0.8, beta2=0.9, eps=1e-3, weight_decay=0.01)": lamb,
    "muon(lr=0.1, momentum=0.7, weight_decay=0.01)": muon,
}


@pytest.mark.parametrize("text", RULES)
@pytest.mark.parametrize("start", [wave((4, 5), 1), wave((7,), 1), np.zeros((3, 2))])
def test_optimizer(text: str, start: Array) -> None:
    optimizer = parse_optimizer(text)
    b = GraphBuilder("update")
    scalar, tensor = TensorType(DType.F64, ()), TensorType(DType.F64, start.shape)
    rate, updates = (Formula(b, b.input(n, scalar)) for n in ("rate", "updates"))
    weight, gradient, *slots = (Formula(b, b.input(n, tensor)) for n in ("weight", "gradient", *optimizer.slots))
    scalars = optimizer.scalars(rate, updates)
    named = dict(zip(optimizer.slots, slots, strict=True))
    new, new_slots = optimizer.update(weight, gradient, named, scalars, optimizer.weight_decay)
    graph = b.finish([new.value, *(new_slots[n].value for n in optimizer.slots)])
    values = [start, *(np.full_like(start, init == "ones") for init in optimizer.slots.values())]
    expected, state = start, dict[str, Array]()
    for number in range(4):
        g = wave(start.shape, number * 2.5)
        expected = RULES[text](expected, g, state)
        values = list(evaluate(graph, [np.array(0.1), np.array(float(number)), values[0], g, *values[1:]]))
        np.testing.assert_allclose(values[0], expected, rtol=1e-11, atol=1e-13)
        for name, value in zip(optimizer.slots, islice(values, 1, None), strict=True):
            np.testing.assert_allclose(value, state[name], rtol=1e-12)


@pytest.mark.parametrize("shape", [(3, 3, 8, 16), (3, 3, 1, 40), (64, 10)])
def test_muon_steps_are_nearly_orthogonal(shape: tuple[int, ...]) -> None:
    b = GraphBuilder("update")
    scalar, tensor = TensorType(DType.F64, ()), TensorType(DType.F64, shape)
    rate, weight, gradient, slot = (
        Formula(b, b.input(n, t)) for n, t in zip("rwgs", (scalar, *[tensor] * 3), strict=True)
    )
    new, _ = parse_optimizer("muon(lr=1)").update(weight, gradient, {"momentum": slot}, {"rate": rate}, 0.0)
    random = np.random.default_rng(1)
    (moved,) = evaluate(
        b.finish([new.value]), [np.array(1.0), np.zeros(shape), random.normal(size=shape), np.zeros(shape)]
    )
    rows, columns = math.prod(shape[:-1]), shape[-1]
    sizes = np.linalg.svd(moved.reshape(rows, columns), compute_uv=False) / math.sqrt(max(1, columns / rows))
    assert 0.5 < sizes.min() <= sizes.max() < 1.3
