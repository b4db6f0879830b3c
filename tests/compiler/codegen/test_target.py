"""Targets: detection, names, and code for machines other than this one."""

from __future__ import annotations

import platform

import pytest

from netc.compiler.codegen import Target, assembly, emit_module, object_code
from netc.compiler.codegen.target import MinMax
from netc.compiler.errors import NetcError

from ..loops.test_text import module

MAGIC = {"linux": b"\x7fELF", "apple": b"\xcf\xfa\xed\xfe"}


def test_host_is_this_machine() -> None:
    host = Target.host()
    assert platform.machine().replace("arm64", "aarch64") == host.triple.split("-")[0].replace("arm64", "aarch64")
    assert host.vector_lanes in (4, 8, 16)
    assert 4096 <= host.l1_bytes <= host.l2_bytes
    assert Target.named("host") == host


@pytest.mark.parametrize("name", Target.names())
def test_every_named_target_gives_an_object(name: str) -> None:
    target = Target.named(name)
    code = object_code(emit_module(module(), target), target)
    magic = next(magic for system, magic in MAGIC.items() if system in target.triple)
    assert code.startswith(magic)


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(NetcError, match=r"unknown processor `znver44`(?s:.*)did you mean znver4\?"):
        Target.named("znver44")
    with pytest.raises(NetcError, match="known: host, x86-64"):
        Target.named("§")


def test_code_is_the_same_every_time() -> None:
    target = Target.named("x86-64-v3")
    text = emit_module(module(), target)
    assert text == emit_module(module(), target)
    assert object_code(text, target) == object_code(text, target)


def test_code_needs_only_libc_and_threads() -> None:
    text = emit_module(module(), Target.named("x86-64"))
    declared = {line.split("@")[1].split("(")[0] for line in text.splitlines() if line.startswith("declare")}
    assert {name for name in declared if not name.startswith("pthread_")} == {"calloc", "clock_gettime", "free"}
    instructions = assembly(text, Target.named("x86-64"))
    called = {line.split()[1].removesuffix("@PLT") for line in instructions.splitlines() if line.startswith("\tcall")}
    assert {name for name in called if not name.startswith((".", "netc.", "kernel.", '"'))} <= declared


def test_symbols_may_have_another_prefix() -> None:
    text = emit_module(module(), Target.named("x86-64"), prefix="lenet")
    shown = {line.split("@")[1].split("(")[0].split()[0] for line in text.splitlines() if _is_visible(line)}
    assert shown == {"lenet_start", "lenet_run", "lenet_stop", "lenet_arena_bytes", "lenet_weights_bytes"}


def _is_visible(line: str) -> bool:
    return (line.startswith("define") and "internal" not in line) or (line.startswith("@") and "constant" in line)


def test_systems_without_posix_threads_are_refused() -> None:
    windows = Target("x86_64-pc-windows-msvc", "x86-64", "", 4, 16, 32768, 524288, has_fma=False)
    with pytest.raises(NetcError, match="POSIX threads"):
        emit_module(module(), windows)


def test_float_extrema_are_one_instruction() -> None:
    arm, x86 = Target.named("cortex-a72"), Target.named("haswell")
    assert arm.min_max is MinMax.INTRINSIC
    assert "fmax" in assembly(emit_module(module(), arm), arm)
    assert "vmaxps" in assembly(emit_module(module(), x86), x86)
