"""assign-layouts: give tensors the margins that let kernels run without bounds checks and cache conflicts."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from ..graph.alike import OncePerKind
from ..graph.analysis import static_values
from ..graph.builder import Rewriter
from ..graph.in_place import overwritable
from ..graph.inference import completed
from ..graph.ir import Graph, Operation, Value
from ..graph.registry import lookup
from ..ops.bfloat16 import widens
from ..ops.windows.convolution_gradients import Conv2DWeightGradient
from ..ops.windows.window import with_whole_tiles
from ..types import Layout, TensorType
from .base import Pass

Margins = tuple[tuple[int, int], ...]

PITCH_BYTES = 2048
"""Rows whose length is a multiple of this fall onto few sets of the L1 cache."""
PITCH_MARGIN_BYTES = 64
"""Put after the channels to spread such rows: a line of the cache, so that rows begin where lines do."""
SERVED_RANKS = (3, 4, 5)
"""Tensors [N, W, C], [N, H, W, C] and [N, D, H, W, C]."""


@dataclass(frozen=True)
class AssignLayouts(Pass):
    """Give values the margins that the convolutions that read them want.

    The rule, for a value of shape [N, H, W, C], or one of one or three spatial dimensions, that is the first operand of
    convolutions and their like (operators with `input_margins`), inside fused bodies or not:

    - H and W get margins of zeros: before and after, as far as any of these convolutions reaches; one whose result, or
      the gradient of whose weight, is computed in tiles (`by winograd[4,4]`) reaches as far as the last of them.
    - With `pitch`, C gets a margin of 64 bytes after it if C elements take a multiple of 2048 bytes and one of the
      convolutions has a 1x1 window. Otherwise the rows that such a kernel reads together would displace each other
      from the L1 cache. With `window_pitch`, it also gets one if C elements of at most two bytes take a multiple of so
      many bytes and one of the convolutions has a larger window and no groups: tile registers read 16 pixels of
      several rows together. What such a value may overwrite, or may be overwritten by, gets the same margin after C.
    - A value that can't carry margins (an input or output of a graph, operand or result of a reshape) stays dense,
      and where H or W need a margin, the convolutions that need it read a `relayout` of it. For the sake of the pitch
      alone nothing is copied. Values known when weights are loaded stay as they are.

    What a value means doesn't change. Whatever layouts the graph had before are assigned anew.

    Before::

        %0 = relu(%x) : f32[1,56,56,64]
        %1 = conv2d(%0, %w) {padding = "same", ...} : f32[1,56,56,64]

    After::

        %0 = relu(%x) : f32[1,56,56,64]{0:0,1:1,1:1,0:0}
        %1 = conv2d(%0, %w) {padding = "same", ...} : f32[1,56,56,64]
    """

    name = "assign-layouts"
    pitch: bool = True
    window_pitch: int = 0
    shares: bool = False
    """Results get the margins of what they may overwrite, and the other way round, so that they can."""

    def run(self, graph: Graph) -> Graph:
        plan = LayoutPlan(graph, self.pitch, self.shares, self.window_pitch)
        rewriter = Rewriter(graph)
        copies: dict[Value, Value] = {}
        bodies = _Bodies()
        for op in graph.operations:
            if op.results[0] in plan.static and all(r.type.layout is None for r in op.results):
                rewriter.copy(op)  # so are its operands
                continue
            operands = tuple(
                [_relayout(rewriter, v, plan, copies) if plan.needs_copy(op, v) else rewriter[v] for v in op.operands]
            )
            copied = rewriter.append(_rebuilt(op, operands, tuple(map(plan.type_of, op.results)), bodies))
            if copied is not op:
                rewriter.replace_results(op, copied.results)
        return rewriter.close()


assign_layouts = AssignLayouts()


class LayoutPlan:
    """The margins that convolutions want of each value, and which values may have them."""

    def __init__(self, graph: Graph, pitch: bool = True, shares: bool = False, window_pitch: int = 0) -> None:
        self.graph = graph
        self.static = static_values(graph)
        self.outputs = frozenset(graph.outputs)
        self.wanted: dict[Value, Margins] = {}
        self._types: dict[tuple[int, Margins], tuple[TensorType, TensorType]] = {}
        """Types with margins, by the identity of what they are without: few, which many values share."""
        self._wants = OncePerKind(_wants)
        for op in graph.operations:
            if op.results[0] in self.static:
                continue
            for conv, place, margins in self._wants(op):
                value = op.operands[place]
                if pitch and _wants_pitch(conv, value.type, window_pitch):
                    margins = (*margins[:-1], (0, PITCH_MARGIN_BYTES // value.type.dtype.itemsize))
                before = self.wanted.get(value, margins)
                self.wanted[value] = tuple([_larger(p, q) for p, q in zip(before, margins, strict=True)])
        if shares:
            self._share()
        elif pitch:
            self._share_pitch()

    def _share(self) -> None:
        """Give the same margins to results and what they may overwrite, where both have some."""
        for op in self.graph.operations:
            for old in overwritable(op, self.graph, self.static):
                if all(v in self.wanted and self.carries(v) for v in (op.result, old)):
                    both = zip(self.wanted[op.result], self.wanted[old], strict=True)
                    self.wanted[op.result] = self.wanted[old] = tuple(_larger(p, q) for p, q in both)

    def _share_pitch(self) -> None:
        """Give the same margin behind the channels to results and what they may overwrite but for that."""
        have_it = {value for value, margins in self.wanted.items() if any(margins[-1])}
        # To the last of a chain of results in one place, and from there back to all of them.
        for op in (*self.graph.operations, *reversed(self.graph.operations)):
            if op.results[0] not in have_it and have_it.isdisjoint(op.operands):
                continue
            for old in overwritable(op, self.graph, self.static):
                both = [self.wanted.get(v, ((0, 0),) * v.type.rank) for v in (op.result, old)]
                if (
                    both[0] != both[1]
                    and both[0][:-1] == both[1][:-1]
                    and self.carries(op.result)
                    and self.carries(old)
                ):
                    self.wanted[op.result] = self.wanted[old] = max(both, key=lambda margins: margins[-1])
                    have_it |= {op.result, old}

    def carries(self, value: Value) -> bool:
        """True if the value may have margins."""
        producer = self.graph.producers.get(value)
        if producer is None or value in self.static or value in self.outputs:
            return False
        return not any(op.operator.view or op.operator.regions for op in (producer, *self.graph.users[value]))

    def type_of(self, value: Value) -> TensorType:
        """The type of a result with its layout."""
        if value in self.wanted and self.carries(value):
            return self._with_margins(value)
        return value.type if value.type.layout is None else value.type.dense()

    def _with_margins(self, value: Value) -> TensorType:
        """The type of a value with the margins that are wanted."""
        key = id(value.type), self.wanted[value]
        known = self._types.get(key)
        if known is None:
            known = self._types[key] = value.type.with_layout(Layout(key[1])), value.type
        return known[0]

    def operand_type(self, op: Operation, value: Value) -> TensorType:
        """The type in which `op` will read a value: its own, or that of a relayout."""
        return self._with_margins(value) if self.needs_copy(op, value) else self.type_of(value)

    def needs_copy(self, op: Operation, value: Value) -> bool:
        """True if `op` must read a relayout of the value."""
        if value not in self.wanted or value in self.static or self.carries(value):
            return False
        return any(op.operands[place] is value and _has_margin(margins) for _, place, margins in self._wants(op))


def _wants(op: Operation) -> Sequence[tuple[Operation, int, Margins]]:
    """The operations that `op` carries out whose kernels want margins: the place of the operand and what they want."""
    return [*_readers(op)]


def _readers(op: Operation) -> Iterator[tuple[Operation, int, Margins]]:
    """See `_wants`."""
    outside = dict.fromkeys(op.operands[:1], 0)
    members: tuple[Operation, ...] = (op,)
    if op.body is not None:
        outside = {v: place for place, v in enumerate(op.body.inputs)}
        members = op.body.operations
        outside |= {m.result: outside[m.operands[0]] for m in members if widens(m) and m.operands[0] in outside}
    for member in members:
        margins = member.operator.input_margins([v.type for v in member.operands], member.attributes)
        place = outside.get(member.operands[0]) if member.operands else None
        if margins is None or place is None or len(margins) not in SERVED_RANKS:
            continue
        if member.algorithm is not None and member.algorithm.tile:
            tiled = member.operands[1] if isinstance(member.operator, Conv2DWeightGradient) else member.result
            strides = member.attributes["strides"]
            margins = with_whole_tiles(margins, tiled.type.shape[1:-1], member.algorithm.tile, strides)
        if op.operands[place].type.size:  # nothing writes values without elements, and thus their margins
            yield member, place, margins


def _wants_pitch(conv: Operation, x: TensorType, window_pitch: int) -> bool:
    weight, length = conv.operands[1].type, x.shape[-1] * x.dtype.itemsize
    if weight.rank not in SERVED_RANKS:
        return False
    if set(weight.shape[:-2]) == {1}:
        return length % PITCH_BYTES == 0
    if not window_pitch or x.dtype.itemsize > 2 or conv.attributes.get("groups", 1) != 1:
        return False
    return length % window_pitch == 0


def _larger(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return max(a[0], b[0]), max(a[1], b[1])


def _has_margin(margins: Margins) -> bool:
    return any(before or after for before, after in margins)


def _relayout(rewriter: Rewriter, value: Value, plan: LayoutPlan, copies: dict[Value, Value]) -> Value:
    """The copy of a value that has margins; made once, before its first use."""
    if value not in copies:
        type_ = value.type.with_layout(Layout(plan.wanted[value]))
        producer = plan.graph.producers.get(value)
        location = producer.location if producer else None
        operator = lookup("relayout")
        copy = Operation(operator, (rewriter[value],), completed(operator, {}), (Value(type_),), location)
        copies[value] = rewriter.append(copy).result
    return copies[value]


class _Bodies:
    """Bodies with other types: those of fused operations that shared one share one again if types are the same."""

    def __init__(self) -> None:
        self._made: dict[Hashable, tuple[Graph, Graph, Sequence[TensorType]]] = {}
        """By identities, with what has them."""

    def rebuilt(self, body: Graph, operands: tuple[Value, ...], types: tuple[TensorType, ...]) -> Graph:
        """The body with the types of the operands for its inputs and those of the results for its outputs."""
        all_types = (*(v.type for v in operands), *types)
        key = id(body), *map(id, all_types)
        known = self._made.get(key)
        if known is None:
            known = self._made[key] = _rebuilt_body(body, operands, types), body, all_types
        return known[0]


def _rebuilt(op: Operation, operands: tuple[Value, ...], types: tuple[TensorType, ...], bodies: _Bodies) -> Operation:
    """The operation with other operands and result types; a body gets them too."""
    same_types = types == tuple([r.type for r in op.results])
    if same_types and operands == op.operands:
        return op
    results = tuple([Value(t, r.name) for t, r in zip(types, op.results, strict=True)])
    body = bodies.rebuilt(op.body, operands, types) if op.body is not None else None
    return Operation(op.operator, operands, op.attributes, results, op.location, body, op.algorithm)


def _rebuilt_body(body: Graph, operands: tuple[Value, ...], types: tuple[TensorType, ...]) -> Graph:
    """The body with the types of the operands for its inputs and those of the results for its outputs."""
    inputs = tuple(Value(o.type, v.name) for o, v in zip(operands, body.inputs, strict=True))
    values = dict(zip(body.inputs, inputs, strict=True))
    output_types = dict(zip(body.outputs, types, strict=True))
    operations: list[Operation] = []
    for op in body.operations:
        results = tuple(Value(output_types.get(r, r.type), r.name) for r in op.results)
        inside = tuple(values[v] for v in op.operands)
        new = Operation(op.operator, inside, op.attributes, results, op.location, None, op.algorithm)
        values.update(zip(op.results, results, strict=True))
        operations.append(new)
    return Graph(body.name, inputs, tuple(operations), tuple(values[v] for v in body.outputs))
