"""In which order of axes operations could work, and how many transposes a graph holds.

A value that transposes make stands for the value that they read, the *root*, in another order. An operation that
commutes with a permutation (`ops/permutation.py`) has two forms: as it stands, and *moved*, on permuted operands.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from ..graph.analysis import static_values
from ..graph.ir import Graph, Operation, Value
from ..ops.facets import PERMUTED, Permuted
from ..ops.moves.axes import Permutation, composed, inverse, is_free
from ..ops.moves.shape import Reshape, Transpose
from ..ops.permutation import asked_for, leads
from ..ops.products.contract import Contract
from ..ops.products.dense import Dense
from ..ops.products.product_orders import contracted
from ..ops.windows.convolution import Convolution
from ..types import TensorType

_TRANSPOSE = Transpose()

Order = tuple[int, ...]
"""The axes that have more than one element, in their order: orders that differ in others are the same in memory."""


def transposed(type_: TensorType, permutation: Permutation) -> TensorType:
    """The type of a transposed value."""
    (result,) = _TRANSPOSE.result_types((type_,), {"permutation": permutation})
    return result


def order_of(type_: TensorType, permutation: Permutation) -> Order:
    """What of a permutation counts for how elements lie in memory."""
    return tuple(d for d in permutation if type_.shape[d] != 1)


Found = tuple[Operation, Permuted, bool]
"""An operation in another form, and whether this needs nothing else than was asked for."""


@dataclass(frozen=True, slots=True)
class Read:
    """A root as an operation, or an output of the graph, reads it: in this order of its axes."""

    root: Value
    order: Permutation
    reader: Operation | None
    place: int


class Roots:
    """The roots of a graph, and who reads them."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.static = static_values(graph)
        self.orders: dict[Value, tuple[Value, Permutation]] = {}
        """The root that each value stands for, and the order in which it has the root's axes."""
        self.reads: dict[Value, list[Read]] = defaultdict(list)
        self.operands: dict[Operation, tuple[Read, ...]] = {}
        for value in graph.inputs:
            self._is_root(value)
        for op in graph.operations:
            self._visit(op)
        for place, output in enumerate(graph.outputs):
            self._read(output, None, place)

    def _is_root(self, value: Value) -> None:
        self.orders[value] = value, tuple(range(value.type.rank))

    def _read(self, value: Value, reader: Operation | None, place: int) -> Read:
        read = Read(*self.orders[value], reader, place)
        self.reads[read.root].append(read)
        return read

    def _visit(self, op: Operation) -> None:
        if isinstance(op.operator, Transpose):
            root, order = self.orders[op.operands[0]]
            merged = composed(order, op.attributes["permutation"])
            given = root.type.quantization
            is_plain = root.type.layout is None and (given is None or given.is_per_tensor)
            if is_plain and transposed(root.type, merged) == op.result.type:
                self.orders[op.result] = root, merged
                return
        self.operands[op] = tuple(self._read(v, op, i) for i, v in enumerate(op.operands))
        for result in op.results:
            self._is_root(result)

    def stands_for_another(self, op: Operation) -> bool:
        """True for a transpose whose result is its root in another order."""
        return op not in self.operands

    def following(self, op: Operation, place: int, order: Permutation) -> Found | None:
        """An operation in the form that reads this operand in such an order of its axes, if it has one."""
        form = self.moved(op, place, order)
        if form is None:
            return None
        type_ = op.operands[place].type
        fits = order_of(type_, form.operands[place]) == order_of(type_, order)
        return op, form, fits and not turns_weight(op, form)

    def leading(self, op: Operation, order: Permutation) -> Found | None:
        """An operation in the form that gives its result in such an order of its axes, if it has one."""
        form = self.moved_to(op, order)
        return None if form is None else (op, form, not turns_weight(op, form))

    def moved(self, op: Operation, place: int, order: Permutation) -> Permuted | None:
        """The form of an operation that reads this operand in such an order of its axes, if it has one."""
        if (form := contracted(op, place, order)) is not None:
            return form
        rule = PERMUTED.of(op.operator)
        types = tuple(v.type for v in op.operands)
        if place and isinstance(op.operator, Convolution):  # the order of a filter follows from that of the input
            return None
        if rule is None or isinstance(op.operator, Transpose) or not leads(op.operator, types, place):
            return None
        if op.body is not None:
            return None
        moved = rule(types, op.attributes, order)
        if moved is None:
            return None
        pairs = [*zip(types, moved.operands, strict=True), (op.result.type, moved.result)]
        if all(is_free(t.shape, o) for t, o in pairs):
            return None
        if moved.emit is not None:
            return moved
        operands = tuple(map(transposed, types, moved.operands))
        (result,) = op.operator.result_types(operands, moved.attributes)
        fits = all(transposed(new, inverse(o)) == t for new, o, t in zip(operands, moved.operands, types, strict=True))
        return moved if fits and transposed(result, inverse(moved.result)) == op.result.type else None

    def moved_to(self, op: Operation, order: Permutation) -> Permuted | None:
        """The form of an operation that gives its result in such an order of its axes, if it has one."""
        if (form := contracted(op, 2, order)) is not None:
            return form
        if len(op.results) != 1 or not op.operands or PERMUTED.of(op.operator) is None:
            return None
        place, wanted = asked_for(tuple(v.type for v in op.operands), op.result.type, op.operator, op.attributes, order)
        moved = None if wanted is None else self.moved(op, place, wanted)
        same = moved is not None and order_of(op.result.type, moved.result) == order_of(op.result.type, order)
        return moved if same else None


def turns_weight(op: Operation, form: Permuted) -> bool:
    """True for a dense layer along another axis than the last one."""
    return isinstance(op.operator, Dense | Convolution) and isinstance(form.operator, Contract)


@dataclass(frozen=True, slots=True)
class TransposesLeft:
    """How many transposes a graph holds that run for every input."""

    inside: int
    """Between operations."""
    rearranging: int
    """Between two reshapes, of which the first splits dimensions and the second merges them: shuffles, windows."""
    outside: int
    """Of inputs and outputs, or of what is made of one element by element: its bytes may be fewer (`quantize`)."""


def transposes_left(graph: Graph) -> TransposesLeft:
    """Count the transposes of a graph."""
    static = static_values(graph)
    found = [op for op in graph.operations if isinstance(op.operator, Transpose) and op.result not in static]
    at_ends = [op for op in found if _is_at_an_end(graph, op)]
    rest = [op for op in found if op not in at_ends]
    rearranging = sum(_rearranges(graph, op) for op in rest)
    return TransposesLeft(len(rest) - rearranging, rearranging, len(at_ends))


def _is_at_an_end(graph: Graph, op: Operation) -> bool:
    value = op.operands[0]
    while (before := graph.producers.get(value)) is not None and _is_unary(before):
        value = before.operands[0]
    if value in graph.inputs or op.result in graph.outputs:
        return True
    value = op.result
    while len(users := graph.users[value]) == 1 and _is_unary(users[0]) and value not in graph.outputs:
        value = users[0].result
    return value in graph.outputs


def _is_unary(op: Operation) -> bool:
    return op.operator.elementwise and len(op.operands) == len(op.results) == 1


def _rearranges(graph: Graph, op: Operation) -> bool:
    before, after = graph.producers[op.operands[0]], graph.users[op.result]
    return isinstance(before.operator, Reshape) and all(isinstance(user.operator, Reshape) for user in after)
