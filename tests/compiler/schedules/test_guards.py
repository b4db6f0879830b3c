"""Calls that are skipped while gradients accumulate: which they are, and that nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from netc.compiler.backends import lower, optimize
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.errors import InternalError
from netc.compiler.graph.ir import Graph
from netc.compiler.graph.parser import parse_graph
from netc.compiler.lowering.guards import guards_of
from netc.compiler.lowering.state import state_of
from netc.compiler.modules.module import Module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.passes import pipelines, run
from netc.compiler.training import training_step
from netc.compiler.types import DType
from netc.runtime.program import Program

from ..training.small_net import Array, batches, initial_state, small_net

STEP = """\
graph @g(%x: f32[4]) -> (f32[4], f32[4], i64[]) attributes {updates = ["w", "n"]} {
  %w = param : f32[4]
  %n = param {trainable = false} : i64[]
  %last = constant {value = dense<3>} : i64[]
  %due = equal(%n, %last) : i1[]
  %y = add(%w, %x) : f32[4]
  %a = mul(%x, %x) : f32[4]
  %b = exp(%a) : f32[4]
  %new = sub(%w, %b) : f32[4]
  %kept = select(%due, %new, %w) : f32[4]
  %one = constant {value = dense<1>} : i64[]
  %next = add(%n, %one) : i64[]
  return %y, %kept, %next
}
"""

WAYS: dict[str, Callable[[Graph], Graph]] = {
    "tuned": lambda graph: optimize(graph, pipelines.TRAINING, host_target()),
    "generic": lambda graph: run(graph, "decompose"),
}


def guarded(text: str) -> set[str]:
    """Names of the values that are computed only if `due` holds."""
    graph = parse_graph(text)
    guards = guards_of(graph, state_of(graph))
    assert {v.name for v in guards.values()} <= {"due"}
    return {v.name or "" for v in guards}


def test_what_only_a_skipped_select_reads_is_skipped() -> None:
    assert guarded(STEP) == {"a", "b", "new", "kept"}


def test_a_select_inside_a_fused_operation() -> None:
    graph = run(parse_graph(STEP), "fuse")
    (value,) = guards_of(graph, state_of(graph))
    assert graph.producers[value].name == "fused"


@pytest.mark.parametrize(
    ("old", "new", "left"),
    [
        ("return %y,", "return %b,", {"new", "kept"}),  # an output reads %b
        ("%kept = select(%due, %new, %w)", "%kept = select(%due, %w, %new)", set()),  # moves where %due doesn't hold
        ("%kept = select(%due, %new, %w)", "%kept = select(%due, %new, %x)", set()),  # not the old value
        ("%y = add(%w, %x)", "%y = add(%kept, %x)", set()),  # the kept value is needed in each call
    ],
)
def test_what_is_needed_in_each_call_runs(old: str, new: str, left: set[str]) -> None:
    lines = STEP.replace(old, new).splitlines()
    if "%kept, %x" in new:  # in the order of definitions
        lines.insert(-2, lines.pop(5))
    assert guarded("\n".join(lines) + "\n") == left


def test_a_condition_keeps_its_place_to_the_end() -> None:
    # A thread that is late asks for it when others are far ahead: these values must not take its place.
    later = "  %c = exp(%x) : f32[4]\n  %d = exp(%c) : f32[4]\n  %e = exp(%d) : f32[4]\n"
    later += "  %f = add(%c, %d) : f32[4]\n  %z = add(%f, %e) : f32[4]\n  return %z,"
    module = lower(parse_graph(STEP.replace("  return %y,", later)), host_target(), 2)
    assert any(call.when is not None for call in module.calls)
    verify_module(module)


def test_a_parameter_guards_nothing() -> None:
    flag = STEP.replace("%due = equal(%n, %last) : i1[]", "%due = param {trainable = false} : i1[]")
    assert guarded(flag) == set()


def momentum_step() -> Graph:
    """One that accumulates, with a slot that is written before the weight and an average that is made of it."""
    options: dict[str, Any] = {"loss": "softmax_cross_entropy", "optimizer": "muon(lr=0.1, weight_decay=0.1)"}
    return training_step(small_net(DType.F32, bias=False), **options, accumulate=3, ema=0.9, seed=7)


def states(module: Module, step: Graph, threads: int) -> list[dict[str, Array]]:
    """The state after each of twelve calls."""
    target = host_target()
    code = object_code(emit_module(module, target), target)
    found = []
    with Program(module, code, target, threads, initial_state(step)) as program:
        for x, labels in [*batches(DType.F32)] * 2:
            program(x, labels)
            found.append({name: view.copy() for name, view in program.state.items()})
    return found


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("way", WAYS)
def test_skipping_changes_no_bit(way: str, threads: int) -> None:
    step = momentum_step()
    module = lower(WAYS[way](step), host_target(), threads)
    always = replace(module, calls=tuple(replace(call, when=None) for call in module.calls))
    for skipped, plain in zip(states(module, step, threads), states(always, step, threads), strict=True):
        for name, value in plain.items():
            np.testing.assert_array_equal(skipped[name], value, err_msg=name)


def test_most_of_an_update_is_skipped() -> None:
    module = lower(WAYS["tuned"](momentum_step()), host_target(), 2)
    averages = [call for call in module.calls if call.label.startswith("ema.")]
    multiplying = [call for call in module.calls if call.label == "dense"]  # Newton-Schulz iterations
    assert len(averages) > 1
    assert len(multiplying) > 10
    assert None not in {call.when for call in (*averages, *multiplying)}


@pytest.mark.parametrize("way", WAYS)
def test_threads_meet_before_and_after_what_may_be_skipped(way: str) -> None:
    module = lower(WAYS[way](momentum_step()), host_target(), 2)
    kernels = {kernel.name: kernel for kernel in module.kernels}
    shared = [n for n, call in enumerate(module.calls) if call.barrier and kernels[call.kernel].is_parallel]
    around = [n for n in shared if module.calls[n].when != module.calls[n + 1].when]
    for n in (*around, *shared[:5]):
        calls = [replace(call, barrier=call.barrier and m != n) for m, call in enumerate(module.calls)]
        with pytest.raises(InternalError, match="without a barrier"):
            verify_module(replace(module, calls=tuple(calls)))


def test_a_step_that_updates_each_time_skips_nothing() -> None:
    step = training_step(small_net(DType.F32), loss="softmax_cross_entropy", optimizer="adam", seed=7)
    module = lower(WAYS["tuned"](step), host_target(), 2)
    assert {call.when for call in module.calls} == {None}
