"""Signs and zero points of 8-bit dot products.

The machine's instruction decides which signs the two sides have: where it differs from the tensors, 128 is added to or
subtracted from one side (its top bit is flipped). What that changes in the sums, and the zero points, are made good in
the sums' start values and, if the weight has a zero point that the packed weights don't share, by the sum of each
window's inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .....graph.ir import Attributes, Value
from .....loops.ir import Binary, Bitcast, Buffer, Const, Expr
from .....lowering.kernel import Packed, PackingStep, Parameters, packing_step
from .....targets.target import DotProduct, Target
from .....types import DType

Kinds = Sequence[tuple[int, int]]
"""Planes of the weight that are multiplied, from and up to, for each kind of planes of results."""
QUAD = 4
"""Products that one lane of a dot product adds up."""
FLIP = 128
"""Flipping the top bit of a byte moves it between 0..255 and -128..127."""

_LEFT = {DotProduct.VNNI: DType.U8, DotProduct.NEON: DType.I8, DotProduct.REDUCED: DType.I8}
"""The element type that the instruction wants of the input."""


def ones_of(target: Target, dtype: DType) -> Expr:
    """What adds up bytes of this type, four at a time, as the left side of a dot product."""
    return Const(1, _LEFT.get(target.dot_product, dtype), QUAD)


@dataclass(frozen=True, slots=True)
class Signs:
    """How an input and a weight become the two sides of a dot product."""

    x: DType
    left: DType
    """The input's element type in the product."""
    weight_offset: int
    """Subtracted from the weight when it is packed, so that it is signed."""
    x_zero: int
    weight_zero: int

    @classmethod
    def of(cls, target: Target, x: DType, weight: DType, attributes: Attributes) -> Signs:
        """For an input and a weight of these element types; `attributes` are those of the integer sum."""
        offset = FLIP if weight is DType.U8 else 0
        left = _LEFT.get(target.dot_product, x)
        return cls(x, left, offset, attributes["x_zero"], attributes["weight_zero"])

    @property
    def x_offset(self) -> int:
        """Added to the input by flipping its top bits."""
        if self.left is self.x:
            return 0
        return FLIP if self.x is DType.I8 else -FLIP

    @property
    def input_sum_factor(self) -> int:
        """How often the sum of a window's inputs is to be added to its sum of products."""
        return self.weight_offset - self.weight_zero

    @property
    def needs_input_sums(self) -> bool:
        """True if the weight has a zero point that the packed numbers don't share."""
        return self.input_sum_factor != 0

    @property
    def padding(self) -> int:
        """What the instruction multiplies where there is padding."""
        return self.x_zero + self.x_offset

    def correction(self, kinds: Kinds = ()) -> PackingStep:
        """Makes of the weight what sums start from, beside the bias; with kinds of planes for each of these."""
        zero_points = {"x_zero": self.x_zero, "weight_zero": self.weight_zero}
        planes = {"planes": tuple(kinds)} if kinds else {}
        return packing_step("dot4_correction", x_offset=self.x_offset, **zero_points, **planes)

    def add_correction(self, parameters: Parameters, weight: Value, channels: int, kinds: Kinds = ()) -> Buffer:
        """The parameter of a kernel that holds the `correction` of each channel: [kind, channel] if there are kinds."""
        shape = (len(kinds), channels) if kinds else (channels,)
        return parameters.add(Buffer("z", DType.I32, shape), Packed(weight, (self.correction(kinds),)))

    def as_left(self, x: Expr) -> Expr:
        """Input elements as the instruction wants them, which they may be already."""
        return flip(x) if self.x_offset and x.type.dtype is not self.left else x


def flip(x: Expr) -> Expr:
    """Bytes with the other sign: x + 128 of signed ones, x - 128 of unsigned ones."""
    dtype, other = (DType.I8, DType.U8) if x.type.dtype is DType.I8 else (DType.U8, DType.I8)
    top = Const(-FLIP if dtype is DType.I8 else FLIP, dtype, x.type.lanes)
    return Bitcast(Binary("xor", x, top), other)
