"""choose-tiles: which products of bfloat16 a processor computes by tile registers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...graph.algorithm import Algorithm
from ...graph.analysis import static_values
from ...graph.ir import Graph, Operation
from ...lowering.group import group_of
from ...passes import Pass
from ...targets.cpus import CPUS
from .choose_algorithms import with_algorithm
from .schedules.tiles.tile_contraction import BY_TILES, tiles_pay

FIRST = CPUS["sapphirerapids"]
"""The first processors with tiles: others differ, as far as is asked here, by their caches."""


@dataclass(frozen=True)
class ChooseTiles(Pass):
    """Decide which contractions of bfloat16 are computed by tile registers.

    The rule: what multiplies numbers stored as bfloat16 by a weight known when weights are loaded goes by tiles where
    that is estimated to be quicker, for the whole batch on one thread. Tiles add products in another order than
    instructions of vectors do, so the decision must not depend on how threads and turns share out the work. It comes
    behind assign-layouts, as the estimate counts how inputs lie in caches of `l1_bytes` and `l2_bytes`.

    Before::

        %2 = conv2d(%0, %1) {strides = [1,1], padding = "same", dilations = [1,1]} : f32[1,56,56,64]

    After::

        %2 = conv2d(%0, %1) {strides = [1,1], padding = "same", dilations = [1,1]} by tile_registers : f32[1,56,56,64]
    """

    name = "choose-tiles"
    l1_bytes: int = FIRST.l1_bytes
    l2_bytes: int = FIRST.l2_bytes

    def run(self, graph: Graph) -> Graph:
        """Decide for each operation."""
        static, target = static_values(graph), replace(FIRST, l1_bytes=self.l1_bytes, l2_bytes=self.l2_bytes)

        def decided(op: Operation) -> Operation:
            members = op.body.operations if op.body is not None else (op,)
            if not any(member.operator.contraction for member in members) or len(op.results) != 1:
                return op
            group = group_of(op, graph.producers, static)
            free = group.anchor.algorithm is None
            return with_algorithm(op, group, Algorithm(BY_TILES)) if free and tiles_pay(group, target) else op

        return replace(graph, operations=tuple(map(decided, graph.operations)))
