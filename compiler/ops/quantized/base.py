"""What the integer operators have in common: attributes for quantization and ranges, and checks of operands."""

from __future__ import annotations

import math
from types import NoneType
from typing import Any, ClassVar

import numpy as np

from ...errors import ScaleError, ShapeError
from ...graph.ir import Attribute, Attributes, AttributeSpec, Operator
from ...types import DType, Quantization, TensorType
from ..functions.activations import ALONE
from .fixed_point import round_half_away, single_ratio

INTEGERS = (DType.I8, DType.U8, DType.I16)
"""Element types of quantized activations."""

WIDE = (*INTEGERS, DType.I32)
"""Those between which numbers may be requantized."""

BYTES = (DType.I8, DType.U8)
"""Those of 8 bits, which most kernels take alone."""


class _OfIntegers(Operator):
    """Base of the operators on quantized numbers."""

    non_differentiable = "its operand is made of integers"


class QuantizedOperator(_OfIntegers):
    """Base of those that a network is made of."""


class HybridOperator(QuantizedOperator):
    """Base of operators on floats with 8-bit weights, which LiteRT calls hybrid."""

    non_differentiable = "rounding has no useful derivative; read the file with floats for weights"
    floats: ClassVar[Operator]
    """The operator that this is with weights of floats."""

    def float_attributes(self, attributes: Attributes) -> dict[str, Any]:
        """The attributes of the operator on floats."""
        return {key: attributes[key] for key in self.floats.attributes}


class Part(_OfIntegers):
    """Base of what passes make of these: parts of code, and what is computed when weights are loaded."""


def quantization(what: str) -> AttributeSpec:
    """An attribute that says what the integers of an operand or result stand for."""
    return AttributeSpec(Quantization, f"what the elements of {what} stand for")


ACTIVATION = AttributeSpec((str, NoneType), f"activation that the range comes from: {', '.join(ALONE)}", None)

RANGE = {
    "low": AttributeSpec((int, NoneType), "smallest result; that of the element type if absent", None),
    "high": AttributeSpec((int, NoneType), "largest result; that of the element type if absent", None),
}
"""A range of results."""

ACTIVATED = {**RANGE, "activation": ACTIVATION}
"""The range that a fused activation leaves, and its name, which decides nothing: files keep it."""


def check_quantized(
    operator: Operator,
    operands: tuple[TensorType, ...],
    attributes: Attributes,
    *names: str,
    types: tuple[DType, ...] = INTEGERS,
) -> None:
    """Raise `ShapeError` unless the operands are integers of `types`, quantized as the attributes called `names` say.

    Only a weight's type needn't tell: what isn't stated is lost to whoever pads an activation or writes it to a file.
    """
    for operand, name in zip(operands, names, strict=False):
        if operand.dtype not in types:
            raise ShapeError(f"{operator.name} takes integers of type {', '.join(map(str, types))}, not {operand}")
        stated = operand.quantization
        given: Quantization = attributes[name]
        problem = given.problem(operand.dtype, operand.shape)
        if problem is not None:
            raise ShapeError(f"{operator.name}: `{name}` is {given}, but {problem}")
        if stated is None and name != "weight":
            wanted = operand.with_quantization(given)
            raise ShapeError(
                f"{operator.name}: `{name}` is {given}, but {operand} doesn't say so; "
                f"write {wanted} where it is made, or reinterpret it"
            )
        if stated is not None and stated != given:
            raise ShapeError(f"{operator.name}: `{name}` is {given}, but the operand is quantized as {stated}")


def check_activations(
    operator: Operator,
    operands: tuple[TensorType, ...],
    attributes: Attributes,
    *names: str,
    beside: tuple[str, ...] = ("y",),
    types: tuple[DType, ...] = INTEGERS,
) -> None:
    """Raise `ShapeError` unless operands are as `check_quantized` says; they and those `beside` have one scale each."""
    check_quantized(operator, operands, attributes, *names, types=types)
    per_tensor(operator, attributes, *names, *beside)


