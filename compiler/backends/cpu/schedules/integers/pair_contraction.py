"""Integer convolutions and dense layers on processors that multiply two pairs of 16-bit numbers at once.

The input elements that a tile of pixels sums over are widened to 16 bits once, into a patch on the stack, and serve all
filters. Weights stay bytes: bytes 0 and 2 of a word are widened to one pair, 1 and 3 to another, and so are the
inputs. Zero points are made good as `signs` says; runs of the sum are filled up as in `integer_contraction`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .....graph.ir import Value
from .....loops.ir import (
    Allocate,
    Buffer,
    Const,
    Dot2,
    Expr,
    For,
    Halves,
    Load,
    LoopKind,
    Space,
    Spread,
    Stmt,
    Store,
    Var,
)
from .....lowering.group import Group
from .....lowering.kernel import Scheduled, let
from .....lowering.loops import ceil_div, kind_for, loop
from .....targets.target import DotProduct, Target
from .....types import DType
from ..geometry import Walk, walks
from ..micro_kernel import MicroKernel
from ..tiling import Tile
from .integer_contraction import DotEmitter, DotMicroKernel, serves
from .rescaling import START, Rescaling
from .signs import QUAD

PATCH_BYTES = 8192
"""Of the stack, at most."""
UNROLLED = 8
"""Steps of the innermost loop that are written out."""


def schedule_pair_contraction(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a group whose anchor is a sum of integer products, on a machine with products of pairs."""
    return scheduled_by(PairEmitter, group, target, threads) if target.dot_product is DotProduct.PAIRS else ()


