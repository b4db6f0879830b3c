"""Libraries at the level of machine code: what they offer, what they need, what they compute and refuse."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from netc.compiler.arrays import aligned_bytes
from netc.compiler.backends import backend_of, find_target, lower, optimize
from netc.compiler.backends.cpu.codegen import machine
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.backends.cpu.codegen.jit import load_object
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.graph.parser import parse_graph
from netc.compiler.library.elf import Elf
from netc.compiler.library.interface import Interface, Status, Storage, code_hash, interface_of, weights_region
from netc.compiler.library.weights import BASIS, PRIME, checksum, weights_file
from netc.compiler.lowering.packing import pack_weights
from netc.compiler.modules.module import Module
from netc.compiler.passes import pipelines
from netc.compiler.targets.target import Target

GRAPH = """
graph @g(%x: f32[1,6,6,3], %y: f32[8]) -> (f32[1,6,6,8], f32[1,6,6,8]) {
  %w = param : f32[3,3,3,8]
  %0 = conv2d(%x, %w) {strides = [1,1], padding = "same", dilations = [1,1]} : f32[1,6,6,8]
  %1 = relu(%0) : f32[1,6,6,8]
  %2 = mul(%1, %y) : f32[1,6,6,8]
  return %1, %2
}
"""


def compiled(target: Target, storage: Storage) -> tuple[Graph, Module, Interface, bytes, bytes, int, dict[str, Any]]:
    graph = parse_graph(GRAPH)
    module = lower(optimize(graph, pipelines.INFERENCE, target), target)
    params = {"w": np.random.default_rng(1).standard_normal((3, 3, 3, 8)).astype(np.float32)}
    interface = interface_of(module, "net", storage=storage)
    backend = backend_of(target)
    text = backend.emit_library(module, target, interface)
    code = code_hash(text, backend.fingerprint(target))
    region = weights_region(interface, pack_weights(module, params))
    text = backend.complete_library(text, target, interface, code, region)
    return graph, module, interface, machine.object_code(text, target), region, code, params


def pointers(arrays: list[Any]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))


def memory(data: bytes) -> Any:
    held = aligned_bytes(len(data))
    held[:] = np.frombuffer(data, np.uint8)
    return held


@pytest.mark.parametrize("storage", [Storage.EMBEDDED, Storage.FILE])
def test_a_library_computes_what_the_graph_says(storage: Storage) -> None:
    target = host_target()
    graph, _, interface, code, region, number, params = compiled(target, storage)
    names = ["net_run", *(["net_bind"] if storage is Storage.FILE else [])]
    loaded = load_object(code, target, names)
    functions = {
        name: ctypes.CFUNCTYPE(ctypes.c_int32, *3 * [ctypes.c_void_p])(loaded.addresses[name]) for name in names
    }
    workspace = memory(b"\xff" * interface.workspace_bytes)  # nothing is expected of it
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(t.type.shape).astype(np.float32) for t in interface.inputs]
    outputs = [np.zeros(t.type.shape, np.float32) for t in interface.outputs]
    tables = pointers(inputs), pointers(outputs)
    if storage is Storage.FILE:
        assert functions["net_run"](workspace.ctypes.data, *tables) == Status.NO_WEIGHTS
        held = memory(weights_file(region, number))
        bind = functions["net_bind"]
        assert bind(workspace.ctypes.data, held.ctypes.data, held.size - 4) == Status.WEIGHTS_SIZE
        for place, status in ((0, Status.OTHER_WEIGHTS), (8, Status.OTHER_WEIGHTS), (200, Status.DAMAGED_WEIGHTS)):
            held[place] ^= 1
            assert bind(workspace.ctypes.data, held.ctypes.data, held.size) == status
            held[place] ^= 1
        assert functions["net_run"](workspace.ctypes.data, *tables) == Status.NO_WEIGHTS
        assert bind(workspace.ctypes.data, held.ctypes.data, held.size) == Status.OK
    assert functions["net_run"](workspace.ctypes.data, *tables) == Status.OK
    for found, meant in zip(outputs, evaluate(graph, inputs, params), strict=True):
        np.testing.assert_allclose(found, meant, rtol=1e-5, atol=1e-5)
    assert functions["net_run"](None, *tables) == Status.NULL_POINTER
    assert functions["net_run"](workspace.ctypes.data + 4, *tables) == Status.MISALIGNED
    assert functions["net_run"](workspace.ctypes.data, tables[0], None) == Status.NULL_POINTER
    assert functions["net_run"](workspace.ctypes.data, (ctypes.c_void_p * 2)(), tables[1]) == Status.NULL_POINTER


@pytest.mark.parametrize("name", ["x86-64-v3", "cortex-a72", "cortex-m4", "riscv64"])
def test_a_library_needs_nothing_of_its_surroundings(name: str) -> None:
    elf = Elf.read(compiled(find_target(name), Storage.FILE)[3])
    assert set(elf.undefined) <= {"memcpy", "memset"}
    assert {"net_run", "net_bind"} <= {symbol.name for symbol in elf.symbols if symbol.is_function}
    assert not any(section.is_writable and section.size for section in elf.sections)


@pytest.mark.parametrize("count", [0, 1, 2, 65536, 65537, 140000])
def test_checksums_are_a_polynomial(count: int) -> None:
    words = np.random.default_rng(count).integers(0, 2**32, count, dtype=np.uint32)
    total = BASIS
    for word in words.tolist():
        total = (total * PRIME + word) % 2**32
    assert checksum(words.tobytes()) == total
