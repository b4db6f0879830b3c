"""Batches in groups of samples: stretches of calls that are repeated, each turn by one thread, on memory of its own."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.arrays import aligned_bytes
from netc.compiler.backends import backend_of, find_target, lower, optimize
from netc.compiler.backends.cpu.codegen import emit_module, machine
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.backends.cpu.codegen.jit import load_object
from netc.compiler.errors import InternalError
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Array, Graph
from netc.compiler.graph.parser import parse_graph
from netc.compiler.library.interface import Storage, code_hash, interface_of, weights_region
from netc.compiler.lowering.packing import pack_weights
from netc.compiler.modules.interpreter import run_module
from netc.compiler.modules.module import Memory, Module
from netc.compiler.modules.printer import print_module
from netc.compiler.modules.reader import parse_module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.passes import SplitBatch, pipelines, run
from netc.runtime.program import Program
from netc.runtime.weights import initial_weights

TEXT = """
graph @g(%x: f32[{n},6,5,3]) -> (f32[{n},4], f32[{n},6,5,8], f32[1,4]) {{
  %w0 = param : f32[3,3,3,8]
  %w1 = param : f32[3,3,8,8]
  %w2 = param : f32[8,4]
  %0 = conv2d(%x, %w0) {{strides = [1,1], padding = "same", dilations = [1,1]}} : f32[{n},6,5,8]
  %1 = relu(%0) : f32[{n},6,5,8]
  %2 = conv2d(%1, %w1) {{strides = [1,1], padding = "same", dilations = [1,1]}} : f32[{n},6,5,8]
  %3 = add(%2, %1) : f32[{n},6,5,8]
  %4 = reduce_mean(%3) {{axes = [1,2]}} : f32[{n},8]
  %5 = dense(%4, %w2) : f32[{n},4]
  %6 = softmax(%5) {{axis = 0}} : f32[{n},4]
  %7 = tanh(%6) : f32[{n},4]
  %8 = reduce_sum(%7) {{axes = [0], keepdims = true}} : f32[1,4]
  return %7, %3, %8
}}
"""
TARGET = host_target()


def network(samples: int) -> tuple[Graph, Array, dict[str, Array]]:
    graph = parse_graph(TEXT.format(n=samples))
    x = np.random.default_rng(samples).standard_normal((samples, 6, 5, 3)).astype(np.float32)
    return graph, x, dict(initial_weights(graph, seed=3))


def split(graph: Graph, group: int, threads: int = 1, target: Any = TARGET) -> Module:
    """The module of a graph in groups of so many samples; 0: for the whole batch."""
    optimized = optimize(graph, pipelines.INFERENCE, target)
    return lower(run(optimized, (SplitBatch(group=group),)) if group else optimized, target, threads)


def results(module: Module, x: Array, params: dict[str, Array], threads: int) -> list[Array]:
    with Program(module, machine.object_code(emit_module(module, TARGET), TARGET), TARGET, threads, params) as program:
        program._session.arena[...] = 0xFF
        first = program(x)
        assert all(np.array_equal(a, b) for a, b in zip(first, program(x), strict=True))
        return list(first)


@pytest.mark.parametrize(("samples", "group"), [(2, 1), (3, 1), (5, 1), (8, 2), (32, 4)])
def test_all_stages_mean_the_same(samples: int, group: int) -> None:
    graph, x, params = network(samples)
    meant = evaluate(graph, [x], params)
    whole = results(split(graph, 0), x, params, 1)
    for threads in (1, 2, 3):
        module = split(graph, group, threads)
        assert module.turns
        loops = run_module(module, [x], params) if samples < 5 else meant
        for found, loop, wanted, other in zip(results(module, x, params, threads), loops, meant, whole, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(loop, wanted, rtol=1e-4, atol=1e-5)
            assert np.array_equal(found, other)


VIEWS = """
graph @g(%x: f32[4,6,5], %mask: f32[3,5]) -> (f32[4,3,2,5]) {
  %0 = reshape(%x) {shape = [4,3,2,5]} : f32[4,3,2,5]
  %1 = reshape(%mask) {shape = [1,3,1,5]} : f32[1,3,1,5]
  %2 = add(%0, %1) : f32[4,3,2,5]
  return %2
}
"""


def test_operands_keep_the_shapes_by_which_they_are_seen() -> None:
    """Kernels saw a mask in the shape of the input whose memory it shows."""
    graph = parse_graph(VIEWS)
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(v.type.shape).astype(np.float32) for v in graph.inputs]
    module = split(graph, 1)
    assert module.turns
    np.testing.assert_array_equal(run_module(module, values, {})[0], evaluate(graph, values)[0])


def test_what_mixes_samples_runs_for_the_whole_batch() -> None:
    graph, _, _ = network(4)
    module = split(graph, 1)
    inside = {n for t in module.turns for n in range(t.first, t.end)}
    labels = [(n in inside, call.label) for n, call in enumerate(module.calls)]
    assert [label for within, label in labels if not within and "reduce" in label]
    assert all("conv2d" in label or "dense" in label for within, label in labels if within and "w" in label.split(" "))
    assert module.arena_bytes < split(graph, 0).arena_bytes


def test_more_threads_than_shares_and_fewer() -> None:
    graph, x, params = network(8)
    wanted = results(split(graph, 0), x, params, 1)
    for compiled, threads in ((2, 1), (2, 4), (3, 2), (4, 3)):
        found = results(split(graph, 1, compiled), x, params, threads)
        assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_text_is_read_back() -> None:
    module = split(network(6)[0], 2, 2)
    text = print_module(module)
    assert "turns 3 shares 2 {" in text
    assert "* turn" in text
    assert "* share" in text
    again = parse_module(text)
    assert again.turns == module.turns
    assert again.calls == module.calls
    assert print_module(again) == text


def changed(module: Module, **slot: int) -> Module:
    """The module whose first argument in memory that moves so has another step."""
    (name,) = slot
    calls = list(module.calls)
    for n, call in enumerate(calls):
        places = [i for i, s in enumerate(call.arguments) if getattr(s, name) and s.memory is not Memory.INPUT]
        if places:
            arguments = list(call.arguments)
            arguments[places[-1]] = replace(arguments[places[-1]], **slot)
            calls[n] = replace(call, arguments=tuple(arguments))
            return replace(module, calls=tuple(calls))
    raise AssertionError(name)


def test_broken_turns_are_refused() -> None:
    module = split(network(8)[0], 1, 2)
    verify_module(module)
    last = module.turns[0].end - 1
    open_ = tuple(replace(call, barrier=call.barrier and n != last) for n, call in enumerate(module.calls))
    early = tuple(replace(call, barrier=call.barrier or n == 1) for n, call in enumerate(module.calls))
    longer = (replace(module.turns[0], count=9), *module.turns[1:])
    outside = (replace(module.turns[0], end=last), *module.turns[1:])
    for broken, message in (
        (changed(module, share=64), "meet"),
        (changed(module, turn=4), "same memory|meet"),
        (changed(module, share=1 << 30), "outside its region"),
        (replace(module, calls=open_), "lack a barrier"),
        (replace(module, calls=early), "lack a barrier, or hold one"),
        (replace(module, turns=longer), "smaller|outside"),
        (replace(module, turns=outside), "not sound|not among turns|lack a barrier"),
        (replace(module, turns=()), "not among turns"),
    ):
        with pytest.raises(InternalError, match=message):
            verify_module(broken)


def test_profiles_add_up_what_turns_take() -> None:
    graph, x, params = network(32)
    module = split(graph, 1, 2)
    code = machine.object_code(emit_module(module, TARGET), TARGET)
    with Program(module, code, TARGET, 2, params) as program:
        times = program.profile(x)
        assert len(times) == len(module.calls)
        assert all(0 <= t < 1e9 for t in times)
        assert sum(times) > 0
    assert sum(call.macs for call in module.calls) == sum(call.macs for call in split(graph, 0).calls)


@pytest.mark.parametrize("target", [TARGET, find_target("cortex-m4")], ids=["host", "cortex-m4"])
def test_libraries_for_one_thread_have_turns(target: Any) -> None:
    graph, x, params = network(4)
    module = split(graph, 1, target=target)
    assert module.turns
    interface = interface_of(module, "net", storage=Storage.EMBEDDED)
    backend = backend_of(target)
    text = backend.emit_library(module, target, interface)
    region = weights_region(interface, pack_weights(module, params))
    text = backend.complete_library(text, target, interface, code_hash(text, backend.fingerprint(target)), region)
    code = machine.object_code(text, target)
    if target is not TARGET:
        return
    loaded = load_object(code, target, ["net_run"])
    run_ = ctypes.CFUNCTYPE(ctypes.c_int32, *3 * [ctypes.c_void_p])(loaded.addresses["net_run"])
    workspace = aligned_bytes(interface.workspace_bytes)
    outputs = [np.zeros(t.type.shape, np.float32) for t in interface.outputs]
    tables = [(ctypes.c_void_p * len(a))(*(v.ctypes.data for v in a)) for a in ([x], outputs)]
    assert run_(workspace.ctypes.data, *tables) == 0
    for found, wanted in zip(outputs, results(split(graph, 0), x, params, 1), strict=True):
        assert np.array_equal(found, wanted)


def test_microcontrollers_take_one_sample_at_a_time() -> None:
    target = find_target("cortex-m4")
    graph = network(4)[0]
    optimized = optimize(graph, pipelines.INFERENCE, target)
    module = lower(optimized, target, 1)
    assert {t.count for t in module.turns} == {4}


def test_integers_are_the_same_to_the_byte() -> None:
    samples = np.random.default_rng(0).standard_normal((8, 4, 6, 3), np.float32)
    graph = netc.load("docs/tour.net", batch=8)
    calibrated = netc.calibrate(graph, samples, weights=initial_weights(graph, seed=1))
    integers = netc.quantize(graph, calibration=calibrated)
    x = np.random.default_rng(2).integers(-128, 128, (8, 4, 6, 3), np.int8)
    (meant,) = evaluate(integers, [x], {})
    for group, threads in ((1, 1), (2, 3), (4, 2)):
        module = split(integers, group, threads)
        assert module.turns
        code = machine.object_code(emit_module(module, TARGET), TARGET)
        with Program(module, code, TARGET, threads, {}) as program:
            assert np.array_equal(program(x), meant)


STATE = """graph @s(%x: f32[4,3]) -> (f32[4,3], f32[4,3]) attributes {updates = ["s"]} {
  %s = param {trainable = false, value = dense<0.0>} : f32[4,3]
  %0 = add(%s, %x) : f32[4,3]
  return %0, %0
}
"""


def test_states_and_single_samples_stay_whole() -> None:
    for text in (STATE, TEXT.format(n=1)):
        graph = parse_graph(text)
        assert run(graph, (SplitBatch(group=1),)) is graph


def test_estimates_choose_few_samples_where_activations_are_large() -> None:
    graph = netc.load("mobilenet_v2", batch=8)
    for threads in (1, 2):
        module = lower(optimize(graph, pipelines.INFERENCE, find_target("znver4")), find_target("znver4"), threads)
        counts = [t.count for t in module.turns]
        assert counts[0] == 8
        assert counts == sorted(counts, reverse=True)
        assert sum(t.end - t.first for t in module.turns) > 50


def test_turns_read_what_was_written_in_the_memory_of_others() -> None:
    """That memory stays theirs until the last turn."""
    text = """
