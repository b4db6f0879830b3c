"""sum-quantized: products of numbers that were quantized to 8 bits are added up as integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Self

import numpy as np

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Array, Graph, Operation, Value
from ..ops.products.contract import Contract
from ..ops.products.dense import Dense
from ..ops.products.matmul import MatMul
from ..ops.quantized.base import BYTES
from ..ops.quantized.conversion import Dequantize, QuantizeEven
from ..ops.quantized.grids import FARTHEST, as_bytes, scales_of
from ..ops.quantized.groups import are_whole_quads, together
from ..ops.quantized.matmul import LARGEST_PRODUCT
from ..ops.quantized.scaled_sums import with_whole_quads
from ..ops.quantized.transpose import by_phases, has_whole_phases
from ..ops.windows.convolution import Conv1D, Conv2D, Conv3D
from ..ops.windows.transpose_convolution import TransposeConv2D
from ..types import DType, Quantization
from .base import Pass
from .dce import dce
from .dense_products import with_dense_layers
from .known import MOVES, known
from .product_axes import letters_of
from .two_dimensions import of_height_one

_SUMS = {
    Dense: "dense_sum",
    Conv1D: "conv2d_sum",
    Conv2D: "conv2d_sum",
    Conv3D: "conv3d_sum",
    TransposeConv2D: "conv2d_sum",
}
_FLOATS = (DType.F32, DType.F64)
"""They hold all that a byte stands for: casts between them change nothing."""
_LARGEST_BIAS = 1 << 30
_LARGEST_SUM = 1 << 31
_LARGEST_SINGLE = 1 << 24
"""Up to which singles hold all whole numbers."""
_ROUNDING = 2.0**-22
"""How far a bias may be from a multiple of the sums' scale, as a share of itself."""


@dataclass(frozen=True)
class SumQuantized(Pass):
    """Compute products of dequantized numbers and a weight of whole multiples of a scale as sums of integers.

    ONNX's quantized files have floats between their roundings. The exact sum of products of integers, times both
    scales, is what the floats stand for; it differs from their sum by what that rounds. Where the result is quantized,
    perhaps after limits, the sums are brought to its scale by one factor, as ONNX Runtime does it, and the limits are
    those of the integers.

    Before::

        %0 = dequantize(%x) {x = <0.5:3>} : f32[2,4]
        %1 = dense(%0, %w, %bias) : f32[2,3]
        %2 = relu(%1) : f32[2,3]
        %3 = quantize_even(%2) {dtype = "u8", y = <0.25>} : u8[2,3]<0.25>

    After::

        %0 = dense_sum(%x, %bytes, %whole) {x_zero = 3} : i32[2,3]
        %1 = cast(%0) {dtype = "f32"} : f32[2,3]
        %2 = mul(%1, %factors) : f32[2,3]
        %3 = quantize_even(%2) {dtype = "u8", y = <1.0>} : u8[2,3]<1.0>
        %4 = reinterpret(%3) {y = <0.25>} : u8[2,3]<0.25>
    """

    name = "sum-quantized"

    def run(self, graph: Graph) -> Graph:
        """One contraction after the other."""
        graph = with_dense_layers(graph)
        kinds = (_Sums, _Products)
        made = [sums for op in graph.operations for kind in kinds if (sums := kind.of(op, graph)) is not None]
        found = {sums.last: sums for sums in made}
        return dce(rewritten(graph, lambda b, op: found[op].emit(b) if op in found else None)) if found else graph


@dataclass(frozen=True)
class _End:
    """Where the result of a contraction is quantized."""

    op: Operation
    low: float = -math.inf
    high: float = math.inf

    @classmethod
    def of(cls, op: Operation, graph: Graph) -> Self | None:
        """The one use of a result, after limits perhaps, if it is such."""
        low, high = -math.inf, math.inf
        while graph.has_one_use(op.result):
            (op,) = graph.users[op.result]
            if type(op.operator) is QuantizeEven:
                return cls(op, low, high)
            if not op.operator.clips:
                return None
            least, most = op.operator.bounds(op.attributes)
            low, high = min(max(low, least), most), min(max(high, least), most)
        return None

    @property
    def scale(self) -> Quantization:
        """That of the integers."""
        given: Quantization = self.op.attributes["y"]
        return given

    def emit(self, b: Rewriter, real: Value, at: Any, name: str | None) -> Value:
        """The integers of numbers on this scale."""
        dtype = self.op.result.type.dtype
        limits = np.array([[self.low, self.high]], np.float32)
        low, high = self.op.operator.evaluate((limits,), self.op.attributes)[0][0].tolist()
        y = b.emit("quantize_even", real, dtype=str(dtype), y=Quantization.of(1.0, self.scale.zero_point), **at)
        info = np.iinfo(str(dtype.numpy))
        if (low, high) != (info.min, info.max):
            y = b.emit("clamp", y, low=low, high=high, **at)
        return b.emit("reinterpret", y, y=self.scale, **at, name=name)


