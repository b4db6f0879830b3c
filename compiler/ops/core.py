"""Operators without arithmetic: parameters, constants, changes of layout, fused groups."""

from __future__ import annotations

import numpy as np

from ..errors import InternalError, ShapeError
from ..graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Value
from ..graph.registry import register
from ..loops.compute import Compute
from ..loops.ir import Expr
from ..types import DType, Quantization, TensorType


@register
class Param(Operator):
    """A weight tensor; its value is bound when a program is loaded."""

    name = "param"
    internal = True
    operands = ()
    attributes = {
        "shape": AttributeSpec(tuple, "shape of the tensor"),
        "dtype": AttributeSpec(str, "element type", "f32"),
        "init": AttributeSpec(str, "rule for initial values, such as he_normal or normal(stddev)", "zeros"),
        "trainable": AttributeSpec(bool, "false for running statistics", True),
        "checkpoint": AttributeSpec(
            (str, type(None)),
            'order of dimensions in published weights where it differs, such as "oihw" for HWIO, or "c11->c"',
            None,
        ),
        "quantization": AttributeSpec((Quantization, type(None)), "what its elements stand for, if quantized", None),
        "value": AttributeSpec(
            (np.ndarray, type(None)),
            "what it begins with, if that is no matter of weights: a state of the network",
            None,
        ),
    }

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        result = _quantized(TensorType(DType(attributes["dtype"]), attributes["shape"]), attributes)
        value = attributes["value"]
        if value is not None and (value.shape, value.dtype) != (result.shape, result.dtype.numpy):
            raise ShapeError(f"param: {result} can't begin with {value.dtype}{list(value.shape)}")
        return (result,)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        raise InternalError("a parameter has no value of its own; bind weights first")


@register
class Constant(Operator):
    """A tensor known at compile time."""

    name = "constant"
    internal = True
    operands = ()
    attributes = {
        "value": AttributeSpec(np.ndarray, "the tensor"),
        "quantization": AttributeSpec((Quantization, type(None)), "what its elements stand for, if quantized", None),
    }

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        value: Array = attributes["value"]
        return (_quantized(TensorType(DType.of(value.dtype), value.shape), attributes),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (attributes["value"],)


def _quantized(type_: TensorType, attributes: Attributes) -> TensorType:
    """The type with the quantization that the attributes give, which must fit."""
    quantization: Quantization | None = attributes["quantization"]
    problem = quantization.problem(type_.dtype, type_.shape) if quantization is not None else None
    if problem is not None:
        raise ShapeError(f"{type_} can't be quantized as {quantization}: {problem}")
    return type_.with_quantization(quantization)


class PassThrough(Operator):
    """Base of the operators whose result is their operand; what sets them apart is said elsewhere."""

    operands = ("x",)
    elementwise = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        return (operands[0].dense(),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return operands

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return c.load(0, index)


@register
class Relayout(PassThrough):
    """The same tensor in another layout; the result's type says which."""

    name = "relayout"
    internal = True

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        return cotangents


@register
class Fused(Operator):
    """A group of operations that becomes one kernel; its body is a graph whose inputs stand for the operands."""

    name = "fused"
    internal = True
    operands = ("*values",)
    non_differentiable = "it is made of operations that are; differentiate before fusing"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        raise ShapeError("a fused operation takes its types from its body")

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        raise InternalError("the interpreter evaluates the body of a fused operation")
