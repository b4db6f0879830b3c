"""Which layer stands for an operation of a graph and those around it.

A rule proposes a call of a layer. The layer is run, and the proposal holds if it emits just the operations that stand
in the graph. So no rule needs to be exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from ...compiler.errors import Location, NetcError
from ...compiler.graph.builder import GraphBuilder
from ...compiler.graph.ir import Graph, Operation, Value
from ...compiler.ops.layer import layers
from ..tensors import take
from .items import Slot
from .matching import DifferentError, matched
from .proposals import PROPOSALS, RANGE, SLICE, Proposal

_ENDS = ("weight", "bias", "running_mean", "running_var", "gamma", "beta", "weight_bias", "kernel")
"""What the last part of a parameter's name may be without saying more than what the parameter is for."""


class _Scratch(GraphBuilder):
    """Where a layer is run to see what it emits."""

    def __init__(self) -> None:
        super().__init__("scratch")
        self.made: list[Operation] = []

    def param(
        self, name: str, shape: Sequence[int], *, init: str, trainable: bool = True, checkpoint: str | None = None
    ) -> Value:
        """A parameter of the layer."""
        settings: dict[str, Any] = {"init": init, "trainable": trainable, "checkpoint": checkpoint}
        value = self.emit("param", name=name, shape=tuple(shape), **settings)
        self.made.append(self.operations[-1])
        return value


@dataclass(frozen=True, slots=True)
class Fit:
    """A proposal that holds: the operations that it covers, and the path of its parameters."""

    proposal: Proposal
    covered: frozenset[Operation]
    label: str | None
    has_parameters: bool


def fitting(graph: Graph, op: Operation, taken: Set[Operation], is_named: bool) -> Fit | None:
    """The first proposal for an operation that holds and covers none of those that are `taken`; None if there is none.

    With `is_named` the names of parameters must say which path they have.
    """
    for rule in PROPOSALS.get(op.name, ()):
        for proposal in rule(graph, op):
            fit = _checked(graph, op, proposal, taken, is_named)
            if fit is not None:
                return fit
    return None


def _checked(graph: Graph, op: Operation, proposal: Proposal, taken: Set[Operation], is_named: bool) -> Fit | None:
    """The proposal, if the layer emits what stands in the graph, and nobody else reads what is inside it."""
    b = _Scratch()
    inputs = [b.input(str(i), v.type) for i, v in enumerate(proposal.operands)]
    try:
        result = _run(b, proposal, inputs)
    except (NetcError, TypeError, ValueError):
        return None
    if not isinstance(result, Value) or result in inputs:
        return None
    made = {r: o for o in b.operations for r in o.results}
    known: dict[Value, Value] = {}
    for new, old in zip(inputs, proposal.operands, strict=True):
        known.setdefault(new, old)
    try:
        found = matched(made, graph.producers, [(result, op.result)], known, _may_be)
    except DifferentError:
        return None
    covered = {graph.producers[found[r]] for o in b.operations for r in o.results if r in found}
    if any(o in taken for o in covered) or not _is_closed(graph, op, covered):
        return None
    parameters = {o.result.name or "": found[o.result] for o in b.made}
    if len(set(parameters.values())) != len(parameters):
        return None
    label = _label(parameters) if is_named and parameters else None
    if is_named and parameters and label is None:
        return None
    return Fit(proposal, frozenset(covered), label, bool(parameters))


def _is_closed(graph: Graph, op: Operation, covered: Set[Operation]) -> bool:
    """Whether only covered operations read what covered ones make, but for the result of `op`."""
    outputs = set(graph.outputs)
    inner = [r for o in covered if o is not op for r in o.results]
    return all(r not in outputs and all(user in covered for user in graph.users[r]) for r in inner)


def _run(b: _Scratch, proposal: Proposal, inputs: Sequence[Value]) -> Any:
    """What the layer of a proposal gives."""
    if proposal.layer == SLICE:
        places = [p if isinstance(p, int) else slice(*p) for p in proposal.settings["places"]]
        return take(inputs[0], places, b, Location("", 1, 1))
    return layers()[proposal.layer].function(b, *inputs, **proposal.settings)


def _may_be(one: Operation, other: Operation) -> bool:
    """Whether a parameter or constant that a layer makes may be one of the graph."""
    if one.name == "param" and other.name == "constant":
        return True
    if one.name != other.name:
        return False
    if one.name == "param":
        return all(one.attributes[k] == other.attributes[k] for k in one.attributes)
    a, b = one.attributes["value"], other.attributes["value"]
    return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())


def _label(parameters: Mapping[str, Value]) -> str | None:
    """The path of a layer whose parameters stand for these; None if their names don't say."""
    for inner, value in parameters.items():
        name = value.name
        if not name or not is_path(name):
            continue
        if name == inner:
            return ""
        if name.endswith("." + inner):
            return name[: -len(inner) - 1]
        if name.rpartition(".")[2] in _ENDS:
            return name.rpartition(".")[0]
        return name
    return None


def is_path(name: str) -> bool:
    """Whether a name can be the path of a parameter."""
    return all(c.isalnum() or c in "._-" for c in name) and name.isascii() and not name.isdigit()


def slots_of(proposal: Proposal) -> Iterator[Slot]:
    """The settings of a proposal as those of a call."""
    if proposal.layer == SLICE:
        for place in proposal.settings["places"]:
            if isinstance(place, int):
                yield Slot("index", place)
            else:
                yield from map(Slot, RANGE, place)
        return
    signature = layers()[proposal.layer].signature.parameters
    for name, value in proposal.settings.items():
        default = signature[name].default
        yield Slot(name, value, default, default is not signature[name].empty)
