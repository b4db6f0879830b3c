"""Dense layers whose weights are integers of 4 bits with a scale for each block of a row, as language models have them.

Source: BlockwiseQuantization of TensorFlow's schema. The floats that the integers stand for are what is computed with.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, Builder, Operator, Value
from ...graph.registry import register
from ...types import DType, TensorType
from ..facets import INTEGER
from ..products.dense import Dense

BITS = 4


@register
class BlockedDense(Operator):
    """Floats x [..., I] times what integers i8 [O, I] of 4 bits and scales [O, blocks] stand for, plus bias [O]."""

    name = "blocked_dense"
    operands: ClassVar[tuple[str, ...]] = ("x", "weight", "scales", "bias?")
    non_differentiable = "its weights are integers; read the file with floats for weights"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, weight, scales, *bias = operands
        if any(v.dtype is not DType.F32 for v in (x, scales, *bias)) or weight.dtype is not DType.I8:
            raise ShapeError(f"{self.name} takes floats (f32) and a weight of i8, not {', '.join(map(str, operands))}")
        if weight.rank != 2 or weight.quantization is not None or scales.rank != 2:
            raise ShapeError(f"{self.name} takes plain weights [units, elements] and scales [units, blocks]")
        (units, elements), (rows, blocks) = weight.shape, scales.shape
        if rows != units or not blocks or elements % blocks or not elements:
            raise ShapeError(f"{self.name}: scales {scales} don't fit the weight {weight}")
        return Dense().infer((x, TensorType(DType.F32, (elements, units)), *bias), {})

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, weight, scales, *bias = operands
        blocks = weight.reshape(*scales.shape, -1) * scales[..., np.newaxis]
        return Dense().evaluate((x, blocks.reshape(weight.shape).T, *bias), {})

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        x, _, _, *bias = operands
        return b.emit("dense", x, self.floats(b, operands), *bias)

    def floats(self, b: Builder, operands: tuple[Value, ...]) -> Value:
        """The weight [I, O] that integers and scales stand for."""
        _, weight, scales, *_ = operands
        (units, elements), blocks = weight.type.shape, scales.type.shape[1]
        integers = b.emit("cast", weight, dtype=str(DType.F32))
        apart = b.emit("reshape", integers, shape=(units, blocks, elements // blocks))
        product = b.emit("mul", apart, b.emit("reshape", scales, shape=(units, blocks, 1)))
        return b.emit("transpose", b.emit("reshape", product, shape=(units, elements)), permutation=(1, 0))

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return operands[0].size * operands[1].shape[0]


INTEGER.none("TFLite has it on floats only", BlockedDense)
