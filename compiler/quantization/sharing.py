"""Which values must have the same scale, and which scale each value gets.

Operators that only move or choose elements give their result the scale of their operand; concat wants one scale for
all. A pad whose value the operand's scale doesn't reach has a scale of its own, to which the operand is brought. TFLite
fixes the scales of softmax, logistic and tanh.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..graph.ir import Graph, Operation, Scales, Value
from ..ops.facets import INTEGER
from ..ops.moves.shape import Pad
from ..ops.windows.pooling import MaxPool
from ..ops.windows.window import reads_elements
from ..types import DType, Quantization
from .calibration import Ranges, watched_values
from .methods import Range
from .scales import activation_scale, covered

SHORT_SHARE = Quantization.of(2.0**-15)
"""The scale of 16-bit results that the specification demands where it demands one of 8-bit results."""


def assign_scales(
    graph: Graph, ranges: Ranges, names: Mapping[Value, str], dtype: DType = DType.I8
) -> dict[Value, Quantization]:
    """The scale of each value that calibration watched, for integers of type i8 or i16."""
    scales: dict[Value, Quantization] = {}
    for group in scale_groups(graph, dtype):
        scale = group.fixed or _padded_scale(graph, group, ranges, names, scales, dtype)
        scales.update(dict.fromkeys(group.members, scale))
    return scales


def _padded_scale(
    graph: Graph,
    group: ScaleGroup,
    ranges: Ranges,
    names: Mapping[Value, str],
    scales: Mapping[Value, Quantization],
    dtype: DType,
) -> Quantization:
    """The scale of a group; that of what a pad reads if it reaches the result of the pad, the group's only source."""
    needed = group.range(ranges, names)
    producer = graph.producers.get(group.sources[0]) if len(group.sources) == 1 else None
    if producer is not None and isinstance(producer.operator, Pad) and producer.operands[0] in scales:
        given = scales[producer.operands[0]]
        reached, margin = covered(given, dtype), given.scale / 2
        if reached.low - margin <= needed.low and needed.high <= reached.high + margin:
            return given
    return activation_scale(needed, dtype)


@dataclass(frozen=True, slots=True)
class ScaleGroup:
    """Values that must have the same scale."""

    members: tuple[Value, ...]
    """In the order of the graph."""
    sources: tuple[Value, ...]
    """Those that decide the range: all but the ones that only have elements of another member."""
    fixed: Quantization | None
    """The scale that the specification demands, if it demands one."""
    values: tuple[float, ...]
    """Numbers that pads among the sources add, and ends of tables that are picked from: the range covers them, too."""

    def range(self, ranges: Ranges, names: Mapping[Value, str]) -> Range:
        """The union of the ranges of the sources."""
        parts = [*(ranges[names[v]] for v in self.sources), *(Range(v, v) for v in self.values)]
        return Range(min(p.low for p in parts), max(p.high for p in parts))


def scale_groups(graph: Graph, dtype: DType = DType.I8) -> tuple[ScaleGroup, ...]:
    """The groups of the values that calibration watches, each value in one of them."""
    return _Sharing(graph, dtype).groups()


def _fixed_scale(op: Operation, dtype: DType) -> Quantization | None:
    """The scale that the specification demands of a result; none of 16 bits where an operator has no such form."""
    scale, form = op.operator.fixed_scale, INTEGER.of(op.operator)
    if dtype is not DType.I16 or scale is None:
        return scale
    return SHORT_SHARE if form is not None and form.short else None


class _Sharing:
    """Sets of values with one scale, kept as a forest: each value knows one that it goes with."""

    def __init__(self, graph: Graph, dtype: DType) -> None:
        self.graph = graph
        self.watched = watched_values(graph)
        self.parent: dict[Value, Value] = {v: v for v in self.watched}
        fixed = ((op, _fixed_scale(op, dtype)) for op in graph.operations)
        self.fixed = {op.result: scale for op, scale in fixed if scale is not None}
        self.settled = {v for v in self.watched if v in self.fixed or v in self.graph.inputs}
        """Values that stand for sets with a member whose range nothing may widen."""
        for op in graph.operations:
            for value in self._partners(op):
                self._join(value, op.result)

    def _partners(self, op: Operation) -> Iterable[Value]:
        """The operands that have the scale of the result."""
        if _shares(self.graph, op) and op.result in self.parent:
            yield op.operands[0]
        if op.operator.scales is Scales.JOINT:
            yield from (v for v in op.operands if v in self.parent and self._may_follow(v))

    def _may_follow(self, value: Value) -> bool:
        """True if concat may widen the range of an operand: nothing else reads it, and nothing fixes it."""
        return self.graph.has_one_use(value) and self._root(value) not in self.settled

    def _root(self, value: Value) -> Value:
        while self.parent[value] is not value:
            value = self.parent[value]
        return value

    def _join(self, a: Value, b: Value) -> None:
        if a in self.parent and b in self.parent:
            first, second = self._root(a), self._root(b)
            self.parent[second] = first
            if second in self.settled:
                self.settled.add(first)

    def groups(self) -> tuple[ScaleGroup, ...]:
        """The sets, in the order of their first members."""
        members: dict[Value, list[Value]] = {}
        for value in self.watched:
            members.setdefault(self._root(value), []).append(value)
        return tuple(self._group(tuple(group)) for group in members.values())

    def _group(self, members: tuple[Value, ...]) -> ScaleGroup:
        sources = tuple(v for v in members if not self._follows(v)) or members
        fixed = next((self.fixed[v] for v in members if v in self.fixed), None)
        makers = [self.graph.producers[v] for v in sources if v in self.graph.producers]
        values = tuple(float(op.attributes["value"]) for op in makers if isinstance(op.operator, Pad))
        tables = (end for v in members for end in self._table_ends(v))
        return ScaleGroup(members, sources, fixed, (*values, *tables))

    def _table_ends(self, value: Value) -> tuple[float, ...]:
        """The least and the largest element of the constant that a value is picked from: samples may not reach them."""
        maker = self.graph.producers.get(value)
        table = self.graph.producers.get(maker.operands[0]) if maker is not None and maker.operands else None
        if maker is None or table is None or table.name != "constant" or not _shares(self.graph, maker):
            return ()
        array = table.attributes["value"]
        return (float(array.min()), float(array.max())) if array.size and array.dtype.kind == "f" else ()

    def _follows(self, value: Value) -> bool:
        """True if a value only has elements of another one of its set."""
        producer = self.graph.producers.get(value)
        return producer is not None and _shares(self.graph, producer) and producer.operands[0].type.dtype is DType.F32


def _shares(graph: Graph, op: Operation) -> bool:
    """True if the result of an operation has the scale of operand 0."""
    if not isinstance(op.operator, Pad):
        return op.operator.scales is Scales.OPERAND
    return op.attributes["value"] == 0 or clips_harmlessly(graph, op)


def clips_harmlessly(graph: Graph, op: Operation) -> bool:
    """True for a pad below zero whose value never wins: only max_pool reads it, and always some other element, too."""
    users = graph.users[op.result]
    if op.attributes["value"] >= 0 or op.result in graph.outputs or not users:
        return False
    return all(isinstance(user.operator, MaxPool) and reads_elements(op, user) for user in users)
