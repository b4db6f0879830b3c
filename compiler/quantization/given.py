"""Quantized networks in the form of floats between quantize and dequantize, as integer graphs.

Such a file (ONNX's QDQ and QLinear forms) rounds activations to 8 bits and computes with floats in between. Where an
operator has an integer form, and all that it reads and gives has a scale, it works on the integers themselves; the
scales are the file's. What this changes is told by `Given.notes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import NetcError
from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Array, Graph, Operation, Scales, Value
from ..graph.names import value_names
from ..ops.arithmetic import Add, Div, Mul, Sub
from ..ops.clipping import Clamp, Relu, Relu6
from ..ops.conversion import Cast
from ..ops.facets import INTEGER
from ..ops.quantized.base import QuantizedOperator
from ..ops.quantized.conversion import Dequantize, Quantize, QuantizeEven, Reinterpret
from ..ops.shape import Identity, Pad
from ..passes.dce import dce
from ..types import DType, Quantization, TensorType
from .calibration import Ranges, integer_ready
from .methods import Range
from .quantizer import Quantizer, Scheme
from .scales import activation_scale, covered, grid_of

_EIGHT = (DType.I8, DType.U8)
_CONVERSIONS = frozenset({Dequantize, Quantize, QuantizeEven, Reinterpret})


@dataclass(frozen=True)
class Given:
    """An integer graph with the scales of the file that it comes from."""

    graph: Graph
    notes: tuple[str, ...]
    """What stayed float or got other integers than the file's, and why."""


def states_scales(graph: Graph) -> bool:
    """True for a network of floats between quantize and dequantize."""
    found = {type(op.operator) for op in graph.operations if isinstance(op.operator, QuantizedOperator)}
    return bool(found & {QuantizeEven, Dequantize}) and found <= _CONVERSIONS


def quantize_as_given(
    graph: Graph,
    params: Mapping[str, Array],
    *,
    inputs: DType | None = None,
    outputs: DType | None = None,
    keep_float: Sequence[str] = (),
    integer_edges: bool = False,
) -> Given:
    """The integer graph of a network that says the scales of its activations.

    `inputs` and `outputs` are the element types of the edges, if not those of the file; with `integer_edges` they are
    i8 where the file has scales for them. What matches `keep_float`, and what has no integer form or no scale, stays
    float. Activations of u8 become i8, their zero points less by 128, which changes no number. Raises `NetcError` for
    edges that a quantized network can't have.

    Before::

        %1 = quantize_even(%x) {dtype = "u8", y = <0.1:3>}
        %2 = conv2d(dequantize(%1), %weight, %bias)
        %3 = quantize_even(%2) {dtype = "u8", y = <0.2>}

    After::

        %1 = quantize(%x) {dtype = "i8", y = <0.1:-125>}
        %3 = q_conv2d(%1, %weight, %bias) : i8[...]<0.2:-128>
    """
    floats = _Floats(integer_ready(_singles(graph), params))
    made = floats.run()
    own = [floats.edge(values, integer_edges) for values in (made.inputs, made.outputs)]
    edges = inputs or own[0], outputs or own[1]
    scheme = Scheme(*edges, keep_float=tuple(keep_float), allow_float=True)
    quantizer = _WithScales(made, _ranges(made, floats.scales), scheme, given=floats.scales)
    result = dce(quantizer.run())
    return Given(result, tuple(dict.fromkeys((*floats.notes, *quantizer.notes))))


def _ranges(graph: Graph, scales: Mapping[Value, Quantization]) -> Ranges:
    """Ranges that the scales cover."""
    names = value_names(graph)
    return Ranges({names[v]: covered(scale) for v, scale in scales.items() if v in names}, "the file", 0)


def _singles(graph: Graph) -> Graph:
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


def _is_constant(graph: Graph, value: Value) -> bool:
    return value in graph.producers and graph.producers[value].name == "constant"


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


