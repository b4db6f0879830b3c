"""Kernels and modules as text: round trips, and faults with their places."""

from __future__ import annotations

import numpy as np
import pytest

from netc.compiler.errors import Location, NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.loops.ir import Buffer, Const, For, Kernel, Space, Store, Var
from netc.compiler.loops.parser import parse_kernel
from netc.compiler.loops.printer import print_expr, print_kernel
from netc.compiler.modules.module import Call, Memory, Module, Slot
from netc.compiler.modules.printer import print_module
from netc.compiler.modules.reader import parse_module
from netc.compiler.types import DType, TensorType

from .kernels import TEXTS, TILE, RandomKernel


@pytest.mark.parametrize("name", TEXTS)
def test_text_of_kernels_is_kept(name: str) -> None:
    assert print_kernel(parse_kernel(TEXTS[name])) == TEXTS[name]


@pytest.mark.parametrize("seed", range(40))
def test_random_kernels_survive_the_round_trip(seed: int) -> None:
    kernel = RandomKernel(seed, 4).kernel()
    assert parse_kernel(print_kernel(kernel)) == kernel


@pytest.mark.parametrize(
    "text",
    ["%i - (%i - 3)", "(%i + 1) * 4", "%i * (4 * %i)", "%i * 4 + -1", "mod(%i + 1, 4) * 2", "-5 - %i"],
)
def test_index_arithmetic_keeps_its_structure(text: str) -> None:
    kernel = parse_kernel("kernel @k(%y: out i64[9]) {\n  for %i = 0 to 9 {\n    %y[%i] = " + text + "\n  }\n}\n")
    loop = kernel.body[0]
    assert isinstance(loop, For)
    store = loop.body[0]
    assert isinstance(store, Store)
    assert print_expr(store.value) == text


@pytest.mark.parametrize(
    "constant",
    [
        Const(0.1, DType.F32),
        Const(float("inf"), DType.F64, 4),
        Const(float("-inf"), DType.F32, 16),
        Const(1e-30, DType.F32),
        Const(-7, DType.I8, 16),
        Const(3, DType.I64, 2),
        Const(True, DType.BOOL),
        Const(False, DType.BOOL, 8),
    ],
)
def test_literals_are_exact(constant: Const) -> None:
    y = Buffer("y", constant.dtype, (16,), Space.OUT)
    kernel = Kernel("k", (y,), (Store(y, (Const(0),), constant),))
    assert parse_kernel(print_kernel(kernel)) == kernel


def test_names_that_need_quotes() -> None:
    y = Buffer("a b", DType.I64, (3,), Space.OUT)
    kernel = Kernel('conv "1"', (y,), (For("0", Const(0), Const(3), (Store(y, (Var("0"),), Var("0")),)),))
    assert parse_kernel(print_kernel(kernel)) == kernel


def module() -> Module:
    setup = GraphBuilder("m.setup")
    weight = setup.constant(np.arange(160, dtype=np.float32).reshape(20, 8))
    bias = setup.emit("param", shape=(8,), name="bias")
    kernel = parse_kernel(TILE)
    x, y = TensorType(DType.F32, (12, 20)), TensorType(DType.F32, (12, 8))
    slots = (Slot(Memory.INPUT, 0), Slot(Memory.WEIGHTS, 0), Slot(Memory.WEIGHTS, 640), Slot(Memory.OUTPUT, 0))
    calls = (
        Call("tile", slots, True, "dense+relu", 1920, Location("m.net", 3, 5)),
        Call("tile", slots, True, "", 0, Location("a file.net", 3, 5, 4, 1)),
        Call("tile", slots, False, "dense", 0, None, Slot(Memory.ARENA, 63)),
    )
    return Module(
        name="m",
        kernels=(kernel,),
        calls=calls,
        inputs=(("x", x),),
        outputs=(("y", y),),
        arena_bytes=64,
        weights_bytes=704,
        weight_offsets=(0, 640),
        setup=setup.finish([weight, bias]),
    )


def test_modules_survive_the_round_trip() -> None:
    text = print_module(module())
    again = parse_module(text)
    assert print_module(again) == text
    assert again.calls == module().calls
    assert again.kernels == module().kernels
    assert (again.inputs, again.outputs, again.weight_offsets) == (
        module().inputs,
        module().outputs,
        module().weight_offsets,
    )


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("kernel @k() {\n  %y[0] = 1\n}\n", 2, "there is no buffer %y"),
        ("kernel @k(%y: out i64[1]) {\n  %y[0] = %j\n}\n", 2, "there is no value %j"),
        ("kernel @k(%y: out i64[1]) {\n  %y[0] = maxx(1, 2)\n}\n", 2, "expected an expression"),
        ("kernel @k(%y: out f32[1]) {\n  %y[0] = 1.5\n}\n", 2, "takes a type"),
        ("kernel @k(%y: out f32[1]) {\n  %y[0] = load f64 %y[0]\n}\n", 2, "holds f32"),
        ("kernel @k(%y: out f32[1]) {\n  %y[0] = add(1, 2, 3)\n}\n", 2, "takes 2 argument(s), not 3"),
        ("kernel @k(%y: out q7[1]) {\n}\n", 1, "expected an element type"),
        ("kernel @k() {\n  for %i = 0 to 4 {\n}\n", 4, "expected a name"),
        ("kernel @k() {\n}\nkernel", 3, "expected the end of the text"),
        ("kernel @k() {\n  §\n}", 2, "unexpected character"),
        ("kernel @k(%y: out i64[1]) {\n  %y[0] = " + "(" * 300 + "1\n}\n", 2, "nested too deeply"),
    ],
)
def test_faults_are_located(text: str, line: int, message: str) -> None:
    with pytest.raises(NetcError) as caught:
        parse_kernel(text)
    diagnostic = caught.value.diagnostics[0]
    assert message in diagnostic.message
    assert diagnostic.location is not None
    assert diagnostic.location.line == line