@dataclass(frozen=True)
class _Bytes:
    """Bytes as floats, moved perhaps."""

    x: Value
    given: Quantization
    moves: tuple[Operation, ...]
    """What brings them into their order and shape, one after the other."""

    @classmethod
    def of(cls, value: Value, graph: Graph) -> Self | None:
        """What a value is made of, if it is such."""
        moves: list[Operation] = []
        source = graph.producers.get(value)
        while source is not None and (source.name in MOVES or _keeps_numbers(source)):
            moves += [source] if source.name in MOVES else []
            source = graph.producers.get(source.operands[0])
        if source is None or type(source.operator) is not Dequantize:
            return None
        x, given = source.operands[0], source.attributes["x"]
        is_given = x.type.dtype in BYTES and x.type.quantization == given
        return cls(x, given, (*reversed(moves),)) if is_given else None

    def moved(self, b: Rewriter, x: Value) -> Value:
        """A value in the place of the bytes, in this order and shape."""
        for move in self.moves:
            x = b.operation(move.operator, (x,), move.attributes, location=move.location).result
        return x

    @property
    def farthest(self) -> int:
        """The largest distance from the zero point."""
        info = np.iinfo(str(self.x.type.dtype.numpy))
        return max(info.max - self.given.zero_point, self.given.zero_point - info.min)

    def whole(self, b: Rewriter, at: Any) -> Value:
        """The bytes less their zero point as singles."""
        return self.moved(b, self._less_zero(b, b[self.x], at))

    def part(self, b: Rewriter, axis: int, places: range, at: Any) -> Value:
        """The same, of some places along an axis."""
        x = self.moved(b, b[self.x])
        begin, size = [0] * x.type.rank, list(x.type.shape)
        begin[axis], size[axis] = places.start, len(places)
        return self._less_zero(b, b.emit("slice", x, begin=tuple(begin), size=tuple(size), **at), at)

    def _less_zero(self, b: Rewriter, x: Value, at: Any) -> Value:
        x = b.emit("cast", x, dtype="f32", **at)
        if not self.given.zero_point:
            return x
        return b.emit("sub", x, b.scalar(self.given.zero_point, DType.F32, at["location"]), **at)


