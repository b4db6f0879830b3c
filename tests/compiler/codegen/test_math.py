"""exp, log and tanh against long-double arithmetic, in units in the last place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netc.compiler.backends import find_target
from netc.compiler.backends.cpu.codegen.jit import load_kernel
from netc.compiler.backends.cpu.codegen.llvm import emit_kernel
from netc.compiler.loops.ir import VectorType
from netc.compiler.loops.parser import parse_kernel
from netc.compiler.types import DType

from ..loops.kernels import typed_unary
from .test_kernels import TARGETS

COUNT = 1 << 14
FUNCTIONS: dict[str, Any] = {"exp": np.exp, "log": np.log, "tanh": np.tanh}


def compiled(op: str, x: Any, lanes: int, cpu: str = "host") -> Any:
    dtype = DType.of(x.dtype)
    kernel = parse_kernel(typed_unary(f"{op}(%v)", VectorType(dtype, lanes), dtype, x.size))
    y = np.zeros_like(x)
    load_kernel(kernel, find_target(cpu)).run([x, y])
    return y


def samples(op: str, dtype: DType) -> Any:
    """Ordinary numbers, and some over the whole range in which the result is a normal number."""
    info = np.finfo(dtype.numpy)
    rng = np.random.default_rng(1)
    smallest, largest = np.log(float(info.tiny)), np.log(float(info.max))
    if op == "exp":
        near, far = rng.standard_normal(COUNT // 2), rng.uniform(smallest, largest - 0.01, COUNT // 2)
    elif op == "log":
        near = np.abs(1 + 0.3 * rng.standard_normal(COUNT // 2)) + 1e-6
        far = np.exp(rng.uniform(smallest, largest - 0.01, COUNT // 2))
    else:
        near, far = rng.standard_normal(COUNT // 2), rng.standard_normal(COUNT // 2) * np.exp(rng.uniform(-8, 3))
    return np.concatenate([near, far]).astype(dtype.numpy)


@pytest.mark.parametrize("cpu", TARGETS)
@pytest.mark.parametrize("lanes", [1, 4, 16])
@pytest.mark.parametrize("dtype", [DType.F32, DType.F64], ids=str)
@pytest.mark.parametrize("op", FUNCTIONS)
def test_errors_stay_within_two_units(op: str, dtype: DType, lanes: int, cpu: str) -> None:
    x = samples(op, dtype)
    exact = FUNCTIONS[op](x.astype(np.longdouble))
    error = np.abs(compiled(op, x, lanes, cpu) - exact) / np.spacing(np.abs(exact).astype(dtype.numpy))
    assert error.max() < 2


@pytest.mark.parametrize("dtype", [DType.F32, DType.F64, DType.F16], ids=str)
@pytest.mark.parametrize("op", FUNCTIONS)
def test_special_values(op: str, dtype: DType) -> None:
    info = np.finfo(dtype.numpy)
    numbers = [0.0, -0.0, np.inf, -np.inf, np.nan, info.max, -info.max, -1.0 if op == "log" else 0.0]
    with np.errstate(all="ignore"):
        expected = FUNCTIONS[op](np.array(numbers, dtype.numpy))
    np.testing.assert_array_max_ulp(compiled(op, np.array(numbers, dtype.numpy), 8), expected, 2)


def test_subnormal_numbers() -> None:
    x = np.array([1e-45, 1e-40, 5e-39, 1e-38], np.float32)
    np.testing.assert_allclose(compiled("log", x, 4), np.log(x), rtol=1e-6)
    x = np.array([-90, -95, -100, -103], np.float32)
    np.testing.assert_allclose(compiled("exp", x, 4), np.exp(x), rtol=1e-6, atol=2e-45)


@pytest.mark.parametrize("cpu", TARGETS)
@pytest.mark.parametrize("dtype", [DType.F32, DType.F64], ids=str)
def test_one_plus_an_exponential(dtype: DType, cpu: str) -> None:
    kind, one = VectorType(dtype, 8), f"1.0: {VectorType(dtype, 8)}"
    bits = np.random.default_rng(3).integers(0, 1 << 32, (1 << 12, dtype.itemsize // 4), np.uint32)
    ends = [0.0, -0.0, np.inf, -np.inf, np.nan, 88.72, 88.8, 709.7, 709.9, -87.5, -800.0, 16.0]
    x = np.concatenate([bits.view(str(dtype.numpy)).reshape(-1)[:4000], np.array(ends * 2, dtype.numpy)])
    x = np.concatenate([x, np.linspace(-20, 20, 4000, dtype=dtype.numpy)])
    found = np.zeros_like(x)
    kernel = parse_kernel(typed_unary(f"div({one}, add({one}, exp(%v)))", kind, dtype, x.size))
    load_kernel(kernel, find_target(cpu)).run([x, found])
    with np.errstate(all="ignore"):
        expected = (1 / (1 + np.exp(x.astype(np.longdouble)))).astype(dtype.numpy)
    normal = ~(np.abs(expected) < 4 * np.finfo(dtype.numpy).tiny)
    np.testing.assert_array_max_ulp(found[normal], expected[normal], 4)
    np.testing.assert_allclose(found[~normal], expected[~normal], rtol=0, atol=4 * np.finfo(dtype.numpy).tiny)


BOUNDED = [("exp", DType.F32, -87.0, 88.0), ("exp", DType.F64, -708.0, 709.0), ("exp2", DType.F32, -126.0, 127.0)]


def bounded(op: str, dtype: DType, low: float, high: float, count: int) -> Any:
    kind = VectorType(dtype, 8)
    value = f"min(max(%v, {low}: {kind}), {high}: {kind})"
    return parse_kernel(typed_unary(f"{op}({value})", kind, dtype, count))


@pytest.mark.parametrize("cpu", TARGETS)
@pytest.mark.parametrize(("op", "dtype", "low", "high"), BOUNDED)
def test_exponentials_of_bounded_numbers(op: str, dtype: DType, low: float, high: float, cpu: str) -> None:
    bits = np.random.default_rng(3).integers(0, 1 << 32, (1 << 9, dtype.itemsize // 4), np.uint32)
    x = np.concatenate([np.linspace(low, high, 4096), np.linspace(-1, 1, 4096)])
    x = np.concatenate(
        [x.astype(dtype.numpy), bits.view(str(dtype.numpy)).reshape(-1), np.full(8, np.nan, dtype.numpy)]
    )
    payload = np.array(np.inf, dtype.numpy).view(f"u{dtype.itemsize}") + np.arange(1, 17, dtype=f"u{dtype.itemsize}")
    x = np.concatenate([x, payload.view(str(dtype.numpy))])
    found = np.zeros_like(x)
    load_kernel(bounded(op, dtype, low, high, x.size), find_target(cpu)).run([x, found])
    with np.errstate(invalid="ignore"):  # signalling NaNs
        exact = getattr(np, op)(np.clip(x, low, high).astype(np.longdouble))
    assert np.isnan(found[-24:]).all()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(x))
    error = np.abs(found - exact) / np.spacing(exact.astype(dtype.numpy))
    assert np.nanmax(error) < 2


@pytest.mark.parametrize(("op", "dtype", "low", "high"), BOUNDED)
def test_what_is_bounded_is_multiplied_by_one_power_of_two(op: str, dtype: DType, low: float, high: float) -> None:
    def shifts(least: float, largest: float) -> int:
        return emit_kernel(bounded(op, dtype, least, largest, 64), find_target("x86-64-v3")).count(" shl ")

    assert shifts(low, high) == 1
    assert shifts(low - 3, high) == shifts(low, high + 3) == 2


@pytest.mark.parametrize("dtype", [DType.F32, DType.F64], ids=str)
def test_any_nan_stays_one(dtype: DType) -> None:
    width = 8 * dtype.itemsize
    infinite = int(np.array(np.inf, dtype.numpy).view(f"u{dtype.itemsize}"))
    bits = [infinite + 1, infinite + 0x1FF, (1 << width) - 1, infinite + (1 << (width - 1)) + 0x7F] * 2
    x = np.array(bits, f"u{dtype.itemsize}").view(str(dtype.numpy))
    for op in ("exp", "tanh"):
        assert np.isnan(compiled(op, x, 8)).all()
