"""What the lowerings of any group share: its buffers, loops over leading dimensions, and reductions in loops."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, partial

import numpy as np

from ..errors import InternalError
from ..graph.ir import Value
from ..loops.compute import Reduction
from ..loops.interval import Interval, interval
from ..loops.ir import (
    Allocate,
    Binary,
    Buffer,
    Const,
    Expr,
    Fma,
    For,
    If,
    Kernel,
    Load,
    LoopKind,
    Reduce,
    Space,
    Stmt,
    Store,
    Var,
    VectorType,
    binary,
    const,
)
from ..targets.target import ByteTables, MinMax, Target
from ..types import DType, TensorType
from .elements import Elements, NotVectorizableError
from .extremum import reduce_in_loops, reduce_window
from .group import Group
from .kernel import Names, Scheduled, let
from .loops import LINE, loop, vector_loop

UNROLLED_WINDOW = 9
"""Reductions over at most this many elements are expanded."""
LONGEST_SUM = 1024
"""Terms of a sum of floats that go into one accumulator."""

_START = {"add": 0.0, "mul": 1.0, "max": -math.inf, "min": math.inf}


def start_of(op: str, dtype: DType) -> float | int:
    """What a reduction starts from: a number that leaves all others as they are."""
    if dtype.is_float or op in ("add", "mul"):
        return _START[op] if dtype.is_float else int(_START[op])
    range_ = np.iinfo(str(dtype.numpy))
    return int(range_.min if op == "max" else range_.max)


def _at(index: tuple[Expr, ...], body: Callable[[tuple[Expr, ...]], list[Stmt]]) -> list[Stmt]:
    return body(index)


class Nest(ABC):
    """A group while it becomes one kernel."""

    def __init__(self, group: Group, lanes: int, threads: int, target: Target) -> None:
        self.group = group
        self.min_max = target.min_max
        self.byte_tables = target.byte_tables is not ByteTables.NONE
        self.shape = group.results[0].type.shape
        if any(r.type.shape != self.shape for r in group.results):
            raise InternalError(f"the results of {group.label} differ in shape and can't share one kernel")
        self.lanes = lanes if self.shape else 1
        self.reduced_lanes = lanes
        """Of vectors along what is reduced, which a single number is made of, too."""
        self.threads = threads
        self.names = Names()
        self.ranges: dict[str, Interval] = {}
        overwritten = set(group.in_place.values())
        read = (v for op in group.members for v in op.operands if v in group.outer)
        values = dict.fromkeys(v for v in read if v not in overwritten)
        self.buffers: dict[Value, Buffer] = {
            v: Buffer(f"x{i}", v.type.dtype, self.buffer_shape(v.type)) for i, v in enumerate(values)
        }
        self.outputs = [
            Buffer(f"y{i}" if i else "y", r.type.dtype, self.buffer_shape(r.type), Space.OUT)
            for i, r in enumerate(group.results)
        ]
        self.inputs = dict(self.buffers)
        for result, output in zip(group.results, self.outputs, strict=True):
            if result in group.in_place:
                self.buffers[group.in_place[result]] = output

    def buffer_shape(self, type_: TensorType) -> tuple[int, ...]:
        """How the kernel sees a tensor."""
        return type_.buffer_shape

    def schedule(self) -> Scheduled:
        """The kernel with its arguments."""
        body = self.loops()
        arguments = [self.group.outer[v] for v in self.inputs]
        kernel = Kernel("", (*self.inputs.values(), *self.outputs), tuple(body))
        return Scheduled(kernel, (*arguments, *self.group.operation.results))

    @cached_property
    def seams(self) -> tuple[int, tuple[int, ...]]:
        """A dimension, and places along it from which on elements come from elsewhere."""
        anchor = self.group.anchor
        seams = anchor.operator.seams([v.type for v in anchor.operands], anchor.attributes)
        return seams.dimension % max(anchor.result.type.rank, 1), seams.places

    @abstractmethod
    def loops(self) -> list[Stmt]:
        """The kernel's body."""

    def work(self) -> int:
        """Rough number of operations."""
        reads = max([v.type.size for v in self.buffers] or [0])
        return max(self.group.macs, reads, math.prod(self.shape)) * len(self.group.members)

    def lines(self) -> int:
        """Cache lines of the largest tensor."""
        return max((buffer.bytes for buffer in (*self.buffers.values(), *self.outputs)), default=0) // LINE

    def shared_dimensions(self, outer: list[int]) -> int:
        """How many leading dimensions the parallel loop runs over: enough to keep the threads evenly busy."""
        for count in range(1, len(outer) + 1):
            if math.prod(outer[:count]) >= 8 * self.threads:
                return count
        return len(outer)

    def nest(self, outer: list[int], shared: int, body: Callable[[tuple[Expr, ...]], list[Stmt]]) -> list[Stmt]:
        """Loops over the leading dimensions, the first `shared` of them in one parallel loop."""
        cut, _ = self.seams

        def inner(index: tuple[Expr, ...]) -> list[Stmt]:
            d = len(index)
            if d == len(outer):
                return body(index)
            self.ranges[f"i{d}"] = (0, outer[d] - 1)
            follow = self._between_seams if d == cut else _at
            return loop(f"i{d}", outer[d], lambda i: follow((*index, i), inner))

        if not shared:
            return inner(())
        total = math.prod(outer[:shared])
        self.ranges["p"] = (0, total - 1)
        position: Expr = Var("p")
        index: list[Expr] = []
        for size in reversed(outer[1:shared]):
            index.append(position % size)
            position = position // size
        index.append(position)
        follow = self._between_seams if cut < shared else _at
        return [For("p", Const(0), Const(total), tuple(follow(tuple(reversed(index)), inner)), LoopKind.PARALLEL)]

    def _between_seams(self, index: tuple[Expr, ...], body: Callable[[tuple[Expr, ...]], list[Stmt]]) -> list[Stmt]:
        """`body` for each stretch between two seams: a tree of conditions finds the one in which an element lies."""
        cut, places = self.seams
        low, high = interval(index[cut], self.ranges)
        bounds = sorted({low, high + 1, *(s for s in places if low < s <= high)})
        block: list[Stmt] = []
        place = let(block, self.names.fresh("place"), index[cut])

        def stretches(first: int, last: int) -> list[Stmt]:
            if last - first == 1:
                self.ranges[place.name] = (bounds[first], bounds[last] - 1)
                return body((*index[:cut], place, *index[cut + 1 :]))
            middle = (first + last) // 2
            is_before = Binary("lt", place, Const(int(bounds[middle])))
            return [If(is_before, tuple(stretches(first, middle)), tuple(stretches(middle, last)))]

        return [*block, *stretches(0, len(bounds) - 1)] if len(bounds) > 2 else body(index)

    def _loop(self, name: str, extent: int, body: Callable[[Expr], list[Stmt]], kind: LoopKind) -> list[Stmt]:
        """A loop whose variable has a range."""
        name = self.names.fresh(name)
        self.ranges[name] = (0, extent - 1)
        return loop(name, extent, body, kind)

    def reduce(self, elements: Elements, rule: Reduction, dtype: DType) -> Expr:
        """A reduction whose result has elements of type `dtype`, as loops over the reduced elements.

        In sums of floats each loop has an accumulator of its own, a long one for each `LONGEST_SUM` terms. Rounding
        errors grow with the number of terms that go into one accumulator: batch statistics over thousands of pixels
        would lose several digits.
        """
        type_ = VectorType(rule.dtype or dtype, elements.lanes)
        start = const(start_of(rule.op, type_.dtype), type_)
        is_extremum = rule.op in ("max", "min")
        may = rule.takes_vectors and rule.extents and (is_extremum or not type_.dtype.is_float)
        if may and elements.lanes == 1 < self.reduced_lanes <= rule.extents[-1]:
            with suppress(NotVectorizableError):
                return self._in_vectors(elements, rule, type_.dtype)
        if is_extremum and type_.dtype.is_float and self.min_max is MinMax.SELECT:
            found = self._extremum(elements, rule, start)
            return elements.let(rule.finish(found)) if rule.finish else found
        here = (Const(0),)
        kind = LoopKind.UNROLL if math.prod(rule.extents) <= UNROLLED_WINDOW else LoopKind.SERIAL
        nested = rule.op == "add" and type_.dtype.is_float and kind is LoopKind.SERIAL

        def combine(r: tuple[Expr, ...], accumulator: Buffer) -> list[Stmt]:
            with elements.nested() as statements:
                term = rule.body(r)
                total = Load(accumulator, here)
                if rule.op == "add" and isinstance(term, Binary) and term.op == "mul":
                    value: Expr = Fma(term.lhs, term.rhs, total)
                else:
                    value = binary(rule.op, total, term)
                return [*statements, Store(accumulator, here, value)]

        def accumulate(inner: Callable[[Buffer], list[Stmt]]) -> tuple[Buffer, list[Stmt]]:
            accumulator = Buffer(self.names.fresh("acc"), type_.dtype, (1,), Space.REGISTER, lanes=type_.lanes)
            return accumulator, [Allocate(accumulator), Store(accumulator, here, start), *inner(accumulator)]

        def nest(r: tuple[Expr, ...], accumulator: Buffer) -> list[Stmt]:
            if len(r) == len(rule.extents):
                return combine(r, accumulator)
            extent, *inner = rule.extents[len(r) :]

            def apart(terms: Callable[[Buffer], list[Stmt]], into: Buffer) -> list[Stmt]:
                part, statements = accumulate(terms)
                return [*statements, Store(into, here, Load(into, here) + Load(part, here))]

            def run(start: Expr, count: int, into: Buffer) -> list[Stmt]:
                def body(i: Expr) -> list[Stmt]:
                    place = (*r, start + i)
                    if not nested or extent == 1 or math.prod(inner) == 1:
                        return nest(place, into)
                    return apart(partial(nest, place), into)

                return self._loop("r", count, body, kind)

            if not nested or extent <= LONGEST_SUM:
                return run(Const(0), extent, accumulator)
            whole, rest = divmod(extent, LONGEST_SUM)

            def stretch(q: Expr) -> list[Stmt]:
                return apart(partial(run, q * LONGEST_SUM, LONGEST_SUM), accumulator)

            parts = self._loop("q", whole, stretch, kind)
            return [*parts, *apart(partial(run, Const(whole * LONGEST_SUM), rest), accumulator)] if rest else parts

        accumulator, statements = accumulate(partial(nest, ()))
        elements.statements += statements
        total = elements.let(Load(accumulator, here))
        return elements.let(rule.finish(total)) if rule.finish else total

    def _in_vectors(self, elements: Elements, rule: Reduction, dtype: DType) -> Expr:
        """A reduction in any order (of integers, or an extremum), a vector along the last dimension at a time.

        Raises `NotVectorizableError` where elements don't lie so.
        """
        *outer, extent = rule.extents
        total = Buffer(self.names.fresh("acc"), dtype, (1,), Space.REGISTER)
        parts = Buffer(self.names.fresh("acc"), dtype, (1,), Space.REGISTER, lanes=self.reduced_lanes)
        starts = [
            Store(b, (Const(0),), const(start_of(rule.op, dtype), VectorType(dtype, b.lanes))) for b in (total, parts)
        ]
        found: Expr = Reduce(rule.op, Load(parts, (Const(0),)))

        def combine(into: Buffer, term: Expr) -> Stmt:
            return Store(into, (Const(0),), binary(rule.op, Load(into, (Const(0),)), term))

        def step(r: tuple[Expr, ...], lane: Var, width: int) -> list[Stmt]:
            self.ranges[lane.name] = (0, extent - 1)
            with elements.vectors(lane, width) as statements:
                term = elements.let(rule.body((*r, lane)))
                if width == self.reduced_lanes:
                    return [*statements, combine(parts, term)]
                return [*statements, combine(total, Reduce(rule.op, term) if width > 1 else term)]

        def nest(r: tuple[Expr, ...]) -> list[Stmt]:
            if len(r) == len(outer):
                return vector_loop(self.names, extent, self.reduced_lanes, partial(step, r))
            name = self.names.fresh("r")
            self.ranges[name] = (0, outer[len(r)] - 1)
            return loop(name, outer[len(r)], lambda i: nest((*r, i)))

        body = nest(())
        elements.statements += [Allocate(total), Allocate(parts), *starts, *body, combine(total, found)]
        value = elements.let(Load(total, (Const(0),)))
        return elements.let(rule.finish(value)) if rule.finish else value

    def _extremum(self, elements: Elements, rule: Reduction, start: Const) -> Expr:
        """The largest or smallest float where one instruction would lose NaNs."""
        if math.prod(rule.extents) <= UNROLLED_WINDOW:
            return elements.let(reduce_window(elements, rule))
        return elements.let(reduce_in_loops(elements, rule, start, self.names, self.ranges))
