"""Operators of other tools that netc has no operator for: a graph holds, shows and writes them.

Some that are custom in TFLite files netc can compute: `runnable` makes them of its own operators. A network with others
can't be run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from ..errors import Diagnostic, NetcError
from ..graph.builder import GraphBuilder, Rewriter
from ..graph.ir import Array, Attributes, AttributeSpec, Builder, Graph, Operation, Operator, Value
from ..graph.names import value_names
from ..graph.registry import register
from ..types import DType, TensorType, parse_type

CURE = "LiteRT runs the builtin operators of TFLite: netc run FILE --engine litert, or ai_edge_litert from Python"
"""What somebody can do about opaque operators."""


UNSIGNED = {"UINT32": 32, "UINT64": 64}
"""Element types that graphs lack and that rules of custom operators hold in i64, with their bits."""


@register
class Opaque(Operator):
    """An operator that netc knows by name only; its file declares the types of its `results`."""

    name = "opaque"
    operands = ("*values",)
    attributes = {
        "operator": AttributeSpec(str, "its name where it comes from"),
        "results": AttributeSpec(tuple, "types of its results, as text"),
        "reason": AttributeSpec(str, "why netc can't compute it; empty where it has no operator of this name", ""),
        "number": AttributeSpec(int, "its place among the operators of its file; -1 if it has none", -1),
        "unwritable": AttributeSpec(str, "why it can't be written to a file again; empty if it can", ""),
        "options": AttributeSpec((np.ndarray, type(None)), "bytes of options that netc can't decode", None),
        "table": AttributeSpec(str, "name of the table of its options; ? for one that netc doesn't know", ""),
        "fields": AttributeSpec(Mapping, "options of that table by name", MappingProxyType({})),
        "version": AttributeSpec(int, "its version where it comes from", 1),
        "places": AttributeSpec(
            tuple,
            "for each input the number of an operand, -1 for none, or the type of a state; empty: operands in order",
            (),
        ),
        "intermediates": AttributeSpec(tuple, "types of its intermediate tensors", ()),
        "elements": AttributeSpec(
            tuple, "for each operand, then each result, its element type, if netc lacks it; empty: it lacks none", ()
        ),
    }
    non_differentiable = "netc doesn't know what it computes"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        return tuple(parse_type(text) for text in attributes["results"])

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        raise NetcError(_problem(attributes, ""))

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        raise NetcError(_problem(attributes, ""))


Custom = Callable[[GraphBuilder, Operation, tuple[Value, ...]], tuple[Value, ...]]
"""The results of an opaque operation on some operands, made of netc's operators; or a `NetcError`."""
_CUSTOM: dict[str, Custom] = {}


def computes(rule: Custom, name: str) -> None:
    """Say what a custom operator of this name computes."""
    _CUSTOM[name] = rule


def runnable(graph: Graph) -> Graph:
    """The graph without opaque operators: custom ones that netc knows are made of its own.

    Raises one `NetcError` that names all others, if there are any.
    """
    refuse_unknown(graph)
    if not any(op.name == Opaque.name for op in graph.operations):
        return graph
    b = Running(graph)
    for op in graph.operations:
        if op.name == Opaque.name:
            _replace(b, op)
        else:
            b.copy(op)
    return b.close()


class Running(Rewriter):
    """Makes a graph runnable: rules may add state to it."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.kept: dict[str, Value] = {}
        """What states of rules hold after a run, by name."""

    def close(self) -> Graph:
        """Finish the graph; states of rules come behind its own."""
        outputs = [self[v] for v in self.graph.outputs]
        wide = next((v for v, new in zip(self.graph.outputs, outputs, strict=True) if new.type != v.type), None)
        if wide is not None:
            raise NetcError(f"output `{wide.name or ''}` has elements that netc doesn't have")
        if self.kept:
            self.attributes["updates"] = (*self.graph.attributes.get("updates", ()), *self.kept)
        return self.finish((*outputs, *self.kept.values()))


def custom_types(b: GraphBuilder, op: Operation) -> tuple[TensorType, ...] | None:
    """Types that an opaque operation gives of which netc knows what it computes, whatever its file declares."""
    rule = _CUSTOM.get(op.attributes["operator"])
    if rule is None:
        return None
    start = len(b.operations)
    try:
        return tuple(v.type for v in rule(b, op, op.operands))
    except NetcError:
        return None
    finally:
        del b.operations[start:]


def _replace(b: Rewriter, op: Operation) -> None:
    start = len(b.operations)
    try:
        results = _CUSTOM[op.attributes["operator"]](b, op, tuple(b[v] for v in op.operands))
    except NetcError as error:
        raise NetcError(f"{op.attributes['operator']}: {error.diagnostics[0].message}", location=op.location) from error
    for place, (old, new) in enumerate(zip(op.results, results, strict=True)):
        if not _is_wide(op, place, new.type) and (
            new.type.shape != old.type.shape or new.type.dtype is not old.type.dtype
        ):
            problem = f"{op.attributes['operator']} gives {new.type}, but its file declares {old.type}"
            raise NetcError(problem, location=op.location)
        b.replace(old, b.emit("identity", new, name=old.name))
    b.operations[start:] = [replace(o, location=o.location or op.location) for o in b.operations[start:]]


def _is_wide(op: Operation, place: int, given: TensorType) -> bool:
    """True for a result that holds unsigned numbers, which graphs lack, in i64; its file's type stands for bytes."""
    elements = op.attributes["elements"]
    is_lacking = bool(elements) and elements[len(op.operands) + place] in UNSIGNED
    return is_lacking and given == TensorType(DType.I64, op.results[place].type.shape)


def _is_unknown(op: Operation) -> bool:
    return op.name == Opaque.name and op.attributes["operator"] not in _CUSTOM


def unknown_operators(graph: Graph) -> list[Diagnostic]:
    """What there is to say about each opaque operator of a graph: its name, its result, why netc can't run it."""
    found = [op for op in graph.operations if _is_unknown(op)]
    if not found:
        return []
    names = value_names(graph)
    diagnostics = [Diagnostic(_problem(op.attributes, names[op.results[0]]), op.location) for op in found]
    return [*diagnostics[:-1], replace(diagnostics[-1], hint=CURE)]


def refuse_unknown(graph: Graph) -> None:
    """Raise one `NetcError` that names all opaque operators of a graph, if it has any."""
    diagnostics = unknown_operators(graph)
    if diagnostics:
        raise NetcError(diagnostics)


def refuse_unwritable(graph: Graph) -> None:
    """Raise the `NetcError` about an opaque operator, used or not, of which too little is known to write it again."""
    for op in graph.operations:
        if op.name == Opaque.name and op.attributes["unwritable"]:
            name, reason = op.attributes["operator"], op.attributes["unwritable"]
            raise NetcError(f"{name} can't be written again: {reason}", location=op.location)


def _problem(attributes: Attributes, result: str) -> str:
    number = f"operator {attributes['number']}" if attributes["number"] >= 0 else ""
    place = ", ".join(part for part in (number, f"tensor `{result}`" if result else "") if part)
    reason = f": {attributes['reason']}" if attributes["reason"] else ""
    return f"netc can't run the operator {attributes['operator']}{f' ({place})' if place else ''}{reason}"
