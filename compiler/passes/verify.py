"""verify: check the graph and leave it as it is."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph.ir import Graph
from ..graph.verifier import verify as check
from .base import Pass


@dataclass(frozen=True)
class Verify(Pass):
    """Check that the graph is sound; for pipelines that run without the verifier between passes."""

    name = "verify"

    def run(self, graph: Graph) -> Graph:
        check(graph)
        return graph


verify = Verify()
