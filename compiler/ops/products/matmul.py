"""Products of matrices, many at a time."""

from __future__ import annotations

import math
from string import ascii_lowercase

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Value
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Const, Expr
from ...types import TensorType
from ..functions.elementwise import broadcast_shapes
from ..gradients import reshaped, sum_to
from .contract import MOST_PACKED

TRANSPOSED = {
    "transpose_a": AttributeSpec(bool, "the matrices of a are [K, M]", False),
    "transpose_b": AttributeSpec(bool, "the matrices of b are [N, K]", False),
}
_HINT = "reshape a vector to a matrix of one row or one column"


def exchanged(b: Builder, x: Value) -> Value:
    """The transposed matrices: the last two dimensions exchanged."""
    *outer, row, column = range(x.type.rank)
    return b.emit("transpose", x, permutation=(*outer, column, row))


def product_shape(
    name: str, a: tuple[int, ...], b: tuple[int, ...], *, transpose_a: bool, transpose_b: bool
) -> tuple[int, ...]:
    """The shape of a product of matrices in the last two dimensions; those before broadcast.

    Raises `ShapeError` where there are no matrices, their inner sizes differ, or dimensions don't broadcast.
    """
    if len(a) < 2 or len(b) < 2:
        raise ShapeError(f"{name} takes matrices, or stacks of them, not shapes {list(a)} and {list(b)}", hint=_HINT)
    m, k = (a[-1], a[-2]) if transpose_a else (a[-2], a[-1])
    k2, n = (b[-1], b[-2]) if transpose_b else (b[-2], b[-1])
    if k != k2:
        raise ShapeError(f"{name} can't multiply [{m},{k}] by [{k2},{n}]: the inner sizes differ")
    return (*broadcast_shapes(name, a[:-2], b[:-2]), m, n)


def broadcast_place(shape: tuple[int, ...], batch: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """Which matrix of an operand with these leading sizes goes with matrix `batch` of the result."""
    tail = batch[len(batch) - len(shape) :]
    return tuple(Const(0) if size == 1 else i for size, i in zip(shape, tail, strict=True))


def matrices(a: Array, b: Array, attributes: Attributes) -> tuple[Array, Array]:
    """The operands as they are multiplied."""
    return (
        np.swapaxes(a, -1, -2) if attributes["transpose_a"] else a,
        np.swapaxes(b, -1, -2) if attributes["transpose_b"] else b,
    )


def factors(
    c: Compute, index: tuple[Expr, ...], k: Expr, attributes: Attributes
) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
    """Where the factors of product number `k` of the result's element lie."""
    *batch, row, column = index
    a, b = (broadcast_place(c.type(i).shape[:-2], tuple(batch)) for i in range(2))
    left = (k, row) if attributes["transpose_a"] else (row, k)
    right = (column, k) if attributes["transpose_b"] else (k, column)
    return (*a, *left), (*b, *right)


def inner_size(a: TensorType, attributes: Attributes) -> int:
    """Length of each sum of products."""
    return a.shape[-2 if attributes["transpose_a"] else -1]


@register
class MatMul(Operator):
    """Products of matrices a [..., M, K] and b [..., K, N]; leading dimensions broadcast, as in NumPy's matmul."""

    name = "matmul"
    operands = ("a", "b")
    floats_only = True
    anchor = True
    attributes = TRANSPOSED

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        a, b = operands
        return (TensorType(a.dtype, product_shape(self.name, a.shape, b.shape, **attributes)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        a, b = matrices(operands[0], operands[1], attributes)
        return (np.asarray(np.matmul(a, b)),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value | None:
        """A dense layer where all matrices of a meet one of b; else a transposed b is packed, or transposed first."""
        x, y = operands
        turned_a, turned_b = attributes["transpose_a"], attributes["transpose_b"]
        if math.prod(y.type.shape[:-2]) == 1 and (x.type.rank == 2 or not turned_a):
            shape = product_shape(self.name, x.type.shape, y.type.shape, **attributes)
            x = exchanged(b, x) if turned_a else x
            y = reshaped(b, y, y.type.shape[-2:])
            return reshaped(b, b.emit("dense", x, exchanged(b, y) if turned_b else y), shape)
        if not turned_b:
            return None
        outer = ascii_lowercase[: x.type.rank - 2]
        packs = x.type.shape[:-2] == y.type.shape[:-2] and y.type.shape[-1] <= MOST_PACKED
        if packs and x.type.size and y.type.size:
            left = outer + ("yx" if turned_a else "xy")
            return b.emit("contract", x, y, a_axes=left, b_axes=f"{outer}zy", axes=f"{outer}xz")
        return b.emit(self.name, x, exchanged(b, y), transpose_a=turned_a)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        def term(r: tuple[Expr, ...]) -> Expr:
            left, right = factors(c, index, r[0], attributes)
            return c.load(0, left) * c.load(1, right)

        return Reduction("add", (inner_size(c.type(0), attributes),), term)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return results[0].size * inner_size(operands[0], attributes)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (dy,) = cotangents
        x, y = op.operands
        turned_a, turned_b = op.attributes["transpose_a"], op.attributes["transpose_b"]
        if turned_a:
            dx = b.emit(self.name, y, dy, transpose_a=turned_b, transpose_b=True)
        else:
            dx = b.emit(self.name, dy, y, transpose_b=not turned_b)
        rows, drows = x, dy
        if math.prod(y.type.shape[:-2]) == 1 and not turned_a:  # one product sums over all matrices, too
            rows, drows = (reshaped(b, v, (math.prod(v.type.shape[:-1]), v.type.shape[-1])) for v in (x, dy))
        if turned_b:
            dy_ = b.emit(self.name, drows, rows, transpose_a=True, transpose_b=turned_a)
        else:
            dy_ = b.emit(self.name, rows, drows, transpose_a=not turned_a)
        return sum_to(b, dx, x.type.shape), sum_to(b, dy_, y.type.shape)
