"""A program's code as several objects."""

from __future__ import annotations

import numpy as np
import pytest

from netc.compiler.backends.cpu.codegen import emit_module, host_target, machine, object_code, parts
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
    assert len(objects) == parts.PARTS + 1
    assert all(o.startswith(b"\x7fELF") for o in objects)
    assert parts.code_of(c.llvm, c.target) == code
    x = np.random.default_rng(3).standard_normal(c.module.inputs[0][1].shape).astype(np.float32)
    several = Program(c.module, code, c.target, 2, c.parameters())
    one = Program(c.module, object_code(c.llvm, c.target), c.target, 2, c.parameters())
    np.testing.assert_array_equal(several(x), one(x))


@pytest.mark.usefixtures("short")
def test_helpers_go_with_the_kernels_that_call_them() -> None:
    target = host_target()
    text = machine.header(target) + "".join(
        f'define internal void @"kernel.{name}"(ptr noalias %a0, i64 %tid) nounwind {{\n  {body}\n  ret void\n}}\n'
        for name, body in (("a", "%r = call i32 @netc.real_product(i32 1, i64 2)"), ("b", ""))
    )
    text += 'define void @netc_run(ptr %p) {\n  call void @"kernel.a"(ptr %p, i64 0)\n  ret void\n}\n'
    frame, *kernels = parts._parts(machine.with_helpers(text, target), target)
    assert 'declare hidden void @"kernel.a"(ptr, i64)' in frame
    assert ["netc.real_product(i32 %x" in k for k in kernels] == ["kernel.a" in k for k in kernels]
    assert len(parts.objects_of(parts.code_of(machine.with_helpers(text, target), target))) == 3
