"""Random networks mean the same before and after every pass and pipeline, and their texts read back."""

from __future__ import annotations

import numpy as np
import pytest

from netc.compiler import passes
from netc.compiler.backends import known_passes, parse_pipeline
from netc.compiler.graph import evaluate, parse_graph
from tests.random_networks import random_case

EXACT = (
    "verify",
    "dce",
    "cse",
    "fuse",
    "assign-layouts",
    "choose-algorithms,assign-layouts",
    "decompose",
    "fold-constants",
    "dce,fuse,cse,assign-layouts",
    "duplicate",
    "recompute",
    "checkpoint",
    "checkpoint{every=1}",
)
SETTLING = tuple(name for name in known_passes() if name not in ("differentiate", "jvp"))
"""Passes that have nothing left to do the second time; derivatives have derivatives."""
OPTIMIZED = f"{passes.pipelines.INFERENCE},choose-algorithms{{lanes=8}},assign-layouts"
"""What a network becomes for a processor."""
CLOSE = (
    "canonicalize",
    "simplify-inference",
    "fold-batch-norm",
    "assign-axes",
    "fuse{limit=3},canonicalize,cse",
    "fold-batch-norm,fuse,assign-layouts,canonicalize,cse,dce",
    OPTIMIZED,
)


@pytest.mark.parametrize("seed", range(25))
def test_passes_keep_the_meaning(seed: int) -> None:
    case = random_case(seed)
    expected = evaluate(case.graph, case.inputs, case.params)
    for pipeline in EXACT + CLOSE:
        graph = passes.run(case.graph, parse_pipeline(pipeline))
        results = evaluate(graph, case.inputs, case.params)
        for wanted, got in zip(expected, results, strict=True):
            tolerance = 0 if pipeline in EXACT else 1e-5 * max(1.0, float(np.abs(wanted).max()))
            np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance, err_msg=f"{pipeline}\n{case.graph}")
        text = str(graph)
        assert str(parse_graph(text)) == text


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("pipeline", [*SETTLING, OPTIMIZED])
def test_passes_are_deterministic_and_settle(seed: int, pipeline: str) -> None:
    graph, steps = random_case(seed).graph, parse_pipeline(pipeline)
    once = passes.run(graph, steps)
    assert str(passes.run(graph, steps)) == str(once)
    assert str(passes.run(once, steps)) == str(once)


def test_random_cases_hold_most_operators() -> None:
    found = {op.name for seed in range(25) for op in random_case(seed).graph.operations}
    assert len(found) >= 30
