"""Whether netc gives LiteRT's numbers for a file: exactly, closely, not at all, or not in this form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from netc.compiler.errors import InternalError, NetcError
from netc.compiler.graph import Graph
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.reading import read_model
from netc.frontend.tflite import graph_of

from ..agreement import own_answers
from ..draw import Draw, rows_of
from ..litert import KERNELS, LiteRT, RefusedError

OUTCOMES = ("exact", "close", "refused", "differs", "LiteRT refuses")
"""What can come out."""
CLOSE = 1e-4
"""How far floats may lie from LiteRT's, as a part of the range of the results."""
ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""Or as a part of the largest result."""
OWN = 3
"""Or how many times farther than those of LiteRT's other kernels."""

Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Verdict:
    """One of `OUTCOMES`; what differs, or why it is refused; and why netc can't write the file again, if so."""

    outcome: str
    detail: str = ""
    unwritten: str = ""


def judge(litert: LiteRT, d: Draw, data: bytes, seed: int, *, compiles: bool = True) -> Verdict:
    """Run a file everywhere: in LiteRT's reference kernels, interpreted, as machine code, and written again.

    Where the reference kernels lack the operator, or have a known fault (SUM takes signed numbers for unsigned ones,
    LOCAL_RESPONSE_NORMALIZATION leaves out a neighbour), LiteRT's others are what counts.
    """
    rows = rows_of(d, seed)
    name, dtype = d.m.operators[0]["name"], d.m.tensors[d.inputs[0]]["dtype"] if d.inputs else None
    misread = name == "LOCAL_RESPONSE_NORMALIZATION" or (name == "SUM" and dtype in (np.int8, np.int16))
    try:
        expected = litert(data, rows, KERNELS[1]) if misread else litert.first(data, rows)
    except RefusedError as error:
        return Verdict("LiteRT refuses", str(error))
    try:
        with np.errstate(all="ignore"):
            graph = known_graph(data)
            answers = own_answers(graph, rows, compiles)
    except NetcError as error:
        reason = error.diagnostics[0].message
        return Verdict("refused", reason.partition("): ")[2] or reason)
    except (InternalError, ArithmeticError, ValueError) as error:
        return Verdict("differs", f"{type(error).__name__}: " + " ".join(str(error).split("\n")[:2]))
    return _compared(litert, data, graph, rows, expected, answers, misread)


def _compared(
    litert: LiteRT, data: bytes, graph: Graph, rows: Rows, expected: Rows, answers: Mapping[str, Rows], misread: bool
) -> Verdict:
    unwritten = ""

    def ask(file: bytes, rows: Rows) -> Rows:
        return litert(file, rows, KERNELS[1]) if misread else litert.first(file, rows)

    try:
        file = to_tflite(graph)
        again = [row for each in rows for row in ask(file, [each])]  # anew, as `reset_all_variables` does in the other
        wrong = difference(again, expected)
        if wrong and (wrong := difference(again, expected, _slack(litert, data, rows, expected))):
            return Verdict("differs", f"written again: {wrong}")
    except NetcError as error:
        unwritten = error.diagnostics[0].message
    except RefusedError as error:
        return Verdict("differs", f"written again: LiteRT refuses: {error}")
    faults = {way: difference(found, expected) for way, found in answers.items()}
    if not any(faults.values()):
        return Verdict("exact", "", unwritten)
    slack = _slack(litert, data, rows, expected)
    faults = {way: fault for way, found in answers.items() if (fault := difference(found, expected, slack))}
    if not faults:
        return Verdict("close", "", unwritten)
    return Verdict("differs", ", ".join(f"{way}: {fault}" for way, fault in faults.items()))


def known_graph(data: bytes) -> Graph:
    """The graph of a file. Raises `NetcError` if an operator stays opaque."""
    graph = graph_of(read_model(data), "case")
    for op in graph.operations:
        if op.name == "opaque":
            raise NetcError(op.attributes["reason"] or "it is not known")
    return graph


def _slack(litert: LiteRT, data: bytes, rows: Rows, expected: Rows) -> list[list[float]]:
    """How far each float output may lie from LiteRT's."""
    try:
        others: Rows = litert(data, rows, KERNELS[1])
    except RefusedError:
        others = expected
    return [[_room(e, o) for e, o in zip(row, other, strict=True)] for row, other in zip(expected, others, strict=True)]


def _room(expected: Any, other: Any) -> float:
    finite = np.isfinite(expected) & np.isfinite(other)
    if expected.dtype.kind != "f" or not finite.any():
        return 0.0
    values = expected[finite].astype(np.float64)
    extent = float(np.ptp(values)) or float(np.max(np.abs(values)))
    largest = float(np.max(np.abs(values)))
    return max(CLOSE * extent, ROUNDING * largest, OWN * float(np.max(np.abs(values - other[finite]))))


def difference(found: Rows, expected: Rows, slack: Sequence[Sequence[float]] | None = None) -> str:
    """How many elements differ (floats: by more than the slack of their output); nothing if none does."""
    count, example = 0, ""
    for r, (got, wanted) in enumerate(zip(found, expected, strict=True)):
        for i, (a, b) in enumerate(zip(got, wanted, strict=True)):
            a, b = np.asarray(a), np.asarray(b)
            if a.shape != b.shape or a.dtype != b.dtype:
                return f"{a.dtype}{list(a.shape)} in place of {b.dtype}{list(b.shape)}"
            wrong = _wrong(a, b, 0.0 if slack is None else slack[r][i])
            if wrong.any() and not example:
                example = f"row {r}: {a[wrong][0]} in place of {b[wrong][0]}"
            count += int(np.count_nonzero(wrong))
    return f"{count} elements, {example}" if count else ""


def _wrong(a: Any, b: Any, slack: float) -> Any:
    if a.dtype.kind != "f":
        return a != b
    largest = np.finfo(a.dtype).max  # to which some of LiteRT's kernels limit infinities
    a, b = np.clip(a, -largest, largest), np.clip(b, -largest, largest)
    with np.errstate(all="ignore"):
        near = np.abs(a.astype(np.float64) - b) <= slack
    return ~((a == b) | (np.isnan(a) & np.isnan(b)) | near)
