"""What contractions by tile registers have of their own by the type of their elements: bytes, or bfloat16.

A word of a tile's row holds four bytes or two numbers of bfloat16, whose products go to one sum. Bytes have zero
points, which the start values of sums make good, and a run of the sum is filled up with zero weights. With bfloat16
nothing is filled up, as zero times infinity is no number: runs must be of whole words.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from .....graph.ir import Value
from .....loops.ir import Buffer, Expr, Load, Stmt, TileDot2Bfloat16, TileDot4
from .....lowering.group import Group
from .....lowering.kernel import Names, Packed, Parameters, let, packing_step
from .....targets.target import Target
from .....types import DType
from ..bfloat16_contraction import merges_rows, packing_of_pairs
from ..geometry import Walk
from ..integers.integer_contraction import literal_bias
from ..integers.rescaling import UnsignedRescaling
from ..integers.signs import QUAD, Signs
from ..pairs import PAIR
from .tile_shapes import COLUMNS


class TileElements(Protocol):
    """The elements of one contraction."""

    word: int
    """Elements of a word of a row."""
    dtype: DType
    """Of the weights."""
    fills_up: bool
    """Runs of the sum that are no whole words may be read beyond their end, where weights are zero."""
    joined: int
    """Most vectors of sums that are finished together: the instructions of one fill the waiting times of the other, and
    results of several are narrowed at once."""
    rescaling: UnsignedRescaling | None
    """How sums are rescaled from a table."""
    table: Buffer
    """That table: panels of the channels of a tile."""
    products: float
    """Multiply-adds of a cycle without tiles."""

    def merges(self, g: Walk) -> bool:
        """True if a row of the window is one run of the sum, in the input as in the weight."""
        ...

    def serves(self, g: Walk) -> bool:
        """True if tiles can multiply what this walk reads."""
        ...

    def pack(self, parameters: Parameters, weight: Value, extent: tuple[int, int, int]) -> Packed:
        """The weights in panels of the channels of a tile: [panels][word of the sum][channel, element of the word].

        `extent`: contiguous runs of the sum, elements of a run, filters. What else they take becomes a parameter.
        """
        ...

    def start(self, block: list[Stmt], names: Names, bias: Buffer | None, channel: Expr, width: int) -> Expr | None:
        """What is added to the sums of these channels before the epilogue; None for nothing."""
        ...

    def product(self, a: Load, b: Load, sums: Load) -> Expr:
        """Products of two tiles added to a third one."""
        ...


class Bytes:
    """Four to a word, sums in i32."""

    word = QUAD
    dtype = DType.I8
    fills_up = True
    joined = 4
    products = 70.0

    def __init__(self, group: Group, target: Target) -> None:
        x, weight = (v.type.dtype for v in group.anchor.operands[:2])
        self.literal_bias = literal_bias(group)
        signs = Signs.of(target, x, weight, group.anchor.attributes)
        self.signs = replace(signs, left=x)  # each combination of signs has its instruction
        self.rescaling = UnsignedRescaling.of(group, target)

    def merges(self, g: Walk) -> bool:
        """Weights have no rows beside those of the window."""
        return g.merges_columns

    def serves(self, g: Walk) -> bool:
        """Zero points of weights would take the sums of inputs."""
        return not self.signs.needs_input_sums

    def pack(self, parameters: Parameters, weight: Value, extent: tuple[int, int, int]) -> Packed:
        """Signed, and the sums' start values beside them, perhaps in a table."""
        runs, _, filters = extent
        if self.rescaling is None:
            self.correction = self.signs.add_correction(parameters, weight, filters)
        else:
            self.table = parameters.add(*self.rescaling.table(weight, self.signs, filters, COLUMNS))
        step = packing_step("pack_dot4", rows=runs, width=COLUMNS, offset=self.signs.weight_offset)
        return Packed(weight, (step,))

    def start(self, block: list[Stmt], names: Names, bias: Buffer | None, channel: Expr, width: int) -> Expr | None:
        """What makes zero points good, and the bias; sums begin with those of a table."""
        if self.rescaling is not None:
            return None
        start: Expr = Load(self.correction, (channel,), width)
        if bias is not None:
            start += Load(bias, (channel,), width)
        return let(block, names.fresh("start"), start + self.literal_bias)

    def product(self, a: Load, b: Load, sums: Load) -> Expr:
        """Whatever the signs."""
        return TileDot4(a, b, sums, COLUMNS)


class Pairs:
    """Two numbers of bfloat16 to a word, sums in f32, to which the end of a micro-kernel adds the bias."""

    word = PAIR
    dtype = DType.I16
    fills_up = False
    joined = 2
    products = 14.0
    rescaling: UnsignedRescaling | None = None
    table: Buffer

    def merges(self, g: Walk) -> bool:
        """A phase of a transposed convolution may have a part of the weight's rows."""
        return merges_rows(g)

    def serves(self, g: Walk) -> bool:
        """All."""
        return True

    def pack(self, parameters: Parameters, weight: Value, extent: tuple[int, int, int]) -> Packed:
        """As without tiles."""
        return Packed(weight, packing_of_pairs(*extent, COLUMNS))

    def start(self, block: list[Stmt], names: Names, bias: Buffer | None, channel: Expr, width: int) -> None:
        """Nothing."""

    def product(self, a: Load, b: Load, sums: Load) -> Expr:
        """Those of pairs."""
        return TileDot2Bfloat16(a, b, sums, COLUMNS)
