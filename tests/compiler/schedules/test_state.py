"""Programs that change their own parameters, against the interpreter run step by step."""

from __future__ import annotations

from typing import Any

import numpy as np

from netc.compiler.backends import lower
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.modules.printer import print_module
from netc.compiler.modules.reader import parse_module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.passes import run
from netc.compiler.types import DType, TensorType
from netc.runtime.program import Program


def momentum_graph(*, swap: bool = False) -> Graph:
    """y = x w, then w and its momentum move; `swap` makes two parameters trade places instead of moving."""
    b = GraphBuilder("momentum", {"updates": ("w", "m")})
    x = b.input("x", TensorType(DType.F32, (4, 7)))
    w = b.emit("param", shape=(7, 5), name="w")
    m = b.emit("param", shape=(7, 5), name="m")
    y = b.emit("dense", x, w)
    if swap:
        return b.finish([y, m, w])
    gradient = b.emit("dense", b.emit("transpose", x, permutation=(1, 0)), y)
    new_m = b.emit("add", b.emit("mul", m, b.scalar(0.9, DType.F32)), gradient)
    new_w = b.emit("sub", w, b.emit("mul", new_m, b.scalar(0.01, DType.F32)))
    return b.finish([y, new_w, new_m])


def check(graph: Graph) -> None:
    rng = np.random.default_rng(0)
    state: dict[str, Any] = {n: rng.standard_normal((7, 5), dtype=np.float32) for n in ("w", "m")}
    target = host_target()
    module = lower(graph, target, 2)
    verify_module(module)
    text = print_module(module)
    assert print_module(parse_module(text)) == text
    code = object_code(emit_module(module, target), target)
    with Program(module, code, target, 2, state) as program:
        for _ in range(3):
            x = rng.standard_normal((4, 7), dtype=np.float32)
            y, w, m = evaluate(graph, [x], state)
            np.testing.assert_allclose(program(x), y, rtol=1e-5, atol=1e-5)
            state = {"w": w, "m": m}
            for name, view in program.state.items():
                np.testing.assert_allclose(view, state[name], rtol=1e-5, atol=1e-5)


def test_parameters_move() -> None:
    check(run(momentum_graph(), "canonicalize,cse,dce,fuse"))


def test_unfused_updates() -> None:
    check(momentum_graph())


def test_parameters_trade_places() -> None:
    check(momentum_graph(swap=True))


def test_updates_are_written_in_place() -> None:
    module = lower(run(momentum_graph(), "canonicalize,cse,dce,fuse"), host_target(), 1)
    assert not any(call.label == "identity" for call in module.calls)
