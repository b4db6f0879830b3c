"""What the schedules of Winograd's filtering share: blocks of tiles, and how tiles of a tensor get to their points."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from .....graph.ir import Value
from .....loops.ir import (
    Buffer,
    Const,
    Expr,
    For,
    Load,
    Space,
    Stmt,
    Store,
    ToBfloat16,
    Var,
    VectorType,
    const,
    minimum,
)
from .....lowering.kernel import Names, Parameters, let
from .....lowering.loops import ceil_div, loop, vector_loop
from .....ops.windows.winograd import F43, POINTS, TILE, Filtering, Matrix
from .....targets.target import Target
from .....types import DType, TensorType
from ..geometry import PLANE, Met, Planes
from ..linear import squares
from ..storage import widened
from ..tiling import conflicts

PRODUCTS = POINTS * POINTS
"""Points of a tile."""
SPREAD = 16
"""Elements put after rows that would displace each other from the L1 cache."""


def pitch_of(channels: int, dtype: DType, target: Target) -> int:
    """Elements from one tile's channels at a point to the next tile's."""
    rows = [r * channels * dtype.itemsize for r in range(target.vector_registers)]
    return channels + SPREAD if conflicts(rows, target.l1_bytes) else channels


def bytes_at_points(weight: TensorType, form: Filtering = F43) -> int:
    """Of filters [..., 3, 3, C, F] at their points."""
    *planes, _, _, channels, filters = weight.shape
    return math.prod((form.filter_points**2, *planes, channels, filters)) * weight.dtype.itemsize


def workspace(
    parameters: Parameters, name: str, dtype: DType, shares: int, row: int, products: int = PRODUCTS
) -> Buffer:
    """Memory for `shares` blocks at their points; rows are spread, as their lengths tend to be even."""
    memory = TensorType(dtype, (shares * products, 1, row + SPREAD))
    return parameters.add(Buffer(name, memory.dtype, memory.shape, Space.OUT), Value(memory))


@dataclass(frozen=True, slots=True)
class Blocks:
    """All tiles of all images, in blocks of `size`."""

    tiles: tuple[int, int, int]
    """Images, and tiles along height and width."""
    size: int
    side: int = TILE
    """Results along each side of a tile."""

    @property
    def total(self) -> int:
        """All tiles."""
        images, rows, columns = self.tiles
        return images * rows * columns

    @property
    def count(self) -> int:
        """All blocks."""
        return ceil_div(self.total, self.size)

    def place(self, number: Expr) -> tuple[Expr, Expr, Expr]:
        """Image, row and column of a tile."""
        _, rows, columns = self.tiles
        line = number // columns  # of which both others are made, so that it follows from them that threads stay apart
        return line // rows, line % rows, number % columns

    def count_in(self, block: Expr) -> Expr:
        """Tiles of a block, the last of which may be shorter."""
        return Const(self.size) if self.total % self.size == 0 else minimum(self.total - block * self.size, self.size)

    def each(self, block: Expr, body: Callable[[Expr, Expr], list[Stmt]]) -> list[Stmt]:
        """`body(t, number)` for the tiles of a block: their numbers in it and among all."""
        tile = Var("tile")
        number = block * self.size + tile
        if self.total % self.size:
            number = minimum(number, self.total - 1)  # never more, but bounds are checked by intervals
        return [For("tile", Const(0), self.count_in(block), tuple(body(tile, number)))]


@dataclass(frozen=True, slots=True)
class Points:
    """Where the tiles of a block lie at their points: one row for each point."""

    buffer: Buffer
    first: Expr
    """Row of the first point."""
    pitch: int
    """Elements from one tile's channels to the next's."""
    channels: int
    """All that are multiplied: there are zeros where a tensor has no more."""
    are_bfloat16: bool = False
    """Floats are rounded when they are there."""

    @property
    def dtype(self) -> DType:
        """Of what brings tiles there."""
        return DType.F32 if self.are_bfloat16 else self.buffer.dtype

    def stored(self, value: Expr) -> Expr:
        """What stands there for a value."""
        return ToBfloat16(value) if self.are_bfloat16 else value


@dataclass(frozen=True, slots=True)
class Source:
    """A tensor that is read by tiles."""

    buffer: Buffer
    """Seen as [images, rows, columns * pitch]."""
    origin: tuple[int, int]
    """Row and column of the first element of the first tile."""
    pitch: int
    """Elements from one pixel to the next."""
    channels: int
    planes: Planes = PLANE
    """Those of a third dimension, one below the other; at the points, what a result sums over lies side by side."""
    first: Expr | int = 0
    """The first of its channels in a pixel."""
    stride: int = 1
    """Pixels from one result's window to the next one's."""
    met: Met | None = None
    """The planes of the window that are brought to the points; None: all of them."""

    def to_points(
        self, matrix: Matrix, blocks: Blocks, block: Expr, points: Points, names: Names, lanes: int
    ) -> list[Stmt]:
        """Bring a block to its points: `matrix` times each tile times its transpose, for all channels.

        Elements are widened to the type of the points first.
        """
        step = blocks.side * self.stride
        (top, left), planes = self.origin, self.planes

        def vector(tile: tuple[Expr, Expr, Expr, Expr], kz: Expr, c: Var, width: int) -> list[Stmt]:
            inside: list[Stmt] = []
            t, n, y, x = tile
            y = y + kz * (self.planes.dilation * self.planes.rows)

            def element(i: int, j: int) -> Expr:
                loaded = Load(self.buffer, (n, y + i, x + c + j * self.pitch), width)
                return let(inside, names.fresh("d"), widened(loaded, points.dtype))

            place = let(inside, names.fresh("at"), t * points.pitch + kz * self.channels + c)
            for i, j, value in squares(matrix, element, lambda e: let(inside, names.fresh("t"), e)):
                q = points.first + (i * len(matrix) + j)
                inside.append(Store(points.buffer, (q, Const(0), place), points.stored(value)))
            return inside

        def tile(t: Expr, number: Expr) -> list[Stmt]:
            body: list[Stmt] = []
            image, row, column = blocks.place(number)
            image, z = (image, Const(0)) if planes.count == 1 else (image // planes.count, image % planes.count)
            n = let(body, names.fresh("n"), image)
            first = (z * planes.stride + planes.origin) * planes.rows
            y = let(body, names.fresh("iy"), first + row * step + top)
            x = let(body, names.fresh("ix"), (column * step + left) * self.pitch + self.first)

            def plane(kz: Expr) -> list[Stmt]:
                return vector_loop(names, self.channels, lanes, lambda c, width: vector((t, n, y, x), kz, c, width))

            name = names.fresh("kz")
            if self.met is None:
                return [*body, *loop(name, planes.window, plane), *zeros(t)]
            return [*body, For(name, *self.met, tuple(plane(Var(name)))), *zeros(t)]

        def zeros(t: Expr) -> list[Stmt]:
            missing = points.channels - planes.window * self.channels
            if not missing:
                return []
            zero = const(0, VectorType(points.buffer.dtype, missing))
            place = t * points.pitch + (points.channels - missing)

            def point(q: Expr) -> list[Stmt]:
                return [Store(points.buffer, (points.first + q, Const(0), place), zero)]

            return loop(names.fresh("q"), len(matrix) ** 2, point)

        return blocks.each(block, tile)
