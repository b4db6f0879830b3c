"""Register-tiled schedule for products of many matrices, with an epilogue: the micro-kernel of dense layers in each.

Threads share out the matrices of the result or, where these are few, blocks of their rows. Loops inside, outermost
first: tiles of columns; tiles of rows; then the micro-kernel over the inner dimension. A transposed left side costs
nothing, since its elements are read one by one in any case. A transposed right side is none of this schedule's.
"""

from __future__ import annotations

import math

from ....graph.ir import Value
from ....loops.ir import Buffer, Const, Expr, For, LoopKind, Stmt, Var, minimum
from ....lowering.group import Group
from ....lowering.kernel import Scheduled, let
from ....lowering.loops import ceil_div, kind_for, loop
from ....ops.matmul import MatMul, broadcast_place
from ....targets.target import Target
from .contraction import BLOCK_BYTES, ContractionEmitter
from .geometry import Walk
from .micro_kernel import MicroKernel

SHARES = 8
"""Parts of the work for each thread, at least, where they can't be equal."""


def schedule_batch_matmul(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a group whose anchor is a product of matrices that lie dense; empty for others."""
    anchor = group.anchor
    if not isinstance(anchor.operator, MatMul) or anchor.attributes["transpose_b"]:
        return ()
    if any(v not in group.outer or v.type.layout is not None for v in anchor.operands):
        return ()
    return (_Emitter(group, target, threads).schedule(),)


def flat_place(shape: tuple[int, ...], place: tuple[Expr, ...]) -> Expr:
    """The number of a place in row-major order."""
    number: Expr = Const(0)
    for size, i in zip(shape, place, strict=True):
        number = number * size + i
    return number


def divided(number: Expr, shape: tuple[int, ...], block: list[Stmt], name: str = "n") -> tuple[Expr, ...]:
    """The place that has a number in row-major order; names are given to its indices."""
    place: list[Expr] = []
    for d, size in reversed(list(enumerate(shape))):
        place.insert(0, let(block, f"{name}{d}", number % size if d else number) if size > 1 else Const(0))
        number = number // size
    return tuple(place)


def walk_of(rows: int, inner: int, matrices: int, *, transposed: bool) -> Walk:
    """How rows of a stack of matrices are walked over: as the pixels of one row, of so many channels."""
    return Walk(
        images=1,
        height=1,
        width=rows,
        channels=inner,
        pitch=1 if transposed else inner,
        buffer=(matrices, inner, rows) if transposed else (matrices, 1, rows * inner),
        flat=True,
        channel_rows=transposed,
    )


class _Product(MicroKernel):
    """A register tile of the product that its owner is at."""

    def __init__(self, owner: _Emitter, rows: int, columns: int, widths: tuple[int, ...]) -> None:
        super().__init__(owner, rows, columns, widths)
        self.product = owner

    def emit(self, image: Expr, row: Expr, column: Expr, j: Expr) -> list[Stmt]:
        return super().emit(self.product.left, row, column, j)

    def _place(self, image: Expr, row: Expr, column: Expr) -> tuple[Expr, ...]:
        return (*self.product.batch, column)


class _Emitter(ContractionEmitter):
    batch: tuple[Expr, ...]
    """Which matrix of the result is made ..."""
    left: Expr
    """... from this one of the left side ..."""
    right: Expr
    """... and this one of the right side."""

    def __init__(self, group: Group, target: Target, threads: int) -> None:
        a, b = (v.type.shape for v in group.anchor.operands)
        transposed = group.anchor.attributes["transpose_a"]
        rows, inner = a[:-3:-1] if transposed else a[-2:]
        self.outer = group.anchor.result.type.shape[:-2]
        self.sides = (a[:-2], b[:-2])
        self.weight_shape = (math.prod(b[:-2]), *b[-2:])
        walk = walk_of(rows, inner, math.prod(a[:-2]), transposed=transposed)
        super().__init__(group, walk, target, threads)

    def _declare_weight(self, weight: Value) -> None:
        self.packed = False
        self.w = self.parameters.add(Buffer("w", self.dtype, self.weight_shape), weight)

    def weight_index(self, j: Expr, depth: Expr, channel: Expr, offset: int) -> tuple[Expr, ...]:
        return (self.right, depth, channel)

    def _view(self, value: Value) -> tuple[int, ...]:
        return value.type.buffer_shape

    def micro_kernel(self, rows: int, columns: int, widths: tuple[int, ...]) -> MicroKernel:
        return _Product(self, rows, columns, widths)

    def schedule(self) -> Scheduled:
        kind = kind_for(self.group.macs)
        products = math.prod(self.outer)
        blocks = self._blocks(products, kind)
        size = ceil_div(self.grid.count, blocks)
        blocks = ceil_div(self.grid.count, size)

        def block(p: Expr) -> list[Stmt]:
            start: list[Stmt] = []
            self.batch = divided(p // blocks, self.outer, start)
            places = [flat_place(side, broadcast_place(side, self.batch)) for side in self.sides]
            self.left, self.right = (let(start, name, place) for name, place in zip("lr", places, strict=True))
            first = p % blocks * size
            last = minimum(first + size, self.grid.count) if self.grid.count % size else first + size
            return [*start, *self._panels(first, last, size)]

        return self.parameters.scheduled(loop("p", products * blocks, block, kind))

    def _blocks(self, products: int, kind: LoopKind) -> int:
        """Into how many blocks the rows of a matrix fall: as many as fill the cache, and keep the threads busy."""
        rows = ceil_div(math.prod(self.g.buffer[1:]) * self.x_type.dtype.itemsize, BLOCK_BYTES)
        uneven = kind is LoopKind.PARALLEL and products % self.threads and products < SHARES * self.threads
        shares = ceil_div(SHARES * self.threads, products) if uneven else 1
        return min(self.grid.count, max(rows, shares))

    def _panels(self, first: Expr, last: Expr, size: int) -> list[Stmt]:
        """A block of rows: tile by tile of columns."""

        def rows(j: Expr, widths: tuple[int, ...]) -> list[Stmt]:
            if size == 1:
                return self._band(first, j, widths)
            return [For("g", first, last, tuple(self._band(Var("g"), j, widths)))]

        main = loop("j", self.tiles, lambda j: rows(j, self.tile.widths)) if self.tiles else []
        return [*main, *(rows(Const(self.tiles), self.last_widths) if self.last_widths else [])]
