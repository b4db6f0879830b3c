"""Complex numbers that change their shape, or lose their imaginary part."""

from __future__ import annotations

import numpy as np
import pytest

from netc.compiler.graph import evaluate
from netc.compiler.tflite.reading import read_model
from netc.frontend.tflite import graph_of

from .litert import run
from .small_models import Model


def _file() -> bytes:
    """The spectrum of two lines of eight numbers, reshaped, squeezed, and its real part and its absolute values."""
    m = Model()
    x, sizes = m.tensor("x", (2, 1, 8), np.float32), m.tensor("sizes", (2,), np.int32, data=np.array([1, 8], np.int32))
    spectrum = m.tensor("spectrum", (2, 1, 5), np.complex64)
    m.operator("RFFT2D", (x, sizes), (spectrum,), ("Rfft2dOptions", {}))
    lines = m.tensor("lines", (2, 5), np.complex64)
    m.operator("SQUEEZE", (spectrum,), (lines,), ("SqueezeOptions", {"SqueezeDims": [1]}))
    wanted = m.tensor("wanted", (2,), np.int32, data=np.array([5, -1], np.int32))
    turned, real, size = (m.tensor(n, (5, 2), t) for n, t in (("t", np.complex64), ("r", "f4"), ("s", "f4")))
    m.operator("RESHAPE", (lines, wanted), (turned,))
    m.operator("CAST", (turned,), (real,))
    m.operator("COMPLEX_ABS", (turned,), (size,))
    return m.data((x,), (real, size))


def test_complex_numbers_are_moved_whole() -> None:
    x = np.random.default_rng(3).standard_normal((2, 1, 8)).astype(np.float32)
    found = evaluate(graph_of(read_model(_file()), "case"), [x], {})
    spectrum = np.fft.rfft(x).reshape(5, 2)
    for got, wanted in zip(found, (spectrum.real, np.abs(spectrum)), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_litert_gives_the_same() -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    x = np.random.default_rng(3).standard_normal((2, 1, 8)).astype(np.float32)
    found = evaluate(graph_of(read_model(_file()), "case"), [x], {})
    for got, wanted in zip(found, run(_file(), [[x]])[0], strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
