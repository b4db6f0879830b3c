"""Register-tiled schedule for products of many matrices, with an epilogue: the micro-kernel of dense layers in each.

Threads share out the matrices of the result or, where these are few, blocks of their rows. Loops inside, outermost
first: tiles of columns; tiles of rows; then the micro-kernel over the inner dimension. A transposed left side costs
nothing, since its elements are read one by one in any case. Of a transposed right side each tile of columns is packed
on the stack, where it serves all rows of a block.
"""

from __future__ import annotations

import math

from .....graph.ir import Value
from .....loops.ir import Allocate, Buffer, Const, Expr, For, Load, LoopKind, Space, Stmt, Store, Var, minimum
from .....lowering.group import Group
from .....lowering.kernel import Scheduled, let
from .....lowering.loops import ceil_div, kind_for, loop
from .....ops.products.contract import Contract, Labels, Product, product_of
from .....ops.products.matmul import MatMul, broadcast_place
from .....targets.target import Target
from ..contraction import BLOCK_BYTES, ContractionEmitter
from ..geometry import Walk
from ..integers.lane_kernel import LaneMicroKernel
from ..micro_kernel import MicroKernel

SHARES = 8
"""Parts of the work for each thread, at least, where they can't be equal."""


def schedule_batch_matmul(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a group whose anchor is a product of matrices that lie dense; empty for others."""
    anchor = group.anchor
    if any(v not in group.outer or v.type.layout is not None for v in anchor.operands):
        return ()
    if isinstance(anchor.operator, Contract):
        found = _as_products(group)
        return () if found is None else (_Contraction(group, *found, target, threads).schedule(),)
    if not isinstance(anchor.operator, MatMul) or anchor.attributes["transpose_b"]:
        return ()
    return (_Stack(group, target, threads).schedule(),)


def _as_products(group: Group) -> tuple[Labels, Product] | None:
    """How `contract` is a stack of products whose rows, inner axes and columns are one axis each."""
    operator, labels = group.anchor.operator, Labels.of(group.anchor.attributes)
    assert isinstance(operator, Contract)
    product = product_of(labels, operator.sizes(tuple(v.type for v in group.anchor.operands), labels))
    if product is None or max(map(len, (product.rows, product.inner, product.columns))) > 1:
        return None
    return labels, product


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


class ProductKernel(MicroKernel):
    """A register tile of the product that its owner is at."""

    def __init__(self, owner: ProductEmitter, rows: int, columns: int, widths: tuple[int, ...]) -> None:
        super().__init__(owner, rows, columns, widths)
        self.product = owner

    def emit(self, image: Expr, row: Expr, column: Expr, j: Expr) -> list[Stmt]:
        """The statements for the tile whose first row is `column` of the matrix at hand."""
        return super().emit(self.product.image, row, column, j)

    def _first_input(self, j: Expr) -> Expr | int:
        return self.product.first_element

    def _place(self, image: Expr, row: Expr, column: Expr) -> tuple[Expr, ...]:
        return self.product.place(column)


class _LaneProduct(LaneMicroKernel, ProductKernel):
    """The same on processors that multiply by lanes."""


class ProductEmitter(ContractionEmitter):
    """Writes the kernel of a stack of products."""

    outer: tuple[int, ...]
    """Sizes of what the matrices of the result are numbered by."""
    batch: tuple[Expr, ...]
    """Which matrix of the result is made ..."""
    right: Expr
    """... from this one of the right side, or from the one that begins here ..."""
    image: Expr = Const(0)
    """... and this one of the left side ..."""
    first_element: Expr | int = 0
    """... which begins at this element."""

    def _view(self, value: Value) -> tuple[int, ...]:
        return value.type.buffer_shape

    def micro_kernel(self, rows: int, columns: int, widths: tuple[int, ...]) -> MicroKernel:
        """What computes one tile."""
        kind = _LaneProduct if self.by_lanes else ProductKernel
        return kind(self, rows, columns, widths)

    def place(self, row: Expr) -> tuple[Expr, ...]:
        """Where a row of the matrix lies in the result."""
        return (*self.batch, row)

    def _choose(self, start: list[Stmt]) -> None:
        """Find the matrices of both sides."""
        raise NotImplementedError

    def schedule(self) -> Scheduled:
        """The kernel and its arguments."""
        kind = kind_for(self.group.macs)
        products = math.prod(self.outer)
        blocks = self._blocks(products, kind)
        size = ceil_div(self.grid.count, blocks)
        blocks = ceil_div(self.grid.count, size)

        def block(p: Expr) -> list[Stmt]:
            start: list[Stmt] = []
            self.batch = divided(p // blocks, self.outer, start)
            self._choose(start)
            first = p % blocks * size
            last = minimum(first + size, self.grid.count) if self.grid.count % size else first + size
            return [*start, *self._panels(first, last, size)]

        return self.parameters.scheduled(loop("p", products * blocks, block, kind))

    def _blocks(self, products: int, kind: LoopKind) -> int:
        """Into how many blocks the rows of a matrix fall: as many as fill the cache, and keep the threads busy."""
        rows = ceil_div(self.g.width * self.g.channels * self.x_type.dtype.itemsize, BLOCK_BYTES)
        uneven = kind is LoopKind.PARALLEL and products % self.threads and products < SHARES * self.threads
        shares = ceil_div(SHARES * self.threads, products) if uneven else 1
        return min(self.grid.count, max(rows, shares))

    def _panels(self, first: Expr, last: Expr, size: int) -> list[Stmt]:
        """A block of rows: tile by tile of columns."""

        def rows(j: Expr, widths: tuple[int, ...]) -> list[Stmt]:
            start = self._ahead(j, widths)
            if size == 1:
                return [*start, *self._band(first, j, widths)]
            return [*start, For("g", first, last, tuple(self._band(Var("g"), j, widths)))]

        main = loop("j", self.tiles, lambda j: rows(j, self.tile.widths)) if self.tiles else []
        return [*main, *(rows(Const(self.tiles), self.last_widths) if self.last_widths else [])]


class _Stack(ProductEmitter):
    """Products of `matmul`."""

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

    def _choose(self, start: list[Stmt]) -> None:
        places = [flat_place(side, broadcast_place(side, self.batch)) for side in self.sides]
        self.image, self.right = (let(start, name, place) for name, place in zip("lr", places, strict=True))


class _Contraction(ProductEmitter):
    """Products of `contract`, whose matrices have rows with other elements between them."""

    def __init__(self, group: Group, labels: Labels, product: Product, target: Target, threads: int) -> None:
        self.labels, self.product = labels, product
        a, b = (v.type.shape for v in group.anchor.operands)
        self.pitches = tuple(_pitches(letters, shape) for letters, shape in ((labels.a, a), (labels.b, b)))
        sizes = dict(zip(labels.a + labels.b, (*a, *b), strict=True))
        self.outer = tuple(sizes[label] for label in product.outer)
        walk = Walk(
            images=1,
            height=1,
            width=sizes.get(product.rows, 1),
            channels=sizes[product.inner],
            pitch=self.pitches[0].get(product.rows, 0),
            step=self.pitches[0][product.inner],
            buffer=(1, 1, math.prod(a)),
            flat=True,
        )
        super().__init__(group, walk, target, threads)

    def _declare_weight(self, weight: Value) -> None:
        self.packed = False
        self.weight = self.w = self.parameters.add(Buffer("w", self.dtype, (weight.type.size,)), weight)
        if self.product.packs:
            self.w = Buffer("panel", self.dtype, (self.g.channels, self.tile.channels), Space.STACK)

    def weight_index(self, j: Expr, depth: Expr, channel: Expr, offset: int) -> tuple[Expr, ...]:
        if self.product.packs:
            return depth, Const(offset)
        return (self.right + depth * self.pitches[1][self.product.inner] + channel,)

    def _ahead(self, j: Expr, widths: tuple[int, ...]) -> list[Stmt]:
        if not self.product.packs:
            return []
        across, along = (self.pitches[1][label] for label in (self.product.columns, self.product.inner))
        first = self.right + j * (self.tile.channels * across)

        def element(c: Expr, k: Expr) -> list[Stmt]:
            return [Store(self.w, (k, c), Load(self.weight, (first + c * across + k * along,)))]

        inner = self.g.channels
        return [Allocate(self.w), *loop("c", sum(widths), lambda c: loop("d", inner, lambda k: element(c, k)))]

    def place(self, row: Expr) -> tuple[Expr, ...]:
        at = {**dict(zip(self.product.outer, self.batch, strict=True)), self.product.rows: row}
        return tuple(at[label] for label in self.labels.result[:-1])

    def _choose(self, start: list[Stmt]) -> None:
        for name, pitches in zip(("first_element", "right"), self.pitches, strict=True):
            place: Expr = Const(0)
            for label, i in zip(self.product.outer, self.batch, strict=True):
                place = place + i * pitches[label] if label in pitches else place
            setattr(self, name, let(start, name[0], place))


def _pitches(labels: str, shape: tuple[int, ...]) -> dict[str, int]:
    """How far apart neighbours along each axis of a dense tensor are."""
    return {label: math.prod(shape[d + 1 :]) for d, label in enumerate(labels)}
