"""Faults that schedules once had, made again: the verifier, or interpreted loops, find each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from netc.compiler import lowering
from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.backends.cpu.schedules import SCHEDULES, geometry
from netc.compiler.backends.cpu.schedules.integers.word_contraction import schedule_word_contraction
from netc.compiler.errors import InternalError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph, Value
from netc.compiler.loops.ir import Const, Expr, Kernel
from netc.compiler.lowering.barriers import Placed, with_barriers
from netc.compiler.lowering.elements import Elements, OperandView
from netc.compiler.modules.interpreter import run_module
from netc.compiler.modules.module import Call
from netc.compiler.passes import pipelines
from netc.compiler.types import DType, Quantization, TensorType

HOST = host_target()


def image(b: GraphBuilder, *shape: int) -> Value:
    return b.input("x", TensorType(DType.F32, shape))


def conv(b: GraphBuilder, x: Value, filters: int, size: int) -> Value:
    weight = b.emit("param", shape=(size, size, x.type.shape[-1], filters), name=f"w{len(b.operations)}")
    return b.emit("conv2d", x, weight, strides=(1, 1), padding="same", dilations=(1, 1), groups=1)


def finish(b: GraphBuilder, y: Value) -> Graph:
    return optimize(b.finish([y]), pipelines.INFERENCE, host_target())


def test_padding_behind_the_last_dimension(monkeypatch: pytest.MonkeyPatch) -> None:
    b = GraphBuilder("g")
    graph = finish(b, b.emit("pad", image(b, 2, 4), padding=((0, 0), (0, 16))))
    lower(graph, HOST)
    right = Elements.guarded

    def unguarded(self: Elements, value: Value, index: tuple[Expr, ...], padding: float) -> Expr:
        is_lane = self.lane is not None and index[-1] == self.lane
        return self.load(value, index) if is_lane else right(self, value, index, padding)

    monkeypatch.setattr(Elements, "guarded", unguarded)
    with pytest.raises(InternalError, match=r"%x0, index .* lies outside 0 to 3"):
        lower(graph, HOST)


def test_a_dense_layer_between_padded_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    b = GraphBuilder("g")
    weight = b.emit("param", shape=(8, 8), name="dense")
    graph = finish(b, conv(b, b.emit("dense", conv(b, image(b, 1, 6, 6, 8), 8, 3), weight), 4, 3))
    lower(graph, HOST)
    monkeypatch.setattr(geometry, "_is_one_row", lambda group: True)
    with pytest.raises(InternalError, match=r"sees \d+ bytes of f32\[1,6,6,8\]\{"):
        lower(graph, HOST)


def test_threads_that_clear_margins_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """A barrier was left out before calls that clear margins: other threads may still read what was there before."""
    b = GraphBuilder("g")
    x = b.emit("relu", image(b, 1, 128, 128, 16))
    for _ in range(3):  # values take each other's places
        x = b.emit("exp", conv(b, b.emit("concat", x, x, axis=3), 16, 3))
    graph = finish(b, x)
    lower(graph, HOST, 2)

    def old(placed: Sequence[Placed], kernels: Mapping[str, Kernel], *others: Any) -> tuple[Call, ...]:
        calls = with_barriers(placed, kernels, *others)
        labels = [call.label for call in calls[1:]] + [""]
        return tuple(
            Call(c.kernel, c.arguments, c.barrier and label != "clear_margins", c.label)
            for c, label in zip(calls, labels, strict=True)
        )

    monkeypatch.setitem(lowering.lower.__globals__, "with_barriers", old)
    with pytest.raises(InternalError, match=r"clear_margins_\d and @\w+ meet|@\w+ and @clear_margins_\d+ meet"):
        lower(graph, HOST, 2)


def test_a_shortcut_on_a_map_one_pixel_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """No access leaves its buffer here: interpreted loops show that the numbers are wrong."""
    b = GraphBuilder("g")
    x = image(b, 1, 5, 1, 4)
    graph = finish(b, b.emit("add", conv(b, x, 4, 1), x))
    rng = np.random.default_rng(0)
    pixels, weight = rng.standard_normal((1, 5, 1, 4), np.float32), rng.standard_normal((1, 1, 4, 4), np.float32)
    (meant,) = evaluate(graph, [pixels], {"w0": weight})
    (found,) = run_module(lower(graph, HOST), [pixels], {"w0": weight})
    np.testing.assert_allclose(found, meant, atol=1e-5)

    def by_size(self: OperandView, operand: int, index: tuple[Expr, ...]) -> Expr:
        shape = self.type(operand).shape
        tail = index[len(index) - len(shape) :]
        return self.load(operand, tuple(Const(0) if s == 1 else i for i, s in zip(tail, shape, strict=True)))

    monkeypatch.setattr(OperandView, "load_broadcast", by_size)
    (found,) = run_module(lower(graph, HOST), [pixels], {"w0": weight})
    assert np.abs(found - meant).max() > 0.1


def test_margins_that_a_walk_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    b = GraphBuilder("g")
    graph = finish(b, conv(b, b.emit("relu", conv(b, image(b, 1, 6, 6, 8), 8, 3)), 8, 3))
    lower(graph, HOST)
    monkeypatch.setattr(geometry, "origin_of", lambda x, padding: tuple(before + 1 for before, _ in x.margins[1:-1]))
    with pytest.raises(InternalError, match="lies outside"):
        lower(graph, HOST)


def test_a_schedule_that_only_prepares() -> None:
    """Products of words without any walk: bytes were widened, and nothing read them."""
    b = GraphBuilder("g")
    x = b.input("x", TensorType(DType.I8, (2, 8), None, Quantization((0.5,), (0,))))
    weight = b.constant(np.ones((8, 8), np.int8))
    scales: dict[str, Any] = {
        "x": Quantization((0.5,), (0,)),
        "weight": Quantization((0.5,), (0,)),
        "y": Quantization((0.5,), (0,)),
    }
    target = find_target("x86-64-v3")
    graph = optimize(b.finish([b.emit("q_dense", x, weight, **scales)]), pipelines.INFERENCE, target)
    lower(graph, target)

    def idle(*given: Any) -> Any:
        return schedule_word_contraction(*given)[:1]

    schedules = replace(SCHEDULES, in_order=(idle,))
    with pytest.raises(InternalError, match=r"dense_sum.* leaves it unwritten"):
        lowering.lower(graph, target, 1, schedules)
