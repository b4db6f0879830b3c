"""Where memory is scarce, what a call writes may reach into what it reads: no byte is lost before it is read."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import netc
from netc.compiler.errors import InternalError, NetcError
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph, Value
from netc.compiler.loops.interpreter import run_kernel
from netc.compiler.loops.ir import Buffer, Const, For, Kernel, Let, Load, Space, Store, Var
from netc.compiler.loops.parser import parse_kernel
from netc.compiler.lowering.arrangement import arrange
from netc.compiler.lowering.memory import Lifetime, plan_arena
from netc.compiler.modules.interpreter import run_module
from netc.compiler.modules.module import Memory, Module, Slot
from netc.compiler.modules.overlaps import Distances, Overlaps, overlapping, overlapping_calls
from netc.compiler.modules.reader import parse_module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.types import DType, TensorType
from netc.library import build_library
from netc.pipeline import Request, build
from tests.quantized_nets import PICTURE, Net, integers, quantized

KERNELS = {
    "copy": "%x: i8[24], %y: out i8[24]) { for %i = 0 to 24 { %y[%i] = load i8 %x[%i] } }",
    "backwards": "%x: i8[24], %y: out i8[24]) { for %i = 0 to 24 { %y[sub(23, %i)] = load i8 %x[sub(23, %i)] } }",
    "turned": "%x: i8[24], %y: out i8[24]) { for %i = 0 to 24 { %y[sub(23, %i)] = load i8 %x[%i] } }",
    "wider": """%x: i8[6,4], %y: out i8[6,7]) { for %i = 0 to 6 { for %j = 0 to 4 {
        %y[%i, add(%j, 2)] = load i8 %x[%i, %j] } } }""",
    "narrower": """%x: i8[6,7], %y: out i8[6,4]) { for %i = 0 to 6 { for %j = 0 to 4 {
        %y[%i, %j] = load i8 %x[%i, add(%j, 2)] } } }""",
    "sums": """%x: i8[8,3], %y: out i8[6,3]) { for %i = 0 to 6 { for %j = 0 to 3 {
        %a = add(load i8 %x[%i, %j], load i8 %x[add(%i, 1), %j])
        %y[%i, %j] = add(%a, load i8 %x[add(%i, 2), %j]) } } }""",
    "channels": """%x: i8[8,3], %y: out i8[6,3]) { for %c = 0 to 3 { for %i = 0 to 6 {
        %y[%i, %c] = add(load i8 %x[%i, %c], load i8 %x[add(%i, 2), %c]) } } }""",
    "every second": "%x: i8[12,2], %y: out i8[6,2]) { for %i = 0 to 6 { %y[%i, 0] = load i8x2 %x[mul(%i, 2), 0] } }",
    "wide numbers": "%x: i8[12], %y: out i32[12]) { for %i = 0 to 12 { %y[%i] = cast<i32>(load i8 %x[%i]) } }",
    "tiles": """%x: i8[25], %y: out i8[25]) { for %t = 0 to 4 { for %i = mul(%t, 7) to min(add(mul(%t, 7), 7), 25) {
        %y[%i] = load i8 %x[%i] } } }""",
    "whole": """%x: i8[8], %y: out i8[8]) { for %i = 0 to 8 {
        %y[%i] = load i8 %x[cast<i64>(and(load i8 %x[%i], 7: i8))] } }""",
    "twice": """%x: i8[8], %y: out i8[16]) { for %i = 0 to 8 { %y[%i] = load i8 %x[%i] }
        for %i = 0 to 8 { %y[add(%i, 8)] = load i8 %x[%i] } }""",
    "conditions": """%x: i8[12], %y: out i8[12]) { for %i = 0 to 12 {
        if lt(%i, 6) { %y[%i] = load i8 %x[%i] } else { %y[%i] = load i8 %x[sub(%i, 3)] } } }""",
}
TIGHT = {"copy": 1, "backwards": 24, "turned": 24, "sums": 1, "every second": 2}
"""The least distance that is found, where that matters."""


def kernel_of(name: str) -> Kernel:
    return parse_kernel(f"kernel @k({KERNELS[name]}")


def run_apart(kernel: Kernel, distance: int | None) -> bytes:
    """What a kernel writes if its input begins so many bytes behind its output; None: elsewhere."""
    x, y = kernel.params
    start = y.bytes if distance is None else distance
    low = min(0, start)
    memory = np.zeros(x.bytes + y.bytes + abs(start), np.uint8)
    out, data = (memory[at - low :][: b.bytes].view(b.dtype.numpy).reshape(b.shape) for at, b in ((0, y), (start, x)))
    data[...] = np.random.default_rng(3).integers(-100, 100, x.shape)
    run_kernel(kernel, [data, out])
    return out.tobytes()


@pytest.mark.parametrize("name", KERNELS)
def test_safe_distances_lose_nothing(name: str) -> None:
    kernel = kernel_of(name)
    found, unsafe = safe_distances(kernel)
    assert unsafe or name == "copy"
    if name in TIGHT:
        assert found.least == TIGHT[name]


def test_names_that_are_given_anew_stand_for_other_places() -> None:
    """The same expression reads other elements then, as the verifier has it."""
    x, y = Buffer("x", DType.I8, (24,)), Buffer("y", DType.I8, (24,), Space.OUT)
    i, read = Var("i"), Load(x, (Var("c"),))
    body = [Let("c", i), Store(y, (i,), read), Let("c", 23 - i), Store(y, (i + 12,), read)]
    found, unsafe = safe_distances(Kernel("k", (x, y), (For("i", Const(0), Const(12), tuple(body)),)))
    assert unsafe
    assert not found.allow(12)


def safe_distances(kernel: Kernel) -> tuple[Distances, int]:
    """What is said to be safe, of which each distance is tried; and how many are not."""
    x, y = kernel.params
    found = Overlaps(kernel).distances(x, y)
    meant = written(kernel, run_apart(kernel, None))
    unsafe = 0
    for distance in range(-x.bytes, y.bytes + 1):
        same = written(kernel, run_apart(kernel, distance)) == meant
        unsafe += not same
        assert same or not found.allow(distance), f"{distance} is said to be safe by {found}"
    assert found.allow(-x.bytes)
    assert found.allow(y.bytes)
    return found, unsafe


def written(kernel: Kernel, result: bytes) -> bytes:
    """The bytes of a result that the kernel writes: what lies between them may be anything."""
    y = kernel.params[1]
    mark = [np.full(y.shape, fill, y.dtype.numpy) for fill in (1, 2)]
    x = np.random.default_rng(3).integers(-100, 100, kernel.params[0].shape).astype(np.int8)
    for out in mark:
        run_kernel(kernel, [x.copy(), out])
    same = (mark[0] == mark[1]).reshape(-1)
    return np.frombuffer(result, y.dtype.numpy)[same].tobytes()


def test_channel_after_channel_multiples_of_a_pixel_are_safe() -> None:
    kernel = kernel_of("channels")
    found = Overlaps(kernel).distances(*kernel.params)
    assert found.allow(3)
    assert not found.allow(4)
    assert (found.pitch, found.pitched_least) == (3, 3)


def test_arrangements_keep_to_what_is_safe() -> None:
    draw = random.Random(5)
    for count in (1, 2, 6, 25):
        kind = TensorType(DType.I8, (1,))
        lifetimes, overlaps = list[Lifetime](), dict[tuple[Value, Value], Distances]()
        for n in range(count):
            first = draw.randrange(8)
            lifetimes.append(Lifetime(Value(kind), draw.randrange(1, 300), first, first + draw.randrange(4)))
            for other in lifetimes[:n]:
                if other.last == first and draw.random() < 0.5:
                    least = draw.randrange(-20, lifetimes[n].bytes + 1)
                    pitched = (-other.bytes, draw.randrange(-20, max(least, -19)))
                    overlaps[other.value, lifetimes[n].value] = Distances(-other.bytes, least, 12, *pitched)
        plan = arrange(lifetimes, 8, overlaps)
        assert plan.size <= plan_arena(lifetimes, 8).size
        for a, b in combinations(lifetimes, 2):
            for x, y in ((a, b), (b, a)):
                if (safe := overlaps.get((x.value, y.value))) is not None:
                    assert safe.allow(plan.offsets[x.value] - plan.offsets[y.value])
                    break
            else:
                apart = a.last < b.first or b.last < a.first
                ends = [(plan.offsets[t.value], plan.offsets[t.value] + t.bytes) for t in (a, b)]
                assert apart or ends[0][1] <= ends[1][0] or ends[1][1] <= ends[0][0]
        assert all(0 <= plan.offsets[t.value] <= plan.size - t.bytes for t in lifetimes)
        assert plan == arrange(lifetimes, 8, overlaps)


def separable(n: Net, x: Value) -> Value:
    """Layers whose maps grow and shrink, with and without margins."""
    y = n.b.emit("relu", n.conv(x, 3, 3, 8, 8, strides=(2, 2)))
    y = n.conv(n.conv(y, 3, 3, 1, 8, groups=8), 1, 1, 8, 20)
    y = n.b.emit("relu", n.conv(y, 3, 3, 1, 20, groups=20, strides=(2, 2)))
    y = n.b.emit("max_pool", n.conv(y, 1, 1, 20, 12), size=(2, 2), strides=(1, 1), padding="same")
    return n.b.emit("reduce_mean", n.b.emit("add", y, n.conv(y, 1, 1, 12, 12)), axes=(1, 2))


def made(graph: Graph, cpu: str, *, in_arena: bool = False) -> Module:
    """The module, verified."""
    return build(Request(graph, cpu=cpu, threads=1, inputs_in_arena=in_arena), "loops").module


@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("in_arena", [False, True])
def test_networks_in_little_memory_give_the_same_bytes(cpu: str, in_arena: bool) -> None:
    net = Net(PICTURE, separable)
    graph = quantized(net)
    x = integers(net.samples(), graph.inputs[0].type)
    module = made(graph, cpu, in_arena=in_arena)
    assert overlapping_calls(module) > 0
    assert not any(k.is_parallel for k in module.kernels)
    (found,) = run_module(module, [x])
    np.testing.assert_array_equal(found, evaluate(graph, [x], {})[0])
    assert str(parse_module(str(module))) == str(module)
    if in_arena:
        assert all(s.memory is not Memory.INPUT for call in module.calls for s in call.arguments)


def test_the_verifier_finds_what_is_overwritten_too_early() -> None:
    module = made(quantized(Net(PICTURE, separable)), "cortex-m4", in_arena=True)
    kernels = {k.name: k for k in module.kernels}
    tried = 0
    for number, call in enumerate(module.calls):
        uses = [(i, p) for i, p in enumerate(kernels[call.kernel].params) if call.arguments[i].memory is Memory.ARENA]
        if [p.space for _, p in uses] == [Space.ARGUMENT, Space.OUT] and call.label.startswith("conv2d"):
            (i, x), (j, y) = uses
            same = call.arguments[j].offset
            if same + x.bytes > module.arena_bytes or Overlaps(kernels[call.kernel]).distances(x, y).allow(0):
                continue
            tried += 1
            slots = [Slot(Memory.ARENA, same) if n == i else slot for n, slot in enumerate(call.arguments)]
            calls = [replace(c, arguments=tuple(slots)) if n == number else c for n, c in enumerate(module.calls)]
            with pytest.raises(InternalError, match="touches the same memory through %x and %y"):
                verify_module(replace(module, calls=tuple(calls)))
    assert tried


def test_parallel_kernels_never_overlap() -> None:
    """Threads don't wait for each other inside a kernel."""
    text = """
module @m {
  arena 128
  weights 0 at []
  input %a: i8[64]
  output %b: i8[64]

  kernel @copy(%x: i8[64], %y: out i8[64]) {
    LOOP %i = 0 to 64 {
      %y[%i] = load i8 %x[%i]
    }
  }

  call @copy(input[0], arena[32])
  call @copy(arena[32], arena[0])
  call @copy(arena[0], output[0])

  setup
  graph @setup() -> () {
    return
  }
}
"""
    serial = parse_module(text.replace("LOOP", "for"))
    verify_module(serial)
    assert overlapping(serial) == {("copy", "x"), ("copy", "y")}
    x = np.arange(64, dtype=np.int8)
    np.testing.assert_array_equal(run_module(serial, [x])[0], x)
    with pytest.raises(InternalError, match="touches the same memory"):
        verify_module(parse_module(text.replace("LOOP", "parallel")))


