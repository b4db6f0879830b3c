"""Dense (fully connected) layers: the matrix product of the last dimension with a weight."""

from __future__ import annotations

import math

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, Builder, Operation, Operator, Value
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Expr
from ...types import TensorType
from ..gradients import reshaped, sum_to
from ..layer import LayerBuilder, layer


@register
class Dense(Operator):
    """x [..., I] times weight [I, O], plus bias [O]."""

    name = "dense"
    operands = ("x", "weight", "bias?")
    floats_only = True
    contraction = True
    anchor = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, weight, *bias = operands
        if x.rank < 1 or weight.rank != 2 or x.shape[-1] != weight.shape[0]:
            raise ShapeError(
                f"dense can't multiply {x} by weight {weight}: the last size of x must be the weight's first"
            )
        if bias and bias[0].shape != weight.shape[1:]:
            raise ShapeError(f"dense: bias {bias[0]} doesn't fit {weight.shape[1]} units")
        return (TensorType(x.dtype, (*x.shape[:-1], weight.shape[1])),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, weight, *bias = operands
        y: Array = x @ weight
        return (y + bias[0] if bias else y,)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        *place, unit = index
        bias = (lambda total: total + c.load(2, (unit,))) if c.count > 2 else None
        return Reduction(
            "add", c.type(1).shape[:1], lambda r: c.load(0, (*place, r[0])) * c.load(1, (r[0], unit)), bias
        )

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return operands[0].size * operands[1].shape[1]

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        x, weight, *bias = op.operands
        shape = x.type.shape
        rows = math.prod(shape[:-1])
        dy = reshaped(b, cotangents[0], (rows, weight.type.shape[1]))
        dx = b.emit("matmul", dy, weight, transpose_b=True)
        dweight = b.emit("matmul", reshaped(b, x, (rows, shape[-1])), dy, transpose_a=True)
        return reshaped(b, dx, shape), dweight, *(sum_to(b, dy, v.type.shape) for v in bias)


@layer("linear")
def linear(b: LayerBuilder, x: Value, weight: Value, bias: Value | None = None) -> Value:
    """X times a given weight [I, O], plus a bias [O]: `dense` with tensors in place of parameters of its own."""
    return b.emit("dense", x, weight, *(() if bias is None else (bias,)))


@layer("dense")
def dense(b: LayerBuilder, x: Value, units: int, bias: bool = True, init: str = "he_normal") -> Value:
    """Fully connected layer: each of `units` results sees all elements of the last dimension."""
    if units < 1:
        raise ShapeError(f"dense needs at least one unit, not {units}")
    if x.type.rank < 2:
        raise ShapeError(f"dense takes [N, ..., features], not {x.type}")
    operands = [x, b.param("weight", (x.type.shape[-1], units), init=init, checkpoint="oi")]
    if bias:
        operands.append(b.param("bias", (units,), init="zeros"))
    return b.emit("dense", *operands)
