"""The order of dimensions: transposes around channels-last operators meet their inverses."""

from __future__ import annotations

from ...compiler.graph.ir import Graph
from ...compiler.passes.assign_axes import assign_axes
from ...compiler.passes.dce import dce
from ...compiler.passes.form_attention import form_attention
from ...compiler.passes.views import with_whole_normalizations


def arranged(graph: Graph) -> Graph:
    """The same network with the transposes that move the fewest bytes."""
    return assign_axes(form_attention(with_whole_normalizations(dce(graph))))
