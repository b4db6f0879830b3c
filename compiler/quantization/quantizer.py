"""What the rules of integer forms work with: a graph of integers in the making.

Each value of the float graph has an integer form, a float form or both; the one that is missing is made from the other
by quantize or dequantize when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np

from ..errors import InternalError, NetcError, ShapeError
from ..graph.builder import GraphBuilder
from ..graph.ir import Array, Attribute, Graph, Operation, Value
from ..graph.names import value_names
from ..ops.facets import INTEGER
from ..ops.products.dense import Dense
from ..types import DType, Quantization, TensorType
from .calibration import Ranges, fused_activations
from .finite import refuse_infinite
from .methods import LEVELS, Range
from .scales import activation_scale, to_integers, weight_scale, weight_to_integers
from .sharing import assign_scales

_EDGES = (DType.I8, DType.U8, DType.F32)


@dataclass(frozen=True)
class Scheme:
    """What the integer network looks like.

    `inputs` and `outputs` are the element types at its edges: i8, u8, or f32 with quantize and dequantize inside.
    `short` activations have 16 bits instead of 8, with 8-bit weights; the edges are then i16 or f32.
    Convolutions have a scale for each filter, or one for all if not `per_channel`; dense layers have one for all unless
    `dense_channels`. `keep_float` holds patterns, such as `head.*`, of names of results that stay floats; with
    `allow_float`, operators without an integer form do so too, which else are an error.
    """

    inputs: DType = DType.I8
    outputs: DType = DType.I8
    per_channel: bool = True
    dense_channels: bool = False
    keep_float: tuple[str, ...] = ()
    allow_float: bool = False
    short: bool = False

    @property
    def activations(self) -> DType:
        """The element type of activations."""
        return DType.I16 if self.short else DType.I8

    def has_channels(self, op: Operation) -> bool:
        """True if the weight of a contraction has a scale for each filter."""
        return self.dense_channels if isinstance(op.operator, Dense) else self.per_channel

    def __post_init__(self) -> None:
        edges = (DType.I16, DType.F32) if self.short else _EDGES
        for dtype in (self.inputs, self.outputs):
            if dtype not in edges:
                raise NetcError(f"a quantized network takes and gives {', '.join(map(str, edges))}, not {dtype}")


@dataclass
class Quantizer:
    """One graph while it is quantized."""

    graph: Graph
    ranges: Ranges
    scheme: Scheme
    integers: dict[Value, Value] = field(default_factory=dict[Value, Value])
    floats: dict[Value, Value] = field(default_factory=dict[Value, Value])

    def __post_init__(self) -> None:
        self.b = GraphBuilder(self.graph.name, self.graph.attributes)
        self.names = value_names(self.graph)
        self.taken: set[str] = set()
        self.dtype = self.scheme.activations
        self.fused = self.fused_activations()
        self.scales = self.assigned_scales()

    def fused_activations(self) -> Mapping[Operation, Operation]:
        """Operations, each with the activation that becomes part of its integer form."""
        return fused_activations(self.graph)

    def assigned_scales(self) -> dict[Value, Quantization]:
        """The scale of each value that has one before its integers are asked for."""
        return assign_scales(self.graph, self.ranges, self.names, self.dtype)

    def run(self) -> Graph:
        """Convert all operations."""
        for value in self.graph.inputs:
            self._input(value)
        absorbed = frozenset(self.fused.values())
        for op in self.graph.operations:
            if op.name != "constant" and op not in absorbed:
                self.convert(op)
        return self.b.finish([self._output(v) for v in self.graph.outputs])

    def _input(self, value: Value) -> None:
        dtype, type_ = self.scheme.inputs, value.type
        name = value.name or "input"
        if type_.dtype is not DType.F32 or dtype is DType.F32:
            self.floats[value] = self.b.input(name, type_)
        else:
            self.integers[value] = self._signed(self.b.input(name, self._edge_type(value, dtype)), value)

    def _signed(self, given: Value, value: Value) -> Value:
        """An input in the type of activations."""
        x = given.type.quantization
        if given.type.dtype is self.dtype or x is None:
            return given
        return self.b.emit("requantize", given, dtype=str(self.dtype), x=x, y=self.scale(value))

    def _edge_type(self, value: Value, dtype: DType) -> TensorType:
        scale = self.scale(value)
        if dtype is DType.U8:
            scale = Quantization.of(scale.scale, scale.zero_point + 128)
        return TensorType(dtype, value.type.shape, None, scale)

    def _output(self, value: Value) -> Value:
        if value.type.dtype is not DType.F32 or self.scheme.outputs is DType.F32:
            return self.real(value)
        result = self.integer(value)
        if self.scheme.outputs is self.dtype:
            return result
        y = self._edge_type(value, DType.U8).quantization
        return self.b.emit("requantize", result, dtype="u8", x=self.scale(value), y=y)

    def convert(self, op: Operation) -> None:
        """Add the integer form of an operation, or the operation as it is."""
        value = self.final(op)
        if self.stays_float(op, value):
            self.keep(op)
            return
        forms = self.integers if value.type.dtype is DType.F32 else self.floats
        form = self._form(op)
        if form is None:
            raise InternalError(f"{op.name} is quantized, but has no integer form")
        forms[value] = self._named(form(self, op), value)

    def keep(self, op: Operation) -> None:
        """Add an operation, and the activation that goes with it, on floats."""
        for each in dict.fromkeys((op, self.fused.get(op, op))):
            operands = [self.real(v) for v in each.operands]
            new = self.b.operation(each.operator, operands, each.attributes, location=each.location)
            self.floats.update(zip(each.results, new.results, strict=True))

    def stays_float(self, op: Operation, value: Value) -> bool:
        """Whether an operation, whose result with its activation is `value`, works on floats."""
        numbers = [v for v in op.operands if v.type.dtype.is_float]
        if not numbers or any(v.type.dtype is not DType.F32 for v in numbers):
            return True
        if any(fnmatchcase(self.names[value], pattern) for pattern in self.scheme.keep_float):
            return True
        has_computed_weights = op.operator.contraction and any(self.known(v) is None for v in op.operands[1:])
        if self._form(op) is not None and not has_computed_weights:
            return False
        if self.scheme.allow_float:
            return True
        lacks = "no integer form"
        if has_computed_weights:
            lacks += " with weights that the network computes"
        elif INTEGER.of(op.operator) is not None:
            lacks += " of 16 bits"
        hint = f"netc quantize --allow-float, or --keep-float {self.names[value]}; allow_float, keep_float in Python"
        raise NetcError(f"{op.name} (`{self.names[value]}`) has {lacks}", location=op.location, hint=hint)

    def _form(self, op: Operation) -> Callable[[Quantizer, Operation], Value] | None:
        """The rule of an operator's form on activations of this width, if it has one."""
        form = INTEGER.of(op.operator)
        return form.emit if form is not None and (form.short or not self.scheme.short) else None

    def _named(self, result: Value, old: Value) -> Value:
        """The result of the last operation under the name of the float value that it stands for."""
        last = self.b.operations[-1]
        if len(last.results) != 1 or last.result is not result:
            return result
        renamed = Value(result.type, self.names[old])
        self.taken.add(self.names[old])
        self.b.operations[-1] = Operation(last.operator, last.operands, last.attributes, (renamed,), last.location)
        return renamed

    # ---- for rules ----

    def emit(self, op: Operation, name: str, *operands: Value, **attributes: Attribute) -> Value:
        """Add an operation at the place of `op`, which is named where scales differ too much for its integer form."""
        try:
            return self.b.emit(name, *operands, location=op.location, **attributes)
        except ShapeError as error:
            problem = error.diagnostics[0]
            raise NetcError(problem.message, location=op.location, hint=problem.hint) from None

    def final(self, op: Operation) -> Value:
        """The result of an operation, its fused activation included."""
        return self.fused.get(op, op).results[0]

    def scale(self, value: Value) -> Quantization:
        """What the integers of a value stand for; that of a constant covers its elements."""
        if value not in self.scales:
            if self.known(value) is None:
                raise NetcError(f"there is no calibrated range of `{self.names[value]}`")
            self.scales[value] = activation_scale(self.range(value), self.dtype)
        return self.scales[value]

    def range(self, value: Value) -> Range:
        """The numbers of a value by itself: as calibrated, or the elements of a constant."""
        array = self.known(value)
        return self.ranges[self.names[value]] if array is None else Range(float(array.min()), float(array.max()))

    def means(self, value: Value) -> Array | None:
        """The mean of each channel of a value, if calibration saw them."""
        means = self.ranges.means.get(self.names[value])
        if means is None:
            return None
        if len(means) != value.type.shape[-1]:
            problem = f"`{self.names[value]}` has {value.type.shape[-1]} channels, not {len(means)} as in the ranges"
            raise NetcError(problem, hint="were they calibrated on this network?")
        return np.array(means)

    def weight(
        self, op: Operation, weight: Array, bias: Array | None, x: Quantization, y: Quantization
    ) -> tuple[Quantization, Array]:
        """Scale and integers of a contraction's weight, by the scales of its operand and result."""
        per_channel = self.scheme.has_channels(op)
        given = weight_scale(weight, bias, x, y, per_channel=per_channel, wide=self.scheme.short)
        return given, weight_to_integers(weight, given)

    def levels(self, value: Value, given: Quantization) -> float:
        """How many steps of a scale lie between the least and the largest number of a value; all if these are equal."""
        own = self.range(value)
        return (own.high - own.low) / given.scale if own.low < own.high else LEVELS

    def known(self, value: Value) -> Array | None:
        """The value of a constant. Raises `NetcError` if it holds what no integer can stand for."""
        producer = self.graph.producers.get(value)
        if producer is None or producer.name != "constant":
            return None
        array: Array = producer.attributes["value"]
        refuse_infinite(self.graph, value, array)
        return array

    def integer(self, value: Value, scale: Quantization | None = None) -> Value:
        """A value as an activation, on its own scale or another one."""
        own = self.scale(value)
        array = self.known(value)
        if array is not None:
            wanted = scale or own
            return self.b.constant(to_integers(array, wanted, self.dtype), quantization=wanted)
        if value not in self.integers:
            self.integers[value] = self.b.emit("quantize", self.floats[value], dtype=str(self.dtype), y=own)
        result = self.integers[value]
        if scale is None or scale == own:
            return result
        return self.b.emit("requantize", result, dtype=str(self.dtype), x=own, y=scale)

    def real(self, value: Value) -> Value:
        """A value as floats, or as what it is if it is not made of f32."""
        array = self.known(value)
        if array is not None and value not in self.floats:
            self.floats[value] = self.constant(array, None, value.name)
        if value not in self.floats:
            self.floats[value] = self.b.emit("dequantize", self.integers[value], x=self.scale(value))
        return self.floats[value]

    def constant(self, array: Array, given: Quantization | None, name: str | None) -> Value:
        """A constant; the name is dropped where it is taken."""
        free = None if name in self.taken else name
        if free is not None:
            self.taken.add(free)
        return self.b.constant(np.asarray(array), quantization=given, name=free)
