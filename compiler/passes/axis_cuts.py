"""The part of a plan (`axis_plans`) with which the fewest bytes move, which a minimum cut finds."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

from ..graph.ir import Operation, Operator, Value
from ..ops.facets import Permuted
from ..ops.moves.shape import Reshape
from ..ops.products.contract import Contract
from ..ops.products.matmul import MatMul
from ..ops.windows.convolution import Convolution
from .axis_orders import Order, Read, Roots, order_of
from .axis_plans import Plan, wanted_order

OVERHEAD = 256
"""What a transpose costs however small it is, in bytes that are moved."""

DEEP = 64
"""Channels from which on a layer loses by a weight that isn't packed: shallow ones have little to load."""

SCALE = 1024
"""What a byte weighs in a cut: far more than the choice among equals."""


def cost(roots: Roots, plan: Plan) -> int:
    """Bytes that transposes move, and what slower forms of operations cost."""
    forms = {op: form.operator for op, form in plan.items()}
    slower = sum(_slowness(roots, op, forms.get(op) or op.operator) for op in roots.operands)
    return sum(_cost_of(roots, root, plan) for root in roots.reads) + slower


def gain(roots: Roots, plan: Plan) -> int:
    """By how much a plan makes the cost less, which only values that it touches decide."""
    saved = sum(_cost_of(roots, root, {}) - _cost_of(roots, root, plan) for root in touched(roots, plan))
    return saved - sum(_price(roots, op, form) for op, form in plan.items())


def touched(roots: Roots, plan: Plan) -> list[Value]:
    """The roots that a plan's operations make and read."""
    found = dict.fromkeys(read.root for op in plan for read in roots.operands[op])
    found.update(dict.fromkeys(result for op in plan for result in op.results))
    return [root for root in found if root in roots.reads]


def _slowness(roots: Roots, op: Operation, operator: Operator) -> int:
    """What an operation costs as a product along any axes: a dense layer's kernel alone packs its weight before."""
    if not isinstance(operator, Contract | MatMul):
        return 0
    depths = [v.type.shape[-2] for v in op.operands if v in roots.static and v.type.rank == 2]
    if isinstance(op.operator, Convolution):
        depths = [op.operands[1].type.shape[-2]]
    others = [v.type.bytes for v in (*op.operands, op.result) if v not in roots.static]
    moved = min(others, default=0) * min(*depths, DEEP) // DEEP if depths else 0
    return moved // 2 + (OVERHEAD // 4 if isinstance(operator, Contract) else 0)


def _price(roots: Roots, op: Operation, form: Permuted) -> int:
    """What another form costs more than the operation as it stands."""
    return _slowness(roots, op, form.operator or op.operator) - _slowness(roots, op, op.operator)


def _cost_of(roots: Roots, root: Value, plan: Plan) -> int:
    if root in roots.static:
        return 0
    producer = roots.graph.producers.get(root)
    moved = None if producer is None else plan.get(producer)
    made = order_of(root.type, moved.result if moved else tuple(range(root.type.rank)))
    needed = {wanted_order(roots, read, plan) for read in roots.reads[root] if not is_absorbed(roots, read, made)}
    return len(needed - {made}) * _bytes(root)


def _bytes(root: Value) -> int:
    return 2 * root.type.bytes + OVERHEAD


def is_absorbed(roots: Roots, read: Read, made: Order) -> bool:
    """True for what a dense layer with known weights reads merged: the rows of its weight take any order.

    The root lies in the order `made`, whose first axes must be those of the read: these number the rows.
    """
    op = read.reader
    if op is None or not isinstance(op.operator, Reshape) or op.result in roots.graph.outputs:
        return False
    first = merged_from(op)
    if first is None:
        return False
    outer = order_of(read.root.type, read.order[:first])
    if made[: len(outer)] != outer:
        return False
    users = roots.graph.users[op.result]
    return bool(users) and all(u.name == "dense" and u.operands[1] in roots.static for u in users)


def merged_from(op: Operation) -> int | None:
    """The first of the dimensions that a reshape merges into its last one; None where it does something else."""
    shape, flat = op.operands[0].type.shape, op.result.type.shape
    if not flat or not op.result.type.size:
        return None
    return next((d for d in reversed(range(len(shape))) if math.prod(shape[d:]) == flat[-1]), None)


