"""The certificate of a library: frames and calls are read from Thumb code; what can't be promised is refused."""

from __future__ import annotations

import pytest

from netc.compiler.backends.cpu.codegen import machine
from netc.compiler.errors import InternalError
from netc.compiler.library.certificate import certify
from netc.compiler.library.elf import Elf
from netc.compiler.library.interface import Interface, Storage
from netc.compiler.library.thumb import functions
from netc.compiler.targets.devices import DEVICES

TARGETS = ("cortex-m0plus", "cortex-m4", "cortex-m55")


def code(text: str, target: str = "cortex-m4") -> bytes:
    return machine.object_code(machine.header(DEVICES[target]) + text, DEVICES[target])


INTERFACE = Interface(
    prefix="net",
    name="net",
    inputs=(),
    outputs=(),
    arena_bytes=100,
    state_bytes=0,
    weights_bytes=0,
    storage=Storage.EMBEDDED,
    alignment=8,
)


def frames(target: str, size: int) -> str:
    """A function that calls another one, which keeps `size` bytes on the stack and calls a third."""
    return f"""
declare void @outside(ptr)
define internal void @inner(ptr %p) noinline nounwind {{
  %array = alloca [{size} x i8]
  call void @outside(ptr %array)
  call void @outside(ptr %p)
  ret void
}}
define i32 @net_run(ptr %p) nounwind {{
  call void @inner(ptr %p)
  ret i32 0
}}
"""


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("size", [8, 200, 600, 5000, 70000])
def test_frames(target: str, size: int) -> None:
    found = functions(Elf.read(code(frames(target, size), target)))
    assert size <= found["inner"].frame <= size + 40
    assert (found["inner"].calls, found["net_run"].calls) == ({"outside"}, {"inner"})


def test_vectors_are_aligned_on_the_stack() -> None:
    text = frames("cortex-m55", 64).replace("x i8]", "x i8], align 32")
    assert 64 + 32 <= functions(Elf.read(code(text, "cortex-m55")))["inner"].frame <= 64 + 32 + 48


RUN = "define i32 @net_run(ptr %p) nounwind"
CALL = "noinline nounwind { %x = call i32 @net_run(ptr %p) %y = add i32 %x, 1 ret i32 %y }"
REFUSED = {
    "called by what it calls": f"{RUN} {{ %x = call i32 @a(ptr %p) %y = add i32 %x, 1 ret i32 %y }}"
    f"define internal i32 @a(ptr %p) {CALL}",
    "an address that it computes": f"{RUN} {{ %x = call i32 %p() %y = add i32 %x, 1 ret i32 %y }}",
    "variables of its own": f"@v = global i32 1 {RUN} {{ %x = load i32, ptr @v ret i32 %x }}",
}


@pytest.mark.parametrize("problem", REFUSED)
@pytest.mark.parametrize("target", TARGETS)
def test_refused(problem: str, target: str) -> None:
    with pytest.raises(InternalError, match=problem):
        certify(code(REFUSED[problem], target), INTERFACE)


def test_certificate() -> None:
    found = certify(code(frames("cortex-m4", 200)), INTERFACE)
    assert [name for name, _ in found.deepest] == ["net_run", "inner"]
    assert found.stack == sum(frame for _, frame in found.deepest)
    assert found.outside == ("outside",)
    assert found.workspace == 100
    assert 20 < found.code < 100
