"""Scans: loops over steps as one kernel, what is the same in every step, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError, ShapeError
from netc.compiler.graph import GraphBuilder, evaluate
from netc.compiler.graph.ir import Emits, Graph, Value
from netc.compiler.graph.registry import lookup
from netc.compiler.lowering import lower
from netc.compiler.ops.scan import scanned
from netc.compiler.types import DType, TensorType
from netc.passes import differentiate, pipelines, run

WIDTH = 37


def decayed(steps: int, reverse: bool = False, table: bool = False) -> Graph:
    """state' = state * exp(rate) + x, for rows; with a table of numbers in the body."""
    b = GraphBuilder("decayed")
    x = b.input("x", TensorType(DType.F32, (steps, 2, WIDTH)))
    state = b.input("state", TensorType(DType.F32, (2, WIDTH)))
    rate = b.input("rate", TensorType(DType.F32, (WIDTH,)))

    def step(
        b: Emits, states: Sequence[Value], xs: Sequence[Value], constants: Sequence[Value]
    ) -> tuple[Sequence[Value], Sequence[Value]]:
        after = b.emit("add", b.emit("mul", states[0], b.emit("exp", constants[0])), xs[0])
        if table:
            after = b.emit("add", after, b.emit("constant", value=np.arange(WIDTH, dtype=np.float32)))
        return (after,), (b.emit("relu", after),)

    done = scanned(b, step, (state,), (x,), (rate,), reverse=reverse)
    return b.finish((*done.stacked, *done.states))


def arguments(graph: Graph) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [(random.standard_normal(v.type.shape) / 4).astype(np.float32) for v in graph.inputs]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_steps_in_order(steps: int, reverse: bool) -> None:
    graph = decayed(steps, reverse)
    x, state, rate = arguments(graph)
    stacked = np.zeros_like(x)
    for t in reversed(range(steps)) if reverse else range(steps):
        state = state * np.exp(rate) + x[t]
        stacked[t] = np.maximum(state, 0)
    with netc.compile(graph, threads=1) as program:
        for found in (evaluate(graph, arguments(graph)), program(*arguments(graph))):
            np.testing.assert_allclose(found[0], stacked, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(found[1], state, rtol=1e-5, atol=1e-5)


def test_no_steps_leave_the_state() -> None:
    graph = decayed(0)
    x, state, rate = arguments(graph)
    with netc.compile(graph, threads=1) as program:
        for stacked, last in (evaluate(graph, [x, state, rate]), program(x, state, rate)):
            assert stacked.shape == (0, 2, WIDTH)
            np.testing.assert_array_equal(last, state)


def test_what_is_the_same_in_every_step_is_computed_before() -> None:
    optimized = run(decayed(5, table=True), pipelines.INFERENCE)
    assert sum(op.name == "exp" for op in optimized.operations) == 1
    (scan,) = (op for op in optimized.operations if op.name == "scan")
    assert "exp" not in str(scan.attributes["body"])
    assert len(scan.operands) == 4
    graph = decayed(5, table=True)
    with netc.compile(graph, threads=1) as program:
        for found, wanted in zip(program(*arguments(graph)), evaluate(graph, arguments(graph)), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_arrays_of_a_body_are_constants_of_the_scan() -> None:
    from netc.compiler.backends.cpu.schedules import SCHEDULES
    from netc.compiler.targets.cpus import CPUS

    graph = decayed(5, table=True)
    (scan,) = (op for op in graph.operations if op.name == "scan")
    assert len(scan.operands) == 4
    assert not any(op.name == "constant" for op in scan.attributes["body"].operations)
    assert lower(graph, CPUS["x86-64-v3"], 1, SCHEDULES).kernels


def test_a_scan_has_no_gradient() -> None:
    with pytest.raises(NetcError, match="its steps are a loop"):
        differentiate(decayed(3), 0, ["x"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"steps": 4}, "needs sequences of 4 steps"),
        ({"states": 0, "sequences": 0}, "must take"),
        ({"states": -1}, "can't take -1 states"),
        ({"sequences": 9}, "and 9 sequences"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, int], problem: str) -> None:
    (scan,) = decayed(3).operations
    with pytest.raises(ShapeError, match=problem):
        lookup("scan").infer(tuple(v.type for v in scan.operands), {**scan.attributes, **change})
