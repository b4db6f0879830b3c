"""sum-bytes: products of bytes that a graph adds up in doubles are added up as integers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Array, Graph, Operation, Value
from ..ops.products.dense import Dense
from ..ops.quantized.base import BYTES
from ..ops.quantized.grids import as_bytes
from ..ops.quantized.matmul import LARGEST_PRODUCT
from ..ops.quantized.scaled_sums import with_whole_quads
from ..ops.windows.convolution import Conv2D, Conv3D, Convolution
from ..types import DType
from .base import Pass
from .dce import dce
from .known import MOVES, known

_SUMS = {Dense: "dense_sum", Conv2D: "conv2d_sum", Conv3D: "conv3d_sum"}
MOST_PLACES = 1 << 20
"""Elements of the sums of weights at all places of a padded convolution, at most: they are a constant."""


@dataclass(frozen=True)
class SumBytes(Pass):
    """Compute sums of products in f64 that become i32 as sums of products of 8-bit integers.

    The left side is made of 8-bit numbers, less a zero point perhaps, which the graph may compute; the right side is a
    constant of whole numbers. The sums are the same, as doubles hold them all. What the zero point takes away is a
    multiple of the sums of weights, which are fewer at the borders of a padded convolution.

    Before::

        %0 = cast(%x) {dtype = "f64"} : f64[2,4]
        %1 = sub(%0, %z) : f64[2,4]
        %2 = dense(%1, %w) : f64[2,3]
        %3 = cast(%2) {dtype = "i32"} : i32[2,3]

    After::

        %0 = dense_sum(%x, %bytes) {x_zero = 0} : i32[2,3]
        %1 = cast(%z) {dtype = "i32"} : i32[]
        %2 = mul(%sums, %1) : i32[3]
        %3 = sub(%0, %2) : i32[2,3]
    """

    name = "sum-bytes"

    def run(self, graph: Graph) -> Graph:
        """One cast to i32 after the other."""
        found = {op: sums for op in graph.operations if (sums := _Sums.of(op, graph)) is not None}
        return dce(rewritten(graph, lambda b, op: found[op].emit(b) if op in found else None)) if found else graph


@dataclass(frozen=True)
class _Left:
    """Bytes less a zero point, in another order or shape perhaps."""

    bytes: Value
    zero: Value | None = None
    moves: tuple[Operation, ...] = ()
    """What brings them into this order and shape, one after the other."""

    @classmethod
    def of(cls, value: Value, graph: Graph) -> _Left | None:
        """What a value in f64 is made of."""
        op = graph.producers.get(value)
        if op is None:
            return None
        if op.name == "cast" and op.operands[0].type.dtype in BYTES:
            return cls(op.operands[0])
        inner = cls.of(op.operands[0], graph) if op.name in (*MOVES, "sub") else None
        if inner is None or op.name in MOVES:
            return inner and replace(inner, moves=(*inner.moves, op))
        alone = inner.zero is None and op.result.type.shape == op.operands[0].type.shape
        return replace(inner, zero=op.operands[1]) if alone and _is_byte(op.operands[1], graph) else None

    def emit(self, b: Rewriter) -> Value:
        """The bytes with their zero point, in this order and shape."""
        x = b[self.bytes]
        for op in self.moves:
            x = b.operation(op.operator, (x,), op.attributes, location=op.location).result
        return x


def _is_byte(value: Value, graph: Graph) -> bool:
    """True for one number that a byte holds."""
    if value.type.size != 1:
        return False
    numbers = known(value, graph)
    if numbers is not None:
        number = float(numbers.reshape(()))
        return number == np.trunc(number) and -128 <= number <= 255
    op = graph.producers.get(value)
    if op is None or op.name not in ("cast", "reshape"):
        return False
    return op.operands[0].type.dtype in BYTES or _is_byte(op.operands[0], graph)


@dataclass(frozen=True)
class _Sums:
    """Sums of products of bytes and a constant."""

    cast: Operation
    """Of the sums in f64 to i32."""
    contraction: Operation
    left: _Left
    weight: Array
    bytes: Array
    """The weight as i8, and what was added for it."""
    weight_zero: int
    missing: Array | None
    """What is to be taken away: the sums of weights, for each place if they differ; None for nothing."""
    factor: Value | None
    """The zero point, by which `missing` is multiplied; None where it is known, and is multiplied already."""

    @classmethod
    def of(cls, op: Operation, graph: Graph) -> Self | None:
        """What a cast is applied to, if these are such sums."""
        contraction = graph.producers.get(op.operands[0]) if op.name == "cast" else None
        if contraction is None or op.result.type.dtype is not DType.I32 or not op.result.type.size:
            return None
        if type(contraction.operator) not in _SUMS or len(contraction.operands) != 2:
            return None
        left, weight = _Left.of(contraction.operands[0], graph), known(contraction.operands[1], graph)
        if contraction.result.type.dtype is not DType.F64 or left is None or weight is None or not weight.size:
            return None
        made = as_bytes(weight) if np.array_equal(weight, np.trunc(weight)) else None
        if made is None or weight.size // weight.shape[-1] * LARGEST_PRODUCT >= 1 << 31:
            return None
        if left.zero is None:
            return cls(op, contraction, left, weight, *made, None, None)
        sums, zero_point = _sums_of_weights(contraction, weight), known(left.zero, graph)
        if sums is None:
            return None
        factor, times = (left.zero, 1) if zero_point is None else (None, int(zero_point.reshape(())))
        return cls(op, contraction, left, weight, *made, sums * np.int32(times), factor)

    def emit(self, b: Rewriter) -> Value:
        """The sums as integers."""
        op = self.contraction
        at: Any = {"location": op.location}
        name = self.cast.result.name
        total = self._total(b, self.left.emit(b), at | ({"name": name} if self.missing is None else {}))
        if self.missing is None:
            return total
        missing = b.constant(self.missing, op.location)
        if self.factor is not None:
            missing = b.emit("mul", missing, b.emit("cast", b[self.factor], dtype="i32", **at), **at)
        return b.emit("sub", total, missing, **at, name=name)

    def _total(self, b: Rewriter, x: Value, at: Any) -> Value:
        """The sums of bytes times weights."""
        op = self.contraction
        if isinstance(op.operator, Dense) and self.weight.shape[1] == 1:
            # Vectors along the sum: tiles of results would have one lane.
            wide = b.emit("cast", x, dtype="i32")
            products = b.emit("mul", wide, b.constant(self.weight.reshape(-1).astype(np.int32), op.location))
            return b.emit("reduce_sum", products, axes=(-1,), keepdims=True, **at)
        given = {**op.attributes, "x_zero": 0, "weight_zero": self.weight_zero}
        weight, given = with_whole_quads(b, b.constant(self.bytes, op.location), given)
        return b.emit(_SUMS[type(op.operator)], x, weight, **given, **at)


def _sums_of_weights(op: Operation, weight: Array) -> Array | None:
    """Those that a result is made of: for each filter, or for each place and filter; None if these are too many."""
    padded = isinstance(op.operator, Convolution) and any(
        pads != (0, 0) for pads in op.operator.window(op.operands[0].type, op.operands[1].type, op.attributes).padding
    )
    if not padded:
        per_filter: Array = weight.sum(axis=tuple(range(weight.ndim - 1))).astype(np.int32)
        return per_filter
    image = op.operands[0].type.shape[1:]
    if np.prod(op.result.type.shape[1:]) > MOST_PLACES:
        return None
    (places,) = op.operator.evaluate((np.ones((1, *image)), weight), op.attributes)
    sums: Array = places.astype(np.int32)
    return sums


sum_bytes = SumBytes()
