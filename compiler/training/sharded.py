"""A training step for a batch that is cut into shards: one graph for a shard, one for what is done with all of them.

Between the two the results of the shards are added, in an order that only their number decides, so that whoever
computes them, and where, changes no bit (`netc.runtime.parallel`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from ..graph.builder import GraphBuilder, Rewriter
from ..graph.ir import Graph, Value
from ..passes.dce import dce
from .step import Shared, training_step

_SUMS = ("correct", "counted")
"""Metrics that are sums over samples; the loss is a mean."""


@dataclass(frozen=True)
class ShardedStep:
    """A training step in two graphs.

    The graph of a shard takes the net's inputs, `shard` (i64, only if the net drops something) and `labels`. Its
    results are what the update takes as its inputs, in their order, once they are added over all shards. The update
    gives the metrics of the whole batch. Both keep the same parameters as state: those of the shard's graph, which only
    reads them, come first in the update's, in their order.
    """

    shard: Graph
    update: Graph
    shards: int


def sharded_step(graph: Graph, shards: int, *, bucket: int | None = None, **settings: Any) -> ShardedStep:
    """The training step of a net for batches of `shards` times its own, whose gradients are means over all of these.

    `settings` are those of `training_step`. With `bucket`, the program of a shard announces its results in buckets
    of at least so many bytes (see `lowering.buckets`). A batch_norm normalises each shard by its own statistics ("ghost
    batch normalisation": Hoffer, Hubara, Soudry, Train longer, generalize better, 2017); running statistics move to
    the shards' mean. A loss that leaves labels out (`ignored`) is the mean of the shards' means. Raises `NetcError` as
    `training_step` does.
    """
    cut = _Cut(shards)
    step = training_step(graph, exchange=cut, shards=shards, **settings)
    names = tuple(op.result.name or "" for op in step.states)
    shard = _before(step, tuple(cut.places), names)
    if bucket is not None:
        shard = replace(shard, attributes=MappingProxyType({**shard.attributes, "bucket": bucket}))
    read = tuple(op.result.name or "" for op in shard.states)
    order = (*read, *(name for name in names if name not in read))
    return ShardedStep(shard, _after(step, cut.places, order), shards)


@dataclass
class _Cut:
    """The exchange that notes which values cross, and makes means of their sums."""

    shards: int
    places: dict[Value, str] = field(default_factory=dict)
    """The values that cross, each with a name."""

    def __call__(self, b: GraphBuilder, shared: Shared) -> Shared:
        """Note values and emit means."""
        producers = {result: op for op in b.operations for result in op.results}

        def cross(name: str, value: Value, mean: bool) -> Value:
            if producers[value].name in ("constant", "param"):
                return value  # the same for all shards
            self.places.setdefault(value, name)
            return b.emit("mul", value, b.scalar(1 / self.shards, value.type.dtype)) if mean else value

        return Shared(
            {n: cross(f"metrics.{n}", v, n not in _SUMS) for n, v in shared.metrics.items()},
            {n: cross(f"statistics.{n}", v, True) for n, v in shared.statistics.items()},
            {n: cross(f"gradients.{n}", v, True) for n, v in shared.gradients.items()},
        )


def _before(step: Graph, crossing: Sequence[Value], states: Sequence[str]) -> Graph:
    """What makes the crossing values; the parameters that the step changes are state, which stays as it is."""
    attributes = {k: v for k, v in step.attributes.items() if k != "updates"}
    made = dce(replace(step, outputs=tuple(crossing), attributes=MappingProxyType(attributes)))
    read = {op.result.name or "": op.result for op in made.parameters if op.result.name in states}
    updates = MappingProxyType({**attributes, "updates": tuple(read)})
    return replace(made, name=f"{step.name}_shard", outputs=(*crossing, *read.values()), attributes=updates)


def _after(step: Graph, crossing: dict[Value, str], order: Sequence[str]) -> Graph:
    """What is done with the crossing values, with the states in this order."""
    b = Rewriter(replace(step, name=f"{step.name}_update", inputs=()))
    for value, name in crossing.items():
        b.replace(value, b.input(name, value.type))
    for op in step.operations:
        if not any(r in crossing for r in op.results) and all(v in b for v in op.operands):
            b.copy(op)
    new = {op.result.name: value for op, value in zip(step.states, step.outputs[len(step.results) :], strict=True)}
    b.attributes["updates"] = tuple(order)
    return dce(b.finish([b[v] for v in (*step.results, *(new[name] for name in order))]))
