"""Every operator, compiled, against its NumPy meaning: through the whole pipeline and through the generic lowering."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netc.compiler.codegen import Target, emit_module, object_code
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.passes import run
from netc.compiler.schedules import lower
from netc.runtime.program import Program

from ..cases import CASES, OpCase

PIPELINES = {
    "tuned": "canonicalize,fold-batch-norm,simplify-inference,decompose,fold-constants,cse,dce,fuse,assign-layouts",
    "generic": "decompose",
}


def execute(graph: Graph, arrays: list[Any], params: dict[str, Any], threads: int) -> Any:
    target = Target.host()
    module = lower(graph, target, threads)
    code = object_code(emit_module(module, target), target)
    with Program(module, code, target, threads, params) as program:
        return program(*arrays)


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_compiled_equals_meaning(case: OpCase, pipeline: str) -> None:
    graph = case.graph()
    operands = case.operands()
    inputs = operands[: case.weights]
    params = {f"w{i}": a for i, a in enumerate(operands) if i >= case.weights}
    (expected,) = evaluate(graph, inputs, params)
    for threads in (1, 3):
        result = execute(run(graph, PIPELINES[pipeline]), inputs, params, threads)
        assert result.shape == expected.shape
        assert result.dtype == expected.dtype
        scale = max(1.0, float(np.abs(expected).max(initial=0)))
        np.testing.assert_allclose(result / scale, expected / scale, atol=case.tolerance, rtol=0)
