"""Products of stacks of matrices of bytes, both sides activations, by the register tiles of integer contractions.

The right side is packed in each run (see `packed_right`), so that it reads like a weight; matrices and blocks of their
rows are shared out as in `batch_matmul`. What multiplies is the best that the machine has for contractions: tile
registers, words, dot products with a lane, or those of four neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from .....graph.ir import Attributes, Value
from .....loops.ir import Buffer, Cast, Const, Dot2Words, Dot4, Expr, Load, Stmt
from .....lowering.elements import physical
from .....lowering.group import Group
from .....lowering.kernel import Names, Scheduled, let
from .....ops.products.matmul import broadcast_place
from .....ops.quantized.matmul import LARGEST_PRODUCT, MatMulSum
from .....ops.quantized.packing import RAISE
from .....targets.target import DotProduct, Target
from .....types import DType, TensorType
from ..epilogue import Channels
from ..geometry import Walk
from ..integers.integer_contraction import DotEmitter, DotMicroKernel
from ..integers.lane_dot_contraction import LaneDotEmitter, LaneDotMicroKernel
from ..integers.rescaling import LiteralRescaling, UnsignedRescaling
from ..integers.signs import QUAD, Signs, ones_of
from ..integers.word_contraction import PAIR, WITH_WORDS, WordEmitter, WordMicroKernel, widening_kernel
from ..micro_kernel import MicroKernel
from ..tiles.tile_contraction import TileEmitter
from ..tiles.tile_elements import Bytes
from ..tiles.tile_kernel import TileMicroKernel
from ..tiles.tile_shapes import COLUMNS
from .batch_matmul import ProductEmitter, ProductKernel, flat_place
from .packed_right import PackedRight, Product


def schedule_integer_products(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a group whose anchor is a stack of integer products; empty for others."""
    if not serves(group):
        return ()
    g = _walk(group)
    if target.has_byte_tiles:
        tiles = _TileStack(group, g, target, threads, _TileBytes(group, target))
        if tiles.pays:
            return tiles.kernels(target)
    if target.dot_product in WITH_WORDS:
        left = group.outer[group.anchor.operands[0]]
        words = Value(TensorType(DType.I16, left.type.buffer_shape))
        stack = _WordStack(group, g, words, target, threads)
        return (widening_kernel(left, words, target), *stack.kernels(target))
    if target.dot_product is DotProduct.NEON and g.channels > QUAD:
        return _LaneStack(group, g, target, threads).kernels(target)
    return _DotStack(group, g, target, threads).kernels(target)


def serves(group: Group) -> bool:
    """True for products of operands from outside, whose rows may be read to the end of four neighbours."""
    anchor = group.anchor
    if not isinstance(anchor.operator, MatMulSum) or any(v not in group.outer for v in anchor.operands):
        return False
    a, b = (v.type for v in anchor.operands)
    wanted = anchor.operator.input_margins((a, b), anchor.attributes)
    return bool(a.size and b.size) and (wanted is None or a.has_margins(wanted))


def _walk(group: Group) -> Walk:
    """The rows of a matrix of the left side, which begins wherever the kernel says, as the pixels of one row."""
    a = group.anchor.operands[0].type
    rows, inner = a.shape[-2:]
    pitch, whole = a.buffer_shape[-1], math.prod(a.buffer_shape)
    return Walk(images=1, height=1, width=rows, channels=inner, pitch=pitch, buffer=(1, 1, whole), flat=True)


class _IntegerProduct(ProductKernel):
    """A register tile of a product of bytes, with what its sums become."""

    def __init__(self, owner: _Stack, rows: int, columns: int, widths: tuple[int, ...]) -> None:
        super().__init__(owner, rows, columns, widths)
        self.rescaling = owner.literal

    @property
    def _summed(self) -> Value:
        return self.rescaling.rescaling.result if self.rescaling else super()._summed

    def _store(self, channels: Channels, r: Expr, s: Expr, total: Expr) -> list[Stmt]:
        if self.rescaling is None:
            return super()._store(channels, r, s, total)
        elements = self._elements(channels, {self.o.group.anchor.result: total}, "s_")
        sums = elements.element(self.rescaling.rescaling.operation.operands[0], self._index(channels, r, s))
        block = [*elements.statements]
        result = self.rescaling.element(block, self.o.names, sums)
        return [*block, *super()._store(channels, r, s, result)]


