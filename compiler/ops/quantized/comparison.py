"""Comparisons of two quantized tensors by what they stand for.

Facts: TensorFlow Lite's kernels/comparisons.cc and reference/comparisons.h. Operands are compared in steps of 2^-8, so
that numbers which differ by less may count as equal.
"""

from __future__ import annotations

import numpy as np

from ...errors import ScaleError, ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec
from ...graph.registry import operators, register
from ...loops.compute import Compute
from ...loops.ir import Expr
from ...types import DType, Quantization, TensorType
from ..functions.elementwise import broadcast_shapes
from ..functions.selection import Comparison
from . import fixed_point as fp
from .base import QuantizedOperator, check_activations, quantization

_RAISE = 8
"""Bits by which the operands are raised before they are scaled."""


def orders_shorts(by: str, dtype: DType) -> bool:
    """True if TFLite's kernels order the integers themselves: those of 16 bits, which have no scales there."""
    return dtype is DType.I16 and by not in ("equal", "not_equal")


def compares_integers(by: str, dtype: DType, given: Quantization) -> bool:
    """True if TFLite's kernels compare numbers of one scale as their integers compare: no two become one step."""
    return given.is_per_tensor and (orders_shorts(by, dtype) or 2.0**-_RAISE <= given.scale < 1)


@register
class QCompare(QuantizedOperator):
    """A comparison (less, equal, ...) of two quantized tensors with scales below 1, in steps of 1/256."""

    name = "q_compare"
    operands = ("a", "b")
    attributes = {
        "by": AttributeSpec(str, "the comparison: less, less_equal, greater, greater_equal, equal, not_equal"),
        "a": quantization("a"),
        "b": quantization("b"),
    }
    elementwise = True
    piecewise_constant = True
    non_differentiable = ""  # differentiation ends here, silently

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        a, b = operands
        check_activations(self, operands, attributes, "a", "b", beside=())
        if a.dtype is not b.dtype:
            raise ShapeError(f"{self.name} can't compare {a} and {b}: element types differ")
        _comparison(attributes)
        if any(attributes[key].scale >= 1 for key in "ab"):
            raise ScaleError(f"{self.name} compares numbers with scales below 1; TFLite defines no others")
        return (TensorType(DType.BOOL, broadcast_shapes(self.name, a.shape, b.shape)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return _comparison(attributes).evaluate(
            tuple(steps(x, attributes[key]) for x, key in zip(operands, "ab", strict=True)), {}
        )

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        a, b = (_steps_expr(c.let, c.load_broadcast(place, index), attributes[key]) for place, key in enumerate("ab"))
        return _comparison(attributes).element(a, b)


def _comparison(attributes: Attributes) -> Comparison:
    found = operators().get(attributes["by"])
    if not isinstance(found, Comparison):
        raise ShapeError(f"q_compare can't compare by {attributes['by']}")
    return found


def steps(x: Array, given: Quantization) -> Array:
    """What numbers stand for, in steps of 2^-8, as int64."""
    return fp.multiply((x.astype(np.int64) - given.zero_point) << _RAISE, *fp.quantize_multiplier(given.scale))


def _steps_expr(let: fp.Let, x: Expr, given: Quantization) -> Expr:
    """`steps` as an i64 expression."""
    raised = fp.offset_expr(x, given) * (1 << _RAISE)
    return fp.multiply_expr(let, raised, *fp.quantize_multiplier(given.scale))
