"""Names for the values of a graph that people can recognise: for tensors in files, calibrated ranges and reports.

Inputs and weights keep theirs. The result of a convolution or dense layer is called after its weight, other results
after the layer they follow: `features.0.0/conv2d`, `features.0.0/relu6`. The same graph gives the same names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .ir import Graph, Operation, Value


class UniqueNames:
    """Names that are taken, and free ones like them."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._counts: dict[str, int] = {}
        """How often a name was asked for: it needn't be tried again with numbers below that."""

    def take(self, base: str) -> str:
        """The name itself if it is free, else with the first number that makes it so."""
        name, count = base, self._counts.get(base, 0)
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._counts[base] = count
        self._taken.add(name)
        return name


def value_names(graph: Graph) -> Mapping[Value, str]:
    """A unique name for each value."""
    names: dict[Value, str] = {}
    values = (*graph.inputs, *(r for op in graph.operations for r in op.results))
    unique = UniqueNames(v.name for v in values if v.name is not None)
    paths: dict[Value, str] = {}
    for value in graph.inputs:
        names[value] = value.name or unique.take("input")
    for op in graph.operations:
        path = _path(op, paths)
        for result in op.results:
            paths[result] = path
            base = f"{path}/{op.name}" if path else op.name
            names[result] = result.name or unique.take(base)
    return names


def _path(op: Operation, paths: Mapping[Value, str]) -> str:
    """Where in the network an operation stands: the block that its weight, or else its first operand, belongs to."""
    for operand in op.operands[1:]:
        if operand.name and "." in operand.name:
            return operand.name.rpartition(".")[0]
    if op.name in ("constant", "param"):
        return ""
    return next((paths[v] for v in op.operands if paths.get(v)), "")
