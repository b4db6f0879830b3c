"""add-in-floats: sums of two 8-bit tensors in single precision, where that gives the same integers."""

from __future__ import annotations

from dataclasses import replace

from ...graph.ir import Graph, Operation
from ...ops.quantized.elementwise import QSum
from ...passes import Pass


class AddInFloats(Pass):
    """Have sums and differences of two 8-bit tensors computed in single precision.

    That takes some ten instructions, fixed-point numbers some fifty. All 65,536 pairs of operands are tried, so the
    results are the same; where a pair would differ, an operation stays as it is.

    Before::

        %0 = q_add(%x, %y) {...}

    After::

        %0 = q_add(%x, %y) {..., reals = [0.5, 0.25, 128.5]}
    """

    name = "add-in-floats"

    def run(self, graph: Graph) -> Graph:
        """Groups, too."""
        operations = tuple(map(_decided, graph.operations))
        return graph if operations == graph.operations else replace(graph, operations=operations)


def _decided(op: Operation) -> Operation:
    if op.body is not None:
        members = tuple(map(_decided, op.body.operations))
        return op if members == op.body.operations else replace(op, body=replace(op.body, operations=members))
    if not isinstance(op.operator, QSum):
        return op
    reals = op.operator.reals(op.operands[0].type.dtype, op.attributes)
    return op if reals == op.attributes["reals"] else replace(op, attributes={**op.attributes, "reals": reals})
