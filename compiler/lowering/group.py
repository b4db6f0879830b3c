"""The unit of lowering: one operation of the graph, or one `fused` group, seen as an anchor and its epilogue.

The anchor is the operation that a schedule turns into loops (a convolution, a pooling ...); everything after it is
elementwise and is evaluated on each result while it is still in registers. A group without such an operation has its
last elementwise operation as anchor, and the operations before it are inlined where they are loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..graph.ir import Operation, Value

Setting = str | int | tuple[int, ...]
"""What a schedule decides for: a way of doing something, a number, sizes."""
Alternatives = Callable[[], Sequence[Setting]]


class Picker(Protocol):
    """What decides in place of schedules (see `choices`)."""

    def pick(self, name: str, default: Setting, alternatives: Alternatives) -> Setting:
        """The default, or one of the alternatives."""
        ...


@dataclass(frozen=True, eq=False)
class Group:
    """`operation` and what is inside it."""

    operation: Operation
    members: tuple[Operation, ...]
    anchor: Operation
    results: tuple[Value, ...]
    """Values inside the group that the operation's results stand for."""
    outer: Mapping[Value, Value]
    """Value inside the group -> value of the graph, for all that comes from outside, constants aside."""
    producers: Mapping[Value, Operation]
    """Value inside the group -> member that makes it."""
    constants: Mapping[Value, float | int | bool]
    """Values from outside that are one number known at compile time."""
    static: Collection[Value] = ()
    """Values of the graph that are known when weights are loaded, so that they can be packed."""
    in_place: Mapping[Value, Value] = field(default_factory=dict)
    """Result of the group -> value from outside whose memory it overwrites, element by element."""
    picker: Picker | None = None
    """What decides in place of the schedule, if anything does."""

    def choose(self, name: str, default: Setting, alternatives: Alternatives) -> Setting:
        """A decision of the schedule: its default, unless another of the alternatives was chosen.

        All of them must compute the same. The most promising come first; the default is one of them.
        """
        return default if self.picker is None else self.picker.pick(name, default, alternatives)

    @property
    def result(self) -> Value:
        """The only result."""
        (result,) = self.results
        return result

    @property
    def knows_weight(self) -> bool:
        """True if the anchor's second operand comes from outside, and is known when weights are loaded."""
        return self.outer[self.anchor.operands[1]] in self.static

    @property
    def normalizes_rows(self) -> bool:
        """True if reductions with `keepdims` stand inside, and the result has again the shape of what they reduce."""
        anchor = self.anchor.result.type.shape
        return not self.anchor.operator.elementwise and anchor != self.results[0].type.shape

    @property
    def label(self) -> str:
        """The operators, joined: "conv2d+relu"."""
        return "+".join(op.name for op in self.members if op.name != "constant")

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations of all members."""
        return sum(
            op.operator.macs(tuple(v.type for v in op.operands), tuple(v.type for v in op.results), op.attributes)
            for op in self.members
        )

    @property
    def epilogue_inputs(self) -> tuple[Value, ...]:
        """Values from outside that members other than the anchor read, in order."""
        read = (v for op in self.members if op is not self.anchor for v in op.operands)
        return tuple(dict.fromkeys(v for v in read if v in self.outer))


def literal(operation: Operation | None) -> float | int | bool | None:
    """The number that a constant operation with one element stands for; None for anything else."""
    if operation is None or operation.name != "constant" or operation.result.type.size != 1:
        return None
    number: float | int | bool = operation.attributes["value"].reshape(()).item()
    return number


def group_of(operation: Operation, makers: Mapping[Value, Operation], static: Collection[Value] = ()) -> Group:
    """See an operation as a group; `makers` are the graph's producers, to recognise constants."""
    if operation.body is None:
        members: tuple[Operation, ...] = (operation,)
        results = operation.results
        outer = {v: v for v in operation.operands}
    else:
        members = operation.body.operations
        results = operation.body.outputs
        outer = dict(zip(operation.body.inputs, operation.operands, strict=True))
    anchors = [op for op in members if not op.operator.elementwise and op.name != "constant"]
    constants = {v: n for v, w in outer.items() if (n := literal(makers.get(w))) is not None}
    constants |= {op.result: n for op in members if (n := literal(op)) is not None}
    return Group(
        operation,
        members,
        anchors[0] if anchors else members[-1],
        results,
        {v: w for v, w in outer.items() if v not in constants},
        {r: op for op in members for r in op.results},
        constants,
        static,
    )
