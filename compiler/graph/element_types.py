"""Which element types operators take."""

from __future__ import annotations

from typing import Protocol

from ..errors import ShapeError
from ..types import DType, TensorType


class Named(Protocol):
    """An operator, as messages speak of it."""

    @property
    def name(self) -> str:
        """The operator's name."""
        ...


def check_numbers(operator: Named, *operands: TensorType) -> None:
    """Raise `ShapeError` for truth values."""
    for operand in operands:
        if operand.dtype is DType.BOOL:
            raise ShapeError(f"{operator.name} takes numbers, not {operand}", hint="cast them first")


def check_floats(operator: Named, *operands: TensorType) -> None:
    """Raise `ShapeError` for anything but floats."""
    for operand in operands:
        if not operand.dtype.is_float:
            raise ShapeError(f"{operator.name} takes floats, not {operand}", hint="cast them first")


def check_one_type(operator: Named, *operands: TensorType) -> None:
    """Raise `ShapeError` for operands of several element types."""
    if len({operand.dtype for operand in operands}) > 1:
        types = ", ".join(map(str, operands))
        raise ShapeError(f"{operator.name} takes operands of one element type, not {types}", hint="cast some of them")
