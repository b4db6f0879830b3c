"""TFLite's complex numbers: tensors of them are pairs of real and imaginary parts, which are the last dimension."""

from __future__ import annotations

import numpy as np

from ...compiler.graph.ir import Value
from ...compiler.ops.facets import reads
from ...compiler.types import DType
from .context import Context

_SMALLEST = float(np.finfo(np.float32).tiny)


def rfft2d(c: Context) -> Value:
    """RFFT2D; LiteRT's kernel takes powers of two alone."""
    height, width = c.integers(1)
    if min(height, width) < 1 or height & (height - 1) or width & (width - 1):
        c.unsupported(f"its sizes are {height} x {width}, which are no powers of two")
    if width == 1:
        c.unsupported("LiteRT's kernel gives rows of one number a second part")
    return c.emit("rfft2", c.value(0), sizes=(height, width))


def _part(c: Context, number: int) -> Value:
    pairs = c.value(0)
    *outer, _ = pairs.type.shape
    part = c.emit("slice", pairs, begin=(*(0 for _ in outer), number), size=(*outer, 1))
    return c.emit("reshape", part, shape=tuple(outer))


def real(c: Context) -> Value:
    """REAL."""
    return _part(c, 0)


def imag(c: Context) -> Value:
    """IMAG."""
    return _part(c, 1)


def complex_abs(c: Context) -> Value:
    """COMPLEX_ABS: the larger part times sqrt(1 + share^2), of which no square is too large."""
    parts = [c.emit("abs", _part(c, i)) for i in (0, 1)]
    larger, smaller = c.emit("maximum", *parts), c.emit("minimum", *parts)
    largest = float(np.finfo(np.float32).max)
    share = c.emit(
        "div", c.emit("clamp", smaller, low=0.0, high=largest), c.emit("clamp", larger, low=_SMALLEST, high=largest)
    )
    one = c.builder.scalar(1.0, DType.F32)
    return c.emit("mul", larger, c.emit("sqrt", c.emit("add", one, c.emit("mul", share, share))))


reads(rfft2d, "RFFT2D")
reads(real, "REAL")
reads(imag, "IMAG")
reads(complex_abs, "COMPLEX_ABS")
