"""Every operator against its NumPy meaning: its loops, interpreted, and its machine code.

Through the whole pipeline and through the generic lowering.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from netc.compiler.backends import lower, optimize
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.modules.interpreter import run_module
from netc.compiler.modules.module import Module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.passes import pipelines, run
from netc.runtime.program import Program

from ..cases import CASES, OpCase

WAYS: dict[str, Callable[[Graph], Graph]] = {
    "tuned": lambda graph: optimize(graph, pipelines.TRAINING, host_target()),
    "generic": lambda graph: run(graph, "decompose"),
}


INTERPRETED_MACS = 400_000
"""Multiplications up to which loops are interpreted, too: half a second of Python."""


def execute(module: Module, arrays: list[Any], params: dict[str, Any], threads: int) -> Any:
    target = host_target()
    code = object_code(emit_module(module, target), target)
    with Program(module, code, target, threads, params) as program:
        return program(*arrays)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_compiled_equals_meaning(case: OpCase, way: str) -> None:
    operands = case.operands()
    inputs = operands[: case.weights]
    params = {f"w{i}": a for i, a in enumerate(operands) if i >= case.weights}
    check(case, WAYS[way](case.graph()), inputs, params)


@pytest.mark.parametrize("case", [c for c in CASES if c.op in ("batch_norm", "dropout")], ids=lambda c: c.id)
def test_operators_that_inference_simplifies(case: OpCase) -> None:
    operands = case.operands()
    params = {f"w{i}": a for i, a in enumerate(operands) if i >= case.weights}
    check(case, optimize(case.graph(), pipelines.INFERENCE, host_target()), operands[: case.weights], params)


@pytest.mark.parametrize("case", [c for c in CASES if c.weights < len(c.shapes)], ids=lambda c: c.id)
def test_weights_that_are_computed(case: OpCase) -> None:
    """Weights that aren't known at load time are read as they lie, unpacked."""
    check(case, optimize(case.graph(with_params=False), pipelines.TRAINING, host_target()), case.operands(), {})


def check(case: OpCase, graph: Graph, inputs: list[Any], params: dict[str, Any]) -> None:
    wanted = evaluate(graph, inputs, params)

    def compare(results: Any) -> None:
        for result, expected in zip(results if isinstance(results, tuple) else (results,), wanted, strict=True):
            scale = max(1.0, float(np.abs(expected).max(initial=0)))
            assert result.shape == expected.shape
            assert result.dtype == expected.dtype
            np.testing.assert_allclose(result / scale, expected / scale, atol=case.tolerance, rtol=0)

    for threads in (1, 3):
        module = lower(graph, host_target(), threads)
        verify_module(module)
        compare(execute(module, inputs, params, threads))
    if sum(call.macs for call in module.calls) <= INTERPRETED_MACS:
        compare(tuple(run_module(module, inputs, params)))
