"""Conditions and loops: the calls of the graphs inside, and the blocks that say which of them are made.

What goes from iteration to iteration has a place of its own, the *carried* value: what goes in is copied there before
the loop, what the body returns at the end of each iteration. Condition and body read it there, and after the loop it is
the result. The results of a condition are copied to one place, whichever branch made them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ..errors import InternalError
from ..graph.builder import GraphBuilder
from ..graph.ir import Graph, Operation, Value
from ..graph.registry import lookup
from ..modules.module import Turns
from ..types import DType, TensorType
from .places import Places, Slice


@dataclass(frozen=True, slots=True)
class OpenBlock:
    """A `modules.module.Block` before its boolean has a place."""

    first: int
    body: int
    end: int
    when: Value
    repeats: bool


class Lowering(Protocol):
    """What lowers the operations inside (see `lower`)."""

    places: Places
    threads: int

    @property
    def count(self) -> int:
        """How many calls there are so far."""
        ...

    def operations(self, operations: Sequence[Operation]) -> None:
        """Lower operations."""
        ...

    def call(self, op: Operation) -> None:
        """Lower an operation that is no view."""
        ...

    def multiply(self, first: int, turns: int) -> None:
        """The calls from `first` on are made so many times."""
        ...


class ControlFlow:
    """Lowers `if`, `while` and `map`, and keeps blocks, outer ones first, and turns."""

    def __init__(self, lowering: Lowering) -> None:
        self._lowering = lowering
        self.blocks: list[OpenBlock] = []
        self.turns: list[Turns] = []
        self.are_shared = False
        """What is lowered now are turns, each of which one thread makes."""

    def lower(self, op: Operation) -> None:
        """Lower a condition, a loop or a map."""
        rules = {"if": self._if, "while": self._while, "map": self._map}
        if op.name not in rules:
            raise InternalError(f"nothing is known of the graphs inside {op.name}")
        rules[op.name](op)

    def extended(self, first: Mapping[Value, int], last: Mapping[Value, int]) -> dict[Value, int]:
        """The last use of each value: what was there before a loop and is read in it is read until its end.

        Booleans that are asked stay to the very end, since a thread may ask late.
        """
        extended = dict(last)
        loops = [block for block in self.blocks if block.repeats]
        for block in sorted(loops, key=lambda b: b.end - b.first):
            for value, position in extended.items():
                if first[value] < block.first <= position < block.end:
                    extended[value] = block.end - 1
        asked = {self._lowering.places.root(block.when): self._lowering.count for block in self.blocks}
        return extended | asked

    # ---- conditions ----

    def _if(self, op: Operation) -> None:
        condition, *values = op.operands
        results = [Value(v.type.dense()) for v in op.results]
        holds = self._copy(condition, Value(TensorType(DType.BOOL, condition.type.shape)))
        b = GraphBuilder("otherwise")
        otherwise = b.emit("logical_not", holds)
        self._lowering.call(b.operations[0])
        for when, name in ((holds, "then"), (otherwise, "else")):
            place, first = self._begin(), self._lowering.count
            outputs = self._inline(op.attributes[name], values)
            for output, result in zip(outputs, results, strict=True):
                self._copy(output, result)
            self._end(place, first, first, when, repeats=False)
        self._lowering.places.aliases.update(zip(op.results, results, strict=True))

    # ---- loops ----

    def _while(self, op: Operation) -> None:
        body: Graph = op.attributes["body"]
        carried = [Value(v.type.dense()) for v in op.results]
        for operand, value in zip(op.operands, carried, strict=False):
            self._copy(operand, value)
        values = [*carried, *op.operands[len(carried) :]]
        place, first = self._begin(), self._lowering.count
        (goes_on,) = self._inline(op.attributes["condition"], values)
        when = self._copy(goes_on, Value(TensorType(DType.BOOL, goes_on.type.shape)))
        middle = self._lowering.count
        self._carry(self._inline(body, values), carried)
        self._end(place, first, middle, when, repeats=True)
        self._lowering.places.aliases.update(zip(op.results, carried, strict=True))

    def _carry(self, outputs: Sequence[Value], carried: Sequence[Value]) -> None:
        """Give carried values what the body returns: first that which others of them hold, which are overwritten."""
        root = self._lowering.places.root
        moved = [(o, c) for o, c in zip(outputs, carried, strict=True) if root(o) is not c]
        saved = [(self._copy(o, Value(o.type.dense())) if root(o) in carried else o, c) for o, c in moved]
        for output, value in saved or zip(outputs[:1], [Value(v.type.dense()) for v in outputs[:1]], strict=True):
            self._copy(output, value)  # a loop whose body does nothing makes at least a call

    # ---- groups of samples ----

    def _map(self, op: Operation) -> None:
        """The body for one group, as turns.

        What is cut and the results are slices of values around it; all other values have memory for each share.
        """
        lowering, body, mapped = self._lowering, op.attributes["body"], op.attributes["mapped"]
        places = lowering.places
        values = dict(zip(body.inputs, op.operands, strict=True))
        for value, whole in list(values.items())[:mapped]:
            places.slices[value] = Slice(places.root(whole), value.type.bytes)
            values[value] = value
        first, self.are_shared = lowering.count, True
        for inner in body.operations:
            lowering.operations([replace(inner, operands=tuple(values.get(v, v) for v in inner.operands))])
        for output, result in zip(body.outputs, op.results, strict=True):
            value = values.get(output, output)
            made = places.root(value)
            if output in values or made in places.slices or places.is_static(made):
                made = self._copy(value, Value(output.type))
            places.slices[made] = Slice(result, output.type.bytes)
        self.are_shared = False
        turns = op.results[0].type.shape[0] // body.outputs[0].type.shape[0]
        if lowering.count > first:
            lowering.multiply(first, turns)
            self.turns.append(Turns(first, lowering.count, turns, min(turns, lowering.threads)))

    # ---- parts ----

    def _begin(self) -> int:
        """The place of a block among the others, before those inside it."""
        return len(self.blocks)

    def _end(self, place: int, first: int, body: int, when: Value, *, repeats: bool) -> None:
        """Add a block that holds calls."""
        if self._lowering.count > body:
            self.blocks.insert(place, OpenBlock(first, body, self._lowering.count, when, repeats))

    def _inline(self, graph: Graph, values: Sequence[Value]) -> tuple[Value, ...]:
        """Lower a graph on values of the one around it; its outputs."""
        root = self._lowering.places.root
        self._lowering.places.aliases.update({v: root(given) for v, given in zip(graph.inputs, values, strict=True)})
        self._lowering.operations(graph.operations)
        return graph.outputs

    def _copy(self, value: Value, to: Value) -> Value:
        """A call that copies a value to the place of another, which is returned."""
        identity = lookup("identity")
        if value.type.size:
            self._lowering.call(Operation(identity, (value,), identity.complete({}), (to,)))
        return to
