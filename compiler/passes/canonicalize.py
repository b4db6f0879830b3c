"""canonicalize: bring expressions that mean the same to the same, simplest form.

The rules are in `canonical_rules`; this module applies them until nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Value
from ..ops.facets import SIMPLIFY
from .base import Pass
from .canonical_rules import View
from .dce import dce

MAX_SWEEPS = 32
"""Each rule makes a graph smaller or more ordered, so few sweeps are needed; this bounds them in any case."""


@dataclass(frozen=True)
class Canonicalize(Pass):
    """Apply simplifications that are always valid, until nothing changes.

    Neutral elements go (x + 0, x * 1), so do identities and chains (reshape of reshape, transpose of transpose, relu of
    relu); clamp(0, 6) becomes relu6; what is known when weights are loaded becomes the second operand of commutative
    operators; and a vector that is added to a convolution or dense layer becomes its bias.

    Before::

        %0 = conv2d(%x, %weight)
        %1 = add(%bias, %0)
        %2 = clamp(%1) {low = 0, high = 6}

    After::

        %0 = conv2d(%x, %weight, %bias)
        %1 = relu6(%0)
    """

    name = "canonicalize"

    def run(self, graph: Graph) -> Graph:
        graph = dce(graph)  # Uses by dead operations don't count.
        for _ in range(MAX_SWEEPS):
            swept = _sweep(graph)
            if swept is graph:
                break
            graph = swept
        return graph


canonicalize = Canonicalize()


def _sweep(graph: Graph) -> Graph:
    """Try the rules of each operator once at every operation."""
    simplified = rewritten(graph, partial(_simplified, View(graph)))
    return dce(simplified) if simplified is not graph else graph


def _simplified(view: View, rewriter: Rewriter, op: Operation) -> Value | None:
    """The value that stands for the result of an operation, if a rule knows a better one."""
    for rule in SIMPLIFY.of(op.operator) or ():
        value = rule(view, rewriter, op)
        # A value that lies elsewhere in memory is no replacement, so layouts that were assigned stay.
        if value is not None and value.type == op.result.type:
            return value
    return None
