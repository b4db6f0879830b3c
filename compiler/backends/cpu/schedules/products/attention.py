"""Schedule for attention: blocks of queries meet the keys block by block, so that no matrix of scores is stored.

A first kernel packs the keys into panels [tile of keys][D][key], sixteen by sixteen where registers hold so many. Then
threads share out blocks of queries. For each block of keys, a thread multiplies queries and keys into a block of scores
on its stack; keeps, row by row, the largest score so far and the sum of the exponentials relative to it; and adds the
values, weighted by the exponentials, to sums that are scaled down where a larger score has come. Where all keys fit one
block, the sums stay in registers.

Sources: Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018; Dao et al., "FlashAttention", 2022.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from .....graph.ir import Value
from .....loops.ir import (
    Allocate,
    Binary,
    Buffer,
    Cast,
    Const,
    Expr,
    For,
    If,
    Load,
    Reduce,
    Select,
    Space,
    Stmt,
    Store,
    Unary,
    Var,
    VectorType,
    binary,
    const,
    maximum,
    minimum,
)
from .....lowering.group import Group
from .....lowering.kernel import Names, Parameters, Scheduled, let
from .....lowering.loops import ceil_div, kind_for, loop, vector_loop
from .....ops.products.attention import Attention, sum_type
from .....ops.products.matmul import broadcast_place
from .....targets.target import Target
from .....types import DType, TensorType
from ..tiling import Tile, Tiling
from ..transpose import TILE, columns_of
from .batch_matmul import divided, flat_place
from .tiled_product import Columns, TiledProduct, spread_out

Matrix = tuple[Expr, ...]
"""The number of a matrix, or that of the group of heads and its head in it."""

SCORE_BYTES = 32 * 1024
"""Scores of a block, which should stay in the L1 cache ..."""
SUM_BYTES = 48 * 1024
"""... and sums of values, which wait on the stack where there are several blocks of keys."""
MOST_KEYS = 512
"""Up to so many keys are one block."""
BLOCK_KEYS = 256
BLOCK_QUERIES = 32
LEAST_EXPONENTS = {DType.F32: -87.0, DType.F64: -708.0}
"""Below them an exponential is 0: from a little further down on it would be subnormal."""


def schedule_attention(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule attention on dense tensors whose block of sums fits the stack; empty for others."""
    anchor = group.anchor
    if not isinstance(anchor.operator, Attention) or len(group.members) != 1:
        return ()
    values = (*anchor.operands, anchor.result)
    if any(v.type.layout is not None for v in values) or any(v not in group.outer for v in anchor.operands):
        return ()
    if anchor.result.type.shape[-1] * sum_type(anchor.result.type.dtype).itemsize > SUM_BYTES:
        return ()
    scale = anchor.operator.scale(anchor.operands[0].type, anchor.attributes)
    emitter = _Emitter(group, target, scale)
    return (emitter.packing(), emitter.schedule())


