"""How filters come to Winograd's points: once when weights are loaded, in a kernel of their own, or chunk by chunk.

At their points filters take four times their memory. In layers with few tiles for many filters, reading them from
memory takes longer than all multiplications, so there the kernel reads the filters themselves, and brings a chunk of
channels to its points, in the second-level cache, right before it is multiplied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .....graph.ir import Value
from .....loops.ir import Binary, Buffer, Const, Expr, If, Load, Space, Stmt, Store
from .....lowering.kernel import Names, Packed, PackingStep, Parameters, Scheduled, let, packing_step
from .....lowering.loops import kind_for, loop, vector_loop
from .....ops.windows import winograd as f43
from .....targets.target import Target
from ..linear import square
from ..storage import widened

CHUNK_SHARE = 0.25
"""Part of the L2 cache that a chunk at its points may fill."""
FEWEST_CHANNELS = 16
"""Of a chunk: products are read and written again with each."""


def packed_halfway(weight: Value, shape: tuple[int, ...], filters: int, *, flip: bool) -> Packed:
    """Weights whose columns are at their points, [6][chunk][panel][channel of a chunk, 3][filter of a panel]."""
    points, chunks, panels, elements, width = shape
    taps, channels = f43.TAPS, elements // f43.TAPS
    halfway = (panels, points * taps, chunks * channels, width)
    steps = (
        packing_step("reshape", shape=(panels, points, taps, chunks, channels, width)),
        packing_step("transpose", permutation=(1, 3, 0, 4, 2, 5)),
        packing_step("reshape", shape=shape),
    )
    return Packed(weight, (*packed_at_points(weight, halfway, filters, flip=flip, stage=f43.HALFWAY).steps, *steps))


def packed_scaled(weight: Value, shape: tuple[int, ...], filters: int, *, flip: bool) -> Packed:
    """Weights that come to their points by few instructions, [panel][channel][9][filter of a panel]."""
    panels, channels, taps, width = shape
    scaled = packed_at_points(weight, (panels, taps, channels, width), filters, flip=flip, stage=f43.SCALED)
    return Packed(weight, (*scaled.steps, packing_step("transpose", permutation=(0, 2, 1, 3))))


def packed_at_points(
    weight: Value,
    shape: tuple[int, ...],
    filters: int,
    *,
    flip: bool,
    stage: str = f43.AT_POINTS,
    form: f43.Filtering = f43.F43,
) -> Packed:
    """Weights at their points, in panels [F / width][36][C][width]."""
    # Filters go to their panels first, while they are a quarter of their later size.
    panels, _, channels, width = shape
    taps = f43.TAPS**2
    if weight.type.rank == 4:
        in_panels = [
            packing_step("reshape", shape=(taps * channels, panels, width)),
            packing_step("transpose", permutation=(1, 0, 2)),
        ]
    else:
        planes = weight.type.shape[0]
        in_panels = [
            packing_step("reshape", shape=(planes, taps, channels // planes, panels, width)),
            packing_step("transpose", permutation=(3, 1, 0, 2, 4)),
        ]
    steps = [
        *_padded(weight, panels * width - filters),
        *in_panels,
        packing_step("reshape", shape=(panels, f43.TAPS, f43.TAPS, channels, width)),
        packing_step("winograd_filter", tile=form.tile, stride=form.stride, flip=flip, stage=stage),
    ]
    return Packed(weight, tuple(steps))


def _padded(weight: Value, surplus: int) -> list[PackingStep]:
    """The step that adds filters of zeros to fill the last panel."""
    others = ((0, 0),) * (weight.type.rank - 1)
    return [packing_step("pad", padding=(*others, (0, surplus)))] if surplus else []


def chunk_of(channels: int, width: int, target: Target) -> int | None:
    """So many channels of a panel are brought to their points at a time; None if they can't be cut into good parts."""
    most = int(target.l2_bytes * CHUNK_SHARE / (f43.POINTS**2 * width * 4))
    found = next((n for n in range(min(most, channels), 0, -1) if channels % n == 0), 0)
    return found if found >= min(FEWEST_CHANNELS, channels) else None


