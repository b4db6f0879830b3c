"""TFLite files of one product of quantized matrices, drawn at random: BATCH_MATMUL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .draw import Draw, Maker

SUMS = (1, 3, 4, 16, 33, 50, 70)
"""Terms of a sum: whole words and vectors, and what lies between."""
SIDES = (1, 2, 3, 7, 16, 17, 40)


def _batch_matmul(d: Draw) -> bytes:
    """Stacks that broadcast; the right side is a constant in one of four files."""
    dtype = d.dtype(np.int8, np.int8, np.int16)
    rows, terms, columns = d.r.choice(SIDES), d.r.choice(SUMS), d.r.choice(SIDES)
    lead = d.shape(d.r.randint(0, 3), 3)
    first, second = (tuple(1 if d.r.random() < 0.2 else size for size in lead) for _ in range(2))
    if d.r.random() < 0.2:
        second = second[d.r.randint(0, len(second)) :]
    turned = d.r.random() < 0.3, d.flip()
    a, b = d.quantized(dtype), d.quantized(dtype)
    left = d.input((*first, *_sides(rows, terms, turned[0])), dtype, a)
    shape = (*second, *_sides(terms, columns, turned[1]))
    right = d.constant(d.integers(dtype, shape), b) if d.r.random() < 0.25 else d.input(shape, dtype, b)
    result = (*np.broadcast_shapes(first, second), rows, columns)
    y = d.tensor(result, dtype, d.quantized(dtype, a[0] * b[0] * 2.0 ** d.r.uniform(0, 14)))
    options: dict[str, Any] = {"AdjX": turned[0], "AdjY": turned[1]}
    return d.operator("BATCH_MATMUL", [left, right], [y], ("BatchMatMulOptions", options), 2)


def _sides(rows: int, columns: int, turned: bool) -> tuple[int, int]:
    return (columns, rows) if turned else (rows, columns)


MAKERS: Mapping[str, Maker] = {"BATCH_MATMUL": _batch_matmul}