def test_libraries_with_inputs_in_the_workspace(tmp_path: Path) -> None:
    net = Net(PICTURE, separable)
    graph = quantized(net)
    kept = build_library(graph, tmp_path / "kept", target="cortex-m4", prefix="net", selftest=False)
    lost = build_library(
        graph, tmp_path / "lost", target="cortex-m4", prefix="net", selftest=False, inputs_in_workspace=True
    )
    size = graph.inputs[0].type.bytes
    assert lost.build.interface.workspace_bytes < kept.build.interface.workspace_bytes + size
    header = (tmp_path / "lost/net.h").read_text()
    (offset,) = lost.build.interface.input_offsets
    name = lost.build.interface.inputs[0].identifier.upper()
    assert f"#define NET_INPUT_{name}_OFFSET {offset} " in header
    assert "_OFFSET" not in (tmp_path / "kept/net.h").read_text()
    certificate = json.loads((tmp_path / "lost/net.certificate.json").read_text())
    assert certificate["inputs_in_workspace"] == size
    assert certificate["overlapping_calls"] > 0
    assert "write over what was read" in (tmp_path / "lost/README.md").read_text()
    assert "--inputs-in-workspace" in (tmp_path / "lost/README.md").read_text()


def test_what_needs_more_ram_is_refused(tmp_path: Path) -> None:
    graph = quantized(Net(PICTURE, separable))
    given = {"target": "cortex-m4", "prefix": "net", "selftest": False}
    with pytest.raises(NetcError, match="doesn't fit in 99 bytes of RAM: the least is") as raised:
        build_library(graph, tmp_path / "net", ram=99, **given)
    hint = str(raised.value.diagnostics[0].hint)
    least = int(re.findall(r"with --inputs-in-workspace it needs ([\d,]+) bytes", hint)[0].replace(",", ""))
    assert not (tmp_path / "net").exists()
    build_library(graph, tmp_path / "net", ram=least, inputs_in_workspace=True, **given)
    with pytest.raises(NetcError, match=f"the least is {least:,}"):
        build_library(graph, tmp_path / "less", ram=least - 1, inputs_in_workspace=True, **given)


def test_only_one_thread_takes_inputs_from_the_workspace(tmp_path: Path) -> None:
    with pytest.raises(NetcError, match="one thread"):
        build_library("perceptron", tmp_path / "net", threads=2, inputs_in_workspace=True)


def test_the_host_copies_inputs_that_lie_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    graph = quantized(Net(PICTURE, separable))
    x = integers(Net(PICTURE, separable).samples(), graph.inputs[0].type)
    build_library(graph, tmp_path / "net", prefix="net", inputs_in_workspace=True)
    library = netc.load_library(tmp_path / "net/net.so")
    np.testing.assert_array_equal(library(x), evaluate(graph, [x], {})[0])
    library.selftest()
