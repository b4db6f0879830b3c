"""The loop interpreter: a kernel worked out by hand, and the faults that it notices."""

from __future__ import annotations

import numpy as np
import pytest

from netc.compiler.errors import InternalError
from netc.compiler.loops.interpreter import run_kernel
from netc.compiler.loops.parser import parse_kernel

from .kernels import SCALE, TILE


def test_a_matrix_product_in_tiles() -> None:
    rng = np.random.default_rng(0)
    x, w, bias = (rng.standard_normal(shape, dtype=np.float32) for shape in ((12, 20), (20, 8), (8,)))
    y = np.zeros((12, 8), np.float32)
    run_kernel(parse_kernel(TILE), [x, w, bias, y])
    np.testing.assert_allclose(y, np.maximum(x @ w + bias, 0), rtol=1e-5, atol=1e-5)


def test_fresh_registers_hold_no_number() -> None:
    y = np.zeros(4, np.float32)
    run_kernel(parse_kernel("kernel @k(%y: out f32[4]) {\n register %r: f32x4[1]\n %y[0] = %r[0]\n}\n"), [y])
    assert np.isnan(y).all()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("%y[load i64 %n[0]] = 0.0: f32", r"access to %y\[9\] lies outside \[8\]"),
        ("%y[load i64 %n[0] - 10] = 0.0: f32", r"access to %y\[-1\] lies outside \[8\]"),
        ("%y[load i64 %n[0] - 4] = 0.0: f32x4", r"4 lanes of %y from \[5\] on lie outside \[8\]"),
    ],
)
def test_accesses_outside_a_buffer_are_noticed(body: str, message: str) -> None:
    kernel = parse_kernel("kernel @k(%n: i64[1], %y: out f32[8]) {\n " + body + "\n}\n")
    with pytest.raises(InternalError, match=message):
        run_kernel(kernel, [np.array([9]), np.zeros(8, np.float32)])


def test_wrong_arrays_are_refused() -> None:
    with pytest.raises(InternalError, match=r"%x takes f32\[4, 32\]"):
        run_kernel(parse_kernel(SCALE), [np.zeros((4, 32)), np.zeros((4, 32), np.float32)])