def range_of(dtype: DType, attributes: Attributes) -> tuple[int, int]:
    """The smallest and the largest result of an operator with a range."""
    info = np.iinfo(str(dtype.numpy))
    low, high = attributes["low"], attributes["high"]
    return int(info.min) if low is None else low, int(info.max) if high is None else high


def named_integer(operator: Operator, attributes: Attributes, types: tuple[DType, ...] = INTEGERS) -> DType:
    """The element type that the attribute `dtype` names.

    Raises `ShapeError` for one that the operator doesn't give.
    """
    names = {str(d): d for d in types}
    if attributes["dtype"] not in names:
        raise ShapeError(f"{operator.name} gives {', '.join(names)}, not {attributes['dtype']}")
    return names[attributes["dtype"]]


def check_range(operator: Operator, dtype: DType, attributes: Attributes) -> None:
    """Raise `ShapeError` unless low and high fit the element type."""
    info = np.iinfo(str(dtype.numpy))
    low, high = range_of(dtype, attributes)
    if not info.min <= low <= high <= info.max:
        raise ShapeError(f"{operator.name}: {low} to {high} is not a range of {dtype}")


def check_activation(operator: Operator, dtype: DType, y: Quantization | None, attributes: Attributes) -> None:
    """Raise `ShapeError` unless low and high fit the element type, and are what the activation leaves, if one is named.

    `y` says what the integers stand for, if that is known.
    """
    check_range(operator, dtype, attributes)
    name = attributes["activation"]
    if name is None:
        return
    if name not in ALONE:
        raise ShapeError(f"{operator.name}: `activation` is {name}, not one of {', '.join(ALONE)}")
    given = range_of(dtype, attributes)
    wanted = given if y is None else integer_range(*ALONE[name], dtype, y)
    if given != wanted:
        leaves = f"{wanted[0]} to {wanted[1]}, not {given[0]} to {given[1]}"
        raise ShapeError(f"{operator.name}: {name} leaves {leaves}")


def demand(operator: Operator, given: Quantization, dtype: DType, scale: float, zero_point: int) -> None:
    """Raise `ScaleError` unless the result is quantized in the one way that the kernel knows.

    `zero_point` is that of i8; of u8 it is as far from the smallest number, and of i16 it is 0.
    """
    wanted = 0 if dtype is DType.I16 else zero_point + 128 + int(np.iinfo(str(dtype.numpy)).min)
    if given.zero_point != wanted or abs(given.scale - scale) > scale * 0.001:
        only = Quantization.of(scale, wanted)
        raise ScaleError(f"{operator.name} gives {dtype} quantized as {only}, not as {given}")


LIMIT = 2.0**31
"""What quotients of numbers by scales stay below, so that 32 bits hold them."""


def integer_of(number: float, y: Quantization) -> int:
    """The integer that stands for a number, as kernels find it: the quotient in f32, halves away from zero.

    It may lie outside the element type, by 2^31 at most.
    """
    return y.zero_point + round_half_away(min(max(single_ratio(number, over=y.scale), -LIMIT), LIMIT))


def integer_range(low: float, high: float, dtype: DType, y: Quantization) -> tuple[int, int]:
    """The integers to which real bounds limit results of an element type; infinite ones leave the type's own."""
    info = np.iinfo(str(dtype.numpy))
    least, most = int(info.min), int(info.max)
    lowest = least if low == -math.inf else min(max(integer_of(low, y), least), most)
    highest = most if high == math.inf else max(min(integer_of(high, y), most), least)
    return lowest, highest


def activation_range(activation: str | None, dtype: DType, y: Quantization) -> dict[str, Attribute]:
    """The attributes `ACTIVATED` of an operator that an activation is fused into; None: without one."""
    if activation is None:
        return {"low": None, "high": None}
    low, high = integer_range(*ALONE[activation], dtype, y)
    return {"low": low, "high": high, "activation": activation}


def per_tensor(operator: Operator, attributes: Attributes, *names: str) -> None:
    """Raise `ShapeError` unless the attributes called `names` have one scale."""
    for name in names:
        if not attributes[name].is_per_tensor:
            raise ShapeError(f"{operator.name}: `{name}` must have one scale, not one for each channel")
