"""Operators that netc passes on without knowing them."""

from __future__ import annotations

import tflite

from ...graph.ir import Operation
from ...ops.facets import TFLITE, Narrow, TfliteForm
from ...ops.opaque import Opaque
from ...types import parse_type
from ..emitter import Emitter
from ..model import Node, Options


def opaque(c: Emitter, op: Operation) -> None:
    """An operator as it was read; of those that refer to other subgraphs, or are too new, not enough is known."""
    given = op.attributes
    name = given["operator"]
    custom = not hasattr(tflite.BuiltinOperator, name)
    if given["table"] == "?" or any(key.endswith("subgraph_index") or key == "subgraph" for key in given["fields"]):
        c.fail(op, f"{name} can't be written again: netc doesn't know all that belongs to it")
    operands = [c.place(v) for v in op.operands]
    state = f"{c.names[op.results[0]]}/state"
    inputs = [
        c.variable(parse_type(place), state) if isinstance(place, str) else operands[place] if place >= 0 else -1
        for place in given["places"] or range(len(operands))
    ]
    between = [c.intermediate(parse_type(text), f"{c.names[op.results[0]]}/between") for text in given["intermediates"]]
    c.add(
        Node(
            "CUSTOM" if custom else name,
            given["version"],
            tuple(inputs),
            tuple(c.place(r) for r in op.results),
            Options(given["table"], given["fields"]) if given["table"] else None,
            name if custom else "",
            b"" if given["options"] is None else given["options"].tobytes(),
            tuple(between),
        )
    )


TFLITE.add(TfliteForm(opaque, narrow=Narrow.COPIED), Opaque)