class _Floats:
    """The float network without quantize and dequantize, and the scales that they give its values."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.b = Rewriter(graph)
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


def _reader(graph: Graph, op: Operation, name: str) -> bool:
    """Whether an operation of a name reads the result of another."""
    return any(user.name == name for user in graph.users[op.result])


def _stated(op: Operation) -> Quantization | None:
    """What a dequantize or reinterpret says that its operand stands for."""
    if not isinstance(op.operator, Dequantize | Reinterpret):
        return None
    given: Quantization = op.attributes["x" if isinstance(op.operator, Dequantize) else "y"]
    return given


@dataclass
class _WithScales(Quantizer):
    """A quantizer whose scales are given, not found from ranges."""

    given: Mapping[Value, Quantization] = field(default_factory=dict[Value, Quantization])
    notes: list[str] = field(default_factory=list[str])
    rounded: dict[Value, Value] = field(default_factory=dict[Value, Value])

    def fused_activations(self) -> Mapping[Operation, Operation]:
        """Those between which no scale stands."""
        found = super().fused_activations()
        return {op: last for op, last in found.items() if op.result not in self.given}

    def assigned_scales(self) -> dict[Value, Quantization]:
        """The scales of the file, also for values that only have elements of others."""
        scales = dict(self.given)
        hidden = {op.result for op in self.fused}
        moving = [op for op in self.graph.operations if op.operator.scales is Scales.OPERAND and op.operands]
        for op in moving:
            if op.operands[0] in scales and op.result.type.dtype is DType.F32:
                scales.setdefault(op.result, scales[op.operands[0]])
        for op in reversed(moving):
            x = op.operands[0]
            if op.result in scales and x not in hidden and len(self.graph.users[x]) == 1 and self.known(x) is None:
                scales.setdefault(x, scales[op.result])
        self._derive(scales)
        return scales

    def _derive(self, scales: dict[Value, Quantization]) -> None:
        """Give scales to sums, products and bounded values inside of islands, which the file computes with floats."""
        derived: list[Value] = []
        sources = {last: first for first, last in self.fused.items()}
        for op in self.graph.operations:
            value = op.results[0]
            is_free = op not in self.fused and value not in scales and value.type.dtype is DType.F32
            if not is_free or INTEGER.of(op.operator) is None:
                continue
            found = self._range_of(sources.get(op, op), scales)
            found = self._limited(op, found) if op in sources else found
            if found is not None:
                scales[value] = activation_scale(found)
                derived.append(value)
        for value in derived:
            if not any(r in self.given or r in derived for u in self.graph.users[value] for r in u.results):
                del scales[value]
            else:
                self.notes.append(f"`{self.names[value]}` got the scale {scales[value]}: it is float in the file")

    def _range_of(self, op: Operation, scales: Mapping[Value, Quantization]) -> Range | None:
        """The numbers that a sum, a product or an activation can give, by those of its operands."""
        parts: list[Range] = []
        for value in op.operands:
            array = self.known(value)
            if array is None and value not in scales:
                return None
            parts.append(covered(scales[value]) if array is None else Range(float(array.min()), float(array.max())))
        if len(parts) == 1:
            return self._limited(op, parts[0])
        if len(parts) != 2 or not isinstance(op.operator, Add | Sub | Mul):
            return None
        (a, b), function = parts, {"add": float.__add__, "sub": float.__sub__, "mul": float.__mul__}[op.name]
        ends = [function(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
        return Range(min(ends), max(ends))

    def _limited(self, op: Operation, given: Range | None) -> Range | None:
        """What an activation leaves of a range."""
        if given is None or not isinstance(op.operator, Relu | Relu6 | Clamp):
            return None
        low, high = op.operator.bounds(op.attributes)
        return Range(min(max(given.low, low), high), min(max(given.high, low), high))

    def weight(
        self, op: Operation, weight: Array, bias: Array | None, x: Quantization, y: Quantization
    ) -> tuple[Quantization, Array]:
        """The integers of the file, where they are symmetric."""
        own = super().weight(op, weight, bias, x, y)
        found = grid_of(weight, own[0])
        if found is None:
            reason = "it is float in the file, or its zero point isn't 0"
            self.notes.append(f"the weight of {op.name} `{self._title(op)}` got new integers: {reason}")
        return found or own

    def scale(self, value: Value) -> Quantization:
        """What the integers of a value stand for; that of a constant covers its elements."""
        if value not in self.scales and self.known(value) is None:
            raise NetcError(f"the file has no scale of `{self.names[value]}`", hint="leave it f32")
        return super().scale(value)

    def real(self, value: Value) -> Value:
        """A value as floats, rounded if it has a scale, as in the file."""
        if value not in self.given or self.known(value) is not None:
            return super().real(value)
        if value not in self.rounded:
            self.rounded[value] = self.b.emit("dequantize", self.integer(value), x=self.scale(value))
        return self.rounded[value]

    def convert(self, op: Operation) -> None:
        """Convert an operation, and bring its result to the scale of the file."""
        value = self.final(op)
        if isinstance(op.operator, Identity) and value in self.given:
            self.notes.append(f"`{self._title(op)}` is requantized from another scale of the same value")
            self.integers[value] = self._on(op.operands[0], self.scale(value))
            return
        wanted, fixed = self.scales.get(value), op.operator.fixed_scale
        if fixed is not None and wanted is not None:
            self.scales[value] = fixed
        try:
            super().convert(op)
        except NetcError as error:
            self.notes.append(f"{op.name} `{self._title(op)}` stays float: {error.diagnostics[0].message}")
            self.keep(op)
        if wanted is not None:
            self.scales[value] = wanted
            self._rescale(op, value, wanted)

    def _on(self, value: Value, scale: Quantization) -> Value:
        """A value as integers of a scale."""
        if value in self.scales:
            return self.integer(value, scale)
        return self.b.emit("quantize", self.real(value), dtype=str(self.dtype), y=scale)

    def _rescale(self, op: Operation, value: Value, wanted: Quantization) -> None:
        result = self.integers.get(value)
        if result is None or result.type.quantization in (None, wanted):
            return
        self.notes.append(f"{op.name} `{self._title(op)}` gives {result.type.quantization}, requantized to {wanted}")
        x = result.type.quantization
        self.integers[value] = self.b.emit("requantize", result, dtype=str(self.dtype), x=x, y=wanted)

    def stays_float(self, op: Operation, value: Value) -> bool:
        """True for what the base keeps, and where something has no scale."""
        numbers = [v for v in op.operands if v.type.dtype is DType.F32 and self.known(v) is None]
        wanted = [v for v in (*numbers, value) if v.type.dtype is DType.F32]
        missing = next((v for v in wanted if v not in self.scales), None)
        is_kept = super().stays_float(op, value)
        if not is_kept and missing is None:
            return False
        if any(v in self.scales for v in wanted):
            named = "it has no integer form" if missing is None else self._lack(missing)
            reason = "it is to be kept so" if is_kept and INTEGER.of(op.operator) is not None else named
            self.notes.append(f"{op.name} `{self._title(op)}` stays float: {reason}")
        return True

    def _lack(self, value: Value) -> str:
        """Why a value has no scale: the file has none, or one for each channel."""
        name = f"`{self.names[value]}`"
        made = self.graph.producers.get(value)
        scaled = [u for u in self.graph.users[value] if self._scales(u) and _reader(self.graph, u, "round")]
        integers = self.graph.producers.get(made.operands[0]) if made is not None and self._scales(made) else None
        if scaled or (integers is not None and integers.name in ("cast", "sub")):
            return f"{name} has a scale for each channel in the file, which integer activations can't have"
        return f"{name} has no scale"

    def _scales(self, op: Operation) -> bool:
        """True for a product with numbers along an axis."""
        factor = self.known(op.operands[1]) if op.name == "mul" else None
        return factor is not None and factor.size > 1

    def _title(self, op: Operation) -> str:
        return self.names[self.final(op)]
