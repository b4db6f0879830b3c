"""What a network consists of: its layers with shapes, parameters and multiply-accumulates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .compiler.graph.ir import Graph, Operation, walk


@dataclass(frozen=True, slots=True)
class LayerSummary:
    """One operation of a network; `name` is the path of its parameters, or the name of its result.

    `parameters` counts trainable numbers; in a TFLite file they are the elements of its constants.
    `operator` of an operator that netc knows by name only is that name, and `runs` is False.
    """

    name: str
    operator: str
    shape: tuple[int, ...]
    parameters: int
    macs: int
    runs: bool = True


def layers(graph: Graph) -> list[LayerSummary]:
    """The operations of a graph in order; a parameter counts for the first operation that reads it."""
    found = []
    counted: set[Operation] = set()
    parameters = set(_parameters(graph))
    for op in graph.operations:
        if op.name in ("param", "constant"):
            continue
        read = [p for v in op.operands if (p := graph.producers.get(v)) in parameters and p is not None]
        own = [p for p in dict.fromkeys(read) if p not in counted]
        counted.update(own)
        runs = op.name != "opaque"
        operator = op.name if runs else op.attributes["operator"]
        found.append(
            LayerSummary(_layer_name(op, read), operator, op.results[0].type.shape, _trainable(own), _macs(op), runs)
        )
    return found


def _parameters(graph: Graph) -> Sequence[Operation]:
    """The operations that give parameters. Files of other tools hold their values: there they are the constants."""
    if "format" in graph.attributes and not graph.parameters:
        return [op for op in graph.operations if op.name == "constant"]
    return graph.parameters


def _layer_name(op: Operation, parameters: Sequence[Operation]) -> str:
    """The path of an operation's parameters; without one, the name of what it gives."""
    names = [p.result.name or "" for p in parameters if p.name == "param" or _is_weight(p.result.name)]
    return names[0].rpartition(".")[0] if names else op.results[0].name or ""


_WEIGHTS = ("weight", "bias", "running_mean", "running_var", "gamma", "beta", "kernel", "moving_mean")
"""What the last part of a constant's name is where the rest is the path of a layer."""


def _is_weight(name: str | None) -> bool:
    return name is not None and name.rpartition(".")[2] in _WEIGHTS


def trainable_parameters(graph: Graph) -> int:
    """How many numbers training adjusts; running statistics don't count."""
    return _trainable(_parameters(graph))


def parameter_bytes(graph: Graph) -> int:
    """Bytes of all parameters, running statistics included."""
    return sum(op.result.type.bytes for op in _parameters(graph))


def total_macs(graph: Graph) -> int:
    """Multiply-accumulates of one execution."""
    return sum(_macs(op) for op in walk(graph) if op.body is None)


def _macs(op: Operation) -> int:
    types = tuple(v.type for v in op.operands), tuple(v.type for v in op.results)
    return op.operator.macs(*types, op.attributes)


def _trainable(parameters: Iterable[Operation]) -> int:
    return sum(op.result.type.size for op in parameters if op.attributes.get("trainable", True))
