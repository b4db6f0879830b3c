"""When another runtime's numbers and netc's are the same: the rules of the scoreboards of other people's files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from public_files import Record

from netc.compiler.errors import NetcError
from netc.compiler.graph.ir import Graph

Array = NDArray[Any]
Calls = list[list[Array]]
"""The outputs of each call."""

TOLERANCE = 1e-4
"""Of the range of an output, by which floats may differ; three times as much where only one reference runs a file."""
LARGEST_SPREAD = 1e-2
"""Of the range; where references differ by more than that, one of them must have the numbers."""
PLACES = r"\(operator \d+(, tensor `[^`]*`)?\)|\(tensor `[^`]*`\)|(, )?tensor `[^`]*`"
"""What of a message differs from file to file."""


def listed(outputs: Array | tuple[Array, ...]) -> list[Array]:
    """The outputs of a program, one or many, as a list."""
    return list(outputs) if isinstance(outputs, tuple) else [outputs]


def are_equal(reference: Calls, got: Calls) -> bool:
    """True if all outputs have the same bytes."""
    pairs = [(a, b) for x, y in zip(reference, got, strict=True) for a, b in zip(x, y, strict=False)]
    return all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)


def judged(reference: Calls, default: Calls | None, got: Calls, least: float = 1e-30) -> Record:
    """The verdict on the outputs of all calls, and the largest difference relative to what is allowed.

    `default` are the numbers of a second reference, where there is one. By `least` floats may always differ.
    """
    worst, outputs, exact = 0.0, [], True
    for call, wanted in enumerate(reference):
        other = default[call] if default is not None else wanted
        tolerance = TOLERANCE if default is not None else 3 * TOLERANCE
        if len(wanted) != len(got[call]):
            return {"verdict": "differs", "problem": f"{len(got[call])} outputs, not {len(wanted)}"}
        for place, (a, b, c) in enumerate(zip(wanted, got[call], other, strict=True)):
            if a.shape != b.shape or a.dtype != b.dtype:
                return {
                    "verdict": "differs",
                    "problem": f"output {place} is {b.dtype}{b.shape}, not {a.dtype}{a.shape}",
                }
            if a.tobytes() == b.tobytes():
                continue
            exact, part = False, share(a, b, c, tolerance, least)
            if part > 1 and a.dtype.kind in "fc":
                part = min(part, share(c, b, c, least=least))
            worst = max(worst, part)
            if part > 1:
                outputs.append(f"call {call + 1} output {place}: {described(a, b)}")
    verdict = "exact" if exact else "close" if worst <= 1 else "differs"
    return {"verdict": verdict, "share": round(min(worst, 1e9), 4), **({"outputs": outputs[:6]} if outputs else {})}


def share(wanted: Array, got: Array, other: Array, tolerance: float = TOLERANCE, least: float = 1e-30) -> float:
    """The largest difference as a part of the allowed one."""
    a, b, c = (x.astype(np.complex128 if x.dtype.kind == "c" else np.float64) for x in (wanted, got, other))
    with np.errstate(all="ignore"):
        error = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0, np.abs(a - b))
        own = np.where((a == c) | (np.isnan(a) & np.isnan(c)), 0, np.abs(a - c)) if a.shape == c.shape else np.zeros(1)
    finite = a[np.isfinite(a)]
    own_most = float(np.max(own, initial=0))
    if not np.all(np.isfinite(error)):
        return float("inf")
    if not error.any():
        return 0.0
    if wanted.dtype.kind not in "fc":
        is_more = np.count_nonzero(error) > 3 * np.count_nonzero(own)
        return float("inf") if is_more or not own_most else float(error.max()) / (3 * own_most)
    extent = float(max(np.abs(finite).max(), np.ptp(finite.real))) if finite.size else 0.0
    spread = min(3 * own_most, LARGEST_SPREAD * extent) if np.isfinite(own_most) else 0.0
    return float(error.max()) / max(tolerance * extent, spread, least)


def described(a: Array, b: Array) -> str:
    """How an output differs."""
    wrong = (a != b) & ~((a != a) & (b != b))
    with np.errstate(all="ignore"):
        most = np.nanmax(np.abs(a.astype(np.complex128) - b.astype(np.complex128)))
        extent = np.nanmax(np.abs(a.astype(np.complex128)))
    return (
        f"{a.dtype}{list(a.shape)}, {np.count_nonzero(wrong)} of {a.size} differ, by up to {most:.3g} (of {extent:.3g})"
    )


def first_difference(tensors: Mapping[str, Array], graph: Graph, row: Sequence[Array]) -> str:
    """The first tensor, of those that another runtime has under their names, in which the interpreter differs."""
    from netc.compiler.graph.interpreter import evaluate_operation
    from netc.compiler.ops.opaque import runnable

    graph = runnable(graph)
    values = dict(zip(graph.inputs, row, strict=True))
    for op in graph.operations:
        for value, array in zip(op.results, evaluate_operation(op, tuple(values[v] for v in op.operands)), strict=True):
            values[value] = got = np.asarray(array)
            wanted = tensors.get(value.name or "")
            is_like = wanted is not None and wanted.shape == got.shape and wanted.dtype == got.dtype
            if wanted is not None and is_like and share(wanted, got, wanted) > 1:
                types = ", ".join(str(v.type) for v in op.operands)
                return f"{op.name} `{value.name}` of {types}: {described(wanted, got)}"
    return "none in the interpreter"


def reasons_of(error: NetcError) -> list[str]:
    """The problems of a file that netc refuses, each with how many times it has it."""
    found = [reason(d.message) for d in error.diagnostics]
    return [f"{why} x{n}" if n > 1 else why for why, n in Counter(found).items()]


def reason(message: str) -> str:
    """A message without the names of tensors and numbers of operators."""
    message = message.removeprefix("netc can't run the operator ")
    message = re.sub(PLACES, "", message)
    message = re.sub(r"\b(tensors|operators)\[\d+\]", r"\1[]", message)
    return " ".join(message.split()).replace(" :", ":")[:200]
