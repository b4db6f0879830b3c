"""Freezing: a graph with the values of its parameters in it, for formats and passes that need to know weights.

`freeze(graph, params)` takes arrays, so it is a function and stands in no pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..graph.builder import TrackingRewriter
from ..graph.interpreter import evaluate_operation
from ..graph.ir import Array, Graph, Operation, Value
from ..ops.opaque import Opaque
from .canonicalize import canonicalize
from .cse import cse
from .dce import dce
from .fold_batch_norm import fold_batch_norm
from .normalization import alone_as_convolutions
from .simplify_inference import simplify_inference
from .unroll_scans import unroll_scans


def freeze(graph: Graph, params: Mapping[str, Array]) -> Graph:
    """The network for inference with constants for weights: batch_norm folded, what depends on weights alone computed.

    A constant that is computed from parameters is called after the first of them; those that are updated stay. Raises
    `NetcError` if a parameter has no value in `params`, or one of another type.

    Before::

        %0 = batch_norm(conv2d(%x, %conv.weight), %bn.weight, %bn.bias, %bn.running_mean, %bn.running_var)

    After::

        %conv.weight = constant {value = dense<...>}
        %bn.bias = constant {value = dense<...>}
        %0 = conv2d(%x, %conv.weight, %bn.bias)
    """
    return dce(cse(canonicalize(bind(inference_form(graph), params))))


def inference_form(graph: Graph, *, integers: bool = False) -> Graph:
    """The network for inference, its weights still parameters or computed from them: batch_norm folded, no scans.

    With `integers` what can't be folded takes the form that loses least in 8 bits (see `alone_as_convolutions`).
    """
    graph = fold_batch_norm(canonicalize(unroll_scans(graph)))
    return canonicalize(simplify_inference(alone_as_convolutions(graph) if integers else graph))


def bind(graph: Graph, params: Mapping[str, Array]) -> Graph:
    """The graph with constants in the place of what parameters and constants alone decide; else it stays as it is.

    Constants are named, and errors raised, as `freeze` does.
    """
    return _Freezer(graph, params).run()


class _Freezer:
    def __init__(self, graph: Graph, params: Mapping[str, Array]) -> None:
        self.graph = graph
        self.params = params
        self.rewriter = TrackingRewriter(graph)
        self.known: dict[Value, Array] = {}
        self.origins: dict[Value, str] = {}
        """Names of the parameters that known values come from."""
        states = (op.result for op in graph.states)
        self.taken: set[str] = {v.name for v in (*graph.inputs, *states) if v.name}

    def run(self) -> Graph:
        states = frozenset(self.graph.states)
        for op in self.graph.operations:
            known = op.name in ("param", "constant") or (op.operands and all(v in self.known for v in op.operands))
            if known and op not in states and not op.operator.regions and op.name != Opaque.name:
                self._evaluate(op)
                continue
            for value in op.operands:
                self._define(value, op)
            self.rewriter.copy(op)
        for value in self.graph.outputs:
            self._define(value, None)
        return self.rewriter.close()

    def _evaluate(self, op: Operation) -> None:
        results = evaluate_operation(op, tuple(self.known[v] for v in op.operands), self.params)
        self.known.update(zip(op.results, results, strict=True))
        origin = op.results[0].name or next((self.origins[v] for v in op.operands if v in self.origins), None)
        if origin is not None:
            self.origins.update((r, origin) for r in op.results)

    def _define(self, value: Value, user: Operation | None) -> None:
        """Add the constant of a known value, unless it is there."""
        if value not in self.known or value in self.rewriter:
            return
        name = self.origins.get(value)
        if name in self.taken:
            name = None
        if name is not None:
            self.taken.add(name)
        location = user.location if user is not None else None
        array, given = self.known[value], value.type.quantization
        self.rewriter.replace(value, self.rewriter.constant(array, location, quantization=given, name=name))
