"""Contractions of floats with 8-bit weights, as in TFLite's files of dynamic range ("hybrid" kernels).

The floats are quantized while the program runs, each row on a scale of its own (see `dynamic`): a row is a sample of a
convolution, or a vector of a dense layer or of a product of matrices. Sums are made of integers, and become floats
again. For lowering the operators fall into these steps, so that the schedules of integer sums serve them.

LiteRT's reference kernels decide how: `symmetric` is an option of FULLY_CONNECTED and BATCH_MATMUL. CONV_2D is
symmetric where all filters have one scale and there is one group, DEPTHWISE_CONV_2D and TRANSPOSE_CONV never are.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, Builder, Value
from ...graph.registry import register
from ...types import DType, Quantization, TensorType
from ..products.dense import Dense
from ..products.matmul import TRANSPOSED, MatMul, exchanged, matrices
from ..windows.convolution import WINDOW_ATTRIBUTES, Conv2D
from ..windows.transpose_convolution import TransposeConv2D
from ..windows.window import window_of
from .base import HybridOperator, quantization
from .contraction import Conv2DSum, product
from .dynamic import SYMMETRIC, ZERO, DynamicParameters, DynamicQuantize, DynamicRescale
from .groups import QUAD
from .transpose import TransposeConv2DSum

WEIGHT = {
    "weight": quantization("the weight; one scale for each filter (the last dimension) or one for all"),
    "symmetric": SYMMETRIC,
}
PART = 4096
"""Elements of a row that are worth a thread, at least."""
PARTS = 16
EXACT = (1 << 24) // (128 * 128)
"""Products of so many integers of 8 bits have sums of 24 bits, which a float of 32 bits holds."""


class Hybrid(HybridOperator):
    """Base of the contractions of floats with 8-bit weights."""

    operands: ClassVar[tuple[str, ...]] = ("x", "weight", "bias?")
    by_sample = True
    """A row is all but the first dimension, else it is the last one."""

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, weight, *others = operands
        given: Quantization = attributes["weight"]
        if any(v.dtype is not DType.F32 for v in (x, *others)) or weight.dtype is not DType.I8:
            raise ShapeError(f"{self.name} takes floats (f32) and a weight of i8, not {', '.join(map(str, operands))}")
        problem = given.problem(weight.dtype, weight.shape)
        if problem or given.axis not in (None, weight.rank - 1) or any(given.zero_points):
            told = problem or "it has one scale, or one for each filter, and the zero point 0"
            raise ShapeError(f"{self.name}: {weight} can't be quantized as {given}: {told}")
        if weight.quantization not in (None, given):
            raise ShapeError(f"{self.name}: `weight` is {given}, but the operand is quantized as {weight.quantization}")
        types = (x, TensorType(DType.F32, weight.shape), *others)
        (y,) = self.floats.infer(types, self.float_attributes(attributes))
        if y.size and not x.size:
            raise ShapeError(f"{self.name}: a row of {x} has no elements")
        return (y,)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, weight, *bias = self.arranged(operands, attributes)
        axes = tuple(range(1, x.ndim)) if self.by_sample else (x.ndim - 1,)
        extremes = np.stack([x.min(axes), x.max(axes)], -1).reshape(-1, 1, 2)
        (parameters,) = DynamicParameters().evaluate((extremes,), {"symmetric": attributes["symmetric"]})
        parameters = parameters.reshape(self._parameters_shape(x.shape))
        shifted = _integers(x, parameters, symmetric=attributes["symmetric"])
        total = self.total(shifted, weight, attributes).astype(np.int32)
        unshifted = parameters * np.array([1, 1, 0], np.float32)
        rest = (np.zeros((), np.int32), _scales(attributes), *bias)
        return DynamicRescale().evaluate((total, unshifted, *rest), {"apart": self.apart(weight.shape, attributes)})

    def arranged(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        """The operands as rows and filters."""
        return operands

    @abstractmethod
    def total(self, x: Array, weight: Array, attributes: Attributes) -> Array:
        """Sums of products with integers from which their zero point is taken, in NumPy."""

    def apart(self, weight: Sequence[int], attributes: Attributes) -> bool:
        """Whether LiteRT multiplies by the weight's scale first, and then by that of the row."""
        return False

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        x, weight = operands[:2]
        return self.floats.macs((x, weight), results, self.float_attributes(attributes))

    def _parameters_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        rows = (shape[0], *(1,) * (len(shape) - 2)) if self.by_sample else shape[:-1]
        return (*rows, 3)

    def parameters(self, b: Builder, x: Value, attributes: Attributes) -> Value:
        """The parameters of each row of x, found while the program runs."""
        shape = x.type.shape
        rows = shape[:1] if self.by_sample else shape[:-1]
        length = math.prod(shape[1:] if self.by_sample else shape[-1:])
        parts = next(p for p in range(max(1, min(PARTS, length // PART)), 0, -1) if length % p == 0)
        seen = b.emit("reshape", x, shape=(math.prod(rows), parts, length // parts))
        extremes = b.emit("row_extremes", seen)
        found = b.emit("dynamic_parameters", extremes, symmetric=attributes["symmetric"])
        return b.emit("reshape", found, shape=self._parameters_shape(shape))

    def integers(self, b: Builder, x: Value, parameters: Value, attributes: Attributes, padding: Any = None) -> Value:
        """The rows as integers."""
        return b.emit("dynamic_quantize", x, parameters, symmetric=attributes["symmetric"], padding=padding)

    def finished(
        self,
        b: Builder,
        total: Value,
        parameters: Value,
        sums: Value,
        operands: Sequence[Value],
        attributes: Attributes,
    ) -> Value:
        """The sums of products as floats; `sums` are those of the weights that are multiplied."""
        _, weight, *bias = operands
        scales = b.constant(np.asarray(_scales(attributes)))
        apart = self.apart(weight.type.shape, attributes)
        return b.emit("dynamic_rescale", total, parameters, sums, scales, *bias, apart=apart)


def _integers(x: Array, parameters: Array, *, symmetric: bool) -> Array:
    """Rows as integers of 16 bits without their zero points."""
    (whole,) = DynamicQuantize().evaluate((x, parameters), {"symmetric": symmetric, "padding": None})
    zero: Array = parameters[..., ZERO, np.newaxis].astype(np.int16)
    return whole.astype(np.int16) - zero


def _scales(attributes: Attributes) -> Array:
    given: Quantization = attributes["weight"]
    scales = np.array(given.scales, np.float32)
    return scales[0] if given.is_per_tensor else scales


def _weight_sums(b: Builder, weight: Value, axes: tuple[int, ...], *, keepdims: bool = False) -> Value:
    """Sums of the weights, computed when these are loaded."""
    return b.emit("reduce_sum", b.emit("cast", weight, dtype="i32"), axes=axes, keepdims=keepdims)


@register
class HybridConv2D(Hybrid):
    """2-D convolution of floats x [N, H, W, C] with 8-bit weight [KH, KW, C / groups, F] and float bias [F]."""

    name = "hybrid_conv2d"
    attributes = {**WINDOW_ATTRIBUTES, **WEIGHT}
    floats = Conv2D()

    def total(self, x: Array, weight: Array, attributes: Attributes) -> Array:
        given = {**self.float_attributes(attributes), "x_zero": 0, "weight_zero": 0}
        return Conv2DSum().evaluate((x, weight), given)[0]

    def apart(self, weight: Sequence[int], attributes: Attributes) -> bool:
        depthwise = attributes["groups"] > 1 and weight[2] == 1
        return not attributes["symmetric"] and not depthwise

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        """Zeros around x become its zero point, which nobody knows before: they are written where it isn't 0."""
        x, weight, *_ = operands
        parameters, given = self.parameters(b, x, attributes), self.float_attributes(attributes)
        padding = window_of(self.name, x.type.shape[1:-1], weight.type.shape[:2], attributes).padding
        if attributes["symmetric"] or all(p == (0, 0) for p in padding):
            whole = self.integers(b, x, parameters, attributes)
        else:
            whole = self.integers(b, x, parameters, attributes, ((0, 0), *padding, (0, 0)))
            given["padding"] = "valid"
        total = b.emit("conv2d_sum", whole, weight, **given, x_zero=0, weight_zero=0)
        return self.finished(b, total, parameters, _weight_sums(b, weight, (0, 1, 2)), operands, attributes)


@register
class HybridDense(Hybrid):
    """Floats x [..., I] times 8-bit weight [I, O], plus float bias [O]."""

    name = "hybrid_dense"
    attributes = WEIGHT
    floats = Dense()
    by_sample = False

    def total(self, x: Array, weight: Array, attributes: Attributes) -> Array:
        rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        return product(rows, weight).reshape(*x.shape[:-1], weight.shape[-1])

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        """Rows are filled up to whole groups of four, which dot products take."""
        x, weight, *_ = operands
        parameters, rest = self.parameters(b, x, attributes), -x.type.shape[-1] % QUAD
        sums = _weight_sums(b, weight, (0,))
        if rest:
            filled = (*((0, 0) for _ in x.type.shape[:-1]), (0, rest))
            whole = self.integers(b, x, parameters, attributes, filled)
            weight = b.emit("pad", weight, padding=((0, rest), (0, 0)), value=0)
        else:
            whole = self.integers(b, x, parameters, attributes)
        total = b.emit("dense_sum", whole, weight, x_zero=0, weight_zero=0)
        return self.finished(b, total, parameters, sums, operands, attributes)


@register
class HybridMatMul(Hybrid):
    """Products of matrices of floats x [..., M, K] with 8-bit weight [..., K, N]; leading dimensions broadcast."""

    name = "hybrid_matmul"
    operands = ("x", "weight")
    attributes = {**TRANSPOSED, **WEIGHT}
    floats = MatMul()
    by_sample = False

    def arranged(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, weight = operands
        return matrices(x, weight, attributes)

    def total(self, x: Array, weight: Array, attributes: Attributes) -> Array:
        return product(x, weight)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        """One matrix of weights is that of a dense layer; short sums are exact in floats, which have a schedule."""
        x, weight = operands
        (y,) = self.infer((x.type, weight.type), attributes)
        x = exchanged(b, x) if attributes["transpose_a"] else x
        weight = exchanged(b, weight) if attributes["transpose_b"] else weight
        if math.prod(weight.type.shape[:-2]) == 1:
            weight = b.emit("reshape", weight, shape=weight.type.shape[-2:])
            found = HybridDense().decompose(b, (x, weight), attributes)
            return found if found.type.shape == y.shape else b.emit("reshape", found, shape=y.shape)
        parameters = self.parameters(b, x, attributes)
        whole = self.integers(b, x, parameters, attributes)
        if x.type.shape[-1] <= EXACT:
            floats = (b.emit("cast", v, dtype="f32") for v in (whole, weight))
            total = b.emit("cast", b.emit("matmul", *floats), dtype="i32")
        else:
            total = b.emit("matmul_sum", whole, weight, a_zero=0)
        sums = _weight_sums(b, weight, (-2,), keepdims=True)
        return self.finished(b, total, parameters, sums, (x, weight), attributes)


@register
class HybridTransposeConv2D(Hybrid):
    """Adjoint of a 2-D convolution: floats x [N, H, W, F] and 8-bit weight [KH, KW, F, C] to [N, size..., C]."""

    name = "hybrid_transpose_conv2d"
    attributes = {**TransposeConv2D.attributes, **WEIGHT}
    floats = TransposeConv2D()

    def total(self, x: Array, weight: Array, attributes: Attributes) -> Array:
        given = {**self.float_attributes(attributes), "x_zero": 0, "weight_zero": 0}
        return TransposeConv2DSum().evaluate((x, weight), given)[0]

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        """Each place of the result has its own weights: their sums are what ones give."""
        x, weight, *_ = operands
        given = {**self.float_attributes(attributes), "x_zero": 0, "weight_zero": 0}
        parameters = self.parameters(b, x, attributes)
        total = b.emit("transpose_conv2d_sum", self.integers(b, x, parameters, attributes), weight, **given)
        ones = b.constant(np.ones((1, *x.type.shape[1:]), np.int8))
        sums = b.emit("transpose_conv2d_sum", ones, weight, **given)
        return self.finished(b, total, parameters, sums, operands, attributes)
