"""A small program with many barriers, and scripts that use it in a process of their own."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.loops.parser import parse_kernel
from netc.compiler.modules.module import Call, Memory, Module, Slot
from netc.compiler.types import DType, TensorType
from netc.runtime.program import Program

SHIFT = """\
kernel @shift(%x: f32[64,8], %w: f32[8], %y: out f32[64,8]) {
  parallel %i = 0 to 64 {
    %y[%i, 0] = add(load f32x8 %x[63 - %i, 0], load f32x8 %w[0])
  }
}
"""
TOTAL = """\
kernel @total(%x: f32[64,8], %y: out f32[8]) {
  %y[0] = 0.0: f32x8
  for %i = 0 to 64 {
    %y[0] = add(load f32x8 %y[0], load f32x8 %x[%i, 0])
  }
}
"""
STEPS = 30
BYTES = 64 * 8 * 4


def chain() -> Module:
    """Adds `w` thirty times, turning the rows over each time, so that a missing barrier shows; then sums rows."""
    setup = GraphBuilder("chain.setup")
    weight = setup.emit("param", shape=(8,), name="w")
    x, w, y = Slot(Memory.INPUT, 0), Slot(Memory.WEIGHTS, 64), Slot(Memory.OUTPUT, 0)
    places = [x, *(Slot(Memory.ARENA, i % 2 * BYTES) for i in range(STEPS - 1)), y]
    calls = [Call("shift", (a, w, b), True, "add") for a, b in itertools.pairwise(places)]
    calls.append(Call("total", (y, Slot(Memory.OUTPUT, 1)), False, "reduce_sum"))
    return Module(
        name="chain",
        kernels=(parse_kernel(SHIFT), parse_kernel(TOTAL)),
        calls=tuple(calls),
        inputs=(("x", TensorType(DType.F32, (64, 8))),),
        outputs=(("y", TensorType(DType.F32, (64, 8))), ("total", TensorType(DType.F32, (8,)))),
        arena_bytes=2 * BYTES,
        weights_bytes=96,
        weight_offsets=(64,),
        setup=setup.finish([weight]),
    )


def single() -> Module:
    """The chain without the sums: a network with one output, which is called directly (`runtime/direct.py`)."""
    whole = chain()
    return replace(whole, name="single", kernels=whole.kernels[:1], calls=whole.calls[:-1], outputs=whole.outputs[:1])


W = np.arange(8, dtype=np.float32) / 4
CODE = object_code(emit_module(chain(), host_target()), host_target())
SINGLE_CODE = object_code(emit_module(single(), host_target()), host_target())


def program(threads: int = 1) -> Program:
    return Program(chain(), CODE, threads=threads, params={"w": W})


def single_program(threads: int = 1) -> Program:
    return Program(single(), SINGLE_CODE, threads=threads, params={"w": W})


def draw(seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(-9, 9, (64, 8)).astype(np.float32)


def check(x: Any, results: Any) -> None:
    y, total = results
    check_single(x, y)
    np.testing.assert_allclose(total, (x + STEPS * W).sum(0), rtol=1e-5)


def check_single(x: Any, y: Any) -> None:
    np.testing.assert_array_equal(y, x + STEPS * W)


PRELUDE = f"""
import os, signal, sys, threading, time
import numpy as np, numpy.testing
sys.path.insert(0, {str(Path(__file__).parent)!r})
from chain import check, check_single, draw, program, single_program
"""


def run_script(body: str) -> str:
    """Run Python code that may use what `PRELUDE` imports; returns what it printed."""
    script = PRELUDE + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
