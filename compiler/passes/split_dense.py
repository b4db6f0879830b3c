"""split-dense: a dense layer for queries, one for keys and one for values in place of one for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from ..graph.analysis import static_values
from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Value
from ..ops.moves.shape import Reshape, Slice
from ..ops.products.attention import Attention
from ..ops.products.dense import Dense
from .base import Pass
from .dce import dce

FEWEST = 64
"""Channels that are worth a layer of their own: a few would fill no register tile."""


@dataclass(frozen=True)
class SplitDense(Pass):
    """Split a dense layer whose channels attention reads apart: as slices of one result they would be copied.

    The weights are cut once, when they are loaded. All sums stay as they are.

    Before::

        %0 = dense(%x, %w) : f32[1,9,192]
        %1 = reshape(%0) {shape = [1,9,3,64]} : f32[1,9,3,64]
        %2 = slice(%1) {begin = [0,0,1,0], size = [1,9,1,64]} : f32[1,9,1,64]     and the others

    After::

        %0 = slice(%w) {begin = [0,64], size = [32,64]} : f32[32,64]
        %1 = dense(%x, %0) : f32[1,9,64]
        %2 = reshape(%1) {shape = [1,9,1,64]} : f32[1,9,1,64]
    """

    name = "split-dense"

    def run(self, graph: Graph) -> Graph:
        if not any(isinstance(op.operator, Attention) for op in graph.operations):
            return graph
        layers = _Layers(graph)
        cuts = {cut.slice: cut for op in graph.operations for cut in layers.cuts(op)}
        split = rewritten(graph, lambda b, op: cuts[op].layer(b) if op in cuts else None)
        return graph if split is graph else dce(split)


split_dense = SplitDense()


@dataclass(frozen=True)
class _Cut:
    """Neighbouring channels of a dense layer, as a slice of its result."""

    dense: Operation
    slice: Operation
    first: int
    count: int

    def layer(self, b: Rewriter) -> Value:
        """The layer of these channels alone, in the shape of the slice."""
        x, *weights = self.dense.operands
        location = self.slice.location
        own = [
            b.emit(
                "slice",
                b[w],
                begin=(*(0,) * (w.type.rank - 1), self.first),
                size=(*w.type.shape[:-1], self.count),
                location=location,
            )
            for w in weights
        ]
        y = b.emit("dense", b[x], *own, location=location)
        return b.emit("reshape", y, shape=self.slice.result.type.shape, location=location, name=self.slice.result.name)


@dataclass(frozen=True)
class _Layers:
    """The dense layers of a graph."""

    graph: Graph

    @cached_property
    def static(self) -> frozenset[Value]:
        """What is known when weights are loaded."""
        return static_values(self.graph)

    def cuts(self, op: Operation) -> Sequence[_Cut]:
        """What attention reads of a dense layer, if that is several runs of channels and nobody reads anything else."""
        if not isinstance(op.operator, Dense) or not self.static.issuperset(op.operands[1:]):
            return ()
        y = op.result
        reader = self.graph.users[y][0] if self.graph.has_one_use(y) else None
        if reader is not None and isinstance(reader.operator, Reshape):
            y = reader.result
        lead = op.result.type.shape[:-1]
        if y.type.rank <= len(lead) or y.type.shape[: len(lead)] != lead or y in self.graph.outputs:
            return ()
        found = [self._cut(op, user, len(lead)) for user in self.graph.users[y]]
        cuts = sorted((cut for cut in found if cut is not None), key=lambda cut: cut.first)
        apart = all(a.first + a.count <= b.first for a, b in pairwise(cuts))
        return cuts if len(cuts) == len(found) > 1 and apart else ()

    def _cut(self, dense: Operation, op: Operation, lead: int) -> _Cut | None:
        """The channels that an operation takes for attention, behind so many other dimensions."""
        if not isinstance(op.operator, Slice) or not self._reaches_attention(op.result):
            return None
        shape, begin, size = op.operands[0].type.shape, op.attributes["begin"], op.attributes["size"]
        inner = math.prod(shape[lead + 1 :])
        whole = (*shape[:lead], size[lead], *shape[lead + 1 :])
        count = size[lead] * inner
        return _Cut(dense, op, begin[lead] * inner, count) if tuple(size) == whole and count >= FEWEST else None

    def _reaches_attention(self, value: Value) -> bool:
        """Does attention alone read a value, perhaps in another shape?"""
        while self.graph.has_one_use(value):
            (user,) = self.graph.users[value]
            if isinstance(user.operator, Attention):
                return True
            if not isinstance(user.operator, Reshape):
                return False
            value = user.result
        return False
