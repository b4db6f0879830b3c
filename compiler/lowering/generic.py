"""The generic lowering: loops over the result's elements, vectors along the last dimension where operands allow it.

It serves every operator through its `compute` rule, with elementwise neighbours inlined, and is what the tuned
schedules are checked against. Groups that normalise rows have loops of their own (see `rows`).
"""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

from ..loops.compute import Reduction
from ..loops.ir import Const, Expr, LoopKind, Stmt, Store, Var
from ..targets.target import Target
from .elements import Elements, NotVectorizableError, physical
from .group import Group
from .kernel import Scheduled
from .loops import kind_for, vector_loop
from .nest import Nest
from .procedure import schedule_procedure
from .rows import Rows


def schedule_generic(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Lower any group; raises `InternalError` for operators without a loop lowering."""
    if group.anchor.operator.procedural:
        return schedule_procedure(group, target)
    kind: type[Nest] = Rows if group.normalizes_rows else _Generic
    try:
        return (kind(group, _lanes(group, target), threads, target).schedule(),)
    except NotVectorizableError:
        return (kind(group, 1, threads, target).schedule(),)


def _lanes(group: Group, target: Target) -> int:
    """Elements that are computed together: f32 numbers of a register, or bytes where a group only looks up bytes."""
    looks_up = target.has_byte_tables and [op.name for op in group.members] == ["lookup"]
    values = (*group.anchor.operands, *group.results)
    return (
        4 * target.vector_lanes if looks_up and all(v.type.dtype.itemsize == 1 for v in values) else target.vector_lanes
    )


class _Generic(Nest):
    def loops(self) -> list[Stmt]:
        if not self.shape:
            return self._element((), None, 1)
        *outer, last = self.shape
        kind = kind_for(self.work())
        if math.prod(outer) == 1:
            return self._vectors((Const(0),) * len(outer), last, kind)
        shared = self.shared_dimensions(outer) if kind is LoopKind.PARALLEL else 0
        return self.nest(outer, shared, lambda index: self._vectors(index, last, LoopKind.SERIAL))

    def _vectors(self, index: tuple[Expr, ...], last: int, kind: LoopKind) -> list[Stmt]:
        def run(start: int, stop: int) -> list[Stmt]:
            def body(lane: Var, width: int) -> list[Stmt]:
                self.ranges[lane.name] = (start, stop - 1)
                return self._element((*index, lane), lane if self.lanes > 1 else None, width)

            return vector_loop(self.names, stop - start, self.lanes, body, kind, start)

        if kind is LoopKind.PARALLEL:
            return run(0, last)
        anchor = self.group.anchor
        seams = anchor.operator.seams([v.type for v in anchor.operands], anchor.attributes)
        bounds = sorted({0, last, *(s for s in seams if 0 < s < last)})
        return [s for start, stop in pairwise(bounds) for s in run(start, stop)]

    def _element(self, index: tuple[Expr, ...], lane: Var | None, width: int) -> list[Stmt]:
        """Compute and store one vector (or element) of the result."""
        anchor = self.group.anchor
        reduce = partial(self.reduce, dtype=anchor.result.type.dtype)
        elements = Elements(
            self.buffers,
            self.group.producers,
            self.group.constants,
            lanes=width if lane is not None else 1,
            lane=lane,
            ranges=self.ranges,
            reducer=reduce,
            byte_tables=self.byte_tables,
            prefix=self.names.fresh("t") + "_",
        )
        if not anchor.operator.elementwise:
            rule = elements.rule(anchor, index)
            if isinstance(rule, Reduction):
                elements.known[anchor.result] = reduce(elements, rule)
            else:
                elements.known[anchor.result] = elements.let(rule)
        # All values before the first store: a result may overwrite an operand of another one.
        values = [elements.let(elements.element(r, index)) for r in self.group.results]
        stores = [
            Store(output, physical(result.type, index), value)
            for output, result, value in zip(self.outputs, self.group.results, values, strict=True)
        ]
        return [*elements.statements, *stores]
