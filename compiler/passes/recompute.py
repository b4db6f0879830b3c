"""recompute: compute cheap activations again in the backward part instead of keeping them."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph.ir import Graph
from .base import Pass
from .rematerialize import TrainingGraph, cheapest_to_keep, rematerialize


@dataclass(frozen=True)
class Recompute(Pass):
    """Compute cheap activations of a training graph again where the backward part reads them.

    The graph's first output is the loss; what stands behind it is the backward part. Cheap are elementwise operators,
    normalisation and random numbers; contractions, reductions and pooling run once. Which values are kept is the
    minimum of their bytes and of the work of making the others again: `bytes-per-operation` says how many bytes an
    operation on one element must save, 0 that work doesn't count. Results are the same bit for bit.

    cse undoes it: run it after the last one.

    Before::

        %0 = conv2d(%x, %w)
        %1 = batch_norm(%0, ...)
        %2 = relu(%1)
        ...
        return %loss, ...
        %9 = conv2d_weight_gradient(%2, %8)

    After::

        %0 = conv2d(%x, %w)
        %1 = batch_norm(%0, ...)
        %2 = relu(%1)
        ...
        %9 = batch_norm(%0, ...)
        %10 = relu(%9)
        %11 = conv2d_weight_gradient(%10, %8)
    """

    name = "recompute"
    bytes_per_operation: float = 0.25

    def run(self, graph: Graph) -> Graph:
        training = TrainingGraph.of(graph)
        result = rematerialize(training, cheapest_to_keep(training, self.bytes_per_operation)).graph
        return result if len(result.operations) > len(graph.operations) else graph


recompute = Recompute()
