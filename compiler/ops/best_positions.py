"""best_positions: where the k largest elements of long rows stand, found with one look at each element.

A row goes past a heap of the k best elements so far, whose root is the worst of them; most elements are compared with
the root alone. So the work grows with the length of the row, not with its square. Source: Knuth, The art of computer
programming, volume 3, section 5.2.3 (heapsort).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import ShapeError
from ..graph.element_types import check_numbers
from ..graph.ir import Array, Attributes, AttributeSpec, Operator
from ..graph.registry import register
from ..loops.compute import Procedure
from ..loops.ir import (
    Allocate,
    Binary,
    Buffer,
    Cast,
    Const,
    Expr,
    If,
    Load,
    Select,
    Space,
    Stmt,
    Store,
    maximum,
    minimum,
)
from ..types import DType, TensorType
from .facets import INTEGER, PERMUTED, TFLITE

MOST = 16_384
"""Elements that are chosen of a row, at most: the heap lies on the stack."""


@register
class BestPositions(Operator):
    """Positions (i32) of the k largest (or smallest) elements of each row of x [M, N], in order: [M, k].

    Of equal elements the first comes first; NaN counts as larger than all numbers, as in NumPy and PyTorch.
    """

    name = "best_positions"
    internal = True
    operands = ("x",)
    attributes = {
        "k": AttributeSpec(int, "number of elements that are taken"),
        "largest": AttributeSpec(bool, "take the largest, else the smallest", True),
    }
    non_differentiable = "its results are positions, which are whole numbers"
    procedural = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,), k = operands, attributes["k"]
        check_numbers(self, x)
        if x.rank != 2 or not 0 <= k <= min(x.shape[1], MOST):
            raise ShapeError(f"best_positions can't take {k} elements of each row of {x}; {MOST} are the most")
        return (TensorType(DType.I32, (x.shape[0], k)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x = operands[0][:, ::-1] if attributes["largest"] else operands[0]
        order = np.argsort(x, axis=1, kind="stable")
        if attributes["largest"]:  # the last of equal elements comes last if the mirrored ones are sorted and mirrored
            order = x.shape[1] - 1 - order[:, ::-1]
        return (order[:, : attributes["k"]].astype(np.int32),)

    def procedure(self, p: Procedure, attributes: Attributes) -> list[Stmt]:
        rows, size = p.type(0).shape
        k = attributes["k"]
        if not k:
            return []
        heap = _Heap(p, k, size, attributes["largest"])

        def visit(row: Expr, place: Expr) -> list[Stmt]:
            block: list[Stmt] = []
            value = p.let(block, "value", p.load(0, (row, place)))
            better = heap.is_worse(heap.at(Const(0)), (value, place))
            return [*block, If(better, tuple(heap.sink(value, place, Const(k))))]

        def take(row: Expr, taken: Expr) -> list[Stmt]:
            block: list[Stmt] = []
            last = p.let(block, "last", Const(k - 1) - taken)
            block.append(p.store((row, last), Cast(heap.at(Const(0))[1], DType.I32)))
            value, place = heap.at(last)
            value, place = p.let(block, "value", value), p.let(block, "place", place)
            return [*block, *heap.sink(value, place, last)]

        def search(row: Expr) -> list[Stmt]:
            scan = p.loop("i", size, lambda i: visit(row, i))
            return [*heap.allocated(), *scan, *p.loop("o", k, lambda o: take(row, o))]

        return p.loop("row", rows, search, shared=rows * size * 4)


Entry = tuple[Expr, Expr]
"""An element, and where it stands in its row."""


@dataclass
class _Heap:
    """The k best elements so far; none is better than what hangs below it."""

    p: Procedure
    k: int
    size: int
    largest: bool

    def __post_init__(self) -> None:
        self.dtype = self.p.type(0).dtype
        self.values = self.p.local("values", self.dtype, (self.k,))
        self.places = self.p.local("places", DType.I64, (self.k,))
        self.hole = Buffer(self.p.fresh("hole"), DType.I64, (1,), Space.REGISTER)

    def allocated(self) -> list[Stmt]:
        """Its memory, filled with what is worse than every element."""

        def clear(i: Expr) -> list[Stmt]:
            return [
                Store(self.values, (i,), Const(self._worst(), self.dtype)),
                Store(self.places, (i,), Const(self.size)),
            ]

        return [*map(Allocate, (self.values, self.places, self.hole)), *self.p.loop("c", self.k, clear)]

    def _worst(self) -> float:
        if self.dtype.is_float:
            return -math.inf if self.largest else math.nan
        limits = np.iinfo(str(self.dtype))
        return int(limits.min if self.largest else limits.max)

    def at(self, index: Expr) -> Entry:
        """An entry, by its place in the heap."""
        index = maximum(minimum(index, self.k - 1), 0)
        return Load(self.values, (index,)), Load(self.places, (index,))

    def is_worse(self, a: Entry, b: Entry) -> Expr:
        """Whether `a` comes behind `b` in the order."""
        earlier = self._less(a[0], b[0]) if self.largest else self._less(b[0], a[0])
        return Binary("or", earlier, Binary("and", self._equal(a[0], b[0]), Binary("lt", b[1], a[1])))

    def _less(self, a: Expr, b: Expr) -> Expr:
        if not self.dtype.is_float:
            return Binary("lt", a, b)
        return Select(Binary("ne", b, b), Binary("eq", a, a), Binary("lt", a, b))

    def _equal(self, a: Expr, b: Expr) -> Expr:
        same = Binary("eq", a, b)
        if not self.dtype.is_float:
            return same
        return Binary("or", same, Binary("and", Binary("ne", a, a), Binary("ne", b, b)))

    def sink(self, value: Expr, place: Expr, count: Expr) -> list[Stmt]:
        """Put an entry in place of the root of the first `count` entries: it sinks below all that are worse."""
        p, here = self.p, (Const(0),)

        def level(_: Expr) -> list[Stmt]:
            block: list[Stmt] = []
            hole = p.let(block, "hole", Load(self.hole, here))
            left = p.let(block, "left", hole * 2 + 1)
            right = p.let(block, "right", left + 1)
            is_right = Binary("and", Binary("lt", right, count), self.is_worse(self.at(right), self.at(left)))
            child = p.let(block, "child", Select(is_right, right, left))
            entry = [p.let(block, "entry", each) for each in self.at(child)]
            worse = self.is_worse((entry[0], entry[1]), (value, place))
            moves = Binary("and", Binary("lt", left, count), worse)
            return [*block, If(moves, (*self._set(hole, entry[0], entry[1]), Store(self.hole, here, child)))]

        levels = p.loop("level", (self.k - 1).bit_length(), level)
        return [Store(self.hole, here, Const(0)), *levels, *self._set(Load(self.hole, here), value, place)]

    def _set(self, index: Expr, value: Expr, place: Expr) -> list[Stmt]:
        inside = (maximum(minimum(index, self.k - 1), 0),)
        return [Store(self.values, inside, value), Store(self.places, inside, place)]


INTEGER.none("part of the code that sorting becomes", BestPositions)
TFLITE.none("part of the code that sorting becomes", BestPositions)
PERMUTED.none("the last dimension is put in order", BestPositions)
