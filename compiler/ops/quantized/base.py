"""What the integer operators have in common: attributes for quantization and ranges, and checks of operands."""

from __future__ import annotations

from types import NoneType

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Attributes
from ...graph.types import DType, Quantization, TensorType
from ..base import AttributeSpec, Operator

INTEGERS = (DType.I8, DType.U8, DType.I16)
"""Element types of quantized activations."""


def quantization(what: str) -> AttributeSpec:
    """An attribute that says what the integers of an operand or result stand for."""
    return AttributeSpec(Quantization, f"what the elements of {what} stand for")


RANGE = {
    "low": AttributeSpec((int, NoneType), "smallest result; that of the element type if absent", None),
    "high": AttributeSpec((int, NoneType), "largest result; that of the element type if absent", None),
}
"""The range that a fused activation leaves."""


def check_quantized(operator: Operator, operands: tuple[TensorType, ...], attributes: Attributes, *names: str) -> None:
    """Raise `ShapeError` unless the operands are integers, quantized as the attributes called `names` say.

    An operand whose type doesn't tell is taken at the attribute's word.
    """
    for operand, name in zip(operands, names, strict=False):
        if operand.dtype not in INTEGERS:
            raise ShapeError(f"{operator.name} takes 8-bit or 16-bit integers, not {operand}")
        stated = operand.quantization
        given: Quantization = attributes[name]
        if stated is not None and stated != given:
            raise ShapeError(f"{operator.name}: `{name}` is {given}, but the operand is quantized as {stated}")


def check_range(operator: Operator, dtype: DType, attributes: Attributes) -> None:
    """Raise `ShapeError` unless low and high fit the element type."""
    info = np.iinfo(str(dtype.numpy))
    low = info.min if attributes["low"] is None else attributes["low"]
    high = info.max if attributes["high"] is None else attributes["high"]
    if not info.min <= low <= high <= info.max:
        raise ShapeError(f"{operator.name}: {low} to {high} is not a range of {dtype}")


def per_tensor(operator: Operator, attributes: Attributes, *names: str) -> None:
    """Raise `ShapeError` unless the attributes called `names` have one scale."""
    for name in names:
        if not attributes[name].is_per_tensor:
            raise ShapeError(f"{operator.name}: `{name}` must have one scale, not one for each channel")
