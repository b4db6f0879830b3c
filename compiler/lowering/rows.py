"""Groups that normalise rows: reductions with `keepdims`, and elementwise operations that spread what they give again.

A row is what the reductions of such a group run over: all places that differ in the reduced dimensions only. Layer
normalisation and softmax are such groups. One kernel takes row after row, passes over each of them once for every
reduction and once for the result, and finds it in cache from the second time on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property

from ..errors import InternalError
from ..graph.ir import Operation, Value
from ..loops.compute import Reduction
from ..loops.ir import (
    Allocate,
    Binary,
    Broadcast,
    Buffer,
    Const,
    Expr,
    Let,
    Load,
    LoopKind,
    Reduce,
    Space,
    Stmt,
    Store,
    Var,
    VectorType,
    binary,
)
from .elements import Elements, OperandView, physical
from .kernel import let
from .loops import kind_for, loop, vector_widths
from .nest import Nest
from .reduction import start_of

CHAINS = 4
"""Vectors of a row that are combined at the same time: one addition takes about so many cycles."""
EXPENSIVE = 8
"""Work of an operator from which on a row of its results is kept rather than computed twice."""

Index = tuple[Expr, ...]
Known = Mapping[Value, Expr]


class Rows(Nest):
    """The kernel of such a group. Vectors lie along the last dimension, be it reduced or not."""

    @cached_property
    def axes(self) -> tuple[int, ...]:
        """The reduced dimensions, which all reductions of a group share."""
        given, rank = self.group.anchor.attributes["axes"], len(self.shape)
        return tuple(range(rank)) if given is None else tuple(sorted({a % rank for a in given}))

    @cached_property
    def lanes_reduced(self) -> bool:
        """True if vectors lie in rows, else they go across rows."""
        return self.axes[-1] == len(self.shape) - 1

    @cached_property
    def stages(self) -> list[tuple[Value, set[Value]]]:
        """What is computed element by element, for each reduction and for the result: its value and all behind it."""
        roots = [op.operands[0] for op in self.group.members if self._is_reduction(op)]
        return [(root, self._behind(root)) for root in (*roots, self.group.result)]

    @cached_property
    def stored(self) -> Value | None:
        """What is written to the result's place by the stage that computes it first, and read there by the others."""
        if self.group.in_place:
            return None
        type_, found = self.group.result.type.dense(), None
        for op in self.group.members:
            shared = sum(op.result in values for _, values in self.stages) > 1
            if shared and op.operator.work >= EXPENSIVE and op.result.type == type_:
                found = op.result
        return found

    def _is_reduction(self, op: Operation) -> bool:
        return not op.operator.elementwise and op.name != "constant"

    def _behind(self, root: Value) -> set[Value]:
        found: set[Value] = set()
        waiting = [root]
        while waiting:
            value = waiting.pop()
            maker = self.group.producers.get(value)
            if maker is None or value in found or self._is_reduction(maker) or value.type.shape != self.shape:
                continue
            found.add(value)
            waiting += maker.operands
        return found

    def loops(self) -> list[Stmt]:
        """Loops over rows, the outermost shared by threads."""
        outer = [size for d, size in enumerate(self.shape) if d not in self.axes]
        if not self.lanes_reduced:
            return self._across(outer)
        kind = kind_for(self.work())
        shared = self.shared_dimensions(outer) if kind is LoopKind.PARALLEL and outer else 0
        return self.nest(outer, shared, lambda kept: self._row(kept, None, 1))

    def _across(self, outer: list[int]) -> list[Stmt]:
        """Vectors of rows that lie side by side; all dimensions that stay are one, so that threads can share them."""
        widths = vector_widths(outer[-1], self.lanes)
        whole = sum(width == self.lanes for width in widths)
        units = [*outer[:-1], whole] if whole else outer[:-1]

        def vectors(kept: Index) -> list[Stmt]:
            block: list[Stmt] = []
            lane = let(block, self.names.fresh("c"), kept[-1] * self.lanes)
            self.ranges[lane.name] = (0, outer[-1] - 1)
            return [*block, *self._row((*kept[:-1], lane), lane, self.lanes)]

        def rest(kept: Index) -> list[Stmt]:
            block: list[Stmt] = []
            first = whole * self.lanes
            for width in widths[whole:]:
                lane = let(block, self.names.fresh("c"), Const(first))
                self.ranges[lane.name] = (first, first)
                block += self._row((*kept, lane), lane, width)
                first += width
            return block

        parallel = kind_for(self.work()) is LoopKind.PARALLEL
        if not whole or (widths[whole:] and math.prod(outer[:-1]) >= 8 * self.threads):
            # Few channels, or pictures enough for all threads: each takes whole pictures.
            def both(kept: Index) -> list[Stmt]:
                inner = loop(self.names.fresh("v"), whole, lambda v: vectors((*kept, v))) if whole else []
                return [*inner, *rest(kept)]

            shared = self.shared_dimensions(outer[:-1]) if parallel and outer[:-1] else 0
            return self.nest(outer[:-1], shared, both)
        shared = self.shared_dimensions(units) if parallel and not widths[whole:] else 0
        body = self.nest(units, shared, vectors)
        return [*body, *self.nest(outer[:-1], 0, rest)] if widths[whole:] else body

    # ---- one row, or some that lie side by side ----

    def _row(self, kept: Index, lane: Var | None, width: int) -> list[Stmt]:
        """All passes over a row: its reductions, what follows from these alone, and its results."""
        block: list[Stmt] = []
        known: dict[Value, Expr] = {}
        is_stored = False
        place = self._place(kept, (Const(0),) * len(self.axes))
        for op in self.group.members:
            if self._is_reduction(op):
                value, statements = self._reduction(op, kept, known, lane, width, is_stored)
                block += statements
                known[op.result] = value
                is_stored |= self.stored in self._behind(op.operands[0])
            elif op.name != "constant" and op.result.type.shape != self.shape:
                elements = self._elements(known, lane, width)
                known[op.result] = elements.let(elements.element(op.result, place))
                block += elements.statements

        def result(elements: Elements, index: Index) -> list[Stmt]:
            value = elements.let(elements.element(self.group.result, index))
            return [*elements.statements, self._store(index, value)]

        return [*block, *self._over(kept, known, lane, width, is_stored, result)]

    def _place(self, kept: Index, reduced: Index) -> Index:
        outer, inner = iter(kept), iter(reduced)
        return tuple(next(inner) if d in self.axes else next(outer) for d in range(len(self.shape)))

    def _store(self, index: Index, value: Expr) -> Stmt:
        return Store(self.outputs[0], physical(self.group.result.type, index), value)

    def _elements(self, known: Known, lane: Var | None, width: int) -> Elements:
        spread = {v: Broadcast(e, width) if e.type.lanes < width else e for v, e in known.items()}
        return Elements(
            self.buffers,
            self.group.producers,
            self.group.constants,
            lanes=width if lane is not None else 1,
            lane=lane if self.lanes > 1 else None,
            known=spread,
            ranges=self.ranges,
            byte_tables=self.byte_tables,
            prefix=self.names.fresh("t") + "_",
        )

    def _over(
        self,
        kept: Index,
        known: Known,
        lane: Var | None,
        width: int,
        is_stored: bool,
        body: Callable[[Elements, Index], list[Stmt]],
    ) -> list[Stmt]:
        """Loops over the places of a row, with vectors along it if they lie so."""
        extents = [self.shape[a] for a in self.axes]

        def at(place: Index, lane: Var | None, width: int) -> list[Stmt]:
            elements = self._elements(known, lane, width)
            self._recall(elements, place, is_stored)
            return body(elements, place)

        def nest(reduced: Index) -> list[Stmt]:
            d = len(reduced)
            if d == len(extents):
                return at(self._place(kept, reduced), lane, width)
            if d == len(extents) - 1 and self.lanes_reduced:
                return self._along(extents[d], lambda v, w: at(self._place(kept, (*reduced, v)), v, w))
            name = self.names.fresh("r")
            self.ranges[name] = (0, extents[d] - 1)
            return loop(name, extents[d], lambda i: nest((*reduced, i)))

        return nest(())

    def _along(self, extent: int, body: Callable[[Var, int], list[Stmt]]) -> list[Stmt]:
        """`body(lane, width)` for the vectors of a row."""
        block: list[Stmt] = []
        whole = extent // self.lanes

        def full(v: Expr) -> list[Stmt]:
            inner: list[Stmt] = []
            lane = let(inner, self.names.fresh("c"), v * self.lanes)
            self.ranges[lane.name] = (0, extent - 1)
            return [*inner, *body(lane, self.lanes)]

        if whole:
            block += loop(self.names.fresh("v"), whole, full)
        first = whole * self.lanes
        for width in vector_widths(extent % self.lanes, self.lanes):
            lane = let(block, self.names.fresh("c"), Const(first))
            self.ranges[lane.name] = (first, first)
            block += body(lane, width)
            first += width
        return block

    def _recall(self, elements: Elements, place: Index, is_stored: bool) -> None:
        if is_stored and self.stored is not None:
            load = Load(self.outputs[0], physical(self.group.result.type, place), elements.lanes)
            elements.known[self.stored] = elements.let(load)

    # ---- reductions ----

    def _reduction(
        self, op: Operation, kept: Index, known: Known, lane: Var | None, width: int, is_stored: bool
    ) -> tuple[Expr, list[Stmt]]:
        """The result of a reduction for one row, or for some side by side, and the statements that compute it."""
        stores = self.stored in self._behind(op.operands[0]) and not is_stored
        outside = self._elements(known, lane, width)
        rule = self._rule(op, outside, kept)
        dtype = rule.dtype or op.result.type.dtype
        total = _Total(self, rule.op, VectorType(dtype, width))
        block = total.start()

        def term(elements: Elements, index: Index) -> tuple[Expr, list[Stmt]]:
            reduced = tuple(index[a] for a in self.axes)
            value = elements.let(self._rule(op, elements, kept).body(reduced))
            if stores and self.stored is not None:
                kept_value = elements.let(elements.element(self.stored, index))
                return value, [*elements.statements, self._store(index, kept_value)]
            return value, elements.statements

        if self.lanes_reduced:
            block += self._row_total(total, known, kept, is_stored, term)
        else:

            def add(elements: Elements, index: Index) -> list[Stmt]:
                value, statements = term(elements, index)
                return [*statements, *total.add(value)]

            block += self._over(kept, known, lane, width, is_stored, add)
        found = Let(self.names.fresh("total"), total.value)
        outside.statements.clear()
        value = rule.finish(found.var) if rule.finish else found.var
        return outside.let(value), [*block, found, *outside.statements]

    def _rule(self, op: Operation, elements: Elements, kept: Index) -> Reduction:
        rule = op.operator.compute(
            OperandView(elements, op), self._place(kept, (Const(0),) * len(self.axes)), op.attributes
        )
        if not isinstance(rule, Reduction):
            raise InternalError(f"{op.name} is no reduction")
        return rule

    def _row_total(
        self,
        total: _Total,
        known: Known,
        kept: Index,
        is_stored: bool,
        term: Callable[[Elements, Index], tuple[Expr, list[Stmt]]],
    ) -> list[Stmt]:
        """Add the lanes of whole rows to a total: several vectors at a time, then what is left."""
        *outer, extent = (self.shape[a] for a in self.axes)
        blocks = extent // (CHAINS * self.lanes)
        chains = CHAINS if blocks > 1 else 1
        steps = extent // (chains * self.lanes)

        def vector(reduced: Index, lane: Var, width: int, into: _Total, number: int) -> list[Stmt]:
            index = self._place(kept, (*reduced, lane))
            elements = self._elements(known, lane, width)
            self._recall(elements, index, is_stored)
            value, statements = term(elements, index)
            if width < into.type.lanes or into is total:
                value = Reduce(into.op, value) if width > 1 else value
            return [*statements, *into.add(value, number)]

        def line(reduced: Index) -> list[Stmt]:
            block: list[Stmt] = []
            if steps:
                parts = _Total(self, total.op, VectorType(total.type.dtype, self.lanes), chains)
                block += parts.start()

                def step(v: Expr) -> list[Stmt]:
                    inner: list[Stmt] = []
                    for number in range(chains):
                        lane = let(inner, self.names.fresh("c"), v * (chains * self.lanes) + number * self.lanes)
                        self.ranges[lane.name] = (0, extent - 1)
                        inner += vector(reduced, lane, self.lanes, parts, number)
                    return inner

                block += loop(self.names.fresh("v"), steps, step)
                block += total.add(Reduce(total.op, parts.value) if self.lanes > 1 else parts.value)
            first = steps * chains * self.lanes
            for width in vector_widths(extent - first, self.lanes):
                lane = let(block, self.names.fresh("c"), Const(first))
                self.ranges[lane.name] = (first, first)
                block += vector(reduced, lane, width, total, 0)
                first += width
            return block

        def nest(reduced: Index) -> list[Stmt]:
            if len(reduced) == len(outer):
                return line(reduced)
            name, size = self.names.fresh("r"), outer[len(reduced)]
            self.ranges[name] = (0, size - 1)
            return loop(name, size, lambda i: nest((*reduced, i)))

        return nest(())


class _Total:
    """Accumulators of one reduction."""

    def __init__(self, rows: Rows, op: str, type_: VectorType, chains: int = 1) -> None:
        self.op, self.type = op, type_
        self.chains = chains
        self.buffer = Buffer(rows.names.fresh("acc"), type_.dtype, (chains,), Space.REGISTER, lanes=type_.lanes)

    def start(self) -> list[Stmt]:
        """Allocate the accumulators."""
        neutral = start_of(self.op, self.type)
        return [Allocate(self.buffer), *(Store(self.buffer, (Const(i),), neutral) for i in range(self.chains))]

    def add(self, value: Expr, number: int = 0) -> list[Stmt]:
        """Combine a value with accumulator `number`."""
        here = (Const(number),)
        return [Store(self.buffer, here, binary(self.op, Load(self.buffer, here), value))]

    @property
    def value(self) -> Expr:
        """All accumulators combined, two by two."""
        parts: list[Expr] = [Load(self.buffer, (Const(i),)) for i in range(self.chains)]
        while len(parts) > 1:
            parts = [Binary(self.op, a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        return parts[0]
