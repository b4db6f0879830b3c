"""Which values must have the same scale, and which scale each value gets.

Operators that only move or choose elements give their result the scale of their operand; concat wants one scale for
all. TFLite fixes the scales of softmax, logistic and tanh.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ..graph.ir import Graph, Operation, Value
from ..graph.types import DType, Quantization
from .calibration import Ranges, watched_values
from .methods import Range
from .scales import activation_scale

SHARING = frozenset(
    {
        "avg_pool",
        "broadcast_to",
        "max_pool",
        "pad",
        "reduce_max",
        "reduce_min",
        "reshape",
        "resize_bilinear",
        "resize_nearest",
        "slice",
        "tile",
        "transpose",
    }
)
"""Operators whose result has the scale of operand 0."""

FIXED: Mapping[str, Quantization] = MappingProxyType(
    {
        "softmax": Quantization.of(1 / 256, -128),
        "sigmoid": Quantization.of(1 / 256, -128),
        "tanh": Quantization.of(1 / 128, 0),
    }
)
"""Scales that the specification demands of results."""


def assign_scales(graph: Graph, ranges: Ranges, names: Mapping[Value, str]) -> dict[Value, Quantization]:
    """The scale of each value that calibration watched."""
    scales: dict[Value, Quantization] = {}
    for group in scale_groups(graph):
        scale = group.fixed or activation_scale(group.range(ranges, names))
        scales.update(dict.fromkeys(group.members, scale))
    return scales


@dataclass(frozen=True, slots=True)
class ScaleGroup:
    """Values that must have the same scale."""

    members: tuple[Value, ...]
    """In the order of the graph."""
    sources: tuple[Value, ...]
    """Those that decide the range: all but the ones that only have elements of another member."""
    fixed: Quantization | None
    """The scale that the specification demands, if it demands one."""

    def range(self, ranges: Ranges, names: Mapping[Value, str]) -> Range:
        """The union of the ranges of the sources."""
        parts = [ranges[names[v]] for v in self.sources]
        return Range(min(p.low for p in parts), max(p.high for p in parts))


def scale_groups(graph: Graph) -> tuple[ScaleGroup, ...]:
    """The groups of the values that calibration watches, each value in one of them."""
    return _Sharing(graph).groups()


class _Sharing:
    """Sets of values with one scale, kept as a forest: each value knows one that it goes with."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.watched = watched_values(graph)
        self.parent: dict[Value, Value] = {v: v for v in self.watched}
        fixed = (op for op in graph.operations if op.name in FIXED)
        self.fixed = {op.result: FIXED[op.name] for op in fixed}
        for op in graph.operations:
            for value in self._partners(op):
                self._join(value, op.result)

    def _partners(self, op: Operation) -> Iterable[Value]:
        """The operands that have the scale of the result."""
        if op.name in SHARING and op.result in self.parent:
            yield op.operands[0]
        if op.name == "concat":
            yield from (v for v in op.operands if v in self.parent and self._may_follow(v))

    def _may_follow(self, value: Value) -> bool:
        """True if concat may widen the range of an operand: nothing else reads it, and nothing fixes it."""
        alone = len(self.graph.users[value]) == 1 and value not in self.graph.outputs
        root = self._root(value)
        members = [v for v in self.watched if self._root(v) is root]
        return alone and not any(v in self.fixed or v in self.graph.inputs for v in members)

    def _root(self, value: Value) -> Value:
        while self.parent[value] is not value:
            value = self.parent[value]
        return value

    def _join(self, a: Value, b: Value) -> None:
        if a in self.parent and b in self.parent:
            self.parent[self._root(b)] = self._root(a)

    def groups(self) -> tuple[ScaleGroup, ...]:
        """The sets, in the order of their first members."""
        members: dict[Value, list[Value]] = {}
        for value in self.watched:
            members.setdefault(self._root(value), []).append(value)
        return tuple(self._group(tuple(group)) for group in members.values())

    def _group(self, members: tuple[Value, ...]) -> ScaleGroup:
        sources = tuple(v for v in members if not self._follows(v)) or members
        fixed = next((self.fixed[v] for v in members if v in self.fixed), None)
        return ScaleGroup(members, sources, fixed)

    def _follows(self, value: Value) -> bool:
        """True if a value only has elements of another one of its set."""
        producer = self.graph.producers.get(value)
        return producer is not None and producer.name in SHARING and producer.operands[0].type.dtype is DType.F32
