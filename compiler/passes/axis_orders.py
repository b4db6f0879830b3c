"""In which order of axes operations could work, and which of these choices moves the fewest bytes.

A value that transposes make stands for the value that they read, the *root*, in another order. An operation that
commutes with a permutation (`ops/permutation.py`) has two forms: as it stands, and *moved*, on permuted operands. A
`Plan` gives some operations of a graph their moved form, so that they fit each other; `chosen` then picks the form of
each by a minimum cut.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..graph.analysis import static_values
from ..graph.ir import Graph, Operation, Value
from ..ops.axes import Permutation, composed, inverse, is_free
from ..ops.contract import Contract
from ..ops.dense import Dense
from ..ops.facets import PERMUTED, Permuted
from ..ops.permutation import asked_for, contracted, with_operand
from ..ops.shape import Reshape, Transpose
from ..types import TensorType

_TRANSPOSE = Transpose()
OVERHEAD = 256
"""What a transpose costs however small it is, in bytes that are moved."""

SCALE = 1024
"""What a byte weighs in a cut: far more than the choice among equals."""

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
        return op, form, fits and not _turns_weight(op, form)

    def leading(self, op: Operation, order: Permutation) -> Found | None:
        """An operation in the form that gives its result in such an order of its axes, if it has one."""
        form = self.moved_to(op, order)
        return None if form is None else (op, form, not _turns_weight(op, form))

    def moved(self, op: Operation, place: int, order: Permutation) -> Permuted | None:
        """The form of an operation that reads this operand in such an order of its axes, if it has one."""
        if (form := contracted(op, place, order)) is not None:
            return form
        rule = PERMUTED.of(op.operator)
        types = tuple(v.type for v in op.operands)
        rank = max((t.rank for t in types), default=0)
        if rule is None or isinstance(op.operator, Transpose) or types[place].rank != rank or op.body is not None:
            return None
        moved = rule(types, op.attributes, order)
        if moved is None:
            return None
        pairs = [*zip(types, moved.operands, strict=True), (op.result.type, moved.result)]
        if all(is_free(t.shape, o) for t, o in pairs):
            return None
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


def planned(roots: Roots, wanted: Sequence[Seed], *, exact: bool) -> tuple[Plan, list[Seed]]:
    """Forms of operations that let transposes go, and of those around them as far as the same order of axes fits.

    Where two don't fit each other, the first one stays. Reshapes that need another order than they are asked for, and
    dense layers along another axis, come last, or not at all if the plan is to be `exact`. Second, the seeds that are
    left for another plan.
    """
    plan: dict[Operation, Permuted] = {}
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


def cost(roots: Roots, plan: Plan) -> int:
    """Bytes that transposes move, and what slower forms of operations cost."""
    slower = sum(_price(op, form) for op, form in plan.items())
    return sum(_cost_of(roots, root, plan) for root in roots.reads) + slower


def _price(op: Operation, form: Permuted) -> int:
    """What another form costs: a dense layer loses the order of its weight that its kernel is made for."""
    if not isinstance(form.operator, Contract) or isinstance(op.operator, Contract):
        return 0
    moved = min(op.operands[0].type.bytes, op.result.type.bytes) if _turns_weight(op, form) else 0
    return 3 * moved // 2 + OVERHEAD // 4


def _turns_weight(op: Operation, form: Permuted) -> bool:
    """True for a dense layer along another axis than the last one."""
    return isinstance(op.operator, Dense) and isinstance(form.operator, Contract)


def _cost_of(roots: Roots, root: Value, plan: Plan) -> int:
    if root in roots.static:
        return 0
    producer = roots.graph.producers.get(root)
    moved = None if producer is None else plan.get(producer)
    made = order_of(root.type, moved.result if moved else tuple(range(root.type.rank)))
    needed = {wanted_order(roots, read, plan) for read in roots.reads[root] if not is_absorbed(roots, read)}
    return len(needed - {made}) * _bytes(root)


def wanted_order(roots: Roots, read: Read, plan: Plan) -> Order:
    """How a root lies in memory for one of its readers."""
    moved = None if read.reader is None else plan.get(read.reader)
    order = composed(read.order, moved.operands[read.place]) if moved else read.order
    return order_of(read.root.type, order)


def _bytes(root: Value) -> int:
    return 2 * root.type.bytes + OVERHEAD


def is_absorbed(roots: Roots, read: Read) -> bool:
    """True for what a dense layer with known weights reads flattened: the rows of its weight take any order."""
    op = read.reader
    if op is None or not isinstance(op.operator, Reshape) or read.order[:1] != (0,) or op.result in roots.graph.outputs:
        return False
    shape, flat = op.operands[0].type.shape, op.result.type.shape
    if len(flat) != 2 or flat[0] != shape[0]:
        return False
    users = roots.graph.users[op.result]
    return bool(users) and all(u.name == "dense" and u.operands[1] in roots.static for u in users)


def chosen(roots: Roots, plan: Plan) -> Plan:
    """The part of a plan with which the fewest bytes move."""
    cut = _Cut(roots, plan)
    for root in roots.reads:
        if root not in roots.static:
            cut.weigh(root)
    return cut.solved()


@dataclass(frozen=True, slots=True)
class TransposesLeft:
    """How many transposes a graph holds that run for every input."""

    inside: int
    """Between operations."""
    rearranging: int
    """Between two reshapes, of which the first splits dimensions and the second merges them: shuffles, windows."""
    outside: int
    """Of inputs and outputs."""


def transposes_left(graph: Graph) -> TransposesLeft:
    """Count the transposes of a graph."""
    static = static_values(graph)
    found = [op for op in graph.operations if isinstance(op.operator, Transpose) and op.result not in static]
    outer = frozenset((*graph.inputs, *graph.outputs))
    at_ends = [op for op in found if op.operands[0] in outer or op.result in outer]
    rest = [op for op in found if op not in at_ends]
    rearranging = sum(_rearranges(graph, op) for op in rest)
    return TransposesLeft(len(rest) - rearranging, rearranging, len(at_ends))


def _rearranges(graph: Graph, op: Operation) -> bool:
    before, after = graph.producers[op.operands[0]], graph.users[op.result]
    return isinstance(before.operator, Reshape) and all(isinstance(user.operator, Reshape) for user in after)


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
            price = _price(op, plan[op])
            if price:
                self._pay(op, self.SINK, price * SCALE)
            else:
                self._pay(self.SOURCE, op, 1)

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
        always: set[Order] = set()
        if_moved: dict[Order, list[Operation]] = defaultdict(list)
        if_standing: dict[Order, list[Operation]] = defaultdict(list)
        for read in self.roots.reads[root]:
            if is_absorbed(self.roots, read):
                continue
            before, after = wanted_order(self.roots, read, {}), wanted_order(self.roots, read, self.plan)
            if before == after:
                always.add(before)
            elif read.reader is not None:
                if_standing[before].append(read.reader)
                if_moved[after].append(read.reader)
        price = _bytes(root) * SCALE
        for order in dict.fromkeys((*sorted(always), *if_standing, *if_moved)):
            # Where the root lies in this order already, in one of its forms, it is paid in the other one only.
            if stands == other == order:
                continue
            paid_by_moved = producer if order == stands else self.SOURCE
            paid_by_standing = producer if order == other != stands else self.SINK
            if order in always:
                self._pay(paid_by_moved, paid_by_standing, price)
                continue
            if order in if_standing:
                node = (root, order, "as it stands")
                self._pay(paid_by_moved, node, price)
                for op in if_standing[order]:
                    self._pay(node, op, None)
            if order in if_moved:
                node = (root, order, "moved")
                self._pay(node, paid_by_standing, price)
                for op in if_moved[order]:
                    self._pay(op, node, None)

    def solved(self) -> Plan:
        """The operations that are moved in the cheapest way."""
        algorithm = self.nx.algorithms.flow.boykov_kolmogorov
        _, (moved, _) = self.nx.minimum_cut(self.flow, self.SOURCE, self.SINK, flow_func=algorithm)
        return {op: form for op, form in self.plan.items() if op in moved}
