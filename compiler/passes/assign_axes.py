"""assign-axes: choose for the whole graph in which order values have their axes, so that transposes move least."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from ..arrays import row_major
from ..errors import Location
from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Value
from ..ops.facets import Permuted
from ..ops.functions.elementwise import BinaryOperator
from ..ops.moves.axes import Permutation, composed, inverse, is_free, is_identity
from ..ops.moves.shape import Reshape, Transpose
from .axis_cuts import chosen, cost, gain, merged_from, touched
from .axis_orders import Order, Roots, order_of, transposes_left
from .axis_plans import Plan, Seed, absorbing, planned, seeds
from .base import Pass
from .dce import dce
from .later_merges import with_later_merges
from .product_axes import with_axes_apart, with_one_reshape
from .views import with_merged_views

MAX_ROUNDS = 100
"""Most times that a graph is changed."""


@dataclass(frozen=True)
class AssignAxes(Pass):
    """Let operations work in the order of axes that spares transposes; those that remain move the fewest bytes.

    An operation that commutes with a permutation (`ops/permutation.py`) may work on permuted operands. From each
    transpose on, the pass follows the order of axes without it through the graph, forward and backward, through
    reshapes, too, whose dimensions it takes apart and puts together. Then a minimum cut chooses which operations take
    this order: what is cut are values that are needed in another order than they are made, weighed by their bytes.
    This is repeated until nothing gets better. Chains of transposes and reshapes become one transpose of factors of
    dimensions. Inputs and outputs keep their order. What is known when weights are
    loaded is transposed to fit at no cost, and so are the rows of a dense layer's weight behind a flattened picture.
    Sums may be added up in another order, so floats may differ in the last bits.

    Before::

        %0 = transpose(%x) {permutation = [0,3,1,2]}
        %1 = relu(%0)
        %2 = transpose(%1) {permutation = [0,2,3,1]}

    After::

        %0 = relu(%x)
    """

    name = "assign-axes"

    def run(self, graph: Graph) -> Graph:
        roots = Roots(graph)
        if not any(roots.stands_for_another(op) for op in graph.operations):
            return graph
        found = start = rewritten(graph, partial(_with_full_rank, roots.static))
        found = _settled(found)
        if transposes_left(found).inside:  # else there is little to gain for twice the time
            apart = _settled(with_later_merges(found))
            if cost(Roots(apart), {}) < cost(Roots(found), {}):
                found = apart
        return graph if found is start else dce(rewritten(found, partial(_with_own_rank, found)))


assign_axes = AssignAxes()


def _settled(graph: Graph) -> Graph:
    """The graph that gets no better."""
    for _ in range(MAX_ROUNDS):
        better = _better(graph)
        if better is graph:
            break
        graph = better
    return graph


def _better(graph: Graph) -> Graph:
    """A graph whose transposes move less; this one where none is found."""
    roots = Roots(graph)
    if not any(roots.stands_for_another(op) for op in graph.operations):
        return graph
    merged = with_merged_views(graph)
    if merged is not graph:
        return dce(merged)
    plan = _best(roots)
    if not plan and not _is_wasteful(roots):
        turned = rewritten(graph, partial(_with_turned_rows, graph, roots.static))
        return with_axes_apart(graph) if turned is graph else dce(turned)
    return with_one_reshape(dce(_Mover(roots, plan).moved()))


def _best(roots: Roots) -> Plan:
    """Which operations work in another order; none if nothing gets better.

    The best plan, and all others that touch none of its values: what they gain adds up, as in networks of alike blocks.
    """
    known = seeds(roots)
    for plans in (_plans, _plans_of_one_side, _plans_up_to_products):
        found = [chosen(roots, plan) for plan in plans(roots, known) if plan]
        better = [(saved, plan) for plan in found if (saved := gain(roots, plan)) > 0]
        if better:
            return _together(roots, [plan for _, plan in sorted(better, key=lambda pair: -pair[0])])
    return {}


def _together(roots: Roots, plans: Sequence[Plan]) -> Plan:
    """Plans that touch no value in common but weights, the first ones first."""
    together: dict[Operation, Permuted] = {}
    taken: set[Value] = set()
    for plan in plans:
        values = [value for value in touched(roots, plan) if value not in roots.static]
        if taken.isdisjoint(values) and together.keys().isdisjoint(plan):
            together |= plan
            taken.update(values)
    return together


def _plans(roots: Roots, known: Sequence[Seed]) -> Iterator[Plan]:
    """What could be done."""
    yield absorbing(roots)
    for exact in (True, False):
        yield from _all_planned(roots, known, exact=exact)


def _plans_of_one_side(roots: Roots, known: Sequence[Seed]) -> Iterator[Plan]:
    """What else could be done: transposes go at their readers only, or at their makers only."""
    for at_reader in (True, False):
        yield from _all_planned(roots, [s for s in known if s.at_reader is at_reader], exact=False)


def _plans_up_to_products(roots: Roots, known: Sequence[Seed]) -> Iterator[Plan]:
    """What is left: products take one operand in another order, and all else of them stays."""
    for seed in known:
        yield absorbing(roots, [seed])


def _all_planned(roots: Roots, waiting: Sequence[Seed], *, exact: bool) -> Iterator[Plan]:
    while waiting:
        plan, waiting = planned(roots, waiting, exact=exact)
        yield plan


def _is_wasteful(roots: Roots) -> bool:
    """True if transposes follow each other, are made twice, or leave all elements where they are."""
    seen: set[tuple[Value, Order]] = set()
    for op in roots.graph.operations:
        if roots.stands_for_another(op):
            root, order = roots.orders[op.result]
            key = root, order_of(root.type, order)
            if key in seen or root is not op.operands[0] or is_free(root.type.shape, order):
                return True
            seen.add(key)
    return False


class _Mover:
    """The walk that gives operations their chosen form. A transpose is emitted where it is first read."""

    def __init__(self, roots: Roots, plan: Plan) -> None:
        self.roots, self.plan = roots, plan
        self.rewriter = Rewriter(roots.graph)
        self.made: dict[Value, tuple[Value, Permutation]] = {}
        """What stands for a root in the new graph, and in which order of its axes."""
        self.known: dict[tuple[Value, Permutation], Value] = {}

    def moved(self) -> Graph:
        """The new graph."""
        graph = self.roots.graph
        for value in graph.inputs:
            self.made[value] = value, tuple(range(value.type.rank))
        for op in graph.operations:
            if not self.roots.stands_for_another(op):
                self._visit(op)
        for output in graph.outputs:
            self._standing(output, None)
        return self.rewriter.close()

    def _visit(self, op: Operation) -> None:
        form = self.plan.get(op)
        if form is None:
            if not self._as_made(op):
                for operand in op.operands:
                    self._standing(operand, op.location)
            copied = self.rewriter.copy(op)
            for old, new in zip(op.results, copied.results, strict=True):
                self.made[old] = new, tuple(range(old.type.rank))
            return
        reads = zip(self.roots.operands[op], form.operands, strict=True)
        operands = [self._value(read.root, composed(read.order, order), op.location) for read, order in reads]
        if form.emit is not None:
            start = len(self.rewriter.operations)
            self.made[op.result] = form.emit(self.rewriter, tuple(operands)), form.result
            emitted = self.rewriter.operations[start:]
            self.rewriter.operations[start:] = [replace(o, location=op.location) for o in emitted]
            return
        name = op.result.name if is_identity(form.result) else None
        operator = form.operator or op.operator
        moved = self.rewriter.operation(operator, operands, form.attributes, location=op.location, name=name)
        self.made[op.result] = moved.result, form.result

    def _as_made(self, op: Operation) -> bool:
        """Let a reshape read what a root is made as, where this has its elements in the same order."""
        if not isinstance(op.operator, Reshape):
            return False
        (read,) = self.roots.operands[op]
        made, order = self.made[read.root]
        if (is_identity(order) and is_identity(read.order)) or not self._is_same(read.root, order, read.order):
            return False
        self.rewriter.replace(op.operands[0], made)
        return True

    def _standing(self, old: Value, location: Location | None) -> None:
        """Let the rewriter have a value as the old graph has it."""
        self.rewriter.replace(old, self._value(*self.roots.orders[old], location, old.name))

    def _value(self, root: Value, wanted: Permutation, location: Location | None, name: str | None = None) -> Value:
        """A root with its axes in some order: as it is made, as a reshape where that is the same, or transposed."""
        made, order = self.made[root]
        if wanted == order:
            return made
        key = root, wanted
        if key not in self.known:
            same = next((v for (r, o), v in self.known.items() if r is root and self._is_same(root, o, wanted)), None)
            source = made if self._is_same(root, order, wanted) else same
            if source is not None:
                shape = tuple(root.type.shape[d] for d in wanted)
                self.known[key] = self.rewriter.emit("reshape", source, shape=shape, location=location, name=name)
            else:
                turn = composed(inverse(order), wanted)
                self.known[key] = self._transposed(root, made, turn, location, name)
        return self.known[key]

    def _is_same(self, root: Value, a: Permutation, b: Permutation) -> bool:
        return order_of(root.type, a) == order_of(root.type, b)

    def _transposed(
        self, root: Value, made: Value, turn: Permutation, location: Location | None, name: str | None
    ) -> Value:
        producer = self.roots.graph.producers.get(root)
        if producer is not None and producer.name == "constant":
            array = producer.attributes["value"].transpose(turn)
            return self.rewriter.constant(array, location, quantization=made.type.quantization, name=name)
        return self.rewriter.emit("transpose", made, permutation=turn, location=location, name=name)


# ---- weights that broadcast against last dimensions ------------------------------------------------------------------


def _with_full_rank(static: frozenset[Value], b: Rewriter, op: Operation) -> Value | None:
    """An elementwise operation whose known operands have as many dimensions as the others: these may be permuted."""
    rank = max((v.type.rank for v in op.operands), default=0)
    low = [v for v in op.operands if v in static and 0 < v.type.rank < rank and v.type.size > 1]
    if not low or not _broadcasts(op):
        return None
    full = {v: b.emit("reshape", b[v], shape=((1,) * (rank - v.type.rank) + v.type.shape)) for v in low}
    return _again(b, op, full)


def _with_own_rank(graph: Graph, b: Rewriter, op: Operation) -> Value | None:
    """An elementwise operation without leading dimensions of size 1 that only a reshape gives its operands."""
    if not _broadcasts(op):
        return None
    makers = {v: graph.producers.get(v) for v in op.operands}
    short = {
        v: b[maker.operands[0]]
        for v, maker in makers.items()
        if maker is not None
        and isinstance(maker.operator, Reshape)
        and 0 < maker.operands[0].type.rank < v.type.rank
        and v.type.shape == (1,) * (v.type.rank - maker.operands[0].type.rank) + maker.operands[0].type.shape
    }
    others = [v.type.rank for v in op.operands if v not in short]
    return _again(b, op, short) if short and max(others, default=0) == op.result.type.rank else None


def _broadcasts(op: Operation) -> bool:
    """True for operators that take operands of any rank which broadcast."""
    return isinstance(op.operator, BinaryOperator) and not any(v.type.quantization for v in op.operands)


def _again(b: Rewriter, op: Operation, known: Mapping[Value, Value]) -> Value:
    """An operation with other operands."""
    operands = [known[v] if v in known else b[v] for v in op.operands]
    return b.operation(op.operator, operands, op.attributes, location=op.location, name=op.result.name).result


# ---- dense layers behind flattened pictures --------------------------------------------------------------------------


def _with_turned_rows(graph: Graph, static: frozenset[Value], b: Rewriter, op: Operation) -> Value | None:
    """A dense layer that reads transposed dimensions merged: the rows of its weight take their order before.

    So a flattened picture may have its channels last, and features may have their heads behind them.
    """
    found = _flattened(graph, op) if op.name == "dense" and op.operands[1] in static else None
    if found is None:
        return None
    source, permutation, first = found
    weight, rank = op.operands[1], len(permutation)
    sizes = [source.type.shape[d] for d in permutation[first:]]
    turn = (*(d - first for d in inverse(permutation)[first:]), rank - first)
    producer = graph.producers[weight]
    if producer.name == "constant":
        rows = producer.attributes["value"].reshape(*sizes, weight.type.shape[1]).transpose(turn)
        turned = b.constant(row_major(rows).reshape(weight.type.shape), producer.location)
    else:
        rows = b.emit("reshape", b[weight], shape=(*sizes, weight.type.shape[1]), location=op.location)
        rows = b.emit("transpose", rows, permutation=turn, location=op.location)
        turned = b.emit("reshape", rows, shape=weight.type.shape, location=op.location)
    flat = b.emit("reshape", b[source], shape=op.operands[0].type.shape, location=op.location)
    operands = (flat, turned, *(b[v] for v in op.operands[2:]))
    return b.operation(op.operator, operands, op.attributes, location=op.location, name=op.result.name).result


def _flattened(graph: Graph, op: Operation) -> tuple[Value, Permutation, int] | None:
    """What a dense layer reads transposed and merged, how, and the first dimension that is merged into its rows."""
    reshape = graph.producers.get(op.operands[0])
    if reshape is None or not isinstance(reshape.operator, Reshape):
        return None
    transpose = graph.producers.get(reshape.operands[0])
    if transpose is None or not isinstance(transpose.operator, Transpose):
        return None
    source, permutation = transpose.operands[0], transpose.attributes["permutation"]
    if source.type.layout is not None or op.operands[1].type.quantization is not None:
        return None
    first = merged_from(reshape)
    if first is None or not is_identity(permutation[:first]):
        return None
    return source, permutation, first
