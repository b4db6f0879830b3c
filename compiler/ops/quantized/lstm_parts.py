"""What one step of an integer LSTM is made of: gates, cells, hidden state, peepholes, normalised gates.

Facts: TensorFlow Lite's kernels/internal/reference/portable_tensor_utils.cc.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Operator
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Binary, Const, Expr, Select, binary, maximum, minimum
from ...numerics import quotient
from ...types import DType, TensorType
from ..facets import PERMUTED
from . import fixed_point as fp
from .base import Part
from .functions import inverse_square_root, inverse_square_root_expr

GATE_BITS = 3
GATE_SCALE = 2.0**-12
"""Of gates that aren't normalised."""

_LOWEST, HIGHEST = -(1 << 15), (1 << 15) - 1


def check_cell(operator: Operator, bits: int, clip: int) -> None:
    """Raise `ShapeError` unless a cell has a scale that the kernel knows, and is limited to a size or not at all."""
    if not -16 < bits < -8 or clip < 0:
        raise ShapeError(f"{operator.name} needs a cell scale between 2^-15 and 2^-9, and a limit not below 0")


class _Part(Part):
    """Base of the elementwise parts of a step: operands and result have one shape."""

    elementwise = True
    takes: ClassVar[DType]
    gives: ClassVar[DType] = DType.I16

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        if any(o.dtype is not self.takes or o.shape != operands[0].shape for o in operands):
            raise ShapeError(f"{self.name} can't combine {', '.join(map(str, operands))}")
        return (TensorType(self.gives, operands[0].shape),)


