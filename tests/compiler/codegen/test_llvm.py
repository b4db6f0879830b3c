"""The LLVM text of small kernels, for one named processor."""

from __future__ import annotations

import pytest

from netc.compiler.backends import find_target
from netc.compiler.backends.cpu.codegen.llvm import emit_kernel
from netc.compiler.errors import InternalError
from netc.compiler.loops.ir import Buffer, Const, Expr, Kernel, Load, Space, Store
from netc.compiler.loops.parser import parse_kernel
from netc.compiler.types import DType

from ...conftest import Golden
from ..loops.kernels import SCALE, tile


@pytest.mark.parametrize("name", ["scale", "tile"])
def test_llvm_text(name: str, golden: Golden) -> None:
    text = {"scale": SCALE, "tile": tile(2, 8)}[name]
    golden(text + "\n" + emit_kernel(parse_kernel(text), find_target("haswell")))


def test_parts_that_an_expression_holds_twice_are_emitted_once() -> None:
    x, y = Buffer("x", DType.F32, (1,)), Buffer("y", DType.F32, (1,), Space.OUT)
    value: Expr = Load(x, (Const(0),))
    for _ in range(40):
        value = value + value
    kernel = Kernel("k", (x, y), (Store(y, (Const(0),), value),))
    assert emit_kernel(kernel, find_target("haswell")).count(" fadd ") == 40


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("register %r: f32[2]\n for %i = 0 to 9 {\n %r[%i] = 0.0: f32\n }", "is not a constant within"),
        ("register %r: f32[2]\n %r[2] = 0.0: f32", "is not a constant within"),
        ("for %i = 0 to 9 {\n unroll %j = 0 to %i {\n %y[0] = 0.0: f32\n }\n }", "unrolled loop %j are not constant"),
    ],
)
def test_kernels_that_can_not_be_translated(body: str, message: str) -> None:
    kernel = parse_kernel("kernel @k(%y: out f32[8]) {\n " + body + "\n}\n")
    with pytest.raises(InternalError, match=message):
        emit_kernel(kernel, find_target("haswell"))