@dataclass(frozen=True, slots=True)
class Chunks:
    """Filters that are brought to their points chunk by chunk."""

    channels: int
    """Of a chunk."""
    source: Buffer
    """Filters in panels, [panel][channel][9][filter], or as they are, [3][3][channel][filter]."""
    points: Buffer
    """A chunk at its points for each thread, [36 of each thread][1][channel, filter]."""
    width: int
    """Of a panel."""
    flip: bool
    matrix: f43.Matrix = f43.FILTER
    """From filter elements to points."""
    in_panels: bool = True
    """If they are not, their number is one of whole vectors."""

    @staticmethod
    def packed(weight: Value, panels: int, width: int) -> Packed:
        """The weight in the order of `source`."""
        planes = weight.type.shape[0] if weight.type.rank == 5 else 1
        *_, channels, filters = weight.type.shape
        taps = f43.TAPS**2
        steps = [
            *_padded(weight, panels * width - filters),
            packing_step("reshape", shape=(planes, taps, channels, panels, width)),
            packing_step("transpose", permutation=(3, 0, 2, 1, 4)),
            packing_step("reshape", shape=(panels, planes * channels, taps, width)),
        ]
        return Packed(weight, tuple(steps))

    def to_points(self, j: Expr, chunk: Expr, first: Expr, names: Names, lanes: int) -> list[Stmt]:
        """Bring a chunk of panel j to rows `first` to `first` + 35 of `points`."""

        def vector(c: Expr, start: Expr, width: int) -> list[Stmt]:
            block: list[Stmt] = []

            def name(e: Expr) -> Expr:
                return let(block, names.fresh("t"), e)

            def tap(y: int, x: int) -> Expr:
                channel, number = chunk * self.channels + c, Const(y * f43.TAPS + x)
                there = (j, channel, number, start), (Const(y), Const(x), channel, j * self.width + start)
                return name(widened(Load(self.source, there[not self.in_panels], width), self.points.dtype))

            points = _at_points(self.matrix, tap, self.flip, name)
            at = name(c * self.width + start)
            block += [Store(self.points, (first + q, Const(0), at), value) for q, value in enumerate(points)]
            if self.in_panels or self.source.shape[-1] % self.width == 0:
                return block
            return [If(Binary("le", j * self.width + start, Const(self.source.shape[-1] - width)), tuple(block))]

        def channel(c: Expr) -> list[Stmt]:
            return vector_loop(names, self.width, lanes, lambda start, width: vector(c, start, width))

        return loop(names.fresh("k"), self.channels, channel)


def _at_points(
    matrix: f43.Matrix, tap: Callable[[int, int], Expr], flip: bool, bind: Callable[[Expr], Expr]
) -> list[Expr]:
    """A filter at its 36 points, from `tap(row, column)`; turned by 180 degrees if it is to `flip`."""
    taps = range(f43.TAPS - 1, -1, -1) if flip else range(f43.TAPS)
    return [value for line in square(matrix, [[tap(y, x) for x in taps] for y in taps], bind) for value in line]


def filter_kernel(weight: Value, points: Value, flip: bool, filters: int, target: Target) -> Scheduled:
    """A kernel that brings filters [3, 3, C, F] to their points, in panels [F / width][36][C][width]."""
    panels, _, channels, width = points.type.shape
    w = Buffer("w", weight.type.dtype, weight.type.shape)
    u = Buffer("u", weight.type.dtype, points.type.shape, Space.OUT)
    names = Names()

    def vector(c: Expr, j: Expr, start: Expr, at: Expr, lanes: int) -> list[Stmt]:
        block: list[Stmt] = []

        def name(e: Expr) -> Expr:
            return let(block, names.fresh("t"), e)

        def tap(y: int, x: int) -> Expr:
            return name(Load(w, (Const(y), Const(x), c, start), lanes))

        points = _at_points(f43.FILTER, tap, flip, name)
        return [*block, *(Store(u, (j, Const(q), c, at), value) for q, value in enumerate(points))]

    def panel(c: Expr, j: Expr, extent: int) -> list[Stmt]:
        return vector_loop(
            names, extent, target.vector_lanes, lambda at, lanes: vector(c, j, j * width + at, at, lanes)
        )

    def channel(c: Expr) -> list[Stmt]:
        whole = loop("j", filters // width, lambda j: panel(c, j, width)) if filters >= width else []
        rest = filters % width
        return [*whole, *(panel(c, Const(panels - 1), rest) if rest else [])]

    parameters = Parameters()
    parameters.add(w, weight)
    parameters.add(u, points)
    return parameters.scheduled(
        loop("channel", channels, channel, kind_for(weight.type.size * f43.POINTS)), multiplies=0
    )
