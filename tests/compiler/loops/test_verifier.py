"""Kernels that must not pass the verifier, and those that must."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netc.compiler.errors import InternalError
from netc.compiler.loops.ir import Buffer, Const, Expr, Fma, Kernel, Load, Space, Store, Unary, Var
from netc.compiler.loops.parser import parse_kernel
from netc.compiler.modules.module import Memory, Slot
from netc.compiler.modules.verifier import verify_kernel, verify_module
from netc.compiler.types import DType

from .kernels import TEXTS, RandomKernel
from .test_text import module


@pytest.mark.parametrize("name", TEXTS)
def test_sound_kernels_pass(name: str) -> None:
    verify_kernel(parse_kernel(TEXTS[name]))


@pytest.mark.parametrize("seed", range(40))
def test_random_kernels_pass(seed: int) -> None:
    verify_kernel(RandomKernel(seed, 4).kernel())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("for %i = 0 to 9 {\n %y[%i] = 0.0: f32\n }", "0 to 8 lies outside 0 to 7"),
        ("for %i = 0 to 8 {\n %y[%i - 1] = 0.0: f32\n }", "-1 to 6 lies outside"),
        ("for %i = 0 to 8 step 4 {\n %y[%i] = 0.0: f32x8\n }", "0 to 11 lies outside"),
        ("%y[0] = load f32x4 %x[5]", "5 to 8 lies outside"),
        ("if lt(8, 9) {\n %y[8] = 0.0: f32\n }", "8 to 8 lies outside"),
        ("%x[0] = 0.0: f32", "%x is read only"),
        ("%y[0] = 1: i32", "but i32 is stored"),
        ("%y[0, 0] = 0.0: f32", "accessed with 2 indices"),
        ("%y[0] = add(1.0: f32, 1.0: f64)", "operands differ: f32, f64"),
        ("%y[0] = and(1.0: f32, 1.0: f32)", "and takes integers"),
        ("%y[0] = select(1: i8, 1.0: f32, 2.0: f32)", "operands don't fit"),
        ("%y[0] = bitcast<f32>(1: i64)", "differ in size"),
        ("%y[0] = cast<f32>(real_mul_small(1: i32, 1.5: f64))", "doesn't lie between 0 and 1"),
        ("%y[0] = reduce<sub>(1.0: f32x4)", "can't be combined by sub"),
        ("%y[0] = broadcast<4>(1.0: f32x4)", "is not one element"),
        ("if 1 {\n }", "a condition is one boolean"),
        ("register %r: f32[4]\n for %i = 0 to 4 {\n %r[%i] = 0.0: f32\n }", "has an index that is not constant"),
        ("register %r: f32x4[4]\n %r[0] = 0.0: f32x8", "holds 4 lanes, not 8"),
        ("stack %s: f32[40000]", "stack buffers take more than 131072 bytes"),
        ("stack %s: f32x4[4]", "only registers hold vectors"),
        ("for %i = 0 to 4 {\n unroll %j = 0 to %i {\n }\n }", "bounds of unrolled loop %j"),
        ("for %i = 0 to 4 {\n parallel %j = 0 to 4 {\n }\n }", "is not outermost"),
        ("parallel %i = 0 to 4 {\n }\n parallel %j = 0 to 4 {\n }", "two parallel loops"),
        ("parallel %i = 0 to 4 {\n }\n %y[0] = 0.0: f32", "outside the parallel loop"),
        ("for %i = 0 to cast<i32>(3) {\n }", "a bound of loop %i"),
    ],
)
def test_faults_are_found(body: str, message: str) -> None:
    kernel = parse_kernel("kernel @k(%x: f32[8], %y: out f32[8]) {\n " + body + "\n}\n")
    with pytest.raises(InternalError) as caught:
        verify_kernel(kernel)
    assert message in str(caught.value)
    assert "kernel @k(" in str(caught.value)


X = Buffer("x", DType.F32, (8,))
Y = Buffer("y", DType.F32, (8,), Space.OUT)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Var("lost", Load(X, (Const(0),)).type), "no value %lost"),
        (Load(Buffer("z", DType.F32, (8,)), (Const(0),)), "buffer %z is not defined here"),
        (Load(Buffer("x", DType.F32, (9,)), (Const(0),)), "buffer %x is not defined here"),
        (Unary("gamma", Const(0.0, DType.F32)), "there is no operation gamma"),
        (Fma(Const(0.0, DType.F32), Const(0.0, DType.F32, 4), Const(0.0, DType.F32)), "operands differ"),
    ],
)
def test_faults_that_have_no_text(value: Expr, message: str) -> None:
    with pytest.raises(InternalError, match=message):
        verify_kernel(Kernel("k", (X, Y), (Store(Y, (Const(0),), value),)))


def test_unreachable_code_has_no_bounds() -> None:
    verify_kernel(parse_kernel("kernel @k(%y: out f32[8]) {\n for %i = 9 to 9 {\n %y[%i] = 0.0: f32\n }\n}\n"))


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ((), "takes 4 arguments, not 0"),
        (((Memory.ARENA, 0), (Memory.WEIGHTS, 0), (Memory.WEIGHTS, 640), (Memory.OUTPUT, 0)), "outside its region"),
        (((Memory.INPUT, 1), (Memory.WEIGHTS, 0), (Memory.WEIGHTS, 640), (Memory.OUTPUT, 0)), "doesn't exist"),
        (((Memory.OUTPUT, 0), (Memory.WEIGHTS, 0), (Memory.WEIGHTS, 640), (Memory.OUTPUT, 0)), "is smaller"),
        (((Memory.INPUT, 0), (Memory.WEIGHTS, 0), (Memory.WEIGHTS, 640), (Memory.INPUT, 0)), "it is read only"),
    ],
)
def test_calls_must_fit(slots: tuple[tuple[Memory, int], ...], message: str) -> None:
    sound = module()
    verify_module(sound)
    call = replace(sound.calls[0], arguments=tuple(Slot(*s) for s in slots))
    with pytest.raises(InternalError, match=message):
        verify_module(replace(sound, calls=(call,)))


@pytest.mark.parametrize(
    ("slot", "message"),
    [
        ((Memory.ARENA, 64), r"condition arena\[64\] ends outside its region"),
        ((Memory.INPUT, 1), r"condition input\[1\] doesn't exist"),
        ((Memory.STATE, 0), r"condition state\[0\] may change"),
    ],
)
def test_conditions_of_calls(slot: tuple[Memory, int], message: str) -> None:
    sound = module()
    with pytest.raises(InternalError, match=message):
        verify_module(replace(sound, calls=(replace(sound.calls[0], when=Slot(*slot)),)))


def test_conditions_stay_as_they_are() -> None:
    sound = module()
    call, last = sound.calls[0], replace(sound.calls[1], when=Slot(Memory.OUTPUT, 0))
    verify_module(replace(sound, calls=(call, replace(call, when=Slot(Memory.ARENA, 0)))))
    with pytest.raises(InternalError, match=r"condition output\[0\] is overwritten by @tile"):
        verify_module(replace(sound, calls=(call, last)))


def test_calls_of_missing_kernels() -> None:
    sound = module()
    with pytest.raises(InternalError, match="call of @nothing"):
        verify_module(replace(sound, calls=(replace(sound.calls[0], kernel="nothing"),)))
