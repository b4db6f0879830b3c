"""Programs: threads, inputs, life time, and the C interface of their objects."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netc.compiler.codegen import Target, emit_module, object_code
from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.types import DType, TensorType
from netc.compiler.loops.module import Call, Memory, Module, Slot
from netc.compiler.loops.parser import parse_kernel
from netc.runtime.program import Context, Program

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
        "chain",
        (parse_kernel(SHIFT), parse_kernel(TOTAL)),
        tuple(calls),
        (("x", TensorType(DType.F32, (64, 8))),),
        (("y", TensorType(DType.F32, (64, 8))), ("total", TensorType(DType.F32, (8,)))),
        2 * BYTES,
        96,
        (64,),
        setup.finish([weight]),
    )


def guarded_chain() -> Module:
    """The chain with a second input, a boolean, without which ten of the additions are skipped."""
    module, when = chain(), Slot(Memory.INPUT, 1)
    calls = tuple(replace(call, when=when) if 10 <= i < 20 else call for i, call in enumerate(module.calls))
    return replace(module, calls=calls, inputs=(*module.inputs, ("all", TensorType(DType.BOOL, ()))))


W = np.arange(8, dtype=np.float32) / 4
CODE = object_code(emit_module(chain(), Target.host()), Target.host())


def program(threads: int = 1) -> Program:
    return Program(chain(), CODE, threads=threads, params={"w": W})


def draw(seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(-9, 9, (64, 8)).astype(np.float32)


def check(x: Any, results: Any) -> None:
    y, total = results
    np.testing.assert_array_equal(y, x + STEPS * W)
    np.testing.assert_allclose(total, (x + STEPS * W).sum(0), rtol=1e-5)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_any_number_of_threads_gives_the_same(threads: int) -> None:
    with program(threads) as p:
        for seed in range(40):
            x = draw(seed)
            check(x, p(x))


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_skipped_calls(threads: int) -> None:
    code = object_code(emit_module(guarded_chain(), Target.host()), Target.host())
    with Program(guarded_chain(), code, threads=threads, params={"w": W}) as p:
        for seed in range(40):
            x, everything = draw(seed), seed % 3 == 0
            y, _ = p(x, np.asarray(everything))
            np.testing.assert_array_equal(y, x + (STEPS if everything else STEPS - 10) * W)


def test_workers_wake_up_after_a_pause() -> None:
    with program(3) as p:
        for seed in range(5):
            time.sleep(0.01)
            x = draw(seed)
            check(x, p(x))


def test_outputs_are_fresh() -> None:
    with program(2) as p:
        x = draw()
        first = p(x)
        p(draw(1))
        check(x, first)


def test_concurrent_calls_take_turns() -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for i in range(30):
                x = draw(100 * seed + i)
                check(x, p(x))
        except BaseException as error:
            failures.append(error)

    with program(2) as p:
        workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for w in workers:
            w.start()
        for w in workers:
            w.join()
    assert not failures


def test_inputs_by_name_and_in_any_memory() -> None:
    with program() as p:
        x = draw()
        check(x, p(x=x))
        check(x, p(np.asfortranarray(x)))
        check(x[::-1], p(x[::-1]))
        x.flags.writeable = False
        check(x, p(x))


@pytest.mark.parametrize(
    ("arrays", "named", "message"),
    [
        ((np.zeros((64, 9), np.float32),), {}, r"input `x` takes float32\[64,8\], not float32\[64,9\]"),
        ((np.zeros((64, 8)),), {}, r"input `x` takes float32\[64,8\], not float64\[64,8\]"),
        (([1.0],), {}, r"takes a NumPy array float32\[64,8\], not list"),
        ((), {}, "chain lacks its input"),
        ((), {"X": draw()}, r"has no input `X`(?s:.*)its inputs are x"),
        ((draw(), draw()), {}, r"takes 1 input\(s\), not 2"),
        ((draw(),), {"x": draw()}, "given twice"),
    ],
)
def test_wrong_inputs_are_refused(arrays: tuple[Any, ...], named: dict[str, Any], message: str) -> None:
    with program() as p, pytest.raises(NetcError, match=message):
        p(*arrays, **named)


def test_description() -> None:
    p = program()
    assert p.inputs == {"x": TensorType(DType.F32, (64, 8))}
    assert list(p.outputs) == ["y", "total"]
    assert p.module.name == "chain"


@pytest.mark.parametrize("threads", [1, 2])
def test_profile_has_a_time_for_each_call(threads: int) -> None:
    with program(threads) as p:
        times = p.profile(draw())
        assert len(times) == STEPS + 1
        assert min(times) >= 0
        assert 0 < sum(times) < 10**9
        check(draw(), p(draw()))


def test_closed_programs_say_so() -> None:
    p = program(2)
    p(draw())
    p.close()
    p.close()
    with pytest.raises(NetcError, match="program chain is closed"):
        p(draw())
    with pytest.raises(NetcError, match="at least one thread"):
        program(0)


def threads_of_this_process() -> int:
    return len(os.listdir("/proc/self/task"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads through /proc")
def test_collected_programs_leave_no_threads() -> None:
    before = threads_of_this_process()
    p = program(4)
    p(draw())
    assert threads_of_this_process() == before + 3
    gone = weakref.ref(p)
    del p
    gc.collect()
    assert gone() is None
    assert threads_of_this_process() == before


def run_script(body: str) -> str:
    """Run Python code that may use this file's names; returns what it printed."""
    here = Path(__file__)
    script = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("test_program", {str(here)!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
globals().update(vars(module))
{textwrap.dedent(body)}
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_interpreter_exits_with_a_program_open() -> None:
    assert run_script("p = program(3)\ncheck(draw(), p(draw()))\nprint('done')") == "done\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_children_start_their_own_threads() -> None:
    body = """
    p = program(2)
    check(draw(), p(draw()))
    child = os.fork()
    check(draw(1), p(draw(1)))
    if child:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        print('both')
    else:
        p.close()
        os._exit(0)
    """
    assert run_script(body) == "both\n"


C_PROGRAM = """
#include "netc.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
  float x[64 * 8], y[64 * 8], total[8], w[8];
  for (int i = 0; i < 64 * 8; i++) x[i] = (float)(i % 7);
  for (int i = 0; i < 8; i++) w[i] = (float)i;
  unsigned char *weights = aligned_alloc(64, (netc_weights_bytes + 63) / 64 * 64);
  memcpy(weights + 64, w, sizeof w);
  void *buffers[] = {x, y, total};
  struct netc_context c = {0};
  if (sizeof c != SIZE) return 3;
  c.arena = aligned_alloc(64, (netc_arena_bytes + 63) / 64 * 64);
  c.weights = weights;
  c.buffers = buffers;
  for (c.threads = 1; c.threads <= 3; c.threads++) {
    if (netc_start(&c)) return 1;
    for (int run = 0; run < 20; run++) {
      memset(y, 0, sizeof y);
      netc_run(&c);
      for (int i = 0; i < 64 * 8; i++) if (y[i] != x[i] + 30 * w[i % 8]) return 2;
    }
    netc_stop(&c);
  }
  printf("%g\\n", total[1]);
  return 0;
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_objects_work_without_python(tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text(C_PROGRAM.replace("SIZE", str(Context.internal.offset + Context.internal.size)))
    (tmp_path / "net.o").write_bytes(CODE)
    headers = Path(__file__).parents[2] / "compiler" / "codegen"
    command = ["cc", "-Wall", "-Werror", "-I", str(headers), "main.c", "net.o", "-o", "main", "-pthread"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True, timeout=60, check=True)
    expected = sum((i * 8 + 1) % 7 for i in range(64)) + 64 * STEPS
    assert float(done.stdout) == expected
