"""Sums over all pixels of all pictures for each channel: the statistics and gradients of batch normalisation.

The result has too few elements to be shared out, and an accumulator waits for itself with every addition. So threads
take pictures: one kernel sums up each picture by itself, several vectors of channels at a time, and a second one adds
these sums and applies what follows. Both add in the order of the generic lowering's nested accumulators: no bit depends
on the schedule or on the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ....errors import InternalError
from ....graph.ir import Operation, Value
from ....loops.compute import Reduction
from ....loops.interval import Interval
from ....loops.ir import Allocate, Binary, Buffer, Const, Expr, Fma, Load, LoopKind, Space, Stmt, Store, Var
from ....lowering.elements import Elements, NotVectorizableError, physical
from ....lowering.group import Group
from ....lowering.kernel import Names, Parameters, Scheduled, let
from ....lowering.loops import PARALLEL_WORK, kind_for, loop
from ....ops.reduction import ReduceMean, ReduceSum
from ....ops.statistics import ChannelVariance
from ....targets.target import Target
from ....types import TensorType
from .tiling import split

CHAINS = 4
"""Additions under way at the same time: one takes about so many cycles."""


def schedule_channel_reduction(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a large sum of floats from [N, H, W, C] to [C] with whole vectors of channels; empty for others."""
    x = _summed(group.anchor)
    if x is None or len(group.results) != 1 or not x.dtype.is_float or x.size < PARALLEL_WORK:
        return ()
    if x.shape[3] % target.vector_lanes or min(x.shape[1:3]) < 2 or x.shape[0] < threads:
        return ()
    try:
        return _ChannelReduction(group, x, target.vector_lanes).schedule()
    except NotVectorizableError:
        return ()


def _summed(op: Operation) -> TensorType | None:
    """Type [N, H, W, C] of what an operation sums up for each channel; None if that is not what it does."""
    if isinstance(op.operator, ReduceSum | ReduceMean):
        x = op.operands[0].type
        kept = op.operator.axes(x.rank, op.attributes) != (0, 1, 2) or op.attributes["keepdims"]
        return None if kept or x.rank != 4 else x
    if isinstance(op.operator, ChannelVariance) and op.operands[0].type.rank == 4:
        return op.operands[0].type
    return None


@dataclass(frozen=True)
class _Chain:
    """What is summed up in one accumulator: a vector of channels."""

    lane: Var
    elements: Elements
    rule: Reduction
    place: tuple[Expr, ...]
    """Number of the accumulator."""

    def add(self, parts: Buffer, pixel: tuple[Expr, ...]) -> list[Stmt]:
        """Add one pixel."""
        total = Load(parts, self.place)
        with self.elements.nested() as statements:
            term = self.rule.body(pixel)
            if isinstance(term, Binary) and term.op == "mul":
                value: Expr = Fma(term.lhs, term.rhs, total)
            else:
                value = total + term
            return [*statements, Store(parts, self.place, value)]


