"""Plans for the orders of axes: moved forms of operations (`axis_orders`) that fit each other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..graph.ir import Operation
from ..ops.facets import PERMUTED, Permuted
from ..ops.moves.axes import composed, inverse, is_free
from ..ops.products.product_orders import as_it_stands, with_operand
from .axis_orders import Found, Order, Read, Roots, order_of


@dataclass(frozen=True, slots=True)
class Seed:
    """A transpose that could go: its reader takes the root as it is, or the root is made as its reader wants it."""

    read: Read
    at_reader: bool

    def is_met(self, roots: Roots, plan: Mapping[Operation, Permuted]) -> bool:
        """True if a plan does it."""
        type_ = self.read.root.type
        if self.at_reader:
            moved = None if self.read.reader is None else plan.get(self.read.reader)
            found = None if moved is None else composed(self.read.order, moved.operands[self.read.place])
            return found is not None and is_free(type_.shape, found)
        producer = roots.graph.producers.get(self.read.root)
        moved = None if producer is None else plan.get(producer)
        return moved is not None and order_of(type_, moved.result) == order_of(type_, self.read.order)

    def start(self, roots: Roots) -> Found | None:
        """The operation that moves first."""
        op = self.read.reader if self.at_reader else roots.graph.producers.get(self.read.root)
        if op is None:
            return None
        if self.at_reader:
            return roots.following(op, self.read.place, inverse(self.read.order))
        return roots.leading(op, self.read.order)


def seeds(roots: Roots) -> list[Seed]:
    """All transposes that could go, those beside operations with one order only first."""
    found: list[tuple[bool, Seed]] = []
    for root, reads in roots.reads.items():
        if root in roots.static:
            continue
        producer = roots.graph.producers.get(root)
        is_fixed = producer is not None and PERMUTED.of(producer.operator) is None
        for read in reads:
            if not is_free(root.type.shape, read.order):
                wants = read.reader is not None and PERMUTED.of(read.reader.operator) is None
                found += [(not wants, Seed(read, at_reader=False)), (not is_fixed, Seed(read, at_reader=True))]
    return [seed for _, seed in sorted(found, key=lambda pair: pair[0])]


Plan = Mapping[Operation, Permuted]


def planned(roots: Roots, wanted: Sequence[Seed], *, exact: bool, known: Plan | None = None) -> tuple[Plan, list[Seed]]:
    """Forms of operations that let transposes go, and of those around them as far as the same order of axes fits.

    Where two don't fit each other, the first one stays. Reshapes that need another order than they are asked for, and
    dense layers along another axis, come last, or not at all if the plan is to be `exact`. Second, the seeds that are
    left for another plan. Operations in `known` have their form, and what they touch isn't asked for another.
    """
    plan: dict[Operation, Permuted] = dict(known or {})
    waiting: deque[tuple[Operation, Permuted]] = deque()
    later: deque[tuple[Operation, Permuted]] = deque()

    def add(found: Found | None) -> None:
        if found is not None and found[0] not in plan:
            if found[2]:
                plan[found[0]] = found[1]
            (waiting if found[2] else later).append(found[:2])

    def spread() -> None:
        while waiting:
            for neighbour in _neighbours(roots, plan, *waiting.popleft()):
                add(neighbour)

    left: list[Seed] = []
    for seed in wanted:
        start = None if seed.is_met(roots, plan) else seed.start(roots)
        if start is not None and start[0] in plan:
            left.append(seed)
        add(start)
        spread()
    while later and not exact:
        op, form = later.popleft()
        add((op, form, True))
        spread()
    return _settled(roots, plan), [seed for seed in left if not seed.is_met(roots, plan)]


def _neighbours(roots: Roots, plan: Plan, op: Operation, moved: Permuted) -> Iterator[Found | None]:
    """Forms of the readers and the makers of what a moved operation makes and reads, which fit it."""
    for read in roots.reads[op.result]:
        if read.reader is not None and read.reader not in plan:
            yield roots.following(read.reader, read.place, composed(inverse(read.order), moved.result))
    for read, order in zip(roots.operands[op], moved.operands, strict=True):
        maker = roots.graph.producers.get(read.root)
        if maker is not None and maker not in plan and read.root not in roots.static:
            yield roots.leading(maker, composed(read.order, order))


def absorbing(roots: Roots, wanted: Sequence[Seed] = ()) -> Plan:
    """Products that take operands as they are made, and give results as they are read; all else works as it stands.

    With some `wanted`, operations around them that are no products move, too.
    """
    stands = {op: standing for op in roots.operands if (standing := as_it_stands(op)) is not None}
    plan, _ = planned(roots, wanted, exact=False, known=stands)
    return {op: form for op, form in plan.items() if form is not stands.get(op)}


def _settled(roots: Roots, plan: dict[Operation, Permuted]) -> Plan:
    """A plan in which products take each operand in the order in which it is made, where a kernel can do so."""
    for op, form in tuple(plan.items()):
        for place, read in enumerate(roots.operands[op]):
            maker = roots.graph.producers.get(read.root)
            made = plan.get(maker) if maker is not None else None
            if read.root in roots.static or len(roots.operands[op]) != 2:
                continue
            stands = made.result if made else tuple(range(read.root.type.rank))
            order = composed(inverse(read.order), stands)
            if order != form.operands[place] and (other := with_operand(op, form, place, order)) is not None:
                plan[op] = form = other
        if len(op.results) != 1:
            continue
        wanted = {wanted_order(roots, read, plan): read for read in roots.reads[op.result]}
        if len(wanted) == 1:
            ((_, read),) = wanted.items()
            reader = None if read.reader is None else plan.get(read.reader)
            order = composed(read.order, reader.operands[read.place]) if reader else read.order
            if order != form.result and (other := with_operand(op, form, 2, order)) is not None:
                plan[op] = other
    return plan


def wanted_order(roots: Roots, read: Read, plan: Plan) -> Order:
    """How a root lies in memory for one of its readers."""
    moved = None if read.reader is None else plan.get(read.reader)
    order = composed(read.order, moved.operands[read.place]) if moved else read.order
    return order_of(read.root.type, order)
