"""Random models of one node of ONNX Runtime's own domain (com.microsoft) against ONNX Runtime.

    python benchmarks/onnx_random_contributed.py [--count 2000] [--seed 0] [--compiled] [--only FAMILY]

Attributes, optional inputs, outputs, and which inputs are weights are drawn. Each model has a seed of its own, so that
one can be repeated: --seed S --count 1. Bytes may be off by a step, few of them, where floats are rounded. Exit code 1
if a model gives other numbers; what netc or ONNX Runtime refuses is counted by operator and reason.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from typing import Any

import numpy as np
from onnx_contributed_models import FAMILIES, Case, drawn, model_of
from onnx_judge import count_wrong, wanted_of

from netc.compiler.errors import NetcError
from netc.compiler.graph.interpreter import evaluate
from netc.frontend.onnx import graph_of
from netc.pipeline import compile_graph

Array = np.ndarray[Any, Any]


def far(found: Array, wanted: Array, case: Case) -> str | None:
    """What is wrong with a result."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return f"{found.dtype}{list(found.shape)}, not {wanted.dtype}{list(wanted.shape)}"
    if wanted.dtype.kind == "f":
        if np.allclose(found, wanted, case.near, case.near, equal_nan=True):
            return None
        return f"off by {np.abs(found - wanted).max()}: {found.reshape(-1)[:5]}, not {wanted.reshape(-1)[:5]}"
    steps = np.abs(found.astype(np.int64) - wanted.astype(np.int64))
    few = case.steps > 1 or (steps > 0).sum() <= 1 + 0.03 * steps.size
    is_near = wanted.dtype.itemsize < 4 and steps.max(initial=0) <= case.steps and few
    return None if is_near or not steps.any() else f"{(steps > 0).mean():.1%} of the numbers, by up to {steps.max()}"


def problems(seed: int, only: str | None, counts: Counter[str], *, compiled: bool) -> list[str]:
    """What is wrong with one model."""
    case = drawn(seed, only)
    made, inputs = model_of(case)
    wanted = wanted_of(made, inputs)
    try:
        graph = graph_of(made, "random")
        results = compile_graph(graph, threads=1)(*inputs) if compiled else evaluate(graph, inputs)
    except NetcError as error:
        by = "both refuse" if isinstance(wanted, str) else "refused"
        counts[f"{case.operator} {by}: " + _kind(error.diagnostics[0].message)] += 1
        return []
    if isinstance(wanted, str):
        counts[f"{case.operator}: ONNX Runtime: " + _kind(wanted)] += 1
        return []
    results = results if isinstance(results, list | tuple) else (results,)
    pairs = enumerate(zip(results, wanted, strict=True))
    found = [f"output {i}: {p}" for i, (a, b) in pairs if (p := far(np.asarray(a), b, case))]
    counts[f"{case.operator} " + ("agrees" if not found else "DIFFERS")] += 1
    return [f"{case}: {', '.join(found)}"] if found else []


def _kind(message: str) -> str:
    """A message without its numbers and the node's name."""
    return re.sub(r"\d+", "#", re.sub(r"^node \d+ \([^)]*\): ", "", message))[:110]


def main() -> int:
    """Draw and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--only", choices=FAMILIES)
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.count)
    return count_wrong(seeds, lambda s, counts: problems(s, options.only, counts, compiled=options.compiled))


if __name__ == "__main__":
    sys.exit(main())
