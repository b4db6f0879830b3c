"""Parts that contractions and softmax of 16-bit numbers are made of."""

from __future__ import annotations

import math

import numpy as np

from netc.compiler.graph import Value
from netc.compiler.types import DType, Quantization

from .integers import bounds
from .maker import Maker
from .recipes import recipe

LARGEST = str(1 << 24)
"""Of the sums that are drawn."""


@recipe("byte_of")
def byte_of(m: Maker, name: str) -> Value:
    return m.emit(name, m.operand((DType.I16,)), upper=m.flag())


@recipe("rescale_wide")
def rescale_wide(m: Maker, name: str) -> Value:
    x = m.operand((DType.I64,))
    shape = () if not x.type.rank or m.flag() else x.type.shape[-1:]
    pairs = [(m.choice((0, 16384, 23170, 32767)), m.choice((0, -3, -15, -31, 7))) for _ in range(math.prod(shape))]
    table = np.array(pairs, np.int64).reshape(-1, 2)
    y = Quantization.of(m.choice((0.5, 1e-3)), 0)
    factors = (m.given(table[:, i].reshape(shape)) for i in range(2))
    dtype = m.choice((DType.I16, DType.I8))
    return m.emit(name, x, *factors, dtype=str(dtype), y=y, **bounds(m, dtype))


def _total(m: Maker, shape: tuple[int, ...]) -> Value:
    """Sums of exponentials, of which the largest is almost 1."""
    return m.emit("add", m.leaf(DType.I32, shape, LARGEST), m.scalar(1 << 15, DType.I32))


@recipe("reciprocal_place")
def reciprocal_place(m: Maker, name: str) -> Value:
    return m.emit(name, _total(m, m.shape((2, 3, 1))))


@recipe("short_share")
def short_share(m: Maker, name: str) -> Value:
    shape = m.shape((2, 1, 3), end=(m.choice((4, 1, 7)),))
    row = (*shape[:-1], 1)
    x, reciprocal = m.leaf(DType.I16, shape, "32767"), m.leaf(DType.I16, row, "32767")
    return m.emit(name, x, reciprocal, _total(m, row), y=Quantization.of(m.choice((2.0**-15, 2.0**-14)), 0))
