"""Networks run by several numbers of threads, against their meaning."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from netc.compiler.backends import lower, optimize
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.modules.module import Module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.passes import pipelines
from netc.compiler.targets.target import Target
from netc.runtime.program import Program


def check_by_threads(graph: Graph, target: Target, look: Callable[[Module, int], None]) -> None:
    """By any number of threads the same bits, near the meaning; `look` gets each module, and its number of threads."""
    graph = optimize(graph, pipelines.INFERENCE, target)
    rng = np.random.default_rng(1)
    params = {p.result.name or "": rng.standard_normal(p.result.type.shape, np.float32) for p in graph.parameters}
    inputs = [rng.standard_normal(v.type.shape, np.float32) for v in graph.inputs]
    (expected,) = evaluate(graph, inputs, params)
    results = []
    for threads in (1, 2, 3):
        module = lower(graph, target, threads)
        verify_module(module)
        look(module, threads)
        with Program(module, object_code(emit_module(module, target), target), target, threads, params) as program:
            results.append(np.asarray(program(*inputs)))
    np.testing.assert_allclose(results[0], expected, atol=2e-5 * float(np.abs(expected).max()), rtol=0)
    assert len({result.tobytes() for result in results}) == 1