def scheduled_by(kind: type[PairEmitter], group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """The kernels that emitters of a kind write; empty where their patches don't serve or grow too large."""
    found = walks(group) if serves(group) else ()
    if any(walk.groups > 1 or walk.planes.count > 1 for walk in found):
        return ()
    emitters = [kind(group, walk.over_padding(), target, threads) for walk in found]
    if any(e.signs.needs_input_sums or e.patch.bytes > PATCH_BYTES for e in emitters):
        return ()
    return tuple(emitter.schedule() for emitter in emitters)


class PairEmitter(DotEmitter):
    """Writes the kernel of one integer contraction: pixels outside, filters inside."""

    rescales = Rescaling

    def __init__(self, group: Group, g: Walk, target: Target, threads: int) -> None:
        super().__init__(group, g, target, threads)
        self.patch = Buffer("patch", DType.I32, (self.tile.pixels, self.steps * 2), Space.STACK)

    def _choose_tile(self, target: Target) -> Tile:
        """Two pixels by two filters fill the registers; a pixel alone leaves room for four filters."""
        if self.g.width > 1:
            return Tile(1, 2, (1,) * min(2, self.filters))
        if self.g.height > 1:
            return Tile(2, 1, (1,) * min(2, self.filters))
        return Tile(1, 1, (1,) * min(4, self.filters))

    def _declare_weight(self, weight: Value) -> None:
        if self.rescaling is None:
            super()._declare_weight(weight)
            return
        self.packed = True
        self._declare_panels(weight)
        self.table = self.parameters.add(*self.rescaling.table(weight, self.signs, self.filters, self.tile.channels))

    @property
    def inner(self) -> int:
        """Steps of a run."""
        return ceil_div(self.run_length, QUAD)

    @property
    def steps(self) -> int:
        """Steps of the whole sum."""
        return self.runs * self.inner

    def schedule(self) -> Scheduled:
        """The kernel and its arguments."""
        bands = self.grid.count * self.g.images

        def band(p: Expr) -> list[Stmt]:
            return [Allocate(self.patch), *self._clear(), *self._band(p, Const(0), self.tile.widths)]

        return self.parameters.scheduled(loop("p", bands, band, kind_for(self.group.macs)))

    def _clear(self) -> list[Stmt]:
        """What the patch has behind the inputs of each pixel."""
        return []

    def _tile(
        self, pixels: tuple[int, int], first: tuple[Expr, Expr, Expr], j: Expr, widths: tuple[int, ...]
    ) -> list[Stmt]:
        """The inputs of a tile of pixels, then all of its filters."""

        def panel(j: Expr, widths: tuple[int, ...]) -> list[Stmt]:
            return self.micro_kernel(*pixels, widths).emit(*first, j)

        main = loop("j", self.tiles, lambda j: panel(j, widths)) if self.tiles else []
        last = panel(Const(self.tiles), self.last_widths) if self.last_widths else []
        return [*self._fill(pixels, *first), *main, *last]

    def micro_kernel(self, rows: int, columns: int, widths: tuple[int, ...]) -> MicroKernel:
        """What computes one tile."""
        return PairMicroKernel(self, rows, columns, widths)

    def _fill(self, pixels: tuple[int, int], image: Expr, row: Expr, column: Expr) -> list[Stmt]:
        """The statements that gather the inputs of a tile in the patch, some at a time."""
        g, block, size = self.g, list[Stmt](), self.gathered
        y0 = let(block, self.names.fresh("iy"), row * g.strides[0] + g.origin[0])
        x0 = let(block, self.names.fresh("ix"), (column * g.strides[1] + g.origin[1]) * g.pitch)
        across = 1 if g.merges_columns else g.window[1]

        def gather(ky: Expr, kx: Expr, k: Expr) -> list[Stmt]:
            inside, tap = list[Stmt](), ky * across + kx
            for r in range(pixels[0]):
                for s in range(pixels[1]):
                    x = x0 + (kx * (g.dilations[1] * g.pitch) + k * size + s * g.strides[1] * g.pitch)
                    place = (image, y0 + ky * g.dilations[0] + r * g.strides[0], x)
                    inside += self._keep(Load(self.x, place, size), Const(r * pixels[1] + s), tap, k)
            return inside

        def taps(ky: Expr) -> list[Stmt]:
            return loop("kx", across, lambda kx: self._run(partial(gather, ky, kx)))

        return [*block, *loop("ky", g.window[0], taps)]

    @property
    def gathered(self) -> int:
        """Neighbouring elements that are gathered at once."""
        return QUAD

    def _run(self, gather: Callable[[Expr], list[Stmt]]) -> list[Stmt]:
        """All that is gathered of a run."""
        return unrolled("k", self.inner, gather)

    def _keep(self, loaded: Expr, pixel: Expr, tap: Expr, k: Expr) -> list[Stmt]:
        """Part k of a tap's run, for one pixel of the tile, goes into the patch."""
        block, step = list[Stmt](), tap * self.inner + k
        four = let(block, self.names.fresh("a"), loaded)
        return [*block, *(Store(self.patch, (pixel, step * 2 + start), Halves(four, start)) for start in (0, 1))]


class PairMicroKernel(DotMicroKernel):
    """One tile of integer sums, whose inputs lie in the patch."""

    def __init__(self, owner: PairEmitter, rows: int, columns: int, widths: tuple[int, ...]) -> None:
        super().__init__(owner, rows, columns, widths)
        self.pairs = owner
        self.fields: dict[int, Expr] = {}
        """By number: the field that was read last, of two channels."""

    def _start(self, j: Expr) -> None:
        self.panel = j
        super()._start(j)

    def _initial(self, channel: Expr, width: int) -> Expr:
        if self.pairs.rescaling is None:
            return super()._initial(channel, width)
        return self._field(self.block, START, Const(len(self.channels) - 1))

    def _field(self, block: list[Stmt], field: int, number: Expr) -> Expr:
        """A number of the table for one of the tile's channels; for two of them at once where it is known which."""
        o, width = self.pairs, self.pairs.tile.channels
        if not isinstance(number, Const) or width % 2:
            return let(block, o.names.fresh("f"), Load(o.table, (self.panel, number + field * width)))
        first, place = int(number.value) // 2 * 2, int(number.value) % 2
        if place == 0:
            at = (self.panel, Const(first + field * width))
            self.fields[field] = let(block, o.names.fresh("f"), Load(o.table, at, 2))
        return let(block, o.names.fresh("f"), Spread(self.fields[field], 1, 1, 1, place))

    def _fields(self, block: list[Stmt], first: int, width: int, v: Expr) -> Callable[[int], Expr]:
        return lambda number: self._field(block, number, v + first)

    def _accumulate(self, image: Expr, row: Expr, column: Expr, j: Expr) -> None:
        self.block += unrolled("k", self.pairs.steps, partial(self._multiply, j))

    def _multiply(self, j: Expr, step: Expr) -> list[Stmt]:
        o, block, filters = self.pairs, list[Stmt](), len(self.widths)
        fours: list[Expr] = []
        for f in range(0, filters, 2):
            count = min(2, filters - f)
            both = let(block, o.names.fresh("w"), Load(o.w, (j, step, Const(f * QUAD)), QUAD * count))
            fours += [Spread(both, QUAD, 1, 1, QUAD * i) for i in range(count)] if count > 1 else [both]
        weights = [[let(block, o.names.fresh("h"), Halves(four, start)) for start in (0, 1)] for four in fours]
        for pixel in range(self.rows * self.columns):
            at = (Const(pixel),)
            pair = let(block, o.names.fresh("a"), Load(o.patch, (Const(pixel), step * 2), 2))
            for start in (0, 1):
                a = let(block, o.names.fresh("a"), Spread(pair, 1, 1, 1, start))
                for accumulator, weight in zip(self.accumulators, weights, strict=True):
                    block.append(Store(accumulator, at, Dot2(a, weight[start], Load(accumulator, at))))
        return block


def unrolled(name: str, extent: int, body: Callable[[Expr], list[Stmt]]) -> list[Stmt]:
    """A loop with `UNROLLED` steps written out in each turn, and the rest behind it."""
    whole = extent // UNROLLED * UNROLLED
    if extent <= UNROLLED:
        return loop(name, extent, body, LoopKind.UNROLL)

    def turn(first: Expr) -> tuple[Stmt, ...]:
        return tuple(stmt for i in range(UNROLLED) for stmt in body(first + i))

    main = For(name, Const(0), Const(whole), turn(Var(name)), step=UNROLLED)
    return [main, *(stmt for i in range(whole, extent) for stmt in body(Const(i)))]
