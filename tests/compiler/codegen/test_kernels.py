"""Compiled kernels against the loop interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netc.compiler.backends import find_target
from netc.compiler.backends.cpu.codegen import assembly
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.backends.cpu.codegen.jit import kernel_text, load_kernel
from netc.compiler.errors import InternalError
from netc.compiler.loops.interpreter import run_kernel
from netc.compiler.loops.ir import Buffer, Kernel, VectorType
from netc.compiler.loops.parser import parse_kernel
from netc.compiler.modules.verifier import verify_kernel
from netc.compiler.types import DType

from ..loops.kernels import TEXTS, RandomKernel, tile, typed_binary, typed_unary

HOST = host_target()
TARGETS = ["host"] + [
    name
    for name in ("x86-64", "x86-64-v3")
    if HOST.triple.startswith("x86_64") and find_target(name).vector_lanes <= HOST.vector_lanes
]
FLOATS = (DType.F64, DType.F32, DType.F16)
INTEGERS = (DType.I64, DType.I32, DType.I16, DType.I8, DType.U8)
COUNT = 48


def draw(buffer: Buffer, rng: np.random.Generator) -> Any:
    kind = buffer.dtype.numpy
    if buffer.dtype.is_float:
        return (rng.standard_normal(buffer.shape) * 4).astype(kind)
    if buffer.dtype is DType.BOOL:
        return rng.random(buffer.shape) < 0.5
    return rng.integers(max(-100, np.iinfo(kind).min), 100, buffer.shape).astype(kind)


def both(kernel: Kernel, arrays: list[Any], cpu: str = "host", threads: int = 1) -> list[tuple[Any, Any]]:
    """(interpreted, compiled) contents of every buffer after the kernel has run."""
    expected, found = [a.copy() for a in arrays], [a.copy() for a in arrays]
    run_kernel(kernel, expected)
    compiled = load_kernel(kernel, find_target(cpu))
    for tid in range(threads):
        compiled.run(found, tid, threads)
    return list(zip(expected, found, strict=True))


def arrays_for(kernel: Kernel, seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [draw(b, rng) for b in kernel.params]


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("name", TEXTS)
def test_structured_kernels(name: str, threads: int) -> None:
    kernel = parse_kernel(TEXTS[name])
    arrays = arrays_for(kernel)
    if name == "control":
        arrays[1][:] = [5, -37, 1000]
    for expected, found in both(kernel, arrays, threads=threads):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("cpu", TARGETS)
@pytest.mark.parametrize("lanes", [1, 4, 8])
@pytest.mark.parametrize("seed", range(12))
def test_random_kernels(seed: int, lanes: int, cpu: str) -> None:
    kernel = RandomKernel(seed * 3 + lanes, lanes).kernel()
    verify_kernel(kernel)
    for expected, found in both(kernel, arrays_for(kernel, seed), cpu):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("cpu", TARGETS)
@pytest.mark.parametrize("lanes", [1, 3, 4, 16])
@pytest.mark.parametrize("dtype", [DType.F64, DType.F32, *INTEGERS], ids=str)
def test_binary_operations(dtype: DType, lanes: int, cpu: str) -> None:
    integer = ("floordiv", "mod", "and", "or", "xor", "shr")
    for op in ("add", "sub", "mul", "div", "min", "max", "lt", "le", "eq", "ne", *(() if dtype.is_float else integer)):
        kernel = parse_kernel(typed_binary(op, VectorType(dtype, lanes), COUNT))
        arrays = arrays_for(kernel)
        arrays[1][:4] = arrays[0][:4]
        if op in ("div", "floordiv", "mod"):
            arrays[1][arrays[1] == 0] = 3
        if op == "shr":
            arrays[1] = arrays[1] & 7
        for expected, found in both(kernel, arrays, cpu):
            np.testing.assert_array_equal(found, expected, err_msg=op)


@pytest.mark.parametrize("cpu", TARGETS)
@pytest.mark.parametrize("lanes", [1, 4, 16])
def test_half_precision_is_computed_like_numpy_does(lanes: int, cpu: str) -> None:
    if cpu == "x86-64":
        pytest.skip("half-precision conversions of plain x86-64 are library calls")
    for op in ("add", "mul", "div", "max", "lt"):
        kernel = parse_kernel(typed_binary(op, VectorType(DType.F16, lanes), COUNT))
        for expected, found in both(kernel, arrays_for(kernel), cpu):
            np.testing.assert_array_equal(found, expected, err_msg=op)


@pytest.mark.parametrize("cpu", TARGETS)
@pytest.mark.parametrize("lanes", [1, 3, 16])
@pytest.mark.parametrize("dtype", [DType.F64, DType.F32, *INTEGERS], ids=str)
def test_unary_operations(dtype: DType, lanes: int, cpu: str) -> None:
    kind = VectorType(dtype, lanes)
    unary = ("neg(%v)", "abs(%v)", "floor(%v)") + (("sqrt(abs(%v))",) if dtype.is_float else ("not(%v)",))
    one, two = (f"{c}: {kind}" for c in (("1.5", "2.0") if dtype.is_float else ("1", "2")))
    compound = (f"select(lt(%v, {one}), %v, {two})", f"add(mul(%v, {one}), {two})")
    for expression in (*unary, *compound, f"fma(%v, {one}, {two})"):
        kernel = parse_kernel(typed_unary(expression, kind, dtype, COUNT))
        for expected, found in both(kernel, arrays_for(kernel), cpu):
            # Machines without a fused instruction round a product before the sum.
            np.testing.assert_allclose(found, expected, rtol=3e-7 if "fma" in expression else 0, err_msg=expression)


@pytest.mark.parametrize("lanes", [1, 3, 16])
@pytest.mark.parametrize("source", [DType.F64, DType.F32, *INTEGERS, DType.BOOL], ids=str)
def test_conversions(source: DType, lanes: int) -> None:
    for goal in (*FLOATS, *INTEGERS, DType.BOOL):
        kernel = parse_kernel(typed_unary(f"cast<{goal}>(%v)", VectorType(source, lanes), goal, COUNT))
        arrays = arrays_for(kernel)
        if source.is_float:
            arrays[0][::5] = [np.nan, np.inf, -np.inf, 3e9, -3e9, 255.5, -128.5, 0.5, -0.5, 65504.0]
        for expected, found in both(kernel, arrays):
            np.testing.assert_array_equal(found, expected, err_msg=str(goal))


@pytest.mark.parametrize("pair", [(DType.F32, DType.I32), (DType.I64, DType.F64), (DType.I8, DType.U8)], ids=str)
def test_bit_casts(pair: tuple[DType, DType]) -> None:
    for source, goal in (pair, pair[::-1]):
        kernel = parse_kernel(typed_unary(f"bitcast<{goal}>(%v)", VectorType(source, 8), goal, COUNT))
        for expected, found in both(kernel, arrays_for(kernel)):
            np.testing.assert_array_equal(found.view(np.uint8), expected.view(np.uint8))


@pytest.mark.parametrize("cpu", TARGETS)
@pytest.mark.parametrize("lanes", [2, 3, 6, 8, 16])
@pytest.mark.parametrize("dtype", [DType.F32, DType.I32, DType.I64], ids=str)
def test_lanes_are_combined_in_one_order(dtype: DType, lanes: int, cpu: str) -> None:
    for op in ("add", "min", "max", "mul"):
        kernel = parse_kernel(
            typed_unary(f"broadcast<{lanes}>(reduce<{op}>(%v))", VectorType(dtype, lanes), dtype, COUNT)
        )
        for expected, found in both(kernel, arrays_for(kernel), cpu):
            np.testing.assert_array_equal(found, expected, err_msg=op)


@pytest.mark.parametrize("cpu", TARGETS)
@pytest.mark.parametrize("lanes", [1, 3, 4, 16])
@pytest.mark.parametrize("dtype", [DType.F64, DType.F32], ids=str)
def test_min_and_max_keep_a_nan_on_either_side(dtype: DType, lanes: int, cpu: str) -> None:
    for op in ("min", "max"):
        kernel = parse_kernel(typed_binary(op, VectorType(dtype, lanes), COUNT))
        arrays = arrays_for(kernel)
        arrays[0][::3] = arrays[1][::2] = np.nan
        for expected, found in both(kernel, arrays, cpu):
            np.testing.assert_array_equal(found, expected, err_msg=op)
        assert np.isnan(expected[::3]).all()
        assert np.isnan(expected[::2]).all()


@pytest.mark.parametrize("number", ["0.0", "-inf", "nan"])
def test_limits_that_are_numbers_need_no_test_for_nan(number: str) -> None:
    for expression in (f"max(%v, {number}: f32x8)", f"max({number}: f32x8, %v)"):
        kernel = parse_kernel(typed_unary(expression, VectorType(DType.F32, 8), DType.F32, 8))
        target = find_target("x86-64-v3")
        assert ("uno" in kernel_text(kernel, target)) == (number == "nan")
        x = np.array([np.nan, -np.inf, -1, 0, 1, np.inf, 2, np.nan], np.float32)
        for expected, found in both(kernel, [x, np.zeros(8, np.float32)]):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("cpu", TARGETS)
@pytest.mark.parametrize("lanes", [1, 3, 16])
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers_are_divided_by_anything(dtype: DType, lanes: int, cpu: str) -> None:
    info = np.iinfo(str(dtype.numpy))
    for op in ("div", "floordiv", "mod"):
        kernel = parse_kernel(typed_binary(op, VectorType(dtype, lanes), COUNT))
        arrays = arrays_for(kernel)
        arrays[0][:24] = info.min
        arrays[1][::2], arrays[1][1::4] = 0, info.max
        if dtype is not DType.U8:
            arrays[1][3::4] = -1
        for expected, found in both(kernel, arrays, cpu):
            np.testing.assert_array_equal(found, expected, err_msg=op)


def test_serial_kernels_run_on_the_first_thread_alone() -> None:
    kernel = parse_kernel(TEXTS["booleans"])
    arrays = arrays_for(kernel)
    before = [a.copy() for a in arrays]
    load_kernel(kernel).run(arrays, tid=1, nthreads=2)
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_wrong_arrays_are_refused() -> None:
    kernel = parse_kernel(TEXTS["scale"])
    with pytest.raises(InternalError, match=r"%x takes f32\[4, 32\]"):
        load_kernel(kernel).run([np.zeros((4, 31), np.float32), np.zeros((4, 32), np.float32)])


@pytest.mark.parametrize("cpu", ["x86-64-v4", "haswell", "cortex-a72", "apple-m1"])
def test_hot_loops_keep_their_tile_in_registers(cpu: str) -> None:
    """The accumulators of a tile that fits the register file are not spilled, and operands are not copied about."""
    target = find_target(cpu)
    rows = 14 if target.vector_registers == 32 else 6
    kernel = parse_kernel(tile(rows, target.vector_lanes))
    hot = hottest_block(assembly(kernel_text(kernel, target), target))
    assert sum("fma" in line or "fmla" in line for line in hot) == rows * 2
    assert not [line for line in hot if "rsp" in line or "[sp" in line]
    assert not [line for line in hot if line.split()[0] in ("vmovaps", "vmovdqa", "mov", "mov.16b")]


def hottest_block(text: str) -> list[str]:
    """The instructions of the basic block with the most multiplications."""
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.endswith(":") or "BB0_" in line.split(":")[0]:
            blocks.append([])
        if line.startswith("\t") and not line.startswith("\t."):
            blocks[-1].append(line.strip())
    return max(blocks, key=lambda block: sum("fma" in line or "fmla" in line for line in block))
