"""Conditions and loops, whose graphs become subgraphs."""

from __future__ import annotations

from ...graph.ir import Operation
from ...ops.facets import TFLITE, Narrow, TfliteForm
from ...ops.regions.control import If, While
from ..emitter import Emitter


def condition(c: Emitter, op: Operation) -> None:
    """IF."""
    fields = {f"{name}_subgraph_index": c.function(op.attributes[name]) for name in ("then", "else")}
    c.node("IF", [c.place(v) for v in op.operands], [c.place(v) for v in op.results], "IfOptions", **fields)


def loop(c: Emitter, op: Operation) -> None:
    """WHILE, whose body returns all values that it takes."""
    name = c.names[op.results[0]]
    rest = op.operands[len(op.results) :]
    handed_on = [c.intermediate(v.type, f"{name}/unchanged{n}") for n, v in enumerate(rest)]
    fields = {
        "cond_subgraph_index": c.function(op.attributes["condition"]),
        "body_subgraph_index": c.function(op.attributes["body"], handed_on=len(rest)),
    }
    results = [c.place(v) for v in op.results]
    c.node("WHILE", [c.place(v) for v in op.operands], [*results, *handed_on], "WhileOptions", **fields)


TFLITE.add(TfliteForm(condition, "IF", narrow=Narrow.COPIED), If)
TFLITE.add(TfliteForm(loop, "WHILE", narrow=Narrow.COPIED), While)
