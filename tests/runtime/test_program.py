"""Programs: threads, inputs, life time, and the C interface of their objects."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import shutil
import subprocess
import threading
import time
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.errors import NetcError
from netc.compiler.modules.module import Memory, Module, Slot
from netc.compiler.types import DType, TensorType
from netc.runtime.host import available_cores
from netc.runtime.program import THREADS_PER_CORE, Context, Program

from .chain import CODE, STEPS, W, chain, check, draw, program, run_script


def guarded_chain() -> Module:
    """The chain with a second input, a boolean, without which ten of the additions are skipped."""
    module, when = chain(), Slot(Memory.INPUT, 1)
    calls = tuple(replace(call, when=when) if 10 <= i < 20 else call for i, call in enumerate(module.calls))
    return replace(module, calls=calls, inputs=(*module.inputs, ("all", TensorType(DType.BOOL, ()))))


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_any_number_of_threads_gives_the_same(threads: int) -> None:
    with program(threads) as p:
        for seed in range(40):
            x = draw(seed)
            check(x, p(x))


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_skipped_calls(threads: int) -> None:
    code = object_code(emit_module(guarded_chain(), host_target()), host_target())
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


def test_a_writer_fills_the_same_arrays() -> None:
    with program(2) as p:
        outputs = [np.empty(type_.shape, type_.dtype.numpy) for type_ in p.outputs.values()]
        write = p.writer(outputs)
        for seed in range(3):
            write(draw(seed))
            check(draw(seed), outputs)
        with pytest.raises(NetcError, match=r"an output of chain is float32\[64, 8\], not float64\[64, 8\]"):
            p.writer([outputs[0].astype(np.float64), outputs[1]])
        with pytest.raises(NetcError, match="an output of chain is float32"):
            p.writer([np.asfortranarray(outputs[0]), outputs[1]])


def test_concurrent_calls() -> None:
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


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads through /proc")
def test_threads_far_above_the_cores_are_not_started() -> None:
    before = threads_of_this_process()
    with program(256) as p:
        x = draw()
        check(x, p(x))
        assert threads_of_this_process() == before + min(256, THREADS_PER_CORE * available_cores()) - 1
        for seed in range(20):
            check(draw(seed), p(draw(seed)))


def test_programs_without_their_network_are_not_pickled() -> None:
    with program() as p:
        for copy_of in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(
                TypeError, match="program chain can't be copied or pickled: pass its network and weights"
            ):
                copy_of(p)


def test_the_interpreter_exits_with_a_program_open() -> None:
    assert run_script("p = program(3)\ncheck(draw(), p(draw()))\nprint('done')") == "done\n"


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
    if (netc_start(&c) || netc_start(&c)) return 1;
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
    headers = Path(__file__).parents[2] / "compiler" / "backends" / "cpu" / "codegen"
    command = ["cc", "-Wall", "-Werror", "-I", str(headers), "main.c", "net.o", "-o", "main", "-pthread"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True, timeout=60, check=True)
    expected = sum((i * 8 + 1) % 7 for i in range(64)) + 64 * STEPS
    assert float(done.stdout) == expected
