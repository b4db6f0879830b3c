"""Chains of transposes and reshapes: what they do together, as one transpose of factors of dimensions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Value
from ..ops.moves.axes import Permutation, is_free
from ..ops.moves.shape import Reshape, Transpose


def with_merged_views(graph: Graph) -> Graph:
    """The graph with one transpose in each chain of transposes and reshapes that only its last result leaves."""
    return rewritten(graph, _Merger(graph).merged)


@dataclass(frozen=True)
class _Merger:
    graph: Graph

    def merged(self, b: Rewriter, op: Operation) -> Value | None:
        """What stands for the last operation of a chain in which two transposes move elements."""
        if not _is_view(op) or self._goes_on(op.result):
            return None
        chain = self._chain(op)
        moving = sum(isinstance(o.operator, Transpose) and not is_free(*_moves(o)) for o in chain)
        root = chain[0].operands[0]
        view = _View.of(root.type.shape)
        if moving < 2 or not all(map(view.apply, chain)):
            return None
        sizes, permutation = view.whole()
        x = b[root]
        if sizes != root.type.shape and len(permutation) > 1:
            x = b.emit("reshape", x, shape=sizes, location=op.location)
        if len(permutation) > 1:
            x = b.emit("transpose", x, permutation=permutation, location=op.location)
        return x if x.type == op.result.type else b.emit("reshape", x, shape=op.result.type.shape, location=op.location)

    def _chain(self, op: Operation) -> list[Operation]:
        """Views up to this one, each of which reads the one before and is read by nobody else."""
        chain = [op]
        while (before := self.graph.producers.get(chain[0].operands[0])) is not None and _is_view(before):
            if not self._goes_on(before.result):
                break
            chain.insert(0, before)
        return chain

    def _goes_on(self, value: Value) -> bool:
        """True if one view alone reads a value."""
        users = self.graph.users[value]
        return value not in self.graph.outputs and len(users) == 1 and _is_view(users[0])


def _is_view(op: Operation) -> bool:
    """True for transposes and reshapes of dense values without scales of their own along an axis."""
    types = (op.operands[0].type, op.result.type) if isinstance(op.operator, Transpose | Reshape) else ()
    plain = all(t.layout is None and (t.quantization is None or t.quantization.is_per_tensor) for t in types)
    return bool(types) and plain and op.result.type.size > 0


def _moves(op: Operation) -> tuple[tuple[int, ...], Permutation]:
    return op.operands[0].type.shape, op.attributes["permutation"]


@dataclass
class _View:
    """A view of a root as an order of factors of its dimensions; factors of 1 are left out."""

    sizes: dict[int, int]
    """The size of each factor, by its number."""
    root: list[int]
    """The factors in the root's order."""
    dimensions: list[list[int]]
    """The factors that make up each dimension of the view."""
    numbers: Iterator[int]
    """Those that no factor has."""

    @staticmethod
    def of(shape: tuple[int, ...]) -> _View:
        """The root itself."""
        factors = [[d] if size != 1 else [] for d, size in enumerate(shape)]
        sizes = {d: size for d, size in enumerate(shape) if size != 1}
        return _View(sizes, list(sizes), factors, count(len(shape)))

    def apply(self, op: Operation) -> bool:
        """Go on to a view of the view; False where dimensions have no common factors."""
        if isinstance(op.operator, Transpose):
            self.dimensions = [self.dimensions[d] for d in op.attributes["permutation"]]
            return True
        rest = [f for factors in self.dimensions for f in factors]
        new: list[list[int]] = []
        for size in op.result.type.shape:
            taken: list[int] = []
            while size > 1:
                first = self.sizes[rest[0]]
                if first > size and first % size == 0:
                    rest[:1] = self._split(rest[0], size)
                elif size % first:
                    return False
                taken.append(rest.pop(0))
                size //= self.sizes[taken[-1]]
            new.append(taken)
        self.dimensions = new
        return True

    def _split(self, factor: int, outer: int) -> list[int]:
        """Two factors in place of one."""
        parts = [next(self.numbers), next(self.numbers)]
        for part, size in zip(parts, (outer, self.sizes[factor] // outer), strict=True):
            self.sizes[part] = size
        place = self.root.index(factor)
        self.root[place : place + 1] = parts
        return parts

    def whole(self) -> tuple[tuple[int, ...], Permutation]:
        """The root's shape, split as far as needed, and the permutation of its dimensions."""
        places = [self.root.index(f) for factors in self.dimensions for f in factors]
        runs: list[list[int]] = []
        for place in places:
            if runs and place == runs[-1][-1] + 1:
                runs[-1].append(place)
            else:
                runs.append([place])
        ordered = sorted(runs)
        sizes = (math.prod(self.sizes[self.root[place]] for place in run) for run in ordered)
        return tuple(sizes), tuple(map(ordered.index, runs))
