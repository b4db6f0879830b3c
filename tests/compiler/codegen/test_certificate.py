"""The certificate of a library: frames and calls are read from Thumb code; what can't be promised is refused."""

from __future__ import annotations

import json
import struct
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import netc
from netc.compiler.backends.cpu.codegen import machine
from netc.compiler.errors import InternalError
from netc.compiler.library.certificate import certify
from netc.compiler.library.elf import Elf
from netc.compiler.library.interface import Interface, Storage
from netc.compiler.library.thumb import functions
from netc.compiler.targets.devices import DEVICES
from netc.library import build_library

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


def built(name: str, target: str, folder: Path) -> Path:
    """The library of a network in 8-bit integers with random weights."""
    size = netc.load(name).inputs[0].type.shape[1:]
    samples = np.random.default_rng(0).standard_normal((2, 1, *size)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = netc.quantize(name, calibration=[(x,) for x in samples])
    build_library(graph, folder / "net", target=target, prefix="net", selftest=False)
    return folder / "net"


def test_code_of_a_small_network_is_small(tmp_path: Path) -> None:
    folder = built("cnn_mnist", "cortex-m4", tmp_path)
    flash = json.loads((folder / "net.certificate.json").read_text())["flash"]
    assert flash["code"] + flash["constants"] <= 12_000


def test_code_for_the_m0plus_has_instructions_of_armv6_m_alone(tmp_path: Path) -> None:
    """Of 32 bits there are only calls; none of 16 bits compares with zero and jumps, or makes others conditional."""
    elf = Elf.read((built("cnn_mnist", "cortex-m0plus", tmp_path) / "net.o").read_bytes())
    seen = 0
    for number, section in enumerate(elf.sections):
        marks = sorted((s.value, s.name[:2]) for s in elf.symbols if s.section == number and s.name[:2] in ("$t", "$d"))
        for (start, kind), (end, _) in pairwise([*marks, (section.size, "")]):
            at = start
            while section.is_code and kind == "$t" and at < end:
                first, second = struct.unpack_from("<HH", section.data.ljust(section.size + 2, b"\0"), at)
                is_long = first >> 11 in (0b11101, 0b11110, 0b11111)
                assert not is_long or (first & 0xF800, second & 0xD000) == (0xF000, 0xD000), hex(at)
                assert first & 0xF500 != 0xB100 or first & 0xFF00 == 0xBF00, hex(at)
                assert first & 0xFF00 != 0xBF00 or first & 0xF == 0, hex(at)
                at += 4 if is_long else 2
                seen += 1
    assert seen > 1000
