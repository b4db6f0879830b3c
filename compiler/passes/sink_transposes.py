"""sink-transposes: move transposes behind the operators that commute with them, until they meet their inverses."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import Location
from ..graph.analysis import static_values
from ..graph.builder import Rewriter
from ..graph.ir import Graph, Operation, Value
from ..ops.axes import Permutation, composed, inverse, is_free, is_identity
from ..ops.facets import PERMUTED, Permuted
from ..ops.shape import Transpose
from ..types import TensorType
from .base import Pass

_TRANSPOSE = Transpose()


@dataclass(frozen=True)
class SinkTransposes(Pass):
    """Move a transpose of all operands of an operator behind it, and merge it with the next one.

    What is known when weights are loaded is transposed to fit. Sums may be added up in another order, so floats may
    differ in the last bits. A transpose that several operators read sinks past each of them for itself.

    Before::

        %0 = transpose(%x) {permutation = [0,3,1,2]}
        %1 = relu(%0)
        %2 = transpose(%1) {permutation = [0,2,3,1]}

    After::

        %0 = relu(%x)
    """

    name = "sink-transposes"

    def run(self, graph: Graph) -> Graph:
        sinker = _Sinker(graph)
        for op in graph.operations:
            sinker.visit(op)
        return sinker.close()


@dataclass(frozen=True, slots=True)
class _Transposed:
    """What stands for a value: a value of the new graph, to be transposed."""

    source: Value
    permutation: Permutation
    location: Location | None = None

    @property
    def type(self) -> TensorType:
        """The type of the transposed value, as a `transpose` infers it."""
        if is_identity(self.permutation):
            return self.source.type
        (type_,) = _TRANSPOSE.result_types((self.source.type,), {"permutation": self.permutation})
        return type_

    @property
    def is_free(self) -> bool:
        """True if no element moves, so that it needs no transpose."""
        given = self.source.type.quantization
        return is_free(self.source.type.shape, self.permutation) and (given is None or given.is_per_tensor)

    def then(self, permutation: Permutation) -> _Transposed:
        """The same, transposed once more."""
        return _Transposed(self.source, composed(self.permutation, permutation), self.location)


class _Sinker:
    """The walk over a graph. Transposes wait until an operator reads them that they don't commute with."""

    def __init__(self, graph: Graph) -> None:
        self.rewriter = Rewriter(graph)
        self.static = static_values(graph)
        self.waiting: dict[Value, _Transposed] = {}
        self.known: dict[tuple[Value, Permutation], Value] = {}
        self.changed = False

    def visit(self, op: Operation) -> None:
        """Carry an operation over, before the transposes of its operands where it can be."""
        if not (self._wait(op) if isinstance(op.operator, Transpose) else self._move(op)):
            for operand in op.operands:
                self._value(operand)
            self.rewriter.copy(op)

    def close(self) -> Graph:
        """The new graph, or the old one if nothing has moved."""
        if not self.changed:
            return self.rewriter.graph
        for output in self.rewriter.graph.outputs:
            self._value(output)
        return self.rewriter.close()

    def _transposed(self, old: Value) -> _Transposed:
        """What stands for a value of the old graph."""
        waiting = self.waiting.get(old)
        return waiting or _Transposed(self.rewriter[old], tuple(range(old.type.rank)))

    def _emit(self, transposed: _Transposed, name: str | None = None) -> Value:
        """The transposed value itself; a reshape where that is the same."""
        source, permutation = transposed.source, transposed.permutation
        if transposed.is_free:
            shape = transposed.type.shape
            return self.rewriter.emit("reshape", source, shape=shape, location=transposed.location, name=name)
        return self.rewriter.emit("transpose", source, permutation=permutation, location=transposed.location, name=name)

    def _value(self, old: Value) -> Value:
        """The value that stands for one of the old graph; the transpose that waits for it is emitted once."""
        if old not in self.rewriter:
            self.rewriter.replace(old, self._emit(self.waiting[old], old.name))
        return self.rewriter[old]

    def _operand(self, transposed: _Transposed, location: Location | None) -> Value:
        """What a moved operation reads: the source, or a known value that is transposed once for all readers."""
        if is_identity(transposed.permutation):
            return transposed.source
        key = transposed.source, transposed.permutation
        if key not in self.known:
            self.known[key] = self._emit(replace(transposed, location=transposed.location or location))
        return self.known[key]

    def _settle(self, old: Value, transposed: _Transposed) -> bool:
        """Let a transposed value stand for one of the old graph, if it has its type."""
        if transposed.type != old.type:  # layouts, and scales along an axis, aren't moved
            return False
        if is_identity(transposed.permutation):
            self.rewriter.replace(old, transposed.source)
        else:
            self.waiting[old] = transposed
        return True

    def _wait(self, op: Operation) -> bool:
        """Keep a transpose for later, merged with what its operand waits for."""
        (x,) = op.operands
        merged = self._transposed(x).then(op.attributes["permutation"])
        settled = self._settle(op.result, _Transposed(merged.source, merged.permutation, op.location))
        self.changed |= settled and (x in self.waiting or is_identity(merged.permutation))
        return settled

    def _move(self, op: Operation) -> bool:
        """Let an operation read what its operands are transposes of; False where it can't."""
        found = self._permuted(op)
        if found is None:
            return False
        moved, location, is_as_asked = found
        pairs = zip(op.operands, moved.operands, strict=True)
        operands = [self._transposed(old).then(permutation) for old, permutation in pairs]
        fits = (o.is_free or old in self.static for o, old in zip(operands, op.operands, strict=True))
        (type_,) = op.operator.result_types(tuple(o.type for o in operands), moved.attributes)
        back = inverse(moved.result)
        waits = _Transposed(Value(type_), back)
        if not all(fits) and (is_as_asked or waits.is_free):
            return False
        if waits.type != op.result.type:
            return False
        name = op.result.name if is_identity(back) else None
        values = [self._operand(operand, location) for operand in operands]
        result = self.rewriter.operation(op.operator, values, moved.attributes, location=op.location, name=name).result
        self.changed = True
        return self._settle(op.result, _Transposed(result, back, location))

    def _permuted(self, op: Operation) -> tuple[Permuted, Location | None, bool] | None:
        """The operation without the transpose of its first transposed operand, and where that one comes from.

        The last says whether it takes the operand without any transpose: a rule may ask for a lesser one.
        """
        rule = PERMUTED.of(op.operator)
        rank = max((v.type.rank for v in op.operands), default=0)
        movable = (v for v in op.operands if v.type.rank == rank and v in self.waiting and v not in self.static)
        leading = next(movable, None)
        if rule is None or leading is None:
            return None
        waiting = self.waiting[leading]
        asked = inverse(waiting.permutation)
        moved = rule(tuple(v.type for v in op.operands), op.attributes, asked)
        if moved is None:
            return None
        return moved, waiting.location, moved.operands[op.operands.index(leading)] == asked


sink_transposes = SinkTransposes()
