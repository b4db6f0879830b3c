"""What a network of floats between quantize and dequantize computes, and the scales that it states."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph.builder import Rewriter, TrackingRewriter, rewritten
from ..graph.ir import Graph, Operation, Scales, Value
from ..graph.names import value_names
from ..ops.conversion import Cast
from ..ops.functions.arithmetic import Div
from ..ops.moves.shape import Pad
from ..ops.quantized.conversion import Dequantize, Quantize, QuantizeEven, Reinterpret
from ..passes.dce import dce
from ..types import DType, Quantization, TensorType

_EIGHT = (DType.I8, DType.U8)


def singles(graph: Graph) -> Graph:
    """Doubles between dequantize and quantize as floats; the same graph where doubles mean more."""
    casts = [op for op in graph.operations if isinstance(op.operator, Cast) and op.result.type.dtype is DType.F64]
    edges = (*graph.inputs, *graph.outputs)
    is_plain = all(
        op.operands[0].type.dtype is DType.F32 or graph.producers.get(op.operands[0], op).name == "constant"
        for op in casts
    )
    if not casts or not is_plain or any(v.type.dtype is DType.F64 for v in edges):
        return graph
    return rewritten(graph, _single)


def _single(b: Rewriter, op: Operation) -> Value | None:
    if len(op.results) != 1 or op.result.type.dtype is not DType.F64:
        return None
    if isinstance(op.operator, Cast):
        x = b[op.operands[0]]
        return x if x.type.dtype is DType.F32 else b.emit("cast", x, dtype=str(DType.F32))
    place: dict[str, Any] = {"location": op.location, "name": op.result.name}
    if op.name == "constant":
        return b.constant(op.attributes["value"].astype(np.float32), **place)
    return b.operation(op.operator, [b[v] for v in op.operands], op.attributes, **place).result


def _signed(given: Quantization, dtype: DType) -> Quantization:
    """The same numbers as i8."""
    return Quantization.of(given.scale, given.zero_point - 128) if dtype is DType.U8 else given


class FloatForm:
    """The float network without quantize and dequantize, and the scales that they give its values."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.b = TrackingRewriter(graph)
        self.names = value_names(graph)
        self.scales: dict[Value, Quantization] = {}
        self.edges: dict[Value, DType] = {}
        """Inputs and outputs that are integers in the file."""
        self.floats: dict[Value, Value] = {}
        """What integers of the file stand for."""
        self.notes: list[str] = []

    def run(self) -> Graph:
        """Take the conversions away."""
        self.b.inputs = [self._input(v) for v in self.graph.inputs]
        for op in self.graph.operations:
            if not self._taken(op):
                self._copy(op)
        return dce(self.b.finish([self._output(v) for v in self.graph.outputs]))

    def edge(self, values: tuple[Value, ...], integer: bool) -> DType:
        """The element type of inputs or outputs: that of the file where all are alike, else f32; or i8 if it can be."""
        if integer and all(v in self.scales for v in values if v.type.dtype is DType.F32):
            return DType.I8
        found = {self.edges.get(v, DType.F32) for v in values if v.type.dtype is DType.F32}
        return found.pop() if len(found) == 1 else DType.F32

    def _input(self, value: Value) -> Value:
        """An input, as floats if it is made of integers whose scale is known."""
        users = self.graph.users[value]
        given = {_stated(u) for u in users}
        scale = given.pop() if len(given) == 1 else None
        if value.type.dtype not in _EIGHT or scale is None or value in self.graph.outputs:
            return value
        new = Value(TensorType(DType.F32, value.type.shape), value.name)
        self.edges[new] = value.type.dtype
        self._note_scale(value, new, scale)
        return new

    def _note_scale(self, integers: Value, floats: Value, scale: Quantization) -> None:
        self.floats[integers] = floats
        self.scales[floats] = _signed(scale, integers.type.dtype)

    def _output(self, value: Value) -> Value:
        if value not in self.floats:
            return self.b[value]
        new = self.floats[value]
        self.edges[new] = value.type.dtype
        return new

    def _taken(self, op: Operation) -> bool:
        """Whether nothing but a scale remains of an operation."""
        operator = op.operator
        if isinstance(operator, Quantize | QuantizeEven):
            return self._quantize(op)
        source = op.operands[0] if op.operands else None
        if source not in self.floats or _stated(op) is None:
            return False
        floats = self.floats[source]
        if isinstance(operator, Dequantize):
            self.b.replace(op.result, floats)
            return True
        return self._reinterpret(op, source)

    def _reinterpret(self, op: Operation, source: Value) -> bool:
        """Take away a reinterpret that says what is known."""
        floats = self.floats[source]
        if _signed(op.attributes["y"], source.type.dtype) != self.scales[floats]:
            return False
        self.floats[op.result] = floats
        return True

    def _quantize(self, op: Operation) -> bool:
        dtype = op.result.type.dtype
        if dtype not in _EIGHT or (x := self.b[op.operands[0]]).type.dtype is not DType.F32:
            return False
        scale = op.attributes["y"]
        if self.scales.get(x, _signed(scale, dtype)) != _signed(scale, dtype):
            x = self.b.emit("identity", x, location=op.location, name=op.result.name)
        self._note_scale(op.result, x, scale)
        others = [u.name for u in self.graph.users[op.operands[0]] if not isinstance(u.operator, QuantizeEven)]
        if others:
            self.notes.append(f"`{self.names[op.operands[0]]}` is rounded before {others[0]} reads it, too")
        return True

    def _copy(self, op: Operation) -> None:
        """An operation on floats, one that moves integers, or one that computes with them as they are."""
        source = op.operands[0] if op.operands else None
        moves = op.operator.scales is Scales.OPERAND and len(op.results) == 1 and _stated(op) is None
        if source in self.floats and moves and not isinstance(op.operator, Pad):
            operands = [self.floats[source], *(self.b[v] for v in op.operands[1:])]
            place: dict[str, Any] = {"location": op.location, "name": op.result.name}
            moved = self.b.operation(op.operator, operands, op.attributes, **place).result
            self.floats[op.result] = moved
            self.scales[moved] = self.scales[self.floats[source]]
            return
        for value in op.operands:
            if value not in self.b:
                self.b.replace(value, self._integers(value))
        divisor = self.graph.producers.get(op.operands[1]) if isinstance(op.operator, Div) else None
        if divisor is not None and divisor.name == "constant" and op.result.type.dtype is DType.F32:
            factor = self.b.constant(np.asarray(1 / divisor.attributes["value"]), op.location)
            place = {"location": op.location, "name": op.result.name}
            self.b.replace(op.result, self.b.emit("mul", self.b[op.operands[0]], factor, **place))
            return
        self.b.copy(op)

    def _integers(self, value: Value) -> Value:
        """Integers that are computed with as they are."""
        x, dtype = self.floats[value], value.type.dtype
        self.notes.append(f"`{self.names[value]}`: its integers are computed with as they are")
        scale = self.scales[x]
        y = Quantization.of(scale.scale, scale.zero_point + 128) if dtype is DType.U8 else scale
        return self.b.emit("quantize", x, dtype=str(dtype), y=y)


def _stated(op: Operation) -> Quantization | None:
    """What a dequantize or reinterpret says that its operand stands for."""
    if not isinstance(op.operator, Dequantize | Reinterpret):
        return None
    given: Quantization = op.attributes["x" if isinstance(op.operator, Dequantize) else "y"]
    return given
