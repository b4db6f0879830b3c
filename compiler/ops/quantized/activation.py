"""Functions of one quantized number, as tables of their values."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from ...errors import ScaleError, ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Value
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Expr
from ...types import DType, Quantization, TensorType
from ..functions.rounding import rounded
from . import fixed_point as fp
from .base import (
    BYTES,
    INTEGERS,
    Part,
    QuantizedOperator,
    check_activations,
    demand,
    quantization,
)
from .shorts import interpolated, sigmoid


def all_values(dtype: DType) -> Array:
    """The values of a type of 8 or 16 bits, smallest first, as int64."""
    info = np.iinfo(str(dtype.numpy))
    return np.arange(info.min, info.max + 1, dtype=np.int64)


@register
class Lookup(Part):
    """The entry of a table for each 8-bit (or 16-bit) number; the table begins with the smallest number."""

    name = "lookup"
    operands = ("x", "table")
    attributes = {"y": AttributeSpec((Quantization, type(None)), "what the results stand for", None)}
    anchor = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, table = operands
        if x.dtype not in INTEGERS or table.shape != (1 << 8 * x.dtype.itemsize,):
            raise ShapeError(f"lookup can't find {x} in {table}")
        return (TensorType(table.dtype, x.shape, None, attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, table = operands
        return (table[x.astype(np.int64) - np.iinfo(x.dtype).min],)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return c.entry(1, c.load(0, index))


class ByteFunction(QuantizedOperator):
    """Base of the operators that are a function of one number of 8 bits, or of 16."""

    types: ClassVar[tuple[DType, ...]] = BYTES
    """Element types that it takes."""
    operands = ("x",)
    attributes = {"x": quantization("x"), "y": quantization("the result")}

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        check_activations(self, operands, attributes, "x")
        if x.dtype not in self.types:
            raise ShapeError(f"{self.name} takes integers of type {', '.join(map(str, self.types))}, not {x}")
        self.function(all_values(x.dtype), x.dtype, attributes)
        return (TensorType(x.dtype, x.shape, None, attributes["y"]),)

    @abstractmethod
    def function(self, x: Array, dtype: DType, attributes: Attributes) -> Array:
        """The function of int64 values; what lies outside the element type saturates.

        Raises `ScaleError` for scales with which the kernels give no defined result.
        """

    def table(self, dtype: DType, attributes: Attributes) -> Array:
        """The results for all numbers of an element type, smallest first."""
        return fp.saturate(self.function(all_values(dtype), dtype, attributes), dtype)

    def tabulated(self, function: Callable[[Array], Array], x: Array, dtype: DType, attributes: Attributes) -> Array:
        """A function of f32 numbers at what int64 values stand for, on the result's scale, as kernels tabulate it."""
        source, target = attributes["x"], attributes["y"]
        if dtype is DType.I16:
            return interpolated(x, function, source, target)
        with np.errstate(over="ignore", invalid="ignore"):
            result = function(np.float32(source.scale) * (x - source.zero_point).astype(np.float32))
            whole = rounded(result * (np.float32(1) / np.float32(target.scale))) + np.float32(target.zero_point)
        if not np.all(np.abs(whole) < 1 << 31):
            problem = f"{self.name}: results on the scale of {target} are beyond 32-bit integers"
            raise ScaleError(problem, hint=fp.CALIBRATE)
        return whole.astype(np.int64)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        table = self.table(DType.of(x.dtype), attributes)
        return (table[x.astype(np.int64) - np.iinfo(x.dtype).min],)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        table = b.constant(self.table(x.type.dtype, attributes))
        return b.emit("lookup", x, table, y=attributes["y"])


class RealFunction(ByteFunction):
    """Base of the functions that are computed in f32: of what the operand stands for, on the result's scale."""

    @abstractmethod
    def real(self, x: Array, attributes: Attributes) -> Array:
        """The function of f32 numbers, each step rounded to f32."""

    def function(self, x: Array, dtype: DType, attributes: Attributes) -> Array:
        return self.tabulated(lambda reals: self.real(reals, attributes), x, dtype, attributes)


def in_f32(function: Callable[[Array], Array], x: Array) -> Array:
    """A function of f32 numbers, rounded correctly: computed in f64."""
    return function(x.astype(np.float64)).astype(np.float32)


class _Sigmoid(RealFunction):
    """Base of logistic and tanh, which give 16-bit numbers in steps of 2^-15."""

    types = INTEGERS
    is_tanh: ClassVar[bool]

    def function(self, x: Array, dtype: DType, attributes: Attributes) -> Array:
        if dtype is not DType.I16:
            return super().function(x, dtype, attributes)
        demand(self, attributes["y"], dtype, 2.0**-15, 0)
        return sigmoid(x, attributes["x"], tanh=self.is_tanh)


@register
class QLogistic(_Sigmoid):
    """1 / (1 + exp(-x))."""

    name = "q_logistic"
    is_tanh = False

    def real(self, x: Array, attributes: Attributes) -> Array:
        result: Array = np.float32(1) / (np.float32(1) + in_f32(np.exp, -x))
        return result


@register
class QTanh(_Sigmoid):
    """Hyperbolic tangent."""

    name = "q_tanh"
    is_tanh = True

    def real(self, x: Array, attributes: Attributes) -> Array:
        return in_f32(np.tanh, x)


@register
class QLeakyRelu(ByteFunction):
    """The operand where it is positive, else alpha times it, on another scale."""

    name = "q_leaky_relu"
    types = INTEGERS
    attributes = {**ByteFunction.attributes, "alpha": AttributeSpec(float, "slope below zero")}

    def function(self, x: Array, dtype: DType, attributes: Attributes) -> Array:
        source, target = attributes["x"], attributes["y"]
        offset = x - source.zero_point
        alpha = attributes["alpha"]
        factors = (
            fp.single_ratio(source.scale, over=target.scale),
            fp.single_ratio(source.scale, abs(alpha), over=target.scale),
        )
        positive, negative = (fp.multiply(offset, *fp.quantize_multiplier(f)) for f in factors)
        slope = -negative if alpha < 0 else negative
        result: Array = np.where(offset >= 0, positive, slope) + target.zero_point
        return result
