"""Targets: detection, names, and code for machines other than this one."""

from __future__ import annotations

import platform
from dataclasses import replace

import numpy as np
import pytest

from netc.compiler.backends import find_target, target_names
from netc.compiler.backends.cpu.codegen import assembly, emit_module, machine, object_code
from netc.compiler.backends.cpu.codegen import host as codegen_host
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.backends.cpu.codegen.jit import load_kernel
from netc.compiler.backends.cpu.codegen.llvm import emit_kernel
from netc.compiler.errors import NetcError
from netc.compiler.loops.parser import parse_kernel
from netc.compiler.targets.target import Environment, MinMax, Target
from netc.runtime.host import runs_here
from netc.runtime.processor import needed_features

from ..loops.test_text import module

HAS_X86 = host_target().triple.startswith("x86_64")
ELF = b"\x7fELF"
MAGIC = {"apple": b"\xcf\xfa\xed\xfe", "wasm": b"\0asm"}


def test_host_is_this_machine() -> None:
    host = host_target()
    assert platform.machine().replace("arm64", "aarch64") == host.triple.split("-")[0].replace("arm64", "aarch64")
    assert host.vector_lanes in (4, 8, 16)
    assert 4096 <= host.l1_bytes <= host.l2_bytes
    assert find_target("host") == host


@pytest.mark.parametrize("name", target_names())
def test_every_named_target_gives_an_object(name: str) -> None:
    target = find_target(name)
    kernels = [emit_kernel(kernel, target, linkage="dso_local", serial=True) for kernel in module().kernels]
    is_hosted = target.has_threads and target.environment is Environment.POSIX
    text = emit_module(module(), target) if is_hosted else machine.header(target) + "\n".join(kernels)
    magic = next((magic for system, magic in MAGIC.items() if system in target.triple), ELF)
    assert object_code(text, target).startswith(magic)


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(NetcError, match=r"unknown processor `znver44`(?s:.*)did you mean znver4\?"):
        find_target("znver44")
    with pytest.raises(NetcError, match="known: host, x86-64"):
        find_target("§")


def test_code_is_the_same_every_time() -> None:
    target = find_target("x86-64-v3")
    text = emit_module(module(), target)
    assert text == emit_module(module(), target)
    assert object_code(text, target) == object_code(text, target)


def test_code_needs_only_libc_and_threads() -> None:
    text = emit_module(module(), find_target("x86-64"))
    declared = {line.split("@")[1].split("(")[0] for line in text.splitlines() if line.startswith("declare")}
    assert {name for name in declared if not name.startswith("pthread_")} == {"calloc", "clock_gettime", "free"}
    instructions = assembly(text, find_target("x86-64"))
    called = {line.split()[1].removesuffix("@PLT") for line in instructions.splitlines() if line.startswith("\tcall")}
    assert {name for name in called if not name.startswith((".", "netc.", "kernel.", '"'))} <= declared


def test_symbols_may_have_another_prefix() -> None:
    text = emit_module(module(), find_target("x86-64"), prefix="lenet")
    shown = {line.split("@")[1].split("(")[0].split()[0] for line in text.splitlines() if _is_visible(line)}
    assert shown == {"lenet_start", "lenet_run", "lenet_stop", "lenet_arena_bytes", "lenet_weights_bytes"}


def _is_visible(line: str) -> bool:
    return (line.startswith("define") and "internal" not in line) or (line.startswith("@") and "constant" in line)


def test_systems_without_posix_threads_are_refused() -> None:
    windows = Target("x86_64-pc-windows-msvc", "x86-64", "", 4, 16, 32768, 524288, has_fma=False)
    with pytest.raises(NetcError, match="POSIX threads"):
        emit_module(module(), windows)


def test_float_extrema_are_one_instruction() -> None:
    arm, x86 = find_target("cortex-a72"), find_target("haswell")
    assert arm.min_max is MinMax.INTRINSIC
    assert "fmax" in assembly(emit_module(module(), arm), arm)
    assert "vmaxps" in assembly(emit_module(module(), x86), x86)


@pytest.mark.skipif(not HAS_X86, reason="no x86-64 processor")
def test_half_precision_without_instructions_for_it() -> None:
    """All halves, and singles around each of them, converted as NumPy does."""
    kernels = [
        parse_kernel(f"kernel @k(%x: {a}[65536], %y: out {b}[65536]) {{\n for %i = 0 to 65536 {{\n {body} }}\n}}\n")
        for a, b, body in (
            ("f16", "f32", "%y[%i] = cast<f32>(load f16 %x[%i])\n"),
            ("f32", "f16", "%y[%i] = cast<f16>(load f32 %x[%i])\n"),
        )
    ]
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    singles = np.zeros(65536, np.float32)
    load_kernel(kernels[0], find_target("x86-64")).run([halves, singles], 0, 1)
    np.testing.assert_array_equal(singles, halves.astype(np.float32))
    bits = singles.view(np.uint32)
    for offset in (0, 1, 0xFFF, 0x1000, 0x1001, 0x1FFF, 0xFFFFFFFF):
        near = (bits + np.uint32(offset)).view(np.float32)
        found = np.zeros(65536, np.float16)
        load_kernel(kernels[1], find_target("x86-64")).run([near, found], 0, 1)
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(found, near.astype(np.float16), err_msg=hex(offset))


def test_code_for_a_processor_runs_where_its_instruction_sets_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with wide vectors isn't enough: AMD's processors have SSE4a, Intel's newer ones more of AVX-512."""
    named = [find_target(name) for name in target_names() if name != "host"]
    host = replace(find_target("skylake-avx512"), features="+avx512f,+sse4a")
    monkeypatch.setattr(codegen_host, "host_target", lambda: host)
    found = {target.cpu: runs_here(target) for target in named}
    assert [cpu for cpu in ("haswell", "skylake-avx512", "znver2", "znver3", "znver4") if found[cpu]] == [
        "haswell",
        "skylake-avx512",
        "znver2",
    ]


def test_what_code_needs_of_a_processor() -> None:
    """Instructions for dot products of bytes come with the width of vectors, whatever else the processor has."""
    dots = {"avx512vnni", "avxvnni"}
    needed = {name: dots & set(needed_features(find_target(name))) for name in target_names() if name != "host"}
    assert needed["cascadelake"] == {"avx512vnni"}
    assert needed["sapphirerapids"] == needed["znver5"] == dots
    assert needed["alderlake"] == {"avxvnni"}
    assert needed["x86-64-v4"] == set()
    assert "sse4.1" in needed_features(find_target("x86-64-v2"))
    assert not needed_features(find_target("x86-64"))


def test_rounding_is_an_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codegen_host, "host_target", lambda: find_target("x86-64"))
    assert runs_here(find_target("x86-64"))
    assert not runs_here(find_target("x86-64-v2"))
