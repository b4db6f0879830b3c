"""A program's code as several objects."""

from __future__ import annotations

import re

import numpy as np
import pytest

from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.codegen import emit_module, host_target, machine, object_code, parts
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.passes import pipelines
from netc.compiler.types import DType, Quantization, TensorType
from netc.pipeline import Request, build
from netc.runtime.program import Program

from ...runtime.chain import chain


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "SHORTEST", 0)


def test_a_short_text_is_one_object() -> None:
    text = emit_module(chain(), host_target())
    code = parts.code_of(text, host_target())
    assert code == object_code(text, host_target())
    assert parts.objects_of(code) == (code,)


@pytest.mark.usefixtures("short")
def test_objects_are_linked() -> None:
    c = build(Request("cnn_cifar", threads=2), "llvm")
    code = parts.code_of(c.llvm, c.target)
    objects = parts.objects_of(code)
    assert parts.PARTS + 1 <= len(objects) <= 2 * parts.PARTS + 1
    assert all(o.startswith(b"\x7fELF") for o in objects)
    assert parts.code_of(c.llvm, c.target) == code
    x = np.random.default_rng(3).standard_normal(c.module.inputs[0][1].shape).astype(np.float32)
    several = Program(c.module, code, c.target, 2, c.parameters())
    one = Program(c.module, object_code(c.llvm, c.target), c.target, 2, c.parameters())
    np.testing.assert_array_equal(several(x), one(x))


@pytest.mark.usefixtures("short")
def test_what_calls_kernels_is_made_without_delay() -> None:
    """LLVM's optimisation of it would take as long as that of many kernels, in deep networks longer than of all."""
    c = build(Request("cnn_cifar", threads=2), "llvm")
    (calls, *_), _ = parts._parts(c.llvm, c.target)
    unoptimized = machine.new_target_machine(c.target, 0)
    module = machine.parse(calls)
    machine.optimize(module, unoptimized, machine.passes_for(c.target))
    assert parts.objects_of(parts.code_of(c.llvm, c.target))[0] == unoptimized.emit_object(module)


@pytest.mark.usefixtures("short")
def test_helpers_go_with_the_kernels_that_call_them() -> None:
    target = host_target()
    text = machine.header(target) + "".join(
        f'define internal void @"kernel.{name}"(ptr noalias %a0, i64 %tid) nounwind {{\n  {body}\n  ret void\n}}\n'
        for name, body in (("a", "%r = call i32 @netc.real_product(i32 1, i64 2)"), ("b", ""))
    )
    text += 'define void @netc_run(ptr %p) {\n  call void @"kernel.a"(ptr %p, i64 0)\n  ret void\n}\n'
    (frame, *kernels), tight = parts._parts(machine.with_helpers(text, target), target)
    assert not tight
    assert 'declare hidden void @"kernel.a"(ptr, i64)' in frame
    assert ["netc.real_product(i32 %x" in k for k in kernels] == ["kernel.a" in k for k in kernels]
    assert len(parts.objects_of(parts.code_of(machine.with_helpers(text, target), target))) == 3


def layer_with(function: str, cpu: str, rows: int) -> str:
    """The LLVM text of a dense layer with such a function behind it, whose tiles need most of the registers."""
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.F32, (rows, 192)))
    w = b.emit("param", name="w", shape=(192, 768))
    target = find_target(cpu)
    graph = b.finish([b.emit(function, b.emit("dense", x, w, b.emit("param", name="b", shape=(768,))))])
    return emit_module(lower(optimize(graph, pipelines.INFERENCE, target), target, 1), target)


def stack_accesses(assembly: str, sums: int, product: str = "vfmadd231ps") -> list[int]:
    """Of each loop of one block that multiplies and adds so many vectors."""
    loops = re.findall(r"^(\.LBB\w+):.*\n((?:\t.*\n)*?)\tj\w+\t\1\n", assembly, re.MULTILINE)
    return [len(re.findall(r"\(%r[sb]p\)", body)) for _, body in loops if body.count(product) == sums]


def test_constants_of_the_code_behind_a_loop_take_none_of_few_registers_in_it() -> None:
    target = find_target("x86-64-v3")
    _, (text,) = parts._parts(layer_with("erfc", "x86-64-v3", 197), target)
    with machine.constants_where_used():
        assert stack_accesses(machine.assembly(text, target), 12) == [0]


@pytest.mark.parametrize("cpu", ["skylake-avx512", "znver4"])
@pytest.mark.parametrize("function", ["erfc", "gelu", "sigmoid"])
@pytest.mark.parametrize("rows", [7, 196, 784])
def test_sums_of_a_long_loop_stay_in_registers_beside_constants_of_short_ones(
    cpu: str, function: str, rows: int
) -> None:
    """Up to 20 of 24 sums lay in memory behind which gelu is a loop, and the layer took up to three times as long."""
    text, target = layer_with(function, cpu, rows), find_target(cpu)
    assert parts._parts(text, target)[1] == []
    assembly = machine.assembly(text, target)
    found = [accesses for sums in range(20, 31) for accesses in stack_accesses(assembly, sums)]
    assert found
    assert set(found) == {0}


def branch_of_bytes(cpu: str) -> str:
    """The LLVM text of a dense layer of bytes with one factor, to which another tensor is added."""
    b, zero = GraphBuilder("net"), 3
    x, y, z = Quantization.of(0.02, -5), Quantization.of(0.05, zero), Quantization.of(0.06, -2)
    inputs = [b.input(n, TensorType(DType.I8, (198, size), None, q)) for n, size, q in (("x", 768, x), ("r", 48, y))]
    weight = b.constant(np.random.default_rng(0).integers(-127, 128, (768, 48)).astype(np.int8))
    bias = b.constant(np.zeros(48, np.int32))
    sums = b.emit("q_dense", inputs[0], weight, bias, x=x, weight=Quantization.of(0.01, 0), y=y)
    target = find_target(cpu)
    graph = b.finish([b.emit("dequantize", b.emit("q_add", inputs[1], sums, a=y, b=y, y=z), x=z)])
    return emit_module(lower(optimize(graph, pipelines.INFERENCE, target), target, 1), target)


def test_constants_behind_sums_of_bytes_take_fewer_registers_in_the_loop() -> None:
    """27 sums: 20 of them lay in memory."""
    target = find_target("cascadelake")
    text = branch_of_bytes("cascadelake")
    assert parts._parts(text, target)[1] == []
    (found,) = stack_accesses(machine.assembly(text, target), 27, "vpdpbusd")
    assert found <= 8
