"""split-batch: run stretches of a network on a few samples at a time, so that what they hand on stays in the caches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from ..errors import NetcError
from ..graph.analysis import macs_of, static_values
from ..graph.builder import Rewriter
from ..graph.ir import Graph, Operation, Value
from ..graph.registry import lookup
from ..types import DType, TensorType
from .base import Pass
from .samples import Samples

MOST = 200
"""Operations of a stretch, at most: the time that LLVM takes for a function grows faster than its length."""


@dataclass(frozen=True)
class SplitBatch(Pass):
    """Cut the network into stretches, each of which is a `map` over groups of samples, or runs for the whole batch.

    The rule: a stretch holds operations that treat each sample apart (`samples`), and what enters or leaves it numbers
    samples in the first dimension. The estimate of `Costs` chooses the stretches, and how many samples a group has:
    few where a group's activations fit the cache, many where weights are larger than activations.

    Networks with a state, with conditions or loops, with values of no elements, and training steps stay as they are.
    Layouts are those that were assigned for the whole batch.

    Before::

        %0 = conv2d(%x, %w) {strides = [1,1], padding = "valid"} : f32[8,56,56,64]
        %1 = relu(%0) : f32[8,56,56,64]

    After::

        %0 = map(%x, %w) {body = graph @samples(%x0: f32[1,56,56,64], %x1: f32[1,1,64,64]) -> (f32[1,56,56,64]) {
          %0 = conv2d(%x0, %x1) {strides = [1,1], padding = "valid"} : f32[1,56,56,64]
          %1 = relu(%0) : f32[1,56,56,64]
          return %1
        }, mapped = 1} : f32[8,56,56,64]
    """

    name = "split-batch"
    cache: int = 1 << 20
    """Bytes of the second-level cache of a core."""
    lanes: int = 16
    """Elements of f32 in a vector."""
    threads: int = 1
    group: int = 0
    """Samples of all groups, wherever that is possible; 0: as many as the estimate says."""

    def run(self, graph: Graph) -> Graph:
        samples = _samples_of(graph)
        if samples < 2 or graph.states or "metrics" in graph.attributes:
            return graph
        if any(op.operator.regions or not all(r.type.size for r in op.results) for op in graph.operations):
            return graph
        network = _Network(graph, samples)
        groups = _chosen(network, Costs(self.cache, self.lanes, self.threads), self.group)
        return _rewritten(network, groups) if any(g < samples for g in groups) else graph


split_batch = SplitBatch()


def _samples_of(graph: Graph) -> int:
    """The first size of the first input, which others may share; 1 without any."""
    return graph.inputs[0].type.shape[0] if graph.inputs and graph.inputs[0].type.rank else 1


# ---- what is apart --------------------------------------------------------------------------------------------------


class _Network:
    """The operations that run for each batch, in order, and what is known of samples in them."""

    def __init__(self, graph: Graph, samples: int) -> None:
        self.graph = graph
        self.samples = samples
        self.static = static_values(graph)
        self.operations = [op for op in graph.operations if not all(r in self.static for r in op.results)]
        self.single = Samples(samples, 1)
        self.axes = self.single.axes
        self.axes |= {v: 0 for v in graph.inputs if v.type.shape[:1] == (samples,)}
        self.apart = [self._is_apart(op) for op in self.operations]
        """Whether an operation treats each sample apart."""
        self.cuts = self._cuts()
        """Before each operation, and behind all: bytes of the values that are handed on; None: no place to cut."""

    def _is_apart(self, op: Operation) -> bool:
        found = _for_samples(op, self.single) is not None
        if not found:
            # Whatever made it: a dense value of so many parts may be cut into them.
            self.axes |= {
                r: 0 for r in op.results if r.type.shape[:1] == (self.samples,) and not any(r.type.margins[0])
            }
        return found

    def _cuts(self) -> list[int | None]:
        last: dict[Value, int] = dict.fromkeys(self.graph.outputs, len(self.operations))
        for place, op in reversed(list(enumerate(self.operations))):
            for value in op.operands:
                last.setdefault(value, place)
        live = set(self.graph.inputs)
        cuts: list[int | None] = []
        for place in range(len(self.operations) + 1):
            live = {v for v in live if last.get(v, -1) >= place}
            handed = [v for v in live if v in self.axes]
            known = all(self.axes[v] == 0 for v in handed)
            cuts.append(sum(v.type.bytes for v in handed) if known else None)
            if place < len(self.operations):
                live |= set(self.operations[place].results)
        return cuts


def _for_samples(op: Operation, to: Samples) -> Operation | None:
    """An operation for another number of samples, with new results; None if it may mix samples.

    The operands stay those of the old one. What is found of the results goes into `to.axes`.
    """
    if not any(v in to.axes for v in op.operands):
        return None
    if op.body is not None:
        return _fused_for_samples(op, op.body, to)
    found = to.rule_of(op)
    if found is None or found.repeated:
        return None
    operands = tuple(to.resized_type(v.type, to.axes[v]) if v in to.axes else v.type for v in op.operands)
    results = tuple(replace(r, type=to.resized_type(r.type, found.axis)) for r in op.results)
    try:
        attributes = op.operator.complete(found.attributes)
        inferred = op.operator.result_types(operands, attributes)
    except NetcError:
        return None
    if tuple(t.dense() for t in inferred) != tuple(r.type.dense() for r in results):
        return None
    to.axes.update(dict.fromkeys(op.results, found.axis))
    return replace(op, attributes=attributes, results=results)


def _fused_for_samples(op: Operation, body: Graph, to: Samples) -> Operation | None:
    inner = Samples(to.samples, to.count)
    pairs = list(zip(body.inputs, op.operands, strict=True))
    inner.axes |= {v: to.axes[outer] for v, outer in pairs if outer in to.axes}
    inputs = tuple(replace(v, type=_type_for(v, inner)) for v in body.inputs)
    values = dict(zip(body.inputs, inputs, strict=True))
    members = list[Operation]()
    for member in body.operations:
        new: Operation | None = member
        if any(v in inner.axes for v in member.operands):
            new = _for_samples(member, inner)
        if new is None:
            return None
        members.append(replace(new, operands=tuple(values[v] for v in member.operands)))
        values.update(zip(member.results, new.results, strict=True))
    if any(v not in inner.axes for v in body.outputs):
        return None
    to.axes.update((r, inner.axes[v]) for r, v in zip(op.results, body.outputs, strict=True))
    outputs = tuple(values[v] for v in body.outputs)
    results = tuple(replace(r, type=v.type) for r, v in zip(op.results, outputs, strict=True))
    return replace(op, results=results, body=Graph(body.name, inputs, tuple(members), outputs, body.attributes))


def _type_for(value: Value, to: Samples) -> TensorType:
    return to.resized_type(value.type, to.axes[value]) if value in to.axes else value.type


# ---- which stretches ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Costs:
    """Estimates in nanoseconds, of the constants measured on a core with AVX-512 and 1 MB of second-level cache."""

    cache: int
    lanes: int
    threads: int

    def activation(self, resident: float) -> float:
        """Of a byte of an activation, where so many bytes are in use: with each doubling more of them are far away."""
        return 0.015 * max(0.0, math.log2(max(resident, 1) / self.cache))

    def operation(self, op: Operation, network: _Network, group: int) -> float:
        """Of an operation for the whole batch, in groups of so many samples."""
        if op.operator.view:
            return 0.0
        samples = network.samples
        moved = (*op.operands, *op.results)
        apart = sum(v.type.bytes for v in moved if v in network.axes) / samples
        shared = sum(v.type.bytes * _growth(op) for v in op.operands if v not in network.axes)
        compute = macs_of(op) / (4 * self.lanes * _products(op)) / self.threads
        if group == samples:
            resident = apart * samples / self.threads
            begins = 1000.0 * (self.threads > 1)
            return compute + apart * samples * self.activation(resident) / self.threads + 0.02 * shared + begins
        turns = samples // group
        rounds = -(-turns // self.threads)
        uneven = rounds * self.threads / turns
        here = apart * samples * self.activation(apart * group) / self.threads
        return uneven * (compute + here) + rounds * (0.02 * shared + 100.0)

    def cut(self, handed: int) -> float:
        """Of handing on so many bytes for the whole batch."""
        return 10000.0 + handed * self.activation(handed / self.threads) / self.threads * 2


def _growth(op: Operation) -> float:
    """How much larger weights are than the filters that they are made of."""
    members = op.body.operations if op.body is not None else (op,)
    tiles = (m.algorithm.tile for m in members if m.algorithm is not None and m.algorithm.tile)
    return max((math.prod((t + 2) / 3 for t in tile) for tile in tiles), default=1.0)


def _products(op: Operation) -> int:
    """Products of a lane at once."""
    return 4 if any(v.type.dtype in (DType.I8, DType.U8) for v in op.operands) else 1


def _chosen(network: _Network, costs: Costs, given: int) -> list[int]:
    """The size of the groups of each operation; all samples: it runs for the whole batch. Dynamic programming."""
    samples = network.samples
    sizes = [g for g in range(1, samples + 1) if samples % g == 0 and g in (given or g, samples)]
    best: dict[int, tuple[float, tuple[int, ...]]] = {samples: (0.0, ())}
    for place, op in enumerate(network.operations):
        allowed = sizes if network.apart[place] else [samples]
        cut = network.cuts[place]
        handing = costs.cut(cut or 0) if place and not given else 0.0
        reached: dict[int, tuple[float, tuple[int, ...]]] = {}
        for size in allowed:
            own = costs.operation(op, network, size) if not given else float(size)
            ways = [
                (total + own + (handing if before != size else 0.0), chosen)
                for before, (total, chosen) in best.items()
                if before == size or cut is not None
            ]
            if ways:
                total, chosen = min(ways, key=lambda way: way[0])
                reached[size] = (total, (*chosen, size))
        best = reached
        if not best:
            return [samples] * len(network.operations)
    ends = {g: way for g, way in best.items() if g == samples or network.cuts[-1] is not None}
    return list(min(ends.values(), key=lambda way: way[0])[1]) if ends else [samples] * len(network.operations)


# ---- the new graph --------------------------------------------------------------------------------------------------


def _rewritten(network: _Network, groups: Sequence[int]) -> Graph:
    rewriter = Rewriter(network.graph)
    dynamic = set(network.operations)
    for op in network.graph.operations:
        if op not in dynamic:
            rewriter.copy(op)
    place = 0
    while place < len(groups):
        end = place + 1
        while end < len(groups) and groups[end] == groups[place] and not _is_full(network, place, end):
            end += 1
        stretch = network.operations[place:end]
        if groups[place] == network.samples:
            for op in stretch:
                rewriter.copy(op)
        else:
            _map(rewriter, network, stretch, groups[place])
        place = end
    return rewriter.close()


def _is_full(network: _Network, first: int, place: int) -> bool:
    return place - first >= MOST and network.cuts[place] is not None


def _map(b: Rewriter, network: _Network, stretch: Sequence[Operation], group: int) -> None:
    """Emit a stretch as a map over groups of samples; nothing where nobody reads its results."""
    inside = set(stretch)
    made = dict.fromkeys(r for op in stretch for r in op.results)
    leaving = [r for r in made if _leaves(network.graph, r, inside)]
    if not leaving:
        return
    to = Samples(network.samples, group)
    entering = dict.fromkeys(v for op in stretch for v in op.operands if v not in made)
    mapped = [v for v in entering if v in network.axes]
    operands = [*mapped, *(v for v in entering if v not in network.axes)]
    to.axes |= dict.fromkeys(mapped, 0)
    inputs = [Value(_type_for(v, to), f"x{i}") for i, v in enumerate(operands)]
    values: dict[Value, Value] = dict(zip(operands, inputs, strict=True))
    inner = list[Operation]()
    for op in stretch:
        new = _for_samples(op, to)
        assert new is not None, op.name
        results = tuple(Value(r.type) for r in new.results)
        inner.append(replace(new, operands=tuple(values[v] for v in op.operands), results=results))
        values.update(zip(op.results, results, strict=True))
    body = Graph("samples", tuple(inputs), tuple(inner), tuple(values[v] for v in leaving))
    attributes: Mapping[str, object] = MappingProxyType({"body": body, "mapped": len(mapped)})
    results = tuple(Value(v.type, v.name) for v in leaving)
    b.append(Operation(lookup("map"), tuple(b[v] for v in operands), attributes, results, stretch[0].location))
    for old, new_value in zip(leaving, results, strict=True):
        b.replace(old, new_value)


def _leaves(graph: Graph, value: Value, inside: set[Operation]) -> bool:
    return value in graph.outputs or any(user not in inside for user in graph.users[value])
