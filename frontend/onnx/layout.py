"""The order of dimensions: transposes around channels-last operators meet their inverses."""

from __future__ import annotations

from ...compiler.arrays import row_major
from ...compiler.graph.builder import Rewriter, rewritten
from ...compiler.graph.ir import Graph, Operation, Value
from ...compiler.ops.core import Constant
from ...compiler.passes.assign_axes import assign_axes
from ...compiler.passes.dce import dce
from ...compiler.passes.form_attention import form_attention
from ...compiler.passes.picked_elements import with_picked_elements
from ...compiler.passes.rounding_once import with_rounding_once
from ...compiler.passes.whole_gelus import with_whole_gelus
from ...compiler.passes.whole_normalizations import with_whole_normalizations


def arranged(graph: Graph) -> Graph:
    """The same network with the transposes that move the fewest bytes."""
    spelt_out = with_whole_normalizations(with_whole_gelus(with_rounding_once(dce(graph))))
    found = assign_axes(form_attention(with_picked_elements(spelt_out)))
    return rewritten(found, _in_row_major_order)


def _in_row_major_order(b: Rewriter, op: Operation) -> Value | None:
    """A constant that is so far a view of the file's array: large weights are copied once, whatever turned them."""
    if not isinstance(op.operator, Constant):
        return None
    value = op.attributes["value"]
    if value.flags.c_contiguous:
        return None
    attributes = {**op.attributes, "value": row_major(value)}
    return b.operation(op.operator, (), attributes, location=op.location, name=op.result.name).result