@register
class LstmGate(_Part):
    """A gate before its function: sums over input and state (i32), scaled and saturated to 16 bits one by one."""

    name = "lstm_gate"
    operands = ("input_sum", "state_sum")
    attributes = {
        "total": AttributeSpec(tuple, "multiplier and shift of the sum over the input"),
        "fed_back": AttributeSpec(tuple, "multiplier and shift of the sum over the state"),
    }
    takes = DType.I32

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        for key in self.attributes:
            if not fp.is_multiplier(attributes[key]):
                raise ShapeError(f"lstm_gate: `{key}` is a multiplier and a shift, not {attributes[key]}")
        return super().infer(operands, attributes)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        first = np.clip(fp.multiply(operands[0], *attributes["total"]), _LOWEST, HIGHEST)
        return (fp.saturate(first + fp.multiply(operands[1], *attributes["fed_back"]), DType.I16),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        first = fp.multiply_expr(c.let, fp.wide(c.load(0, index)), *attributes["total"])
        second = fp.multiply_expr(c.let, fp.wide(c.load(1, index)), *attributes["fed_back"])
        return fp.saturate_expr(maximum(minimum(first, HIGHEST), _LOWEST) + second, DType.I16)


@register
class LstmCell(_Part):
    """The next cell: kept * cell + opened * offered, both rounded to the cell's scale 2^bits."""

    name = "lstm_cell"
    operands = ("kept", "cell", "opened", "offered")
    attributes = {
        "bits": AttributeSpec(int, "binary digits of the cell's scale: -11 for 2^-11"),
        "clip": AttributeSpec(int, "largest size of the cell; 0: any", 0),
    }
    takes = DType.I16

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        check_cell(self, attributes["bits"], attributes["clip"])
        return super().infer(operands, attributes)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        kept, cell, opened, offered = (o.astype(np.int64) for o in operands)
        total = fp.shift_right(kept * cell, 15) + fp.shift_right(opened * offered, 30 + attributes["bits"])
        limit = attributes["clip"] or None
        return (fp.saturate(total, DType.I16, -limit if limit else None, limit),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        kept, cell, opened, offered = (fp.wide(c.load(i, index)) for i in range(4))
        old = fp.shift_right_expr(c.let, kept * cell, 15)
        new = fp.shift_right_expr(c.let, opened * offered, 30 + attributes["bits"])
        limit = attributes["clip"] or None
        return fp.saturate_expr(old + new, DType.I16, -limit if limit else None, limit)


@register
class LstmHidden(_Part):
    """The state: shown * seen, both fractions of 15 bits, on the state's scale."""

    name = "lstm_hidden"
    operands = ("shown", "seen")
    attributes = {
        "factor": AttributeSpec(tuple, "multiplier and shift of the product"),
        "zero": AttributeSpec(int, "is added to it"),
    }
    takes = DType.I16
    gives = DType.I8

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        _check_factor(self, attributes["factor"])
        return super().infer(operands, attributes)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        shown, seen = (o.astype(np.int64) for o in operands)
        return (fp.saturate(fp.multiply(shown * seen, *attributes["factor"]) + attributes["zero"], DType.I8),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        product = fp.wide(c.load(0, index)) * fp.wide(c.load(1, index))
        scaled = fp.multiply_expr(c.let, product, *attributes["factor"])
        return fp.saturate_expr(scaled + attributes["zero"], DType.I8)


def _check_factor(operator: Operator, pair: object) -> None:
    if not fp.is_multiplier(pair):
        raise ShapeError(f"{operator.name}: `factor` is a multiplier and a shift, not {pair}")


@register
class LstmPeephole(Part):
    """A gate (i16) with the cell times its weight, scaled; saturated to 16 bits."""

    name = "lstm_peephole"
    operands = ("gate", "cell", "weight")
    attributes = {"factor": AttributeSpec(tuple, "multiplier and shift of the products")}
    elementwise = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        gate, cell, weight = operands
        shapes = gate.shape == cell.shape and weight.shape in (gate.shape, gate.shape[-1:])
        if not gate.rank or not shapes or any(o.dtype is not DType.I16 for o in operands):
            raise ShapeError(f"lstm_peephole can't combine {gate}, {cell} and {weight}")
        _check_factor(self, attributes["factor"])
        return (gate.dense(),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        gate, cell, weight = (o.astype(np.int64) for o in operands)
        return (fp.saturate(gate + fp.multiply(cell * weight, *attributes["factor"]), DType.I16),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        gate, cell, weight = (fp.wide(c.load_broadcast(i, index)) for i in range(3))
        return fp.saturate_expr(gate + fp.multiply_expr(c.let, cell * weight, *attributes["factor"]), DType.I16)


_MEAN_BITS = 10
"""Binary digits of fraction of a mean."""
_GUARD_BITS = 20


@register
class LstmNorm(Part):
    """A gate (i16) normalised over its row, by the row's sum and sum of squares (i64), then weighed, with a bias."""

    name = "lstm_norm"
    operands = ("gate", "sum", "squares", "weight", "bias")
    attributes = {
        "factor": AttributeSpec(tuple, "multiplier and shift of the result"),
        "guard": AttributeSpec(int, "variance of rows that have none"),
    }
    elementwise = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        gate, total, squares, weight, bias = operands
        row, last = TensorType(DType.I64, (*gate.shape[:-1], 1)), gate.shape[-1:]
        fits = gate.rank and gate.dtype is DType.I16 and total == row and squares == row
        fits = fits and (weight.dtype, weight.shape, bias.dtype, bias.shape) == (DType.I16, last, DType.I32, last)
        if not fits:
            raise ShapeError(f"lstm_norm can't combine {', '.join(map(str, operands))}")
        _check_factor(self, attributes["factor"])
        return (gate.dense(),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        gate, total, squares, weight, bias = (o.astype(np.int64) for o in operands)
        count = gate.shape[-1]
        mean = fp.wrap32(quotient(total << _MEAN_BITS, count))
        spread = squares * ((1 << _GUARD_BITS) // count) - mean * mean
        variance = fp.wrap32(quotient(spread, 1 << _GUARD_BITS))
        mantissa, shift = inverse_square_root(np.where(variance < 1, attributes["guard"], variance))
        scaled = fp.multiply((gate << _MEAN_BITS) - mean, mantissa, shift)
        weighed = fp.wrap32(scaled * weight + bias)
        raised = quotient(np.where(weighed > 0, weighed + 512, weighed - 512), 1 << _MEAN_BITS)
        return (fp.saturate(fp.multiply(raised, *attributes["factor"]), DType.I16),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        count = c.type(0).shape[-1]
        gate, total, squares, weight, bias = (fp.wide(c.load_broadcast(i, index)) for i in range(5))
        mean = c.let(_wrapped(_truncated_expr(total * (1 << _MEAN_BITS), count)))
        spread = c.let(squares * ((1 << _GUARD_BITS) // count) - mean * mean)
        variance = c.let(_wrapped(_truncated_expr(spread, 1 << _GUARD_BITS)))
        variance = c.let(Select(binary("lt", variance, 1), _like(attributes["guard"], variance), variance))
        mantissa, shift = inverse_square_root_expr(c.let, variance)
        scaled = fp.multiply_by_operands(c.let, gate * (1 << _MEAN_BITS) - mean, mantissa, shift)
        weighed = c.let(_wrapped(scaled * weight + bias))
        half = Select(binary("lt", _like(0, weighed), weighed), _like(512, weighed), _like(-512, weighed))
        raised = _truncated_expr(c.let(weighed + half), 1 << _MEAN_BITS)
        return fp.saturate_expr(fp.multiply_expr(c.let, raised, *attributes["factor"]), DType.I16)


def _truncated_expr(x: Expr, by: int) -> Expr:
    return Binary("div", x, _like(by, x))


def _like(number: int, x: Expr) -> Expr:
    return Const(number, x.type.dtype, x.type.lanes)


def _wrapped(x: Expr) -> Expr:
    """The lower 32 bits of 64-bit numbers, as they stand for numbers."""
    return fp.wide(fp.narrow(x))


@register
class ScaledSum(Part):
    """Sums (i32) on another scale, as i8 or i16, saturated; limited to a size, if there is one."""

    name = "scaled_sum"
    operands = ("total",)
    attributes = {
        "factor": AttributeSpec(tuple, "multiplier and shift of the sums"),
        "zero": AttributeSpec(int, "zero point of the result", 0),
        "clip": AttributeSpec(int, "largest size of the result; 0: any", 0),
        "dtype": AttributeSpec(str, "element type of the result", "i8"),
    }
    elementwise = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (total,) = operands
        _check_factor(self, attributes["factor"])
        if total.dtype is not DType.I32 or attributes["dtype"] not in ("i8", "i16"):
            raise ShapeError(f"scaled_sum can't bring {total} to {attributes['dtype']}")
        if not 0 <= attributes["clip"] <= 127 or not -128 <= attributes["zero"] <= 127:
            raise ShapeError(f"scaled_sum can't limit {total} to {attributes['clip']} around {attributes['zero']}")
        return (TensorType(DType(attributes["dtype"]), total.shape),)

    def _range(self, attributes: Attributes) -> tuple[DType, int | None, int | None]:
        clip = attributes["clip"] or None
        return DType(attributes["dtype"]), -clip if clip else None, clip

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        scaled = fp.multiply(operands[0], *attributes["factor"]) + attributes["zero"]
        return (fp.saturate(scaled, *self._range(attributes)),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        scaled = fp.multiply_expr(c.let, fp.wide(c.load(0, index)), *attributes["factor"]) + attributes["zero"]
        return fp.saturate_expr(scaled, *self._range(attributes))


PERMUTED.none("weights stand along the last dimension", LstmNorm, LstmPeephole)