def chosen(roots: Roots, plan: Plan) -> Plan:
    """The part of a plan with which the fewest bytes move."""
    cut = _Cut(roots, plan)
    for root in touched(roots, plan):
        if root not in roots.static:
            cut.weigh(root)
    return cut.solved()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The orders in which a value is read."""

    always: set[Order] = field(default_factory=set)
    """Whatever becomes of the readers."""
    if_standing: dict[Order, list[Operation]] = field(default_factory=lambda: defaultdict(list))
    """By readers that stay as they are."""
    if_moved: dict[Order, list[Operation]] = field(default_factory=lambda: defaultdict(list))
    """By readers that are moved."""


class _Cut:
    """A flow network whose minimum cut parts moved operations, at the source's side, from the others.

    An edge from u to v is paid where u is moved and v isn't. For a reader it doesn't matter who else reads the same
    order: a node between them collects those who want it, so that one transpose is paid for all.
    """

    SOURCE, SINK = "moved", "as they stand"

    def __init__(self, roots: Roots, plan: Plan) -> None:
        import networkx as nx  # most graphs never need it

        self.nx = nx
        self.roots, self.plan = roots, plan
        self.flow = nx.DiGraph()
        self.flow.add_nodes_from((self.SOURCE, self.SINK))
        for op in plan:  # among equals, the moved form: one order of axes everywhere
            price = _price(roots, op, plan[op])
            if price > 0:
                self._pay(op, self.SINK, price * SCALE)
            else:
                self._pay(self.SOURCE, op, 1 - price * SCALE)

    def _pay(self, u: object, v: object, price: int | None) -> None:
        if price is None:
            self.flow.add_edge(u, v)
        elif self.flow.has_edge(u, v):
            self.flow[u][v]["capacity"] += price
        else:
            self.flow.add_edge(u, v, capacity=price)

    def weigh(self, root: Value) -> None:
        """Add what the transposes of a root cost."""
        producer = self.roots.graph.producers.get(root)
        moved = None if producer is None else self.plan.get(producer)
        stands = order_of(root.type, tuple(range(root.type.rank)))
        other = order_of(root.type, moved.result) if moved else stands
        wanted = self._wanted(root, stands, other)
        price = _bytes(root) * SCALE
        for order in dict.fromkeys((*sorted(wanted.always), *wanted.if_standing, *wanted.if_moved)):
            # Where the root lies in this order already, in one of its forms, it is paid in the other one only.
            if stands == other == order:
                continue
            paid_by_moved = producer if order == stands else self.SOURCE
            paid_by_standing = producer if order == other != stands else self.SINK
            if order in wanted.always:
                self._pay(paid_by_moved, paid_by_standing, price)
                continue
            if order in wanted.if_standing:
                node = (root, order, "as it stands")
                self._pay(paid_by_moved, node, price)
                for op in wanted.if_standing[order]:
                    self._pay(node, op, None)
            if order in wanted.if_moved:
                node = (root, order, "moved")
                self._pay(node, paid_by_standing, price)
                for op in wanted.if_moved[order]:
                    self._pay(op, node, None)

    def _wanted(self, root: Value, stands: Order, other: Order) -> _Wanted:
        """The orders in which a root is read, which lies in one of two; reads that take both as they are left out."""
        found = _Wanted()
        for read in self.roots.reads[root]:
            if is_absorbed(self.roots, read, stands) and is_absorbed(self.roots, read, other):
                continue
            before, after = wanted_order(self.roots, read, {}), wanted_order(self.roots, read, self.plan)
            if before == after:
                found.always.add(before)
            elif read.reader is not None:
                found.if_standing[before].append(read.reader)
                found.if_moved[after].append(read.reader)
        return found

    def solved(self) -> Plan:
        """The operations that are moved in the cheapest way."""
        algorithm = self.nx.algorithms.flow.boykov_kolmogorov
        _, (moved, _) = self.nx.minimum_cut(self.flow, self.SOURCE, self.SINK, flow_func=algorithm)
        return {op: form for op, form in self.plan.items() if op in moved}
