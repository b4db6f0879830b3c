"""Scans: loops over steps as one kernel, what is the same in every step, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

import netc
from netc.compiler.errors import ShapeError
from netc.compiler.graph import GraphBuilder, evaluate
from netc.compiler.graph.ir import Emits, Graph, Value
from netc.compiler.graph.registry import lookup
from netc.compiler.loops.ir import Space
from netc.compiler.lowering import lower
from netc.compiler.modules.module import Module
from netc.compiler.ops.regions.scan import cut_out, scanned
from netc.compiler.types import DType, TensorType
from netc.passes import UnrollScans, differentiate, pipelines, run, unroll_scans

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


@pytest.mark.parametrize("reverse", [False, True])
def test_steps_written_out(reverse: bool) -> None:
    graph = decayed(3, reverse, table=True)
    unrolled = unroll_scans(graph)
    assert not any(op.name == "scan" for op in unrolled.operations)
    for found, wanted in zip(evaluate(unrolled, arguments(graph)), evaluate(graph, arguments(graph)), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert UnrollScans(steps=2)(graph) is graph
    assert UnrollScans(macs=1)(graph) is graph


def test_the_gradient_is_that_of_the_steps() -> None:
    graph = decayed(3)
    wanted = differentiate(unroll_scans(graph), 0, ["x", "rate"])
    found = differentiate(graph, 0, ["x", "rate"])
    for a, b in zip(evaluate(found, arguments(graph)), evaluate(wanted, arguments(graph)), strict=True):
        np.testing.assert_array_equal(a, b)


def gated(steps: int, units: int) -> Graph:
    """A layer with two gates, whose body is cut out of the graph: h' = sigmoid(a) * c + tanh(b), c' = c * h'."""
    b = GraphBuilder("gated")
    x = b.input("x", TensorType(DType.F32, (steps, 3, 2 * units)))
    h, c = (b.input(name, TensorType(DType.F32, (3, units))) for name in "hc")
    weight = b.input("weight", TensorType(DType.F32, (units, 2 * units)))

    def step(states: Sequence[Value], xs: Sequence[Value]) -> tuple[Sequence[Value], Sequence[Value]]:
        half = b.emit("mul", weight, b.scalar(0.5, DType.F32))  # the same in every step
        total = b.emit("add", xs[0], b.emit("dense", states[0], half))
        first, second = (b.emit("slice", total, begin=(0, i * units), size=(3, units)) for i in range(2))
        kept = b.emit("mul", b.emit("sigmoid", first), states[1])
        new = b.emit("mul", b.emit("add", kept, b.emit("tanh", second)), b.scalar(0.9, DType.F32))
        return (new, b.emit("mul", states[1], b.emit("relu", new))), (new,)

    done = cut_out(b, step, (h, c), (x,))
    return b.finish((*done.stacked, *done.states))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("steps", "units"), [(1, 8), (4, 8), (3, 13), (3, 300)])
def test_a_body_cut_out_of_a_graph(steps: int, units: int, threads: int) -> None:
    graph = gated(steps, units)
    (half,) = (op for op in graph.operations if op.name == "mul" and op.result.type.shape == (units, 2 * units))
    scans = [op for op in graph.operations if op.name == "scan"]
    assert len(scans) == (steps > 1)
    assert all(half.result in op.operands for op in scans)
    wanted = evaluate(graph, arguments(graph))
    with netc.compile(graph, threads=threads) as program:
        for found, expected in zip(program(*arguments(graph)), wanted, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_gates_are_read_where_they_lie_and_states_are_written_over() -> None:
    (scan,) = (op for op in run(gated(4, 8), pipelines.INFERENCE).operations if op.name == "scan")
    assert not any(op.name == "slice" for op in scan.attributes["body"].operations)
    with netc.compile(gated(4, 8), threads=1) as program:
        assert isinstance(program.module, Module)
        (kernel,) = (k for k in program.module.kernels if k.name.startswith("scan"))
    # The results, and the sums of both gates: no gate, and no next state, has memory of its own.
    assert sum(buffer.space is Space.OUT for buffer in kernel.params) == 3 + 1


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
