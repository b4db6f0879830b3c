"""Whether netc and LiteRT give the same bytes for a TFLite file: interpreted, compiled and written again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import netc
from netc.compiler.errors import InternalError, NetcError
from netc.compiler.graph import Graph
from netc.compiler.graph.state import Session
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.reading import read_model
from netc.frontend.tflite import graph_of

from .draw import inputs_for
from .litert import LiteRT, RefusedError

COLUMNS = ("equal", "both refuse", "netc refuses", "LiteRT refuses", "differs")
"""What can come out."""

Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Agreement:
    """One of `COLUMNS`, and what differs, or why netc refuses."""

    outcome: str
    detail: str = ""


def compare(litert: LiteRT, data: bytes, seed: int, *, compiles: bool = True) -> Agreement:
    """Run a file of one operator everywhere, on inputs of a seed."""
    rows = inputs_for(input_types(data), seed)
    expected = _asked(litert, data, rows)
    try:
        answers = _answers(litert, _known(data), rows, compiles)
    except NetcError as error:
        reason = error.diagnostics[0].message
        outcome = "netc refuses" if expected is not None else "both refuse"
        return Agreement(outcome, reason.partition("): ")[2] or reason)
    except InternalError as error:
        return Agreement("differs", " ".join(str(error).split("\n")[:2]))
    if expected is None:
        return Agreement("LiteRT refuses")
    wrong = [f"{way}: {_difference(found, expected)}" for way, found in answers.items() if _difference(found, expected)]
    return Agreement("differs" if wrong else "equal", ", ".join(wrong))


def described(data: bytes) -> str:
    """The operator of a file, its tensors and its options."""
    model = read_model(data)
    operator = model.operators[0]
    types = ", ".join(str(t.type) for t in model.tensors)
    return f"{operator.name} of {types} {dict(operator.options.values) if operator.options else ''}"


def input_types(data: bytes) -> list[tuple[Any, tuple[int, ...]]]:
    """Element types and shapes of a file's inputs."""
    model = read_model(data)
    types = [model.tensors[i].type for i in model.inputs]
    return [(t.dtype.numpy, t.shape) for t in types if t is not None]


def _known(data: bytes) -> Graph:
    """The graph of a file. Raises `NetcError` if its operator stays opaque."""
    graph = graph_of(read_model(data), "case")
    for op in graph.operations:
        if op.name == "opaque":
            raise NetcError(op.attributes["reason"])
    return graph


def _asked(litert: LiteRT, data: bytes, rows: Rows) -> list[Any] | None:
    """LiteRT's answers; None if it has none."""
    try:
        return litert(data, rows)
    except RefusedError:
        return None


def _answers(litert: LiteRT, graph: Graph, rows: Rows, compiles: bool) -> Mapping[str, Rows | None]:
    return {**own_answers(graph, rows, compiles), "written again": _asked(litert, to_tflite(graph), rows)}


def own_answers(graph: Graph, rows: Rows, compiles: bool) -> dict[str, Rows]:
    """The outputs for each row, interpreted and compiled; what a file keeps from run to run begins anew with each."""
    answers: dict[str, Rows] = {"interpreter": [Session(graph)(row) for row in rows]}
    if compiles:
        outputs = []
        with netc.compile(graph, threads=1) as program:
            for row in rows:
                program.reset()
                outputs.append(_several(program(*row)))
        answers["machine code"] = outputs
    return answers


def _several(outputs: Any) -> tuple[Any, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _difference(found: Rows | None, expected: Rows) -> str:
    """How many elements differ in all outputs of all rows; nothing if none does."""
    if found is None:
        return "refused"
    pairs = [(a, b) for got, wanted in zip(found, expected, strict=True) for a, b in zip(got, wanted, strict=True)]
    count = sum(int(np.count_nonzero(np.asarray(a) != np.asarray(b))) for a, b in pairs)
    return f"{count} elements" if count else ""
