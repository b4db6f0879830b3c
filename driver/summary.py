"""What a network consists of: its layers with shapes, parameters and multiply-accumulates."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from .compiler.graph.ir import Graph, Operation, walk


@dataclass(frozen=True, slots=True)
class Layer:
    """One operation of a network; `name` is the path of its parameters, `parameters` counts trainable numbers.

    `operator` of an operator that netc knows by name only is that name, and `runs` is False.
    """

    name: str
    operator: str
    shape: tuple[int, ...]
    parameters: int
    macs: int
    runs: bool = True


def layers(graph: Graph) -> list[Layer]:
    """The operations of a graph in order; a parameter counts for the first operation that reads it."""
    found = []
    counted: set[Operation] = set()
    for op in graph.operations:
        if op.name in ("param", "constant"):
            continue
        read = [graph.producers[v] for v in op.operands if v in graph.producers]
        own = [p for p in read if p.name == "param" and p not in counted]
        counted.update(own)
        names = [p.result.name or "" for p in read if p.name == "param"]
        path = names[0].rpartition(".")[0] if names else ""
        runs = op.name != "opaque"
        operator = op.name if runs else op.attributes["operator"]
        found.append(Layer(path, operator, op.results[0].type.shape, _trainable(own), _macs(op), runs))
    return found


def trainable_parameters(graph: Graph) -> int:
    """How many numbers training adjusts; running statistics don't count."""
    return _trainable(graph.parameters)


def parameter_bytes(graph: Graph) -> int:
    """Bytes of all parameters, running statistics included."""
    return sum(op.result.type.bytes for op in graph.parameters)


def total_macs(graph: Graph) -> int:
    """Multiply-accumulates of one execution."""
    return sum(_macs(op) for op in walk(graph) if op.body is None)


def _macs(op: Operation) -> int:
    types = tuple(v.type for v in op.operands), tuple(v.type for v in op.results)
    return op.operator.macs(*types, op.attributes)


def _trainable(parameters: Iterable[Operation]) -> int:
    return sum(math.prod(op.result.type.shape) for op in parameters if op.attributes["trainable"])