class _ChannelReduction:
    def __init__(self, group: Group, x: TensorType, lanes: int) -> None:
        self.group, self.lanes, self.dtype = group, lanes, x.dtype
        self.pictures, self.height, self.width, self.channels = x.shape
        self.sums = Value(TensorType(x.dtype, (self.pictures, self.channels)))
        self.names = Names()

    def schedule(self) -> tuple[Scheduled, ...]:
        """The kernel that sums up pictures, and the one that adds their sums."""
        return self._sum_up(), self._add()

    def _read(self, values: Sequence[Value], stop: Value | None = None) -> tuple[Value, ...]:
        """What comes from outside into the calculation of values, back to `stop`, in order."""
        found: dict[Value, None] = {}
        waiting = [*reversed(values)]
        while waiting:
            value = waiting.pop()
            if value in self.group.outer:
                found[value] = None
            elif value in self.group.producers and value is not stop:
                waiting += reversed(self.group.producers[value].operands)
        return tuple(found)

    def _elements(self, buffers: dict[Value, Buffer], lane: Var, extents: dict[str, int]) -> Elements:
        group, prefix = self.group, self.names.fresh("t") + "_"
        ranges: dict[str, Interval] = {name: (0, extent - 1) for name, extent in extents.items()}
        return Elements(buffers, group.producers, group.constants, self.lanes, lane, ranges=ranges, prefix=prefix)

    def _rule(self, elements: Elements, lane: Var) -> Reduction:
        rule = elements.rule(self.group.anchor, (lane,))
        if not isinstance(rule, Reduction) or rule.op != "add":
            raise InternalError(f"{self.group.anchor.name} is no sum")
        return rule

    def _accumulators(self, block: list[Stmt], count: int) -> Buffer:
        """Accumulators, one after the other, that start at 0."""
        buffer = Buffer(self.names.fresh("acc"), self.dtype, (count,), Space.REGISTER, lanes=self.lanes)
        zero = Const(0.0, self.dtype, self.lanes)
        block += [Allocate(buffer), *(Store(buffer, (Const(i),), zero) for i in range(count))]
        return buffer

    # ---- the sums of pictures ----

    def _sum_up(self) -> Scheduled:
        parameters = Parameters()
        inputs = {
            v: parameters.add(Buffer(f"x{i}", v.type.dtype, v.type.buffer_shape), self.group.outer[v])
            for i, v in enumerate(self._read(self.group.anchor.operands))
        }
        sums = parameters.add(Buffer("y", self.dtype, (self.pictures, self.channels), Space.OUT), self.sums)

        def picture(p: Expr) -> list[Stmt]:
            body: list[Stmt] = []
            for first, count, vectors in split(self.channels // self.lanes, CHAINS):
                each = partial(self._picture, inputs, sums, p, first, vectors)
                body += loop(self.names.fresh("v"), count, each)
            return body

        return parameters.scheduled(loop("p", self.pictures, picture, LoopKind.PARALLEL))

    def _picture(
        self, inputs: dict[Value, Buffer], sums: Buffer, p: Expr, first: int, vectors: int, v: Expr
    ) -> list[Stmt]:
        """Sum up some vectors of channels of picture p: those from number `first` + v * `vectors` on."""
        block: list[Stmt] = []
        chains: list[_Chain] = []
        for number in range(vectors):
            lane = let(block, self.names.fresh("c"), (v * vectors + first + number) * self.lanes)
            extents = {"p": self.pictures, "h": self.height, "w": self.width, lane.name: self.channels}
            elements = self._elements(inputs, lane, extents)
            rule = self._rule(elements, lane)
            block += elements.statements
            chains.append(_Chain(lane, elements, rule, (Const(number),)))
        totals = self._accumulators(block, vectors)

        def row(h: Expr) -> list[Stmt]:
            inside: list[Stmt] = []
            parts = self._accumulators(inside, vectors)

            def pixel(w: Expr) -> list[Stmt]:
                return [s for chain in chains for s in chain.add(parts, (p, h, w))]

            adds = [Store(totals, c.place, Load(totals, c.place) + Load(parts, c.place)) for c in chains]
            return [*inside, *loop("w", self.width, pixel), *adds]

        stores = [Store(sums, (p, c.lane), Load(totals, c.place)) for c in chains]
        return [*block, *loop("h", self.height, row), *stores]

    # ---- the sum of all ----

    def _add(self) -> Scheduled:
        group, (result,) = self.group, self.group.results
        parameters = Parameters()
        sums = parameters.add(Buffer("s", self.dtype, (self.pictures, self.channels)), self.sums)
        output = Buffer("y", result.type.dtype, result.type.buffer_shape, Space.OUT)
        read = self._read([result], group.anchor.result) + self._read(group.anchor.operands[1:])
        buffers: dict[Value, Buffer] = {}
        for value in dict.fromkeys(read):
            if value in group.in_place.values():
                buffers[value] = output
            else:
                buffer = Buffer(f"e{len(buffers)}", value.type.dtype, value.type.buffer_shape)
                buffers[value] = parameters.add(buffer, group.outer[value])
        parameters.add(output, group.operation.result)

        def vector(v: Expr) -> list[Stmt]:
            block: list[Stmt] = []
            lane = let(block, "c", v * self.lanes)
            elements = self._elements(buffers, lane, {lane.name: self.channels})
            total = self._accumulators(block, 1)
            here = (Const(0),)
            block += loop(
                "n",
                self.pictures,
                lambda n: [Store(total, here, Load(total, here) + Load(sums, (n, lane), self.lanes))],
            )
            rule = self._rule(elements, lane)
            value = elements.let(Load(total, here))
            elements.known[group.anchor.result] = elements.let(rule.finish(value)) if rule.finish else value
            last = elements.let(elements.element(result, (lane,)))
            return [*block, *elements.statements, Store(output, physical(result.type, (lane,)), last)]

        kind = kind_for(self.pictures * self.channels)
        return parameters.scheduled(loop("v", self.channels // self.lanes, vector, kind), multiplies=False)
