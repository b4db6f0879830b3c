"""Names for the values of a graph that people can recognise: for tensors in files, calibrated ranges and reports.

Inputs and weights keep theirs. The result of a convolution or dense layer is called after its weight, other results
after the layer they follow: `features.0.0/conv2d`, `features.0.0/relu6`. The same graph gives the same names.
"""

from __future__ import annotations

from collections.abc import Mapping

from .ir import Graph, Operation, Value


def value_names(graph: Graph) -> Mapping[Value, str]:
    """A unique name for each value."""
    names: dict[Value, str] = {}
    taken = {v.name for v in graph.inputs} | {r.name for op in graph.operations for r in op.results}
    paths: dict[Value, str] = {}
    for value in graph.inputs:
        names[value] = value.name or _unique("input", taken)
    for op in graph.operations:
        path = _path(op, paths)
        for result in op.results:
            paths[result] = path
            base = f"{path}/{op.name}" if path else op.name
            names[result] = result.name or _unique(base, taken)
    return names


def _path(op: Operation, paths: Mapping[Value, str]) -> str:
    """Where in the network an operation stands: the block that its weight, or else its first operand, belongs to."""
    for operand in op.operands[1:]:
        if operand.name and "." in operand.name:
            return operand.name.rpartition(".")[0]
    if op.name in ("constant", "param"):
        return ""
    return next((paths[v] for v in op.operands if paths.get(v)), "")


def _unique(base: str, taken: set[str | None]) -> str:
    name, count = base, 1
    while name in taken:
        name, count = f"{base}_{count}", count + 1
    taken.add(name)
    return name