class _Stack(ProductEmitter):
    """What a stack of products has beside what the machine has for contractions."""

    together = QUAD
    signs: Signs
    literal: LiteralRescaling | None = None
    """How sums become bytes by unsigned products."""
    right: Expr
    """The first panel of the matrix on the right."""

    def _declare_weight(self, weight: Value) -> None:
        anchor = self.group.anchor
        self.packed = True
        self.outer = anchor.result.type.shape[:-2]
        turned: bool = anchor.attributes["transpose_b"]
        self.source = source = PackedRight(weight, turned, self._panel_columns, self.together, self.lanes)
        self.packed_value = Value(TensorType(DType.I8, source.shape))
        self.summed_value = Value(TensorType(DType.I32, (source.count * source.width,)))
        self.w = self.parameters.add(Buffer("w", DType.I8, self._seen(source.shape)), self.packed_value)
        self.correction = self.parameters.add(Buffer("z", DType.I32, self.summed_value.type.shape), self.summed_value)

    @property
    def _panel_columns(self) -> int:
        """Columns of a panel."""
        return self.tile.channels

    def _seen(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the panels as the micro-kernel sees them."""
        return shape

    def _choose(self, start: list[Stmt]) -> None:
        a, b = (v.type for v in self.group.anchor.operands)
        zero = Const(0)
        first = physical(a, (*broadcast_place(a.shape[:-2], self.batch), zero, zero))
        self.first_element = let(start, "f", flat_place(a.buffer_shape, first))
        matrix = flat_place(b.shape[:-2], broadcast_place(b.shape[:-2], self.batch))
        self.right = let(start, "r", matrix * self.source.panels)

    def start_place(self, channel: Expr) -> Expr:
        """Where `correction` has what the sums of a column start from."""
        return channel + self.right * self.source.width

    def panel(self, j: Expr) -> Expr:
        """The panel of tile j of the columns of this matrix."""
        return self.right + j

    def _find_rescaling(self, target: Target, group: Group) -> None:
        """None by a table of channels; see `literal`."""

    def _zero_points(self, group: Group) -> Attributes:
        """That of the right side is made good elsewhere."""
        return {"x_zero": group.anchor.attributes["a_zero"], "weight_zero": 0}

    def kernels(self, target: Target) -> tuple[Scheduled, ...]:
        """Those that pack, and the one that multiplies."""
        missing, start = -(self.signs.x_zero + self.signs.x_offset), 0
        self.literal = LiteralRescaling.of(self.group, target, self.g.channels * LARGEST_PRODUCT)
        if self.literal is not None:
            start = -RAISE  # modulo 2^32
        return (
            self.source.packing(self.packed_value),
            self.source.summing(self.summed_value, self.packed_value, self._sums(target), missing, start),
            self.schedule(),
        )

    def _sums(self, target: Target) -> Product:
        """What adds up the columns of panels."""
        ones = ones_of(target, DType.I8)
        return lambda some, total: Dot4(ones, some, total)


class _DotStack(_Stack, DotEmitter):
    """By dot products of four neighbours."""

    ones = None

    def micro_kernel(self, rows: int, columns: int, widths: tuple[int, ...]) -> MicroKernel:
        """What computes one tile."""
        return _DotProduct(self, rows, columns, widths)


class _DotProduct(_IntegerProduct, DotMicroKernel):
    """A tile of it."""


class _LaneStack(_DotStack, LaneDotEmitter):
    """By dot products with four bytes of a lane."""

    def micro_kernel(self, rows: int, columns: int, widths: tuple[int, ...]) -> MicroKernel:
        """What computes one tile."""
        return _LaneProduct(self, rows, columns, widths)


class _LaneProduct(_IntegerProduct, LaneDotMicroKernel):
    """A tile of it."""


class _WordStack(_Stack, WordEmitter):
    """By products of words: the left side is widened."""

    together = PAIR
    ones = None

    def _sums(self, target: Target) -> Product:
        ones = Const(1, DType.I16, PAIR)
        return lambda some, total: Dot2Words(ones, Cast(some, DType.I16), total)

    def micro_kernel(self, rows: int, columns: int, widths: tuple[int, ...]) -> MicroKernel:
        """What computes one tile."""
        return _WordProduct(self, rows, columns, widths)


class _WordProduct(_IntegerProduct, WordMicroKernel):
    """A tile of it."""


class _TileBytes(Bytes):
    """Bytes of both sides, whose sums start where the kernel says."""

    place: Callable[[Expr], Expr]
    """Where `correction` has what the sums of a column start from."""

    def __init__(self, group: Group, target: Target) -> None:
        self.rescaling: UnsignedRescaling | None = None
        zeros = {"x_zero": group.anchor.attributes["a_zero"], "weight_zero": 0}
        self.signs = replace(Signs.of(target, DType.I8, DType.I8, zeros), left=DType.I8)

    def start(self, block: list[Stmt], names: Names, bias: Buffer | None, channel: Expr, width: int) -> Expr:
        """What makes the zero point of the left side good."""
        return let(block, names.fresh("start"), Load(self.correction, (self.place(channel),), width))


class _TileStack(_Stack, TileEmitter):
    """By tile registers."""

    def __init__(self, group: Group, g: Walk, target: Target, threads: int, elements: _TileBytes) -> None:
        super().__init__(group, g, target, threads, elements)
        self.signs = elements.signs
        elements.correction, elements.place = self.correction, self.start_place

    @property
    def _panel_columns(self) -> int:
        return COLUMNS

    def _seen(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0], math.prod(shape[1:]))

    @property
    def _repeats(self) -> int:
        return math.prod(self.group.anchor.result.type.shape[:-2])

    def panel(self, j: Expr) -> Expr:
        """The first panel of tile j of the columns of this matrix."""
        return self.right + j * (self.tile.channels // COLUMNS)

    def micro_kernel(self, rows: int, columns: int, widths: tuple[int, ...]) -> MicroKernel:
        """What computes one tile."""
        return _TileProduct(self, rows, columns, widths)


class _TileProduct(_IntegerProduct, TileMicroKernel):
    """A tile of it."""
