"""jvp: forward-mode differentiation, made by transposing reverse mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InternalError
from ..graph.ir import Graph, Value
from ..graph.state import refuse_state
from .base import Pass
from .differentiate import sources_of, with_names
from .reverse_mode import Continuation, pull_back
from .unroll_scans import unroll_scans


@dataclass(frozen=True)
class Jvp(Pass):
    """Add the tangents of all outputs, given those of parameters and inputs: the Jacobian times a vector.

    `wrt` holds names of parameters and inputs, joined by `+` (all trainable parameters if empty). In Python,
    `jvp(graph, wrt=["x"])` takes it as `add_tangents` does, which says what the new inputs and outputs mean.

    Before::

        graph @g(%x: f32[4]) -> (f32[4]) {
          %0 = exp(%x)
          return %0

    After::

        graph @g(%x: f32[4], %x.tangent: f32[4]) -> (f32[4], f32[4]) {
          %0 = exp(%x)
          %1 = mul(%x.tangent, %0)
          return %0, %1
    """

    name = "jvp"
    wrt: str = ""

    def run(self, graph: Graph) -> Graph:
        return add_tangents(graph, self.wrt.split("+") if self.wrt else None)

    def __call__(self, graph: Graph, wrt: Sequence[str | Value] | None = None) -> Graph:
        """Carry out the pass; `wrt`, where given, replaces its option. See `add_tangents`."""
        return add_tangents(graph, self.wrt.split("+") if wrt is None and self.wrt else wrt)


jvp = Jvp()


def add_tangents(graph: Graph, wrt: Sequence[str | Value] | None = None) -> Graph:
    """The graph with a tangent for each floating-point output behind its outputs.

    `wrt` holds names of parameters and inputs, or values; None stands for all trainable parameters. For each of them
    an input NAME.tangent of its type is added behind the inputs; the tangents of the outputs are the derivatives in
    that direction. Raises `NetcError` as `add_gradients` does.

    The gradient rules are linear in the cotangents u, so reverse mode gives J^T u as linear operations on u, and
    reverse mode through those, with the tangents as seeds, gives J times the tangents. No operator needs a second
    rule. The u are inputs of the graph for as long as it takes.
    """
    refuse_state(graph, "it can't be differentiated")
    graph = unroll_scans(graph)
    sources = list(dict.fromkeys(sources_of(graph, wrt)))
    outputs = [v for v in graph.outputs if v.type.dtype.is_float]
    names = [v.name or f"value{i}" for i, v in enumerate(sources)]
    b = Continuation(graph)
    tangents = [b.input(f"{n}.tangent", v.type.dense()) for n, v in zip(names, sources, strict=True)]
    # The same value may be an output twice; it has one cotangent.
    placeholders = {v: Value(v.type.dense(), f"{i}.cotangent") for i, v in enumerate(dict.fromkeys(outputs))}
    linear = len(b.operations)
    cotangents = pull_back(b, graph.operations, placeholders, sources)
    seeds: dict[Value, Value] = {}
    for source, tangent in zip(sources, tangents, strict=True):
        if source in cotangents:
            cotangent = cotangents[source]
            seeds[cotangent] = b.emit("add", seeds[cotangent], tangent) if cotangent in seeds else tangent
    pushed = pull_back(b, b.operations[linear:], seeds, placeholders.values())
    found = {v: pushed.get(u) or b.filled(0, v.type.dense()) for v, u in placeholders.items()}
    result = b.close((*graph.outputs, *(found[v] for v in outputs)))
    _check_linear(result)
    return with_names(result, {t: f"{v.name}.tangent" for v, t in found.items() if v.name})


def _check_linear(graph: Graph) -> None:
    """A placeholder that is left over shows that a rule isn't linear in its cotangents."""
    defined = {*graph.inputs, *(r for op in graph.operations for r in op.results)}
    for op in graph.operations:
        if any(v not in defined for v in op.operands):
            raise InternalError(
                f"a gradient rule gave {op.name}, which isn't linear in the cotangent, at {op.location}"
            )
