"""fuse: gather operations that one kernel carries out into `fused` operations.

A group has a single exit: only its last value is used outside. So no path can leave a group and come back, and putting
the group at the place of its last member keeps every definition before its uses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from ..graph.alike import OncePerKind
from ..graph.analysis import operations_between, post_dominators, static_values
from ..graph.builder import Rewriter
from ..graph.ir import Graph, Operation
from ..graph.keys import attributes_key
from ..graph.registry import lookup
from ..ops.reductions.reduction import Reduce
from .base import Pass
from .bodies import Bodies
from .dce import dce
from .widening import is_widening, takes_in, with_own_widening

ROW_BYTES = 1 << 18
"""A row that is passed over several times should stay in the L2 cache meanwhile."""
LINE_BYTES = 64
"""What one element of a row takes in the cache if rows lie side by side."""
ROW_REDUCTIONS = 3
"""Each one computes what it reduces from the group's operands anew."""


@dataclass(frozen=True)
class Fuse(Pass):
    """Group anchors (contractions, pooling, reductions) with the elementwise operations after them.

    An anchor takes in the elementwise operations that its result must pass through (bias, activation, residual sum,
    a swish's two paths), as long as they have its shape and no value but the last is used elsewhere. What several
    anchors could take goes to one of which there are most alike, else to the last. A reduction also takes in those that
    make its operand. Elementwise operations that no anchor takes form groups among themselves.
    Reductions of rows with `keepdims`, and what spreads their results over the rows again (layer normalisation,
    softmax), are one group, too.
    Bytes become floats where these are read: memory holds the bytes.
    What depends on parameters and constants only stays outside, because it runs once, when weights are loaded;
    constants of one element are copied into the bodies. `limit` is the largest number of operations in a group.

    Before::

        %0 = conv2d(%x, %weight, %bias)
        %1 = add(%0, %y)
        %2 = relu(%1)

    After::

        %0 = fused(%x = %x, %weight = %weight, %bias = %bias, %b = %y) {
          %0 = conv2d(%x, %weight, %bias)
          %1 = add(%0, %b)
          %2 = relu(%1)
          return %2
        }
    """

    name = "fuse"
    limit: int = 32
    rows: bool = True
    """Groups that normalise rows. Training makes them by themselves, before it saves memory."""
    others: bool = True
    """All other groups."""
    slices: bool = False
    """Elementwise groups take in slices that they alone read, such as the gates of a recurrent layer."""

    def run(self, graph: Graph) -> Graph:
        graph = dce(graph)  # Uses by dead operations don't count.
        graph = with_own_widening(graph) if self.others else graph
        grouping = _Grouping(graph, self.limit)
        for op in grouping.running:
            if self.rows and grouping.is_row_reduction(op) and grouping.is_free(op):
                grouping.grow_rows(op)
        if not self.others:
            return _rewrite(graph, grouping)
        for op in grouping.anchors():
            grouping.grow(op)
        for op in grouping.running:
            if grouping.is_joinable(op):
                grouping.grow(op)
        for op in reversed(grouping.running):
            if self.slices and op.name == "slice" and grouping.is_free(op):
                grouping.groups[op] = [op]
            grouping.join_only_user(op)
        return _rewrite(graph, grouping)


