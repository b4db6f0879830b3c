"""Sums over all pixels of all pictures for each channel: the statistics and gradients of batch normalisation.

The result has too few elements to be shared out, and an accumulator waits for itself with every addition. So threads
take pictures: one kernel sums up each picture by itself, several vectors of channels at a time, and a second one adds
these sums and applies what follows. Both add in the order of the generic lowering's nested accumulators: no bit depends
on the schedule or on the number of threads. Several sums over the same pixels (see the pass `fuse-sums`) are added up
in one pass over memory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
from ....lowering.reduction import LONGEST_SUM
from ....ops.reductions.reduction import ReduceMean, ReduceSum
from ....ops.reductions.statistics import ChannelVariance
from ....targets.target import Target
from ....types import TensorType
from .tiling import split

CHAINS = 4
"""Additions under way at the same time: one takes about so many cycles."""


def schedule_channel_reduction(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule large sums of floats from [N, H, W, C] to [C] with whole vectors of channels; empty for others."""
    reductions = [op for op in group.members if not op.operator.elementwise and op.name != "constant"]
    summed = list(map(_summed, reductions))
    x = summed[0] if summed else None
    if x is None or not x.dtype.is_float or x.size < PARALLEL_WORK or len(group.results) != len(reductions):
        return ()
    if any(other is None or other.dense() != x.dense() for other in summed):
        return ()
    if x.shape[3] % target.vector_lanes or min(x.shape[1:3]) < 2 or x.shape[0] < threads:
        return ()
    if max(x.shape[:3]) > LONGEST_SUM:  # the generic lowering cuts such loops
        return ()
    try:
        return _ChannelReduction(group, reductions, x, target.vector_lanes).schedule()
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
    into: Buffer
    """Where the sums of pictures go."""

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
    def __init__(self, group: Group, reductions: Sequence[Operation], x: TensorType, lanes: int) -> None:
        self.group, self.reductions, self.lanes, self.dtype = group, reductions, lanes, x.dtype
        self.pictures, self.height, self.width, self.channels = x.shape
        self.operands = [v for op in reductions for v in op.operands]
        self.sums = [Value(TensorType(x.dtype, (self.pictures, self.channels))) for _ in reductions]
        self.names = Names()

    def schedule(self) -> tuple[Scheduled, ...]:
        """The kernel that sums up pictures, and the one that adds their sums."""
        return self._sum_up(), self._add()

    def _read(self, values: Sequence[Value], stops: Collection[Value] = ()) -> tuple[Value, ...]:
        """What comes from outside into the calculation of values, back to `stops`, in order."""
        found: dict[Value, None] = {}
        waiting = [*reversed(values)]
        while waiting:
            value = waiting.pop()
            if value in self.group.outer:
                found[value] = None
            elif value in self.group.producers and value not in stops:
                waiting += reversed(self.group.producers[value].operands)
        return tuple(found)

    def _elements(self, buffers: dict[Value, Buffer], lane: Var, extents: dict[str, int]) -> Elements:
        group, prefix = self.group, self.names.fresh("t") + "_"
        ranges: dict[str, Interval] = {name: (0, extent - 1) for name, extent in extents.items()}
        return Elements(buffers, group.producers, group.constants, self.lanes, lane, ranges=ranges, prefix=prefix)

    def _rule(self, op: Operation, elements: Elements, lane: Var) -> Reduction:
        rule = elements.rule(op, (lane,))
        if not isinstance(rule, Reduction) or rule.op != "add":
            raise InternalError(f"{op.name} is no sum")
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
            for i, v in enumerate(self._read(self.operands))
        }
        sums = [
            parameters.add(Buffer(_numbered("y", i), self.dtype, (self.pictures, self.channels), Space.OUT), value)
            for i, value in enumerate(self.sums)
        ]

        def picture(p: Expr) -> list[Stmt]:
            body: list[Stmt] = []
            for first, count, vectors in split(self.channels // self.lanes, CHAINS):
                each = partial(self._picture, inputs, sums, p, first, vectors)
                body += loop(self.names.fresh("v"), count, each)
            return body

        return parameters.scheduled(loop("p", self.pictures, picture, LoopKind.PARALLEL))

    def _picture(
        self, inputs: dict[Value, Buffer], sums: Sequence[Buffer], p: Expr, first: int, vectors: int, v: Expr
    ) -> list[Stmt]:
        """Sum up some vectors of channels of picture p: those from number `first` + v * `vectors` on."""
        block: list[Stmt] = []
        chains: list[_Chain] = []
        for number in range(vectors):
            lane = let(block, self.names.fresh("c"), (v * vectors + first + number) * self.lanes)
            extents = {"p": self.pictures, "h": self.height, "w": self.width, lane.name: self.channels}
            elements = self._elements(inputs, lane, extents)
            for into, op in zip(sums, self.reductions, strict=True):
                rule = self._rule(op, elements, lane)
                chains.append(_Chain(lane, elements, rule, (Const(len(chains)),), into))
            block += elements.statements
        totals = self._accumulators(block, len(chains))

        def row(h: Expr) -> list[Stmt]:
            inside: list[Stmt] = []
            parts = self._accumulators(inside, len(chains))

            def pixel(w: Expr) -> list[Stmt]:
                return [s for chain in chains for s in chain.add(parts, (p, h, w))]

            adds = [Store(totals, c.place, Load(totals, c.place) + Load(parts, c.place)) for c in chains]
            return [*inside, *loop("w", self.width, pixel), *adds]

        stores = [Store(c.into, (p, c.lane), Load(totals, c.place)) for c in chains]
        return [*block, *loop("h", self.height, row), *stores]

    # ---- the sum of all ----

    def _add(self) -> Scheduled:
        group, results = self.group, self.group.results
        parameters = Parameters()
        sums = [
            parameters.add(Buffer(_numbered("s", i), self.dtype, (self.pictures, self.channels)), value)
            for i, value in enumerate(self.sums)
        ]
        outputs = {
            r: Buffer(_numbered("y", i), r.type.dtype, r.type.buffer_shape, Space.OUT) for i, r in enumerate(results)
        }
        buffers = self._around(parameters, outputs)
        for output, value in zip(outputs.values(), group.operation.results, strict=True):
            parameters.add(output, value)

        def vector(v: Expr) -> list[Stmt]:
            block: list[Stmt] = []
            lane = let(block, "c", v * self.lanes)
            elements = self._elements(buffers, lane, {lane.name: self.channels})
            for op, parts in zip(self.reductions, sums, strict=True):
                total = self._total(block, parts, lane)
                rule = self._rule(op, elements, lane)
                elements.known[op.result] = elements.let(rule.finish(total)) if rule.finish else elements.let(total)
            # All values before the first store: a result may overwrite an operand of another one.
            last = [elements.let(elements.element(r, (lane,))) for r in results]
            stores = [Store(o, physical(r.type, (lane,)), x) for (r, o), x in zip(outputs.items(), last, strict=True)]
            return [*block, *elements.statements, *stores]

        kind = kind_for(self.pictures * self.channels)
        return parameters.scheduled(loop("v", self.channels // self.lanes, vector, kind), multiplies=0)

    def _around(self, parameters: Parameters, outputs: Mapping[Value, Buffer]) -> dict[Value, Buffer]:
        """Buffers of what is read beside the sums; what a result overwrites is read from there."""
        group = self.group
        summed = {op.result for op in self.reductions}
        overwritten = {old: outputs[result] for result, old in group.in_place.items()}
        read = self._read(group.results, summed) + self._read([v for op in self.reductions for v in op.operands[1:]])
        buffers: dict[Value, Buffer] = {}
        for value in dict.fromkeys(read):
            if value in overwritten:
                buffers[value] = overwritten[value]
            else:
                buffer = Buffer(f"e{len(buffers)}", value.type.dtype, value.type.buffer_shape)
                buffers[value] = parameters.add(buffer, group.outer[value])
        return buffers

    def _total(self, block: list[Stmt], parts: Buffer, lane: Var) -> Expr:
        """The sum of the sums of pictures."""
        total, n = self._accumulators(block, 1), self.names.fresh("n")
        here = (Const(0),)

        def add(n: Expr) -> list[Stmt]:
            return [Store(total, here, Load(total, here) + Load(parts, (n, lane), self.lanes))]

        block += loop(n, self.pictures, add)
        return Load(total, here)


def _numbered(name: str, number: int) -> str:
    return f"{name}{number}" if number else name
