"""differentiate: reverse-mode differentiation, from a graph to a graph that also gives its gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import NetcError, near_miss
from ..graph.ir import Graph, Operation, Value
from ..graph.state import refuse_state
from .base import Pass
from .reverse_mode import Continuation, pull_back
from .unroll_scans import unroll_scans


@dataclass(frozen=True)
class Differentiate(Pass):
    """Add the gradients of an output with respect to parameters and inputs to the outputs of a graph.

    `of` is the number or the name of the output; `wrt` holds names of parameters and inputs, joined by `+` (all
    trainable parameters if empty). In Python, `differentiate(graph, of="loss", wrt=["w"])` takes both as
    `add_gradients` does, which says what the new outputs mean.

    Before::

        %0 = mul(%x, %w)
        %1 = reduce_sum(%0)
        return %1

    After::

        %0 = mul(%x, %w)
        %1 = reduce_sum(%0)
        %2 = constant {value = dense<1.0>}
        %3 = broadcast_to(%2) {shape = [4]}
        %w.grad = mul(%3, %x)
        return %1, %w.grad
    """

    name = "differentiate"
    of: str = "0"
    wrt: str = ""

    def run(self, graph: Graph) -> Graph:
        return add_gradients(graph, self.of, self.wrt.split("+") if self.wrt else None)

    def __call__(
        self, graph: Graph, of: int | str | Value | None = None, wrt: Sequence[str | Value] | None = None
    ) -> Graph:
        """Carry out the pass; `of` and `wrt`, where given, replace its options. See `add_gradients`."""
        of = self.of if of is None else of
        return add_gradients(graph, of, self.wrt.split("+") if wrt is None and self.wrt else wrt)


differentiate = Differentiate()


def add_gradients(graph: Graph, of: int | str | Value = 0, wrt: Sequence[str | Value] | None = None) -> Graph:
    """The graph with the gradients of one output behind its outputs, in the order of `wrt`.

    `of` is an output by number or by name (also as the attribute `metrics` calls it), or any value; it is
    differentiated as the sum of its elements if it has several. `wrt` holds names of parameters and inputs, or values;
    None stands for all trainable parameters. Each gradient has the type of what it belongs to and is called NAME.grad
    (NAME.grad2 ... if that is taken); it is zero where `of` doesn't depend on it. All that the graph holds stays as it
    is. Gradient operations have the locations of those that they come from.

    Gradients are operations like all others: apply the function again for higher derivatives. Raises `NetcError` for
    unknown names, and where an operator on the way can't be differentiated.
    """
    refuse_state(graph, "it can't be differentiated")
    graph = graph if isinstance(of, Value) else unroll_scans(graph)
    target = output_of(graph, of)
    sources = sources_of(graph, wrt)
    b = Continuation(graph)
    b.location = graph.producers[target].location if target in graph.producers else None
    seeds = {target: b.filled(1, target.type.dense())}
    gradients = pull_back(b, graph.operations, seeds, dict.fromkeys(sources))
    values = [gradients[v] if v in gradients else b.filled(0, v.type.dense()) for v in sources]
    names = {g: f"{v.name}.grad" for v, g in zip(sources, values, strict=True) if v.name}
    return with_names(b.close((*graph.outputs, *values)), names)


def output_of(graph: Graph, of: int | str | Value) -> Value:
    """The value that is to be differentiated.

    Raises `NetcError` if there is none, or if it is no float.
    """
    metrics = tuple(graph.attributes.get("metrics", ()))
    if isinstance(of, str) and of.isdecimal():
        of = int(of)
    elif of in metrics:
        of = metrics.index(of)
    if isinstance(of, int):
        if not 0 <= of < len(graph.outputs):
            raise NetcError(f"@{graph.name} has no output {of}", hint=f"it has {len(graph.outputs)}, counted from 0")
        value = graph.outputs[of]
    else:
        value = _value_of(graph, of, "value")
    if not value.type.dtype.is_float:
        raise NetcError(f"only floating-point numbers can be differentiated, not {value.type}")
    return value


def sources_of(graph: Graph, wrt: Sequence[str | Value] | None) -> list[Value]:
    """The values with respect to which derivatives are taken.

    Raises `NetcError` for names of no value, and for integers.
    """
    if wrt is None:
        return [op.result for op in graph.parameters if op.attributes["trainable"]]
    sources = [_value_of(graph, each, "parameter or input") for each in wrt]
    for value in sources:
        if not value.type.dtype.is_float:
            raise NetcError(f"there are no derivatives with respect to `{value.name}`, which is {value.type}")
    return sources


def _value_of(graph: Graph, which: str | Value, what: str) -> Value:
    """A value of the graph, by name or itself."""
    values = [*graph.inputs, *(r for op in graph.operations for r in op.results)]
    if isinstance(which, Value):
        if which not in values:
            raise NetcError(f"@{graph.name} doesn't hold the value of type {which.type} that was given")
        return which
    named = {v.name: v for v in values if v.name is not None}
    if which not in named:
        raise NetcError(f"@{graph.name} has no {what} `{which}`", hint=near_miss(which, named))
    return named[which]


def with_names(graph: Graph, names: Mapping[Value, str]) -> Graph:
    """Give names to results that have none; a number is added where a name is taken."""
    taken = {v.name for op in graph.operations for v in op.results} | {v.name for v in graph.inputs}
    new: dict[Value, Value] = {}
    operations = []
    for op in graph.operations:
        for result in op.results:
            if result in names and result.name is None:
                name = _free(names[result], taken)
                taken.add(name)
                new[result] = replace(result, name=name)
        operations.append(_renamed(op, new))
    return replace(graph, operations=tuple(operations), outputs=tuple(new.get(v, v) for v in graph.outputs))


def _free(name: str, taken: set[str | None]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}{number}"
    return free


def _renamed(op: Operation, new: Mapping[Value, Value]) -> Operation:
    if not any(v in new for v in (*op.operands, *op.results)):
        return op
    operands = tuple(new.get(v, v) for v in op.operands)
    return replace(op, operands=operands, results=tuple(new.get(v, v) for v in op.results))
