"""Gradient of a convolution's weight from packed operands, as products of large matrices are computed.

The pixels are visited in blocks. Of a block, the input and dy are copied into panels: a few neighbouring channels of
all its pixels, one pixel after the other, as wide as a register tile reads them. The rows that a tile walks over then
follow each other in memory, whatever the strides and the distance of pixels, which may be a power of two and would
displace each other from the L1 cache. A panel of dy stays in that cache while those of the input come from L2.

A panel of the input holds what all taps read, so that taps differ in where they begin. Each thread owns a part of the
result, along the longer of its channels and filters; hence sums don't depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .....graph.ir import Value
from .....loops.ir import (
    Binary,
    Buffer,
    Const,
    Expr,
    For,
    If,
    Load,
    LoopKind,
    Space,
    Stmt,
    Store,
    Var,
    minimum,
)
from .....lowering.group import Group
from .....lowering.kernel import Names, Parameters, Scheduled, let
from .....lowering.loops import ceil_div, kind_for, loop, starts_of, vector_widths
from .....ops.windows.convolution_gradients import WeightGradient
from .....ops.windows.window import Window, window_of
from .....targets.target import Target
from .....types import DType, TensorType
from ..geometry import origin_of, pair_of, rows_of
from ..tiling import Tile
from .gradient_panels import Axis, Block, Panels, Side, part_of
from .outer_product import OuterProduct, outer_tile

LEAST_USES = 16
"""Multiplications of each element that is copied."""
PANEL_SHARE = 0.75
"""Part of the L1 cache that a panel of the input and one of dy may fill ..."""
SPILLED_SHARE = 2.5
"""... and where the result, which is read and written once more with each block, lies far away: ..."""
SPILLED_BYTES = 3_000_000
"""... so large a one, or, on a processor that reads slowly from beyond the L2 cache, one that exceeds it."""
BLOCK_SHARE = 0.4
"""Part of the L2 cache that the input's panels may fill."""


