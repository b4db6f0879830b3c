"""The generic lowering: loops over the result's elements, vectors along the last dimension where operands allow it.

It serves every operator through its `compute` rule, with elementwise neighbours inlined, and is what the tuned
schedules are checked against. Groups that normalise rows have loops of their own (see `rows`).
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from ..graph.ir import Value
from ..loops.compute import Reduction
from ..loops.ir import Const, Expr, Let, Load, LoopKind, Stmt, Store, Var
from ..targets.target import ByteTables, DotProduct, Target
from ..types import DType, TensorType
from .elements import Elements, NotVectorizableError, depends_on, physical
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
    lanes = _lanes(group, target)
    depth = _flat_depth(group, lanes)
    if depth is not None:
        with suppress(NotVectorizableError):
            return (_Flat(group, lanes, threads, target, depth).schedule(),)
    try:
        return (kind(group, lanes, threads, target).schedule(),)
    except NotVectorizableError:
        return (kind(group, 1, threads, target, lanes).schedule(),)


def _flat_depth(group: Group, lanes: int) -> int | None:
    """From which dimension on elementwise operators see all of a tensor as one row; None where that gains nothing.

    Rows of all tensors must be without gaps there; between them there may be margins.
    """
    shape = group.results[0].type.shape
    values = {v for op in group.members if op.name != "constant" for v in (*op.operands, *op.results)}
    types = [v.type for v in values - group.constants.keys()]
    if (
        not shape
        or shape[-1] % lanes == 0
        or not all(op.operator.elementwise or op.name == "constant" for op in group.members)
        or any(t.shape != shape for t in types)
    ):
        return None
    with_margins = [d for t in types for d, margin in enumerate(t.margins) if margin != (0, 0)]
    depth = max(with_margins, default=0)
    return depth if math.prod(shape[depth:-1]) > 1 else None


def _lanes(group: Group, target: Target) -> int:
    """Elements that are computed together: f32 numbers of a register, or bytes where a group needs nothing wider."""
    names, values = [op.name for op in group.members], (*group.anchor.operands, *group.results)
    looks_up = names == ["lookup"] and target.byte_tables is not ByteTables.NONE
    has_bytes = target.multiplies_words or target.dot_product is DotProduct.VNNI
    picks = names in _PICKING and has_bytes and group.results[0].type.dtype is not DType.BOOL
    bytes_alone = all(v.type.dtype.itemsize == 1 for v in values)
    return 4 * target.vector_lanes if bytes_alone and (looks_up or picks) else target.vector_lanes


_PICKING = (["pad"], ["max_pool"])
"""Groups whose results are some of the numbers that they read."""


class _Generic(Nest):
    def loops(self) -> list[Stmt]:
        if not self.shape:
            return self._element((), None, 1)
        *outer, last = self.shape
        kind = kind_for(self.work(), self.lines())
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
        dimension, places = self.seams
        seams = places if dimension == len(index) else ()
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


class _Flat(Nest):
    """Elementwise operators on tensors of one shape: the dimensions from `depth` on are one row."""

    def __init__(self, group: Group, lanes: int, threads: int, target: Target, depth: int) -> None:
        self.depth = depth
        super().__init__(group, lanes, threads, target)

    def buffer_shape(self, type_: TensorType) -> tuple[int, ...]:
        """The last dimension holds rows, margins included."""
        whole = type_.buffer_shape
        return (*whole[: self.depth], math.prod(whole[self.depth :]))

    def loops(self) -> list[Stmt]:
        outer, row = list(self.shape[: self.depth]), math.prod(self.shape[self.depth :])
        kind = kind_for(self.work(), self.lines())
        if math.prod(outer) == 1:
            return self._row((Const(0),) * len(outer), row, kind)
        shared = self.shared_dimensions(outer) if kind is LoopKind.PARALLEL else 0
        return self.nest(outer, shared, lambda index: self._row(index, row, LoopKind.SERIAL))

    def _row(self, index: tuple[Expr, ...], row: int, kind: LoopKind) -> list[Stmt]:
        return vector_loop(self.names, row, self.lanes, lambda lane, width: self._elements(index, lane, width), kind)

    def _elements(self, outer: tuple[Expr, ...], lane: Var, width: int) -> list[Stmt]:
        """Compute and store one vector of the results."""
        inner = tuple(Var(f"flat{d}") for d in range(self.depth, len(self.shape)))
        elements = _FlatElements(
            self.buffers,
            self.group.producers,
            self.group.constants,
            lanes=width,
            lane=lane,
            byte_tables=self.byte_tables,
            prefix=self.names.fresh("t") + "_",
            inner=inner,
        )
        index = (*outer, *inner)
        values = [elements.let(elements.element(r, index)) for r in self.group.results]
        computed = [*values, *(s.value for s in elements.statements if isinstance(s, Let))]
        if any(depends_on(value, i) for value in computed for i in inner):
            raise NotVectorizableError  # a rule that asks where an element is
        stores = [
            Store(output, elements.place(result.type, index), value)
            for output, result, value in zip(self.outputs, self.group.results, values, strict=True)
        ]
        return [*elements.statements, *stores]


@dataclass
class _FlatElements(Elements):
    """Elements at the place `lane` of rows; the variables `inner` of their index have no values."""

    inner: tuple[Var, ...] = ()

    def place(self, type_: TensorType, index: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """Where a vector begins in a buffer."""
        depth = len(index) - len(self.inner)
        if index[depth:] != self.inner or self.lane is None:
            raise NotVectorizableError
        outer = (i + before for i, (before, _) in zip(index[:depth], type_.margins, strict=False))
        gap = type_.margins[depth][0] * math.prod(type_.shape[depth + 1 :])
        return (*outer, self.lane + gap)

    def load(self, value: Value, index: tuple[Expr, ...]) -> Expr:
        """Read a buffer where the result is."""
        return Load(self.buffers[value], self.place(value.type, index), self.lanes)
