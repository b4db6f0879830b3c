"""A module of loops to one LLVM module: all kernels, the sequence of calls, and the runtime's C interface.

The sequence is one function that every thread runs from the first call to the last. Where the module asks for a
barrier, a segment of calls ends, which the threads share out (`runtime.ll`). `netc.h` documents how the result is
called. Equal modules and targets give equal text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ....errors import NetcError
from ....modules.module import Module
from ....modules.overlaps import overlapping
from ....targets.target import Target
from . import machine
from .conventions import Threaded
from .llvm import emit_kernel
from .sequence import sequence_text

SPINS = 10000
"""Turns of the busy-waiting loop before a thread goes to sleep.

A tenth of a millisecond where a pause takes 25 cycles (Intel server of 2025), up to a half where it takes 140. Waking a
sleeping thread of a virtual machine takes as long, and threads that sleep once begin the next shares late, too.
"""

GLANCES = 100
"""Turns after which a thread looks whether others have not begun their shares."""

_MONOTONIC_CLOCK = {"linux": 1, "apple": 6, "darwin": 6, "freebsd": 4}
"""CLOCK_MONOTONIC of each system's time.h, by a part of its triple."""


def emit_module(module: Module, target: Target, prefix: str = "netc") -> str:
    """LLVM text of a whole network; its C functions are `PREFIX_start`, `PREFIX_run` and `PREFIX_stop`.

    Raises `NetcError` for systems without POSIX threads.
    """
    shared = overlapping(module)
    kernels = [emit_kernel(kernel, target, overlapping=shared) for kernel in module.kernels]
    sizes = [
        f"@{prefix}_arena_bytes = constant i64 {module.arena_bytes}",
        f"@{prefix}_weights_bytes = constant i64 {module.weights_bytes}",
    ]
    clock = next((number for system, number in _MONOTONIC_CLOCK.items() if system in target.triple), None)
    if clock is None:
        raise NetcError(f"programs for {target.triple} are not supported: they need POSIX threads")
    runtime = [runtime_text(target, prefix), filled("stamp.ll", {"monotonic": str(clock)})]
    runtime += [filled("turn_stamps.ll", {})] if module.turns else []
    notifies = any(call.announces for call in module.calls)
    runtime += [filled("notify.ll", {})] if notifies else []
    sequence = sequence_text(module, Threaded(stamps=True, notifies=notifies))
    parts = [*runtime, "\n".join(sizes), "", sequence, *kernels]
    return machine.with_helpers(machine.header(target) + "\n".join(parts), target)


def runtime_text(target: Target, prefix: str, linkage: str = "dso_local", workers: Workers | None = None) -> str:
    """`runtime.ll` for a target, on pthread unless `workers` are JavaScript's."""
    words = {"prefix": prefix, "linkage": linkage, "pause": target.pause}
    words |= {"spins": str(SPINS), "glances": str(GLANCES)}
    if workers is None:
        system = {
            "system": filled("pthread.ll", {}),
            "take_workers": "%all = call ptr @calloc(i64 %nthreads, i64 256)",
            "give_workers": "call void @free(ptr %all)",
            "create_worker": "%status = call i32 @pthread_create(ptr %handle, ptr null, ptr @netc.work, ptr %worker)",
        }
    else:
        system = {
            "system": filled("futex.ll", {"library": workers.library}),
            "take_workers": f"%all = getelementptr i8, ptr %ctx, i64 {workers.offset}",
            "give_workers": "",
            "create_worker": "%status = add i32 0, 0",
        }
    return filled("runtime.ll", words | system)


@dataclass(frozen=True)
class Workers:
    """Threads that JavaScript starts: each calls `LIBRARY_worker` with what describes it."""

    library: str
    """The prefix of the library's names."""
    offset: int
    """Of their descriptions from the context, all of them zero at first."""


def filled(name: str, words: Mapping[str, str]) -> str:
    """A text beside this module, with what stands for its words in double braces."""
    text = _template(name)
    for word, value in words.items():
        text = text.replace("{{" + word + "}}", value)
    return text


@cache
def _template(name: str) -> str:
    return files("netc.compiler.backends.cpu.codegen").joinpath(name).read_text(encoding="utf-8")