graph @g(%x: f32[4,6,5,8], %z: f32[4,6,5,8]) -> (f32[4,6,5,16]) {
  %u = param : f32[1,1,8,16]
  %w = param : f32[1,1,8,8]
  %0 = cumulative_sum(%x) {axis = 0} : f32[4,6,5,8]
  %1 = softmax(%z) {axis = 0} : f32[4,6,5,8]
  %2 = add(%1, %0) : f32[4,6,5,8]
  %3 = conv2d(%2, %w) {strides = [1,1], padding = "same", dilations = [1,1]} : f32[4,6,5,8]
  %4 = tanh(%3) : f32[4,6,5,8]
  %5 = conv2d(%4, %u) {strides = [1,1], padding = "same", dilations = [1,1]} : f32[4,6,5,16]
  %6 = cumulative_sum(%5) {axis = 0} : f32[4,6,5,16]
  return %6
}
"""
    graph = parse_graph(text)
    x, z = (np.random.default_rng(seed).standard_normal((4, 6, 5, 8)).astype(np.float32) for seed in (0, 1))
    params = dict(initial_weights(graph, seed=3))
    module = split(graph, 1, threads=2, target=replace(TARGET, l1_bytes=64))
    verify_module(module)
    assert len(next(call for call in module.calls if "add" in call.label).arguments) == 2
    assert module.turns
    (expected,) = evaluate(graph, [x, z], params)
    (found,) = run_module(module, [x, z], params)
    np.testing.assert_allclose(found, expected, atol=1e-4)
