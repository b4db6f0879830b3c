"""What the lowerings of any group share: its buffers, loops over leading dimensions, and reductions in loops."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property

from ..errors import InternalError
from ..graph.ir import Value
from ..loops.compute import Reduction
from ..loops.interval import Interval, interval
from ..loops.ir import (
    Binary,
    Buffer,
    Const,
    Expr,
    For,
    If,
    Kernel,
    LoopKind,
    Space,
    Stmt,
    Var,
    VectorType,
)
from ..targets.target import ByteTables, MinMax, Target
from ..types import DType, TensorType
from .elements import Elements, NotVectorizableError
from .extremum import reduce_in_loops, reduce_window
from .group import Group
from .kernel import Names, Scheduled, let
from .loops import LINE, loop
from .reduction import Accumulation, is_sum_of_lanes, is_unrolled, reduce_in_vectors, start_of


def _at(index: tuple[Expr, ...], body: Callable[[tuple[Expr, ...]], list[Stmt]]) -> list[Stmt]:
    return body(index)


class Nest(ABC):
    """A group while it becomes one kernel."""

    def __init__(
        self, group: Group, lanes: int, threads: int, target: Target, reduced_lanes: int | None = None
    ) -> None:
        self.group = group
        self.min_max = target.min_max
        self.byte_tables = target.byte_tables is not ByteTables.NONE
        self.shape = group.results[0].type.shape
        if any(r.type.shape != self.shape for r in group.results):
            raise InternalError(f"the results of {group.label} differ in shape and can't share one kernel")
        self.lanes = lanes if self.shape else 1
        self.reduced_lanes = reduced_lanes or lanes
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

    def reduce(self, elements: Elements, rule: Reduction, dtype: DType) -> Expr:
        """A reduction whose result has elements of type `dtype`, as loops over the reduced elements."""
        found = self._reduced(elements, rule, VectorType(rule.dtype or dtype, elements.lanes))
        return elements.let(rule.finish(found)) if rule.finish else found

    def _reduced(self, elements: Elements, rule: Reduction, kind: VectorType) -> Expr:
        is_extremum = rule.op in ("max", "min")
        in_any_order = is_extremum or not kind.dtype.is_float or is_sum_of_lanes(rule, self.reduced_lanes)
        may = rule.takes_vectors and rule.extents and in_any_order
        if may and elements.lanes == 1 < self.reduced_lanes <= rule.extents[-1]:
            with suppress(NotVectorizableError):
                return reduce_in_vectors(elements, rule, kind.dtype, self.reduced_lanes, self.names, self.ranges)
        if is_extremum and kind.dtype.is_float and self.min_max is MinMax.SELECT:
            if is_unrolled(rule):
                return elements.let(reduce_window(elements, rule))
            return elements.let(reduce_in_loops(elements, rule, start_of(rule.op, kind), self.names, self.ranges))
        return Accumulation(elements, rule, kind, self.names, self.ranges).emit()
