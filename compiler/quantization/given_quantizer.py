"""A quantizer whose scales are those of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import NetcError
from ..graph.ir import Array, Graph, Operation, Scales, Value
from ..ops.facets import INTEGER
from ..ops.functions.arithmetic import Add, Mul, Sub
from ..ops.functions.clipping import Clamp, Relu, Relu6
from ..ops.moves.shape import Identity
from ..types import DType, Quantization
from .methods import Range
from .quantizer import Quantizer
from .scales import activation_scale, covered, grid_of


@dataclass
class GivenQuantizer(Quantizer):
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


def _reader(graph: Graph, op: Operation, name: str) -> bool:
    """Whether an operation of a name reads the result of another."""
    return any(user.name == name for user in graph.users[op.result])