@dataclass(frozen=True)
class _Products:
    """Products of two tensors of bytes, in doubles, whose sums are rounded to bytes again.

    Singles hold the sums of products of whole numbers, exactly up to 2^24, and take half the time. Longer sums are made
    in parts, which are added up as integers.
    """

    op: Operation
    sides: tuple[_Bytes, _Bytes]
    end: _End
    factor: Array
    cut: tuple[str, int]
    """The axis that is summed over in parts, and how many places of it a part has."""

    @classmethod
    def of(cls, op: Operation, graph: Graph) -> Self | None:
        """What a product adds up, if these are such products."""
        if not isinstance(op.operator, MatMul | Contract) or op.result.type.dtype is not DType.F64:
            return None
        a, b = (_Bytes.of(v, graph) for v in op.operands)
        end = _End.of(op, graph)
        if a is None or b is None or end is None or end.op.result.type.dtype not in BYTES:
            return None
        factor = _factors(np.array(a.given.scale * b.given.scale), DType.F32, end)
        cut = _exact_part(op, a.farthest * b.farthest)
        return None if factor is None or cut is None else cls(op, (a, b), end, np.asarray(factor), cut)

    @property
    def last(self) -> Operation:
        """The operation whose result `emit` gives."""
        return self.end.op

    def emit(self, b: Rewriter) -> Value:
        """The sums times the factor, as bytes."""
        at: Any = {"location": self.op.location}
        sums = self._total(b, at)
        real = b.emit("mul", sums, b.constant(self.factor, self.op.location), **at)
        return self.end.emit(b, real, at, self.last.result.name)

    def _total(self, b: Rewriter, at: Any) -> Value:
        (axis, most), letters = self.cut, letters_of(self.op)[:2]
        length = self.op.operands[0].type.shape[letters[0].index(axis)]
        if length <= most:
            return self._products(b, [side.whole(b, at) for side in self.sides])
        size, parts = -(-length // -(-length // most)), list[Value]()
        for start in range(0, length, size):
            places = range(start, min(start + size, length))
            sides = zip(self.sides, letters, strict=True)
            factors = [side.part(b, own.index(axis), places, at) for side, own in sides]
            parts.append(b.emit("cast", self._products(b, factors), dtype="i32", **at))
        total = reduce(lambda first, second: b.emit("add", first, second, **at), parts)
        return b.emit("cast", total, dtype="f32", **at)

    def _products(self, b: Rewriter, sides: Sequence[Value]) -> Value:
        return b.operation(self.op.operator, sides, self.op.attributes, location=self.op.location).result


def _exact_part(op: Operation, largest: int) -> tuple[str, int] | None:
    """The longest axis that a product is summed over, and how many places of it give sums that singles hold exactly.

    None where there is no such axis, or no such part of it, or integers don't hold the whole sums.
    """
    left, _, result = letters_of(op)
    sizes = {label: size for label, size in zip(left, op.operands[0].type.shape, strict=True) if label not in result}
    if not sizes or math.prod(sizes.values()) * largest >= _LARGEST_SUM:
        return None
    axis = max(sizes, key=lambda label: sizes[label])
    others = math.prod(size for label, size in sizes.items() if label != axis)
    most = _LARGEST_SINGLE // (others * largest) if others else 0
    return (axis, most) if most else None


@dataclass(frozen=True)
class _Sums:
    """Sums of products of quantized numbers and a constant."""

    op: Operation
    x: Value
    """The bytes that are dequantized."""
    given: Quantization
    moves: tuple[Operation, ...]
    """What brings them into the order and shape in which they are multiplied, one after the other."""
    bytes: Array
    """The whole numbers of the weight as i8, and what was added for it."""
    weight_zero: int
    bias: Array | None
    """The whole numbers (i32) of the bias, if it consists of multiples of these scales."""
    end: _End | None
    factors: Array
    """What products of integers stand for, for each filter, the last dimension, in units of the scale at the end."""

    @classmethod
    def of(cls, op: Operation, graph: Graph) -> Self | None:
        """What a contraction adds up, if these are such products."""
        if not _is_served(op):
            return None
        left = _Bytes.of(op.operands[0], graph)
        if left is None:
            return None
        x, given, moves = left.x, left.given, left.moves
        weight = known(op.operands[1], graph)
        if weight is None or not weight.size or weight.shape[-1] == 1:
            return None
        if math.prod(weight.shape[:-1]) * LARGEST_PRODUCT >= _LARGEST_BIAS:
            return None
        scales = scales_of(weight, -FARTHEST, FARTHEST)
        if scales is None:
            return None
        divisors = np.where(scales > 0, scales, 1).astype(weight.dtype)
        made = as_bytes(np.rint(weight / divisors).astype(np.int16))
        if made is None:
            return None
        products = divisors.astype(np.float64) * given.scale
        bias = known(op.operands[2], graph) if len(op.operands) > 2 else None
        whole = None if bias is None else _whole(bias, products)
        end = _End.of(op, graph)
        factors = _factors(products, op.result.type.dtype if end is None else DType.F32, end)
        if factors is None:
            return None
        return cls(op, x, given, moves, *made, whole, end, factors)

    @property
    def last(self) -> Operation:
        """The operation whose result `emit` gives."""
        return self.op if self.end is None else self.end.op

    def emit(self, b: Rewriter) -> Value:
        """The sums as integers, times the scales, and the bias."""
        at: Any = {"location": self.op.location}
        x, attributes = b[self.x], dict(self.op.attributes)
        for move in self.moves:
            x = b.operation(move.operator, (x,), move.attributes, location=move.location).result
        if type(self.op.operator) is TransposeConv2D:
            return self._by_phases(b, x, at)
        weight = self.bytes
        if type(self.op.operator) is Conv1D:
            batch, width, channels = x.type.shape
            x = b.emit("reshape", x, shape=(batch, 1, width, channels), **at)
            weight, attributes = weight[np.newaxis], of_height_one(attributes)
        return self._scaled(b, x, b.constant(weight, self.op.location), attributes, at, self.last.result.name)

    def _by_phases(self, b: Rewriter, x: Value, at: Any) -> Value:
        """The same of a transposed convolution: each phase of its strides is a convolution."""

        def part(inputs: Value, taps: Value, given: dict[str, Any]) -> Value:
            kept = {name: given[name] for name in ("strides", "padding", "dilations", "groups")}
            return self._scaled(b, inputs, taps, kept, at, None)

        weight = b.constant(self.bytes, self.op.location)
        return by_phases(b, x, weight, self.weight_zero, self.op.attributes, part)

    def _scaled(
        self, b: Rewriter, x: Value, weight: Value, attributes: dict[str, Any], at: Any, name: str | None
    ) -> Value:
        """The sums of integers by a weight, times the scales, and the bias."""
        dtype, scale = (self.op.result.type.dtype, 1.0) if self.end is None else (DType.F32, self.end.scale.scale)
        y = b.emit("cast", self._total(b, x, weight, attributes, at), dtype=str(dtype), **at)
        if type(self.op.operator) is Conv1D:
            y = b.emit("reshape", y, shape=self.op.result.type.shape, **at)
        factors = b.constant(self.factors, self.op.location)
        named = at if self.end is not None else at | {"name": name}
        if self.bias is not None or len(self.op.operands) == 2:
            y = b.emit("mul", y, factors, **named)
        else:
            y = b.emit("add", b.emit("mul", y, factors, **at), self._real_bias(b, dtype, scale, at), **named)
        return y if self.end is None else self.end.emit(b, y, at, name)

    def _real_bias(self, b: Rewriter, dtype: DType, scale: float, at: Any) -> Value:
        """The bias in units of a scale."""
        bias = b[self.op.operands[2]]
        if scale != 1.0:
            bias = b.emit("div", bias, b.scalar(scale, bias.type.dtype, self.op.location), **at)
        return bias if bias.type.dtype is dtype else b.emit("cast", bias, dtype=str(dtype), **at)

    def _total(self, b: Rewriter, x: Value, weight: Value, attributes: dict[str, Any], at: Any) -> Value:
        """The sums of integers, with the bias where it is whole."""
        zeros = {"x_zero": self.given.zero_point, "weight_zero": self.weight_zero}
        joined, attributes = with_whole_quads(b, weight, attributes | zeros)
        bias = () if self.bias is None else (b.constant(self.bias, self.op.location),)
        return b.emit(_SUMS[type(self.op.operator)], x, joined, *bias, **attributes, **at)


def _is_served(op: Operation) -> bool:
    """True for contractions of floats that have a form of integers with kernels of their own."""
    if type(op.operator) not in _SUMS or op.operands[0].type.dtype not in _FLOATS:
        return False
    if isinstance(op.operator, TransposeConv2D):
        return has_whole_phases(op.operands[1].type, op.attributes)
    if not isinstance(op.operator, Conv3D):
        return True
    (channels, filters), groups = op.operands[1].type.shape[-2:], op.attributes["groups"]
    return are_whole_quads(channels, groups) or together(channels, groups, filters // groups) > 1


def _keeps_numbers(op: Operation) -> bool:
    return op.name == "cast" and op.result.type.dtype in _FLOATS


def _factors(scales: Array, dtype: DType, end: _End | None) -> Array | None:
    """Scales in units of that at the end, as floats; None where such a float is infinite, or has not all its digits.

    Neither may sums times these be infinite: then a sum of 0, or a bias, would make no number of them.
    """
    wide, info = scales / (1.0 if end is None else end.scale.scale), np.finfo(str(dtype.numpy))
    fits = (wide >= float(info.tiny)).all() and (wide <= float(info.max) / _LARGEST_SUM).all()
    return wide.astype(dtype.numpy) if fits else None


def _whole(bias: Array, scales: Array) -> Array | None:
    """A bias (i32) as multiples of scales; None where it isn't."""
    wide = bias.astype(np.float64)
    whole = np.rint(wide / scales)
    near = np.abs(whole * scales - wide) <= _ROUNDING * np.abs(wide)
    fits = near.all() and np.abs(whole).max(initial=0) < _LARGEST_BIAS
    return whole.astype(np.int32) if fits else None


sum_quantized = SumQuantized()
