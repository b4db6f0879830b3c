"""The right sides of products of bytes, activations, packed in each run into the panels that register tiles read.

A panel has some columns of a matrix: for each step of the sum the neighbours that are multiplied together, column after
column, [panel][step][column, neighbour], as a weight of an integer contraction has them. Steps beyond the sum and
columns beyond the matrix are filled up with zeros. Beside the panels lie the sums of their columns, times what is wrong
with each element of the left side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from .....graph.ir import Value
from .....loops.ir import (
    Allocate,
    Binary,
    Buffer,
    Const,
    Expr,
    If,
    Interleave,
    Load,
    Space,
    Stmt,
    Store,
    VectorType,
    const,
)
from .....lowering.elements import physical
from .....lowering.kernel import Names, Parameters, Scheduled, let
from .....lowering.loops import ceil_div, kind_for, loop, starts_of, vector_loop, vector_widths
from .....types import DType, TensorType
from .batch_matmul import divided, flat_place

Product = Callable[[Expr, Expr], Expr]
"""A panel's bytes for some columns of a step, and their sums, to the sums with those bytes."""


@dataclass(frozen=True)
class PackedRight:
    """The panels of one right side."""

    value: Value
    transposed: bool
    """The matrices are [N, K], not [K, N]."""
    width: int
    """Columns of a panel."""
    together: int
    """Neighbours of the sum that are multiplied together."""
    lanes: int
    """Sums of a vector."""
    names: Names = field(default_factory=Names)

    @property
    def type(self) -> TensorType:
        """What is packed."""
        return self.value.type

    @property
    def columns(self) -> int:
        """Those of a matrix."""
        return self.type.shape[-2 if self.transposed else -1]

    @property
    def depth(self) -> int:
        """Length of the sums."""
        return self.type.shape[-1 if self.transposed else -2]

    @property
    def steps(self) -> int:
        """Of a sum."""
        return ceil_div(self.depth, self.together)

    @property
    def panels(self) -> int:
        """Those of a matrix."""
        return ceil_div(self.columns, self.width)

    @property
    def count(self) -> int:
        """Panels of all matrices."""
        return math.prod(self.type.shape[:-2]) * self.panels

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of all panels."""
        return self.count, self.steps, self.width * self.together

    def packing(self, goal: Value) -> Scheduled:
        """The kernel that packs."""
        parameters = Parameters()
        source = parameters.add(Buffer("b", DType.I8, (math.prod(self.type.buffer_shape),)), self.value)
        panels = parameters.add(Buffer("w", DType.I8, self.shape, Space.OUT), goal)
        whole, rest = divmod(self.columns, self.width)

        def panel(p: Expr) -> list[Stmt]:
            block: list[Stmt] = []
            matrix = divided(p // self.panels, self.type.shape[:-2], block)
            number = let(block, "j", p % self.panels) if self.panels > 1 else Const(0)
            zero = Const(0)
            start = flat_place(self.type.buffer_shape, physical(self.type, (*matrix, zero, zero)))
            column = number * (self.width * (self._pitch if self.transposed else 1))
            first = let(block, "f", start + column)
            move = self._rows if self.transposed else self._columns

            def filled(columns: int) -> list[Stmt]:
                return [*move(source, first, panels, p, columns), *self._zeros(panels, p, columns)]

            if whole and rest:
                choose = If(Binary("lt", number, Const(whole)), tuple(filled(self.width)), tuple(filled(rest)))
                return [*block, choose]
            return [*block, *filled(self.width if whole else rest)]

        body = loop("p", self.count, panel, kind_for(math.prod(self.shape)))
        return parameters.scheduled(body, multiplies=0)

    @property
    def _pitch(self) -> int:
        """Elements from one row of a matrix to the next."""
        return self.type.buffer_shape[-1]

    def _columns(self, b: Buffer, first: Expr, panels: Buffer, p: Expr, columns: int) -> list[Stmt]:
        """Rows as they lie, some neighbours of the sum at once: their elements come in turn."""
        whole, rest = divmod(self.depth, self.together)

        def step(s: Expr, rows: int) -> list[Stmt]:
            row = first + s * (self.together * self._pitch)

            def vector(c: Expr, width: int) -> list[Stmt]:
                zero = const(0, VectorType(DType.I8, width))
                parts = tuple(
                    Load(b, (row + c + i * self._pitch,), width) if i < rows else zero for i in range(self.together)
                )
                return [Store(panels, (p, s, c * self.together), Interleave(parts))]

            return vector_loop(self.names, columns, self.lanes, vector)

        main = loop("s", whole, lambda s: step(s, self.together)) if whole else []
        return [*main, *(step(Const(whole), rest) if rest else [])]

    def _rows(self, b: Buffer, first: Expr, panels: Buffer, p: Expr, columns: int) -> list[Stmt]:
        """Columns that lie in rows, whose neighbours stay together."""
        whole, rest = divmod(self.depth, self.together)

        def column(c: Expr) -> list[Stmt]:
            block: list[Stmt] = []
            start, place = let(block, "r", first + c * self._pitch), c * self.together

            def step(s: Expr) -> list[Stmt]:
                return [Store(panels, (p, s, place), Load(b, (start + s * self.together,), self.together))]

            def last(i: int) -> Stmt:
                element = Load(b, (start + (whole * self.together + i),)) if i < rest else Const(0, DType.I8)
                return Store(panels, (p, Const(whole), place + i), element)

            main = loop("s", whole, step) if whole else []
            return [*block, *main, *(last(i) for i in range(self.together if rest else 0))]

        return loop("c", columns, column)

    def _zeros(self, panels: Buffer, p: Expr, columns: int) -> list[Stmt]:
        """What stands for columns beyond the matrix."""
        missing = (self.width - columns) * self.together
        widths = vector_widths(missing, self.together * self.lanes)
        places = [columns * self.together + start for start in starts_of(widths)]

        def step(s: Expr) -> list[Stmt]:
            vectors = zip(places, widths, strict=True)
            return [
                Store(panels, (p, s, Const(place)), const(0, VectorType(DType.I8, width))) for place, width in vectors
            ]

        return loop("s", self.steps, step) if missing else []

    def summing(self, goal: Value, packed: Value, product: Product, factor: int, start: int) -> Scheduled:
        """The kernel that adds up columns, as `product` does with ones; the sums times a factor, and a number more."""
        parameters = Parameters()
        panels = parameters.add(Buffer("w", DType.I8, self.shape), packed)
        sums = parameters.add(Buffer("z", DType.I32, (self.count * self.width,), Space.OUT), goal)

        def panel(p: Expr) -> list[Stmt]:
            def vector(c: Expr, width: int) -> list[Stmt]:
                total = Buffer(self.names.fresh("sum"), DType.I32, (1,), Space.REGISTER, width)
                here = (Const(0),)

                def step(s: Expr) -> list[Stmt]:
                    some = Load(panels, (p, s, c * self.together), width * self.together)
                    return [Store(total, here, product(some, Load(total, here)))]

                clear = [Allocate(total), Store(total, here, const(0, VectorType(DType.I32, width)))]
                end = Store(sums, (p * self.width + c,), Load(total, here) * factor + start)
                return [*clear, *loop("s", self.steps, step), end]

            return vector_loop(self.names, self.width, self.lanes, vector)

        return parameters.scheduled(loop("p", self.count, panel, kind_for(math.prod(self.shape))), multiplies=0)