def schedule_packed_weight_gradient(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule the gradient of a convolution's weight where each element is multiplied often enough to be copied."""
    anchor = group.anchor
    if not isinstance(anchor.operator, WeightGradient) or len(group.members) != 1 or target.is_scarce:
        return ()
    x, dy = (v.type for v in anchor.operands)
    if group.result.type.layout is not None or x.dtype not in (DType.F32, DType.F64) or x.rank == 5:
        return ()
    window = window_of(anchor.name, x.shape[1:-1], group.result.type.shape[:-2], anchor.attributes)
    if anchor.attributes["groups"] != 1 or not x.has_margins(window.margins):
        return ()
    tile = outer_tile(x.shape[-1], dy.shape[-1], target)
    kernel = pair_of(window.kernel, 1)
    uses = min(x.shape[-1], dy.shape[-1]) * kernel[0] * kernel[1]
    if uses < LEAST_USES or x.shape[-1] < tile.columns or dy.shape[-1] < target.vector_lanes:
        return ()
    return (_PackedGradient(group, window, tile, target, threads).schedule(),)


class _PackedGradient:
    def __init__(self, group: Group, window: Window, tile: Tile, target: Target, threads: int) -> None:
        self.group, self.lanes = group, target.vector_lanes
        self.names, self.parameters = Names(), Parameters()
        x, dy = (v.type for v in group.anchor.operands)
        self.dtype = x.dtype
        origin = origin_of(x, window.padding)
        assert origin is not None, "the margins hold the padding"
        described = (window.output, window.kernel, window.strides, window.dilations)
        pairs = [*(pair_of(values, 1) for values in described), pair_of(origin, 0)]
        self.axes = tuple(Axis(*values) for values in zip(*pairs, strict=True))
        self.channels, self.filters = Side(x.shape[-1], tile.columns), Side(dy.shape[-1], tile.channels)
        self.images, self.pitch = x.shape[0], x.buffer_shape[-1]
        self.dy_margins = ((0, 0),) * (4 - dy.rank) + dy.margins[1:]
        self._choose_blocks(target)
        self.kind = kind_for(group.macs)
        self.shares = threads if self.kind is LoopKind.PARALLEL else 1
        self.by_channels = self.channels.size >= self.filters.size
        self._add_parameters(x, dy, target)

    def _choose_blocks(self, target: Target) -> None:
        """Blocks of rows of one image, or of whole images."""
        rows, columns = self.axes
        width = columns.extent(columns.size)
        line = columns.size * self.filters.width + rows.step * width * self.channels.width
        most = target.l2_bytes if target.streams_slowly else SPILLED_BYTES
        share = SPILLED_SHARE if self.group.result.type.bytes > most else PANEL_SHARE
        fitting = max(1, int(target.l1_bytes * share) // (line * self.dtype.itemsize))
        self.block_rows = ceil_div(rows.size, ceil_div(rows.size, fitting))
        self.block_images = max(1, min(self.images, fitting // rows.size))
        self.block_images = ceil_div(self.images, ceil_div(self.images, self.block_images))
        self.input_rows, self.input_columns = rows.extent(self.block_rows), width
        panel = self.block_images * self.input_rows * width * self.channels.width * self.dtype.itemsize
        self.block_panels = max(1, min(int(target.l2_bytes * BLOCK_SHARE) // panel, self.channels.panels))

    def _add_parameters(self, x: TensorType, dy: TensorType, target: Target) -> None:
        add, (x_value, dy_value) = self.parameters.add, self.group.anchor.operands
        self.x = add(Buffer("x", x.dtype, rows_of(x)), self.group.outer[x_value])
        self.dy = add(Buffer("dy", dy.dtype, rows_of(dy)), self.group.outer[dy_value])
        self.dy_pitch = dy.buffer_shape[-1]
        rows, columns = self.axes
        inputs = self.block_images * self.input_rows * self.input_columns * self.channels.width
        gradients = self.block_images * self.block_rows * columns.size * self.filters.width
        self.inputs = self._workspace("xs", self.shares * self.block_panels, inputs, target)
        alone = self.shares if self.by_channels else 1
        self.gradients = self._workspace("dys", alone * self.filters.panels, gradients, target)
        taps = rows.kernel * columns.kernel
        result = Buffer("dw", x.dtype, (taps, self.channels.size, self.filters.size), Space.OUT)
        self.dw = add(result, self.group.operation.result)

    def _workspace(self, name: str, panels: int, elements: int, target: Target) -> Buffer:
        """Memory for panels, each of which begins at a cache line."""
        line = target.alignment // self.dtype.itemsize
        memory = TensorType(self.dtype, (panels, ceil_div(elements, line) * line))
        return self.parameters.add(Buffer(name, memory.dtype, memory.shape, Space.OUT), Value(memory))

    def schedule(self) -> Scheduled:
        """One kernel: threads, then blocks of pixels, then panels."""
        return self.parameters.scheduled(loop("p", self.shares, self._share, self.kind))

    def _share(self, p: Expr) -> list[Stmt]:
        rows, _ = self.axes
        image_blocks = ceil_div(self.images, self.block_images)
        row_blocks = ceil_div(rows.size, self.block_rows)

        def each(n: Expr, b: Expr) -> list[Stmt]:
            block: list[Stmt] = []
            image = let(block, self.names.fresh("image"), n * self.block_images)
            row = let(block, self.names.fresh("row"), b * self.block_rows)
            images = let(block, self.names.fresh("images"), minimum(self.images - image, self.block_images))
            height = let(block, self.names.fresh("height"), minimum(rows.size - row, self.block_rows))
            is_first = Binary("eq", image + row, Const(0))
            return [*block, *self._of_block(p, Block(image, row, images, height, is_first))]

        return loop("n", image_blocks, lambda n: loop("b", row_blocks, lambda b: each(n, b)))

    def _of_block(self, p: Expr, block: Block) -> list[Stmt]:
        """Add the products of a block of pixels to this thread's part of the result."""

        def filters(body: Callable[[Panels], list[Stmt]]) -> list[Stmt]:
            return self._own(p, self.filters, not self.by_channels, self.filters.panels, body)

        def channels(own: Panels) -> list[Stmt]:
            products = filters(lambda others: self._products(p, block, own, others))
            return [*self._pack_inputs(p, block, own), *products]

        packed = filters(lambda own: self._pack_gradients(p, block, own))
        return [*packed, *self._own(p, self.channels, self.by_channels, self.block_panels, channels)]

    def _own(self, p: Expr, side: Side, is_shared: bool, most: int, body: Callable[[Panels], list[Stmt]]) -> list[Stmt]:
        """`body` for this thread's panels of each form, at most so many at a time.

        If the side is shared out, the narrow last panel is the last thread's.
        """
        statements: list[Stmt] = []
        shares = self.shares if is_shared else 1
        for form in side.forms:
            first, count, width = form
            blocks = ceil_div(ceil_div(count, shares), most)
            each = partial(part_of, body, form, shares * blocks)
            if shares == 1:
                statements += loop(self.names.fresh("part"), blocks, each)
            elif count > 1 or len(side.forms) == 1:
                k = self.names.fresh("part")
                statements.append(For(k, p * blocks, p * blocks + blocks, tuple(each(Var(k)))))
            else:
                mine = Binary("eq", p, Const(shares - 1))
                statements.append(If(mine, tuple(body(Panels(Const(0), Const(1), first, width)))))
        return statements

    def _pack_inputs(self, p: Expr, block: Block, part: Panels) -> list[Stmt]:
        rows, columns = self.axes
        height = block.rows * rows.step + rows.overlap
        last = self.x.shape[1] - 1

        def line(i: Expr, r: Expr) -> list[Stmt]:
            inside: list[Stmt] = []
            image = let(inside, self.names.fresh("from"), minimum(block.image + i, self.images - 1))
            row = block.row * rows.stride + r * rows.copied + rows.origin
            source = let(inside, self.names.fresh("from"), minimum(row, last))
            place = let(inside, self.names.fresh("to"), (i * self.input_rows + r) * self.input_columns)

            def pixel(x: Expr) -> list[Stmt]:
                def panel(q: Expr) -> list[Stmt]:
                    start = part.element(q) + (x * columns.copied + columns.origin) * self.pitch
                    to = (self.inputs, self._inputs_of(p, q), (place + x) * part.width)
                    return self._copy((self.x, image, source, start), to, part)

                return self._each_panel(part, panel)

            return [*inside, *loop(self.names.fresh("x"), self.input_columns, pixel)]

        return self._lines(block.images, height, self.input_rows, line)

    def _pack_gradients(self, p: Expr, block: Block, part: Panels) -> list[Stmt]:
        rows, columns = self.axes
        (top, _), (left, _), _ = self.dy_margins

        def line(i: Expr, r: Expr) -> list[Stmt]:
            inside: list[Stmt] = []
            image = let(inside, self.names.fresh("from"), minimum(block.image + i, self.images - 1))
            source = let(inside, self.names.fresh("from"), minimum(block.row + r, rows.size - 1) + top)
            place = let(inside, self.names.fresh("to"), (i * self.block_rows + r) * columns.size)

            def panel(q: Expr) -> list[Stmt]:
                def pixel(x: Expr) -> list[Stmt]:
                    start = part.element(q) + (x + left) * self.dy_pitch
                    to = (self.gradients, self._gradients_of(p, part, q), (place + x) * part.width)
                    return self._copy((self.dy, image, source, start), to, part)

                return loop(self.names.fresh("x"), columns.size, pixel)

            return [*inside, *self._each_panel(part, panel)]

        return self._lines(block.images, block.rows, self.block_rows, line)

    def _inputs_of(self, p: Expr, number: Expr) -> Expr:
        """The row of the packed input that holds a panel: those of a block have places of their own."""
        return p * self.block_panels + number % self.block_panels

    def _gradients_of(self, p: Expr, part: Panels, number: Expr) -> Expr:
        """The row of the packed dy that holds a panel."""
        row = number + part.first // self.filters.width
        return p * self.filters.panels + row if self.by_channels else row

    def _lines(self, images: Expr, rows: Expr | int, most: int, body: Callable[[Expr, Expr], list[Stmt]]) -> list[Stmt]:
        """`body(i, r)` for the rows of the images of a block, at most `most` of each image."""
        i, r = self.names.fresh("i"), self.names.fresh("r")
        inner = For(r, Const(0), minimum(rows, most), tuple(body(Var(i), Var(r))))
        return [For(i, Const(0), minimum(images, self.block_images), (inner,))]

    def _each_panel(self, part: Panels, body: Callable[[Expr], list[Stmt]]) -> list[Stmt]:
        """`body(q)` for all panels of a part."""
        if part.start == Const(0) and part.stop == Const(1):
            return body(Const(0))
        q = self.names.fresh("q")
        return [For(q, part.start, part.stop, tuple(body(Var(q))))]

    def _copy(self, source: tuple[Buffer, Expr, Expr, Expr], to: tuple[Buffer, Expr, Expr], part: Panels) -> list[Stmt]:
        """Copy what one panel holds of a pixel."""
        (read, image, row, start), (written, panel, place) = source, to
        widths = vector_widths(part.width, self.lanes)
        return [
            Store(written, (panel, place + offset), Load(read, (image, row, start + offset), width))
            for offset, width in zip(starts_of(widths), widths, strict=True)
        ]

    def _products(self, p: Expr, block: Block, channels: Panels, filters: Panels) -> list[Stmt]:
        """Bring all register tiles of some panels up to date."""
        rows, columns = self.axes

        def tile(f: Expr, c: Expr) -> list[Stmt]:
            taps = rows.kernel * columns.kernel
            return loop(
                self.names.fresh("tap"), taps, lambda tap: self._tile(p, block, (channels, c), (filters, f), tap)
            )

        return self._each_panel(filters, lambda f: self._each_panel(channels, lambda c: tile(f, c)))

    def _tile(
        self, p: Expr, block: Block, channels: tuple[Panels, Expr], filters: tuple[Panels, Expr], tap: Expr
    ) -> list[Stmt]:
        (some, c), (others, f) = channels, filters
        rows, columns = self.axes
        statements, fresh = list[Stmt](), self.names.fresh
        tile = OuterProduct(some.width, vector_widths(others.width, self.lanes), self.dtype, self.names)
        inputs = let(statements, fresh("xs"), self._inputs_of(p, c))
        gradients = let(statements, fresh("gs"), self._gradients_of(p, others, f))
        channel = let(statements, fresh("channel"), some.element(c))
        first = let(statements, fresh("filter"), others.element(f))
        ky, kx = tap // columns.kernel, tap % columns.kernel
        begin = let(statements, fresh("begin"), ky * (rows.dilation * self.input_columns) + kx * columns.dilation)

        def multiply(x: Expr, g: Expr) -> list[Stmt]:
            return tile.add(
                lambda s: Load(self.inputs, (inputs, x * some.width + s)),
                lambda offset, width: Load(self.gradients, (gradients, g * others.width + offset), width),
            )

        def memory(s: Expr, offset: int) -> tuple[Expr, Expr, Expr]:
            return (tap, channel + s, first + offset)

        statements += [*tile.begin(), *self._pixels(block, begin, multiply)]
        begun = tile.each(lambda s, a, offset, w: Store(self.dw, memory(s, offset), Load(a, (s,))))
        added = tile.each(
            lambda s, a, offset, w: Store(
                self.dw, memory(s, offset), Load(self.dw, memory(s, offset), w) + Load(a, (s,))
            )
        )
        return [*statements, If(block.is_first, tuple(begun), tuple(added))]

    def _pixels(self, block: Block, begin: Expr, body: Callable[[Expr, Expr], list[Stmt]]) -> list[Stmt]:
        """`body(x, g)` for all pixels of a block: where their inputs and their gradients lie in the panels."""
        rows, columns = self.axes
        if rows.kernel == columns.kernel == 1:  # both panels hold the same pixels
            most = self.block_images * self.block_rows * columns.size
            pixel, pixels = self.names.fresh("pixel"), block.images * block.rows * columns.size
            return [For(pixel, Const(0), minimum(pixels, most), tuple(body(Var(pixel), Var(pixel))))]

        def line(i: Expr, r: Expr) -> list[Stmt]:
            inside: list[Stmt] = []
            inputs = (i * self.input_rows + r * rows.step) * self.input_columns
            x = let(inside, self.names.fresh("row"), inputs + begin)
            g = let(inside, self.names.fresh("row"), (i * self.block_rows + r) * columns.size)
            return [*inside, *loop("ox", columns.size, lambda ox: body(x + ox * columns.step, g + ox))]

        return self._lines(block.images, block.rows, self.block_rows, line)
