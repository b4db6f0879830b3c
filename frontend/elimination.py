"""Gaussian elimination of small matrices, written out in operators of the graph.

The rules for ONNX files emit these; PyTorch's exporter, which has no inverses, is given the same ones in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

TensorT = TypeVar("TensorT")

MOST_ROWS = 32
"""Most rows of a matrix that are written out; each takes a dozen operations."""


def eliminated(
    emit: Callable[..., TensorT],
    number: Callable[[float], TensorT],
    rows: TensorT,
    x: TensorT,
    shape: Sequence[int],
) -> tuple[TensorT, list[tuple[TensorT, TensorT]]]:
    """Matrices f64 [..., n, m], m >= n, whose first n columns are brought to the unit matrix; and their pivots.

    `emit` takes the name of an operator of the graph, its operands and its attributes; `number` makes a constant, i32
    or f64. `rows` i32 [n, 1] are the numbers from 0 to n - 1; `shape` is that of `x`.

    The pivot of a column is its largest element at or below the diagonal, as in LAPACK: the row where it stands and its
    value, [..., 1, 1] both. A matrix without an inverse has a pivot of 0, and what is divided by it.
    """
    *front, size, width = shape
    axis = len(front)

    def part(x: TensorT, begin: tuple[int, int], extent: tuple[int, int]) -> TensorT:
        return emit("slice", x, begin=(*(0 for _ in front), *begin), size=(*front, *extent))

    pivots: list[tuple[TensorT, TensorT]] = []
    for k in range(size):
        is_above = emit("less", rows, number(k))
        sizes = emit("select", is_above, number(-1.0), emit("abs", part(x, (0, k), (size, 1))))
        place = emit("reshape", emit("argmax", sizes, axis=axis), shape=(*front, 1, 1))
        is_pivot = emit("equal", rows, place)
        row = emit("reduce_sum", emit("select", is_pivot, x, number(0.0)), axes=(axis,), keepdims=True)
        x = emit("select", is_pivot, part(x, (k, 0), (1, width)), x)
        pivot = part(row, (0, k), (1, 1))
        row = emit("div", row, pivot)
        rest = emit("sub", x, emit("mul", part(x, (0, k), (size, 1)), row))
        x = emit("select", emit("equal", rows, number(k)), row, rest)
        pivots.append((place, pivot))
    return x, pivots
