"""A training step for a batch that is cut into shards: one graph for a shard, one for what is done with all of them.

Between the two the results of the shards are added, in an order that only their number decides, so that whoever
computes them, and where, changes no bit (`netc.runtime.parallel`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from ..graph.builder import GraphBuilder, Rewriter, TrackingRewriter
from ..graph.ir import Graph, Operation, Value
from ..passes.dce import dce
from ..types import TensorType
from .step import Shared, training_step

_SUMS = ("correct", "counted")
"""Metrics that are sums over samples; the loss is a mean."""


@dataclass(frozen=True)
class ShardedStep:
    """A training step in two graphs, or three.

    `prepare` makes of the parameters what each shard takes in the same form, once for all of them: its results are the
    last inputs of the shard's graph. None where there is nothing.

    The graph of a shard takes the net's inputs, `shard` (i64, only if the net drops something) and `labels`. Its
    results are what the update takes as its inputs, in their order, once they are added over all shards; factors, of
    which the update takes `shards` times as many rows, are put one behind the other instead. The update gives the
    metrics of the whole batch. Both keep the same parameters as state: those of the shard's graph, which only reads
    them, come first in the update's, in their order.
    """

    prepare: Graph | None
    shard: Graph
    update: Graph
    shards: int


def sharded_step(
    graph: Graph, shards: int, *, bucket: int | None = None, factors: bool = True, **settings: Any
) -> ShardedStep:
    """The training step of a net for batches of `shards` times its own, whose gradients are means over all of these.

    `settings` are those of `training_step`. The gradient of a dense layer's weight [k, n] is the product of two
    matrices with a row for each sample, [m, k] and [m, n]. With `factors` these cross in its place, where those of all
    shards together have fewer elements than it, and the update multiplies them: a shard then neither writes nor adds
    up the gradient, and ranks exchange less ("sufficient factors": Xie et al., Lighter-communication distributed
    machine learning via sufficient factor broadcasting, 2016). With `bucket`, the program of a shard announces its
    results in buckets of at least so many bytes (see `lowering.buckets`). A batch_norm normalises each shard by its own
    statistics ("ghost batch normalisation": Hoffer, Hubara, Soudry, Train longer, generalize better, 2017); running
    statistics move to the shards' mean. A loss that leaves labels out (`ignored`) is the mean of the shards' means.
    Raises `NetcError` as `training_step` does.
    """
    cut = _Cut(shards, factors)
    step = training_step(graph, exchange=cut, shards=shards, **settings)
    names = tuple(op.result.name or "" for op in step.states)
    shard = _before(step, (*cut.places, *cut.factors), names)
    if bucket is not None:
        shard = replace(shard, attributes=MappingProxyType({**shard.attributes, "bucket": bucket}))
    shard, turned = _with_turned_weights(shard)
    read = shard.attributes["updates"]
    order = (*read, *(name for name in names if name not in read))
    prepare = _turning(step, turned, read[: len(turned)]) if turned else None
    return ShardedStep(prepare, shard, _after(step, cut, order), shards)


@dataclass
class _Cut:
    """The exchange that notes which values cross, and makes means of their sums."""

    shards: int
    multiplies: bool
    """Whether gradients may cross as factors."""
    places: dict[Value, str] = field(default_factory=dict)
    """The values that cross to be added, each with a name."""
    factors: dict[Value, str] = field(default_factory=dict)
    """Those that cross to be put one behind the other."""
    products: dict[Value, Operation] = field(default_factory=dict)
    """Gradients that the update makes of factors, and how."""

    def __call__(self, b: GraphBuilder, shared: Shared) -> Shared:
        """Note values and emit means."""
        producers = {result: op for op in b.operations for result in op.results}

        def cross(name: str, value: Value, mean: bool) -> Value:
            if producers[value].name in ("constant", "param"):
                return value  # the same for all shards
            if self.multiplies and self._has_small_factors(producers[value], producers):
                self.products[value] = producers[value]
                for number, factor in enumerate(producers[value].operands):
                    self.factors.setdefault(factor, f"{name}.{number}")
            else:
                self.places.setdefault(value, name)
            return b.emit("mul", value, b.scalar(1 / self.shards, value.type.dtype)) if mean else value

        return Shared(
            {n: cross(f"metrics.{n}", v, n not in _SUMS) for n, v in shared.metrics.items()},
            {n: cross(f"statistics.{n}", v, True) for n, v in shared.statistics.items()},
            {n: cross(f"gradients.{n}", v, True) for n, v in shared.gradients.items()},
        )

    def _has_small_factors(self, op: Operation, producers: Mapping[Value, Operation]) -> bool:
        """Whether an operation sums over rows of the batch what takes more room than the rows of all shards."""
        if op.name != "matmul" or not op.attributes["transpose_a"] or op.attributes["transpose_b"]:
            return False
        kinds = {producers[factor].name for factor in op.operands if factor in producers}
        fits = all(v.type.rank == 2 and v.type.dtype is op.result.type.dtype for v in op.operands)
        size = sum(v.type.size for v in op.operands)
        return fits and not kinds & {"constant", "param"} and self.shards * size <= op.result.type.size


def _before(step: Graph, crossing: Sequence[Value], states: Sequence[str]) -> Graph:
    """What makes the crossing values; the parameters that the step changes are state, which stays as it is."""
    attributes = {k: v for k, v in step.attributes.items() if k != "updates"}
    made = dce(replace(step, outputs=tuple(crossing), attributes=MappingProxyType(attributes)))
    read = {op.result.name or "": op.result for op in made.parameters if op.result.name in states}
    updates = MappingProxyType({**attributes, "updates": tuple(read)})
    return replace(made, name=f"{step.name}_shard", outputs=(*crossing, *read.values()), attributes=updates)


def _with_turned_weights(shard: Graph) -> tuple[Graph, tuple[str, ...]]:
    """The graph of a shard with weights that it takes transposed as inputs; and their names, its first states.

    The backward pass of a dense layer takes the weight so. To transpose it takes as long as to multiply few samples.
    """
    states = {op.result: op.result.name or "" for op in shard.states}
    b = Rewriter(shard)
    turned: dict[str, Value] = {}
    for op in shard.operations:
        weight = op.operands[1] if op.name == "matmul" and op.attributes["transpose_b"] else None
        if weight not in states or weight.type.rank != 2 or op.attributes["transpose_a"]:
            b.copy(op)
            continue
        name, turned_type = states[weight], TensorType(weight.type.dtype, weight.type.shape[::-1])
        if name not in turned:
            turned[name] = b.input(f"transposed.{name}", turned_type)
        b.replace(op.result, b.emit("matmul", b[op.operands[0]], turned[name], location=op.location))
    order = sorted(states.values(), key=lambda name: name not in turned)
    places = {op.result.name: b[op.result] for op in shard.states}
    results = [b[value] for value in shard.outputs[: len(shard.outputs) - len(states)]]
    b.attributes["updates"] = tuple(order)
    return b.finish([*results, *(places[name] for name in order)]), tuple(turned)


def _turning(step: Graph, names: Sequence[str], states: Sequence[str]) -> Graph:
    """What transposes parameters, which are state, in the order of `states`."""
    b = GraphBuilder(f"{step.name}_prepare", {"updates": tuple(states)})
    made = {op.result.name: b.append(op).result for op in step.parameters if op.result.name in names}
    turned = [b.emit("transpose", made[name], permutation=(1, 0)) for name in names]
    return b.finish([*turned, *(made[name] for name in states)])


def _after(step: Graph, cut: _Cut, order: Sequence[str]) -> Graph:
    """What is done with the crossing values, with the states in this order."""
    b = TrackingRewriter(replace(step, name=f"{step.name}_update", inputs=()))
    for value, name in cut.places.items():
        b.replace(value, b.input(name, value.type))
    rows = {value: b.input(name, _of_all(value.type, cut.shards)) for value, name in cut.factors.items()}
    for product, op in cut.products.items():
        b.replace(product, b.emit("matmul", *(rows[factor] for factor in op.operands), transpose_a=True))
    for op in step.operations:
        if not any(r in cut.places or r in cut.products for r in op.results) and all(v in b for v in op.operands):
            b.copy(op)
    new = {op.result.name: value for op, value in zip(step.states, step.outputs[len(step.results) :], strict=True)}
    b.attributes["updates"] = tuple(order)
    return dce(b.finish([b[v] for v in (*step.results, *(new[name] for name in order))]))


def _of_all(type_: TensorType, shards: int) -> TensorType:
    """The type of a shard's rows, for those of all shards."""
    return TensorType(type_.dtype, (shards * type_.shape[0], *type_.shape[1:]))