class _Grouping:
    """Which operations run together."""

    def __init__(self, graph: Graph, limit: int) -> None:
        self.graph = graph
        self.limit = limit
        self.static = static_values(graph)
        self.running = [op for op in graph.operations if op.results[0] not in self.static]
        """The operations that each run carries out: only these join groups."""
        self.dominators = post_dominators(graph, self.running)
        self.outputs = frozenset(graph.outputs)
        self.groups: dict[Operation, list[Operation]] = {}
        """The group of each grouped operation; its exit is the last member."""

    def is_free(self, op: Operation) -> bool:
        """True if the operation may start or join a group."""
        return (
            op not in self.groups
            and len(op.results) == 1
            and op.body is None
            and op.result not in self.static
            and op.result.type.layout is None
        )

    def is_joinable(self, op: Operation) -> bool:
        """True if the operation can come after others in a group."""
        return op.operator.elementwise and self.is_free(op)

    def is_row_reduction(self, op: Operation) -> bool:
        """True if the operation reduces rows of floats and keeps their rank.

        Rows that lie side by side must fit the cache together.
        """
        if not isinstance(op.operator, Reduce) or not op.attributes["keepdims"]:
            return False
        x, y = op.operands[0].type, op.result.type
        if not x.dtype.is_float or not x.size or x.shape == y.shape:
            return False
        is_reduced = x.rank - 1 in _axes(op)
        return is_reduced or x.size // y.size * LINE_BYTES <= ROW_BYTES

    def grow_rows(self, first: Operation) -> None:
        """Make a group of a row reduction and what its result must pass through, up to results for the whole rows."""
        rows, sums = first.operands[0].type.shape, first.result.type.shape
        group, complete, reductions = [first], 0, 1
        while (last := self.dominators[group[-1]]) is not None:
            new = [*operations_between(self.graph, group[-1], last), last]
            inner = [op for op in new if not op.operator.elementwise]
            reductions += len(inner)
            if len(group) + len(new) > self.limit or reductions > ROW_REDUCTIONS:
                break
            if not all(self.is_row_reduction(op) and op.operands[0].type.shape == rows for op in inner):
                break
            if any(_axes(op) != _axes(first) for op in inner):
                break
            if not all(self.is_free(op) and op.result.type.shape in (rows, sums) for op in new):
                break
            if any(op.result.type.shape != sums for op in inner):
                break
            group.extend(new)
            if last.result.type.shape == rows:
                complete = len(group)
        if complete:
            self.groups.update((op, group) for op in group[:complete])
            del group[complete:]

    def anchors(self) -> list[Operation]:
        """Anchors in the order in which they take what follows them.

        Those come first of which most are alike, with all that each could take: equal groups share a kernel. Of these
        the last does: what the others give is ready by then.
        """
        anchors = [op for op in reversed(self.running) if op.operator.anchor and self.is_free(op)]
        kind = OncePerKind(_kind)
        kinds = {op: tuple(map(kind, self.followed(op))) for op in anchors}
        alike = Counter(kinds.values())
        return sorted(anchors, key=lambda op: -alike[kinds[op]])

    def grow(self, first: Operation) -> None:
        """Make a group of an operation and the elementwise ones that its result must pass through."""
        group = self.followed(first)
        self.groups.update((op, group) for op in group)

    def followed(self, first: Operation) -> list[Operation]:
        """An operation and the elementwise ones that its result must pass through, as far as they are free."""
        group = [first]
        while (last := self.dominators[group[-1]]) is not None:
            new = [*operations_between(self.graph, group[-1], last), last]
            shape = first.result.type.shape
            if len(group) + len(new) > self.limit:
                break
            if not all(self.is_joinable(op) and op.result.type.shape == shape for op in new):
                break
            group.extend(new)
        while len(group) > 1 and self.is_left_to_reader(group[-1]):
            group.pop()
        return group

    def is_left_to_reader(self, op: Operation) -> bool:
        """True if what reads an operation's result can take the operation in, so that memory holds the bytes."""
        users = self.graph.users[op.result]
        if not is_widening(op) or len(users) != 1 or op.result in self.outputs:
            return False
        (user,) = users
        return takes_in(user, op) and len(self.groups.get(user, ())) < self.limit

    def join_only_user(self, op: Operation) -> None:
        """Merge an elementwise group into the one group of its shape that uses its result."""
        group = self.groups.get(op)
        if group is None or group[-1] is not op or op.result in self.outputs:
            return
        if any(member.operator.anchor for member in group):
            return
        slices = any(not member.operator.elementwise for member in group)
        users = self.graph.users[op.result]
        target = self.groups.get(users[0]) if users else None
        if target is None or any(self.groups.get(user) is not target for user in users):
            return
        if slices and any(member.operator.anchor for member in target):
            return  # its epilogue reads what lies where its results do
        # An anchor's own operands are read in its inner loop: computing them there repeats the work, unless it reads
        # each element once.
        anchors = [user.operator for user in users if user.operator.anchor]
        same_shape = target[-1].result.type.shape == op.result.type.shape and not anchors
        reduced = len(users) == len(anchors) == 1 and anchors[0].reads_once
        if (same_shape or reduced) and len(target) + len(group) <= self.limit:
            target[:0] = group
            self.groups.update((member, target) for member in group)


def _kind(op: Operation) -> Hashable:
    """Equal for operations that differ in nothing but what they read and write."""
    types = [v.type for v in (*op.operands, *op.results)]
    return op.operator, attributes_key(op.attributes), *types


def _axes(op: Operation) -> tuple[int, ...]:
    """The dimensions that a reduction goes over."""
    return op.operator.axes(op.operands[0].type.rank, op.attributes) if isinstance(op.operator, Reduce) else ()


def _rewrite(graph: Graph, grouping: _Grouping) -> Graph:
    position = {op: i for i, op in enumerate(graph.operations)}
    rewriter = Rewriter(graph)
    bodies = Bodies(graph)
    fused = False
    for op in graph.operations:
        group = grouping.groups.get(op)
        if group is None or len(group) == 1:
            rewriter.copy(op)
        elif group[-1] is op:
            _emit(rewriter, bodies, sorted(group, key=position.__getitem__))
            fused = True
    return dce(rewriter.close()) if fused else graph


def _emit(rewriter: Rewriter, bodies: Bodies, members: Sequence[Operation]) -> None:
    """Add a fused operation that stands for `members`, the last of which is their exit."""
    exit_ = members[-1].result
    anchor = next((op for op in members if op.operator.anchor), members[0])
    outside, body = bodies.of(members)
    operands = [rewriter[v] for v in outside]
    operation = rewriter.operation(lookup("fused"), operands, location=anchor.location, name=exit_.name, body=body)
    rewriter.replace(exit_, operation.result)


fuse = Fuse()
