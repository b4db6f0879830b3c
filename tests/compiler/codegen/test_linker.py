"""Objects linked into an image: the numbers of LLVM's own linker, and what isn't linked."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from netc.compiler.backends import find_target
from netc.compiler.backends.cpu.codegen import machine
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.backends.cpu.codegen.jit import load_object
from netc.compiler.backends.cpu.codegen.linker import link
from netc.compiler.errors import InternalError, NetcError
from netc.compiler.image import PAGE, Image
from netc.runtime.image import LoadedImage

pytestmark = pytest.mark.skipif(not host_target().triple.startswith("x86_64"), reason="netc's linker knows x86-64")

FIRST = """
declare hidden i64 @twice(i64)
declare i64 @strlen(ptr)
@table = private constant [4 x i64] [i64 3, i64 1, i64 4, i64 159]
@text = private constant [6 x i8] c"hello\\00"

define i64 @answer(i64 %i) {
  %place = getelementptr [4 x i64], ptr @table, i64 0, i64 %i
  %number = load i64, ptr %place
  %double = call i64 @twice(i64 %number)
  %length = call i64 @strlen(ptr @text)
  %sum = add i64 %double, %length
  ret i64 %sum
}
define internal i64 @own(i64 %i) noinline {
  ret i64 7
}
define i64 @seven(i64 %i) {
  %r = call i64 @own(i64 %i)
  ret i64 %r
}
"""
SECOND = """
define internal i64 @own(i64 %i) noinline {
  %r = mul i64 %i, 2
  ret i64 %r
}
define hidden i64 @twice(i64 %i) {
  %r = call i64 @own(i64 %i)
  ret i64 %r
}
"""


def objects(*texts: str, target: str | None = None) -> list[bytes]:
    chosen = host_target() if target is None else find_target(target)
    return [machine.object_code(machine.header(chosen) + text, chosen) for text in texts]


def test_linked_code_calls_its_own_and_the_c_library() -> None:
    image = link(objects(FIRST, SECOND), ["answer", "seven"])
    assert image is not None
    assert image.slots == ("strlen",)
    assert len(image.code) % PAGE == 0
    loaded = LoadedImage(image)
    function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
    assert [function(loaded.addresses["answer"])(i) for i in range(4)] == [11, 7, 13, 323]
    assert function(loaded.addresses["seven"])(5) == 7  # the other object's function of this name is another


def test_numbers_are_those_of_llvms_linker() -> None:
    text = "define double @third(double %x) {\n  %y = fdiv double %x, 3.7\n  ret double %y\n}\n"
    (code,) = objects(text)
    image = link([code], ["third"])
    assert image is not None
    ours, theirs = LoadedImage(image), load_object(code, host_target(), ["third"])
    function = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)
    for x in np.linspace(-2, 2, 9):
        assert function(ours.addresses["third"])(x) == function(theirs.addresses["third"])(x)


def test_what_it_does_not_know_is_not_linked() -> None:
    assert link(objects("@counter = global i64 5\n"), []) is None  # memory that changes
    assert link(objects("define i64 @f() {\n  ret i64 1\n}\n", target="cortex-a76"), []) is None
    taken = "declare i64 @strlen(ptr)\ndefine ptr @f() {\n  ret ptr @strlen\n}\n"
    assert link(objects(taken), ["f"]) is None  # an address that stands in no call


def test_a_missing_function_is_a_bug() -> None:
    with pytest.raises(InternalError, match="lacks one of other"):
        link(objects(SECOND), ["other"])


def test_a_missing_function_of_the_c_library_is_said() -> None:
    with pytest.raises(NetcError, match="has no function netc_no_such_function"):
        LoadedImage(Image(bytes(PAGE), ("netc_no_such_function",), {}))


def test_code_cannot_be_written() -> None:
    image = link(objects(SECOND), ["twice"])
    assert image is not None
    loaded = LoadedImage(image)
    start = loaded.addresses["twice"] - image.exports["twice"]
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in maps if int(line.partition("-")[0], 16) == start]
    assert line.split()[1].startswith("r-x")