class _Emitter:
    def __init__(self, group: Group, target: Target, scale: float) -> None:
        anchor = group.anchor
        self.group = group
        self.q, self.k, self.v, *self.mask = anchor.operands
        self.lanes = target.vector_lanes
        self.dtype = sum_type(anchor.result.type.dtype)
        self.inside = bool(anchor.attributes["heads_inside"])
        self.outer, self.queries, self.features = self._parts(anchor.result)
        _, self.keys, self.depth = self._parts(self.k)
        self.causal = bool(anchor.attributes["causal"])
        self.factor = scale
        self.names = Names()
        self._choose_blocks(target)
        self._declare()

    def _choose_blocks(self, target: Target) -> None:
        """Queries and keys of a block; the register tiles of both products."""
        size = self.dtype.itemsize
        self.block_keys = self.keys if self.keys <= MOST_KEYS else BLOCK_KEYS
        row = ceil_div(self.block_keys, self.lanes) * self.lanes
        rows = min(BLOCK_QUERIES, self.queries, SCORE_BYTES // (row * size))
        if self.keys > self.block_keys:
            rows = min(rows, SUM_BYTES // max(self.features * size, 1))
        self.rows = max(rows, 1)
        registers = target.vector_registers
        scores = Tiling(height=1, width=self.rows, channels=row, lanes=self.lanes, registers=registers)
        self.score_tile: Tile = scores.best()
        self.value_tile: Tile = replace(scores, channels=self.features).best()
        if 1 < self.score_tile.columns < self.rows:  # whole register tiles
            self.rows -= self.rows % self.score_tile.columns
        self.width = self.score_tile.channels
        if self.keys > self.block_keys:  # a block of keys has whole panels
            self.block_keys -= self.block_keys % self.width
        self.scores_row = ceil_div(self.block_keys, self.lanes) * self.lanes

    def _declare(self) -> None:
        lead, *_ = self._parts(self.k)
        panels = ceil_div(self.keys, self.width)
        shape = (math.prod(lead), panels, self.depth, self.width)
        self.packed = Value(TensorType(self.dtype, shape))
        self.parameters = Parameters()
        add = self.parameters.add
        self.q_buffer = add(self._buffer_of("q", self.q), self._outside(self.q))
        self.k_buffer = add(Buffer("k", self.dtype, shape), self.packed)
        self.v_buffer = add(self._buffer_of("v", self.v), self._outside(self.v))
        self.mask_buffer: Buffer | None = None
        if self.mask:
            mask = self.mask[0]
            self.mask_buffer = add(Buffer("mask", mask.type.dtype, mask.type.shape), self._outside(mask))
        result = self.group.operation.result
        self.y = add(self._buffer_of("y", result, Space.OUT), result)
        self.scores = Buffer("scores", self.dtype, (self.rows, self.scores_row), Space.STACK)
        self.sums = Buffer("sums", self.dtype, (self.rows, self.features), Space.STACK)
        self.largest = Buffer("largest", self.dtype, (self.rows,), Space.STACK)
        self.best = Buffer("best", self.dtype, (self.rows,), Space.STACK)
        self.totals = Buffer("totals", self.dtype, (self.rows,), Space.STACK)

    def _outside(self, value: Value) -> Value:
        """A value of the graph for one of the group."""
        return self.group.outer[value]

    def _parts(self, value: Value) -> tuple[tuple[int, ...], int, int]:
        """What matrices are numbered by, their rows and columns."""
        if self.inside:
            *lead, rows, heads, columns = value.type.shape
            return (*lead, heads), rows, columns
        *lead, rows, columns = value.type.shape
        return tuple(lead), rows, columns

    def _buffer_of(self, name: str, value: Value, space: Space = Space.ARGUMENT) -> Buffer:
        """Matrices one after the other, or with their heads inside."""
        lead, rows, columns = self._parts(value)
        shape = (math.prod(lead[:-1]), rows, lead[-1], columns) if self.inside else (math.prod(lead), rows, columns)
        return Buffer(name, value.type.dtype, shape, space)

    def _matrix(self, block: list[Stmt], name: str, shape: tuple[int, ...], place: tuple[Expr, ...]) -> Matrix:
        """Where a matrix lies that has this place among others."""
        if not self.inside:
            return (let(block, f"{name}n", flat_place(shape, place)),)
        head = let(block, f"{name}h", place[-1])
        return let(block, f"{name}n", flat_place(shape[:-1], place[:-1])), head

    def _at(self, matrix: Matrix, row: Expr, column: Expr) -> tuple[Expr, ...]:
        """The place of an element of a matrix."""
        first, *head = matrix
        return (first, row, *head, column)

    def _wide(self, x: Expr) -> Expr:
        return x if x.type.dtype is self.dtype else Cast(x, self.dtype)

    def _zero(self, width: int = 1) -> Expr:
        return const(0, VectorType(self.dtype, width))

    # ---- keys in panels ----

    def packing(self) -> Scheduled:
        """The kernel that packs the keys; places behind the last key hold zeros."""
        matrices, panels, depth, width = self.packed.type.shape
        k = self._buffer_of("k", self.k)
        packed = Buffer("p", self.dtype, self.packed.type.shape, Space.OUT)
        last = self.keys - (panels - 1) * width
        by_tiles = self.lanes == TILE and k.dtype is packed.dtype is DType.F32 and depth % TILE == 0

        def rows(n: Expr, p: Expr, count: int, matrix: Matrix) -> list[Stmt]:
            def element(w: Expr, d: Expr, x: Expr) -> list[Stmt]:
                return [Store(packed, (n, p, d, w), x)]

            def row(w: Expr) -> list[Stmt]:
                return loop(
                    "d", depth, lambda d: element(w, d, self._wide(Load(k, self._at(matrix, p * width + w, d))))
                )

            def zeros(w: Expr) -> list[Stmt]:
                return loop("d", depth, lambda d: element(w, d, self._zero()))

            def tile(t: Expr, u: Expr) -> list[Stmt]:
                block: list[Stmt] = []
                first, d = p * width + t * TILE, u * TILE
                lines = [
                    let(block, self.names.fresh("line"), Load(k, self._at(matrix, first + i, d), TILE))
                    for i in range(TILE)
                ]
                for i, column in enumerate(columns_of(lines, self.names, block)):
                    block.append(Store(packed, (n, p, d + i, t * TILE), column))
                return block

            tiles = count // TILE if by_tiles else 0
            main = loop("tile", tiles, lambda t: loop("column", depth // TILE, lambda u: tile(t, u))) if tiles else []
            rest = [For("w", Const(tiles * TILE), Const(count), tuple(row(Var("w"))))] if tiles * TILE < count else []
            unused = [For("w", Const(count), Const(width), tuple(zeros(Var("w"))))] if count < width else []
            return [*main, *rest, *unused]

        def panel(i: Expr) -> list[Stmt]:
            n, p = i // panels, i % panels
            start: list[Stmt] = []
            lead, *_ = self._parts(self.k)
            matrix = self._matrix(start, "k", lead, divided(n, lead, start)) if self.inside else (n,)
            if panels == 1 or last == width:
                return [*start, *rows(n, p, min(self.keys, width), matrix)]
            parts = (tuple(rows(n, p, count, matrix)) for count in (width, last))
            return [*start, If(Binary("lt", p, Const(panels - 1)), *parts)]

        parameters = Parameters()
        parameters.add(k, self._outside(self.k))
        parameters.add(packed, self.packed)
        body = loop("i", matrices * panels, panel, kind_for(self.packed.type.size))
        return parameters.scheduled(body, multiplies=0)

    # ---- blocks of queries ----

    def schedule(self) -> Scheduled:
        """The kernel that computes the result."""
        blocks = ceil_div(self.queries, self.rows)
        last = self.queries - (blocks - 1) * self.rows

        def block(p: Expr) -> list[Stmt]:
            start: list[Stmt] = []
            self.batch = divided(p // blocks, self.outer, start)
            self.first = let(start, "first", p % blocks * self.rows)
            leads = [self._parts(v)[0] for v in (self.q, self.k, self.v)]
            q, k, v = (broadcast_place(lead, self.batch) for lead in leads)
            self.q_at = self._matrix(start, "q", leads[0], q)
            self.k_at = let(start, "kn", flat_place(leads[1], k))
            self.v_at = self._matrix(start, "v", leads[2], v)
            self.y_at = self._matrix(start, "y", self.outer, self.batch) if self.inside else (p // blocks,)
            start += [Allocate(each) for each in (self.scores, self.best, self.largest, self.totals)]
            if self.keys > self.block_keys:
                start.append(Allocate(self.sums))
            if last == self.rows:
                return [*start, *self._queries(self.rows)]
            if blocks == 1:
                return [*start, *self._queries(last)]
            test = Binary("lt", p % blocks, Const(blocks - 1))
            return [*start, If(test, tuple(self._queries(self.rows)), tuple(self._queries(last)))]

        count = math.prod(self.outer) * blocks
        return self.parameters.scheduled(loop("p", count, block, kind_for(self.group.macs)))

    def _queries(self, rows: int) -> list[Stmt]:
        """A block of queries."""
        if self.keys <= self.block_keys:
            weights = self._weights(rows, Const(0), self.keys, only=True)
            return [
                *weights,
                *self._weighted(rows, Const(0), self.keys, lambda r, c: self._zero(c.width), self._result),
            ]
        full, rest = divmod(self.keys, self.block_keys)
        stop: Expr = Const(full)
        last_query = self.first + (rows - 1)
        if self.causal:
            stop = minimum(last_query // self.block_keys + 1, full)
        body = [*self._start(rows), For("kb", Const(0), stop, tuple(self._keys(rows, Var("kb"), self.block_keys)))]
        if rest:
            more = self._keys(rows, Const(full), rest)
            seen = Binary("le", Const(full * self.block_keys), last_query)
            body += [If(seen, tuple(more))] if self.causal else more

        def finish(r: Expr) -> list[Stmt]:
            return self._along(self.features, lambda c, w: self._store(r, c, w, Load(self.sums, (r, c), w)))

        return [*body, *self._each_row(rows, finish)]

    def _each_row(self, rows: int, body: Callable[[Expr], list[Stmt]]) -> list[Stmt]:
        return loop(self.names.fresh("r"), rows, body)

    def _along(self, extent: int, body: Callable[[Var, int], list[Stmt]]) -> list[Stmt]:
        return vector_loop(self.names, extent, self.lanes, body)

    def _start(self, rows: int) -> list[Stmt]:
        """Before the first block of keys."""

        def row(r: Expr) -> list[Stmt]:
            sums = self._along(self.features, lambda c, w: [Store(self.sums, (r, c), self._zero(w))])
            least = Store(self.largest, (r,), const(-math.inf, VectorType(self.dtype)))
            return [least, Store(self.totals, (r,), self._zero()), *sums]

        return self._each_row(rows, row)

    def _keys(self, rows: int, number: Expr, keys: int) -> list[Stmt]:
        """A block of keys among several."""

        def start(r: Expr, c: Columns) -> Expr:
            return Load(self.sums, (r, c.first), c.width)

        def finish(r: Expr, c: Columns, total: Expr) -> list[Stmt]:
            return [Store(self.sums, (r, c.first), total)]

        first = number * self.block_keys
        return [*self._weights(rows, first, keys, only=False), *self._weighted(rows, first, keys, start, finish)]

    def _result(self, r: Expr, c: Columns, total: Expr) -> list[Stmt]:
        return self._store(r, c.first, c.width, total)

    def _store(self, r: Expr, c: Expr, width: int, total: Expr) -> list[Stmt]:
        """Store a part of a finished row."""
        mean = total / spread_out(Load(self.totals, (r,)), width)
        place = self._at(self.y_at, self.first + r, c)
        return [Store(self.y, place, mean if self.y.dtype is self.dtype else Cast(mean, self.y.dtype))]

    # ---- scores and their exponentials ----

    def _weights(self, rows: int, first: Expr, keys: int, *, only: bool) -> list[Stmt]:
        """The weights of a block of keys, from number `first` on."""
        row = ceil_div(keys, self.lanes) * self.lanes
        panel = first // self.width
        scores = TiledProduct(
            self.names,
            self.dtype,
            self.lanes,
            self.score_tile,
            lambda r, c: self._zero(c.width),
            lambda r, k: self._wide(Load(self.q_buffer, self._at(self.q_at, self.first + r, k))),
            lambda k, c: Load(self.k_buffer, (self.k_at, panel + c.tile, k, Const(c.offset)), c.width),
            lambda r, c, total: [Store(self.scores, (r, c.first), total * self.factor)],
        )
        # Each step goes through all rows: vectors wait for single elements that were just stored, and exponentials of
        # a row would wait for its largest score.
        return [
            *scores.loops(rows, row, self.depth),
            *self._each_row(rows, lambda r: self._masked(r, first, keys, row)),
            *self._each_row(rows, lambda r: self._largest(r, row)),
            *self._each_row(rows, lambda r: self._exponentials(r, row, only)),
        ]

    def _largest(self, r: Expr, row: int) -> list[Stmt]:
        """Note a query's largest score of a block of keys."""
        block: list[Stmt] = []
        best = self._reduced(block, r, row, "max", -math.inf, lambda s: s)
        return [*block, Store(self.best, (r,), best)]

    def _exponentials(self, r: Expr, row: int, only: bool) -> list[Stmt]:
        """Put exponentials in the place of a query's scores; their sum, and what it means for the sums so far."""
        block: list[Stmt] = []
        new = best = let(block, self.names.fresh("best"), Load(self.best, (r,)))
        if not only:
            old = let(block, self.names.fresh("old"), Load(self.largest, (r,)))
            new = let(block, self.names.fresh("new"), maximum(old, best))
        # Where all scores are -inf, any finite number leaves the exponentials 0; the difference would be NaN.
        base = let(block, self.names.fresh("base"), Select(binary("eq", new, -math.inf), self._zero(), new))

        def weight(s: Expr) -> Expr:
            return self._exponential(s - spread_out(base, self.lanes))

        total = self._reduced(block, r, row, "add", 0.0, weight)
        if only:
            return [*block, Store(self.totals, (r,), total)]
        shrink = let(block, self.names.fresh("f"), self._exponential(old - base))

        def shrunk(c: Expr, width: int) -> list[Stmt]:
            return [Store(self.sums, (r, c), Load(self.sums, (r, c), width) * spread_out(shrink, width))]

        return [
            *block,
            Store(self.largest, (r,), new),
            Store(self.totals, (r,), Load(self.totals, (r,)) * shrink + total),
            *self._along(self.features, shrunk),
        ]

    def _exponential(self, x: Expr) -> Expr:
        """That of a number, or 0 in place of the least ones.

        On subnormal numbers, and on the way to 0, processors spend a hundred cycles and more. Hidden keys lead there:
        masks hold -100 or -inf.
        """
        least = LEAST_EXPONENTS[self.dtype]
        within = minimum(maximum(x, least), 0.0)  # it is that, but code that knows it is shorter
        return Select(binary("lt", x, least), self._zero(x.type.lanes), Unary("exp", within))

    def _reduced(
        self, block: list[Stmt], r: Expr, row: int, op: str, neutral: float, function: Callable[[Expr], Expr]
    ) -> Expr:
        """A row of scores reduced; sums are of what the function makes of the scores, and this takes their place."""
        here, kind = (Const(0),), VectorType(self.dtype, self.lanes)
        total = Buffer(self.names.fresh("t"), self.dtype, (1,), Space.REGISTER, self.lanes)
        block += [Allocate(total), Store(total, here, const(neutral, kind))]

        def vector(i: Expr) -> list[Stmt]:
            inside: list[Stmt] = []
            c = let(inside, self.names.fresh("c"), i * self.lanes)
            x = let(inside, self.names.fresh("s"), function(Load(self.scores, (r, c), self.lanes)))
            so_far = Load(total, here)
            if op == "add":
                return [*inside, Store(self.scores, (r, c), x), Store(total, here, so_far + x)]
            # A NaN may be passed over: it comes back as its exponential.
            return [*inside, Store(total, here, Select(binary("lt", so_far, x), x, so_far))]

        block += loop(self.names.fresh("v"), row // self.lanes, vector)
        return let(
            block, self.names.fresh("all"), Reduce(op, Load(total, here)) if self.lanes > 1 else Load(total, here)
        )

    def _masked(self, r: Expr, first: Expr, keys: int, row: int) -> list[Stmt]:
        """Add the mask to a query's scores; hide keys behind the query, and places of the row behind the last key."""
        block: list[Stmt] = []
        hidden = const(-math.inf, VectorType(self.dtype))
        if self.mask_buffer is not None:
            mask, shape = self.mask_buffer, self.mask[0].type.shape

            def add(c: Expr, width: int) -> list[Stmt]:
                place = broadcast_place(shape, (*self.batch, self.first + r, first + c))
                if not shape or shape[-1] == 1:
                    more = spread_out(self._wide(Load(mask, place)), width)
                else:
                    more = self._wide(Load(mask, place, width))
                return [Store(self.scores, (r, c), Load(self.scores, (r, c), width) + more)]

            block += self._along(keys, add)
        if self.causal:
            seen = maximum(minimum(self.first + r + 1 - first, keys), 0)
            block.append(For("c", seen, Const(keys), (Store(self.scores, (r, Var("c")), hidden),)))
        return [*block, *(Store(self.scores, (r, Const(c)), hidden) for c in range(keys, row))]

    # ---- values ----

    def _weighted(
        self,
        rows: int,
        first: Expr,
        keys: int,
        start: Callable[[Expr, Columns], Expr],
        finish: Callable[[Expr, Columns, Expr], list[Stmt]],
    ) -> list[Stmt]:
        """Sums of values, weighted by what stands in the place of the scores."""
        product = TiledProduct(
            self.names,
            self.dtype,
            self.lanes,
            self.value_tile,
            start,
            lambda r, k: Load(self.scores, (r, k)),
            lambda k, c: self._wide(Load(self.v_buffer, self._at(self.v_at, first + k, c.first), c.width)),
            finish,
        )
        return product.loops(rows, self.features, keys)
